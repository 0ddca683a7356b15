//! Shows that every option of a rotation, and a host that dies on the way, ends as the runbook says.

use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::{Role, Root};
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::harness::{Bench, say};
use k0rotate_workflows::rotate::Rotate;

fn mixed() -> FleetPlan {
    use Role::{Controller, ControllerWorker, Worker};
    FleetPlan::of(&[("a", ControllerWorker), ("b", Controller), ("c", Controller), ("w", Worker)])
}

fn failures(bench: &Bench, id: &ExecutionId) -> Vec<String> {
    let failed = |event: Event| match event {
        Event::StepFailed { step, failure, .. } => Some(format!("{step} {failure}")),
        Event::StepLeft { step, why, .. } => Some(format!("{step} left {why:?}")),
        _ => None,
    };
    bench.history(id).into_iter().filter_map(|r| failed(r.event)).collect()
}

fn to_the_wait_and_back(name: &str, change: impl FnOnce(&mut Rotate)) -> (Bench, ExecutionId) {
    to_the_wait_and_back_on(mixed(), name, change)
}

fn to_the_wait_and_back_on(plan: FleetPlan, name: &str, change: impl FnOnce(&mut Rotate)) -> (Bench, ExecutionId) {
    let bench = Bench::new(plan);
    let mut rotate = bench.rotate();
    change(&mut rotate);
    let id = bench.start(&rotate);
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{name}: {rest:?} {:?}", failures(&bench, &id));
    let rest = bench.drive(&id, Some(say::roll_back()));
    assert!(matches!(rest, Ok(Rest::RolledBack { .. })), "{name}: back {rest:?} {:?}", failures(&bench, &id));
    assert_eq!(failures(&bench, &id), Vec::<String>::new(), "{name}");
    (bench, id)
}

/// Goal: the oldest minor, and the last one whose workers have a CA file of their own, are rotated and put back.
#[test]
fn older_minors_are_rotated_and_put_back() {
    for version in ["v1.30.14+k0s.0", "v1.32.13+k0s.0"] {
        to_the_wait_and_back_on(FleetPlan { version: version.to_owned(), ..mixed() }, version, |_| ());
    }
}

/// Goal: each root alone, and those of a leaked pki folder without etcd's, are replaced and put back.
#[test]
fn roots_are_replaced_alone() {
    for roots in [
        vec![Root::KubernetesCa],
        vec![Root::EtcdCa],
        vec![Root::FrontProxyCa],
        vec![Root::ServiceAccount],
        vec![Root::KubernetesCa, Root::ServiceAccount],
    ] {
        to_the_wait_and_back(&format!("{roots:?}"), |rotate| rotate.roots = roots);
    }
}

/// Goal: what no node depends on is replaced and put back without a container being ended.
#[test]
fn nodes_are_let_alone_where_nothing_of_theirs_changes() {
    let ends_containers =
        |event: &Event| matches!(event, Event::StepStarted { activity, .. } if activity == "refresh-trust-holders");
    for (root, refreshes) in [(Root::EtcdCa, false), (Root::FrontProxyCa, false), (Root::ServiceAccount, true)] {
        let (bench, id) = to_the_wait_and_back(&format!("{root:?}"), |rotate| rotate.roots = vec![root]);
        let any = bench.history(&id).iter().any(|record| ends_containers(&record.event));
        assert_eq!(any, refreshes, "{root:?}");
    }
}

/// Goal: agents alone, all containers, reboots two at once, and another primary.
#[test]
fn refresh_reboot_and_primary_are_respected() {
    to_the_wait_and_back("none", |rotate| rotate.refresh = Refresh::None);
    to_the_wait_and_back("all", |rotate| rotate.refresh = Refresh::All);
    to_the_wait_and_back("reboot", |rotate| rotate.reboot_at_once = Some(2));
    to_the_wait_and_back("primary", |rotate| rotate.primary = Some("c".to_owned()));
}

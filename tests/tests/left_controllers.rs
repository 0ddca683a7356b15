//! What becomes of a rotation that is begun without a controller, or that loses one where the etcd CA stays.

use k0rotate_activities::fleet::Root;
use k0rotate_activities::rehearsal::stage::faults::Link;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::ends::{last_words, roots};
use k0rotate_tests::enumerate::Way;
use k0rotate_tests::harness::{Bench, say};
use k0rotate_workflows::rotate::Rotate;
use std::time::Duration;

/// The controller that is left.
const LEFT: &str = "h2";
const A_MINUTE: Duration = Duration::from_secs(60);

fn without_etcd_ca(bench: &Bench) -> Rotate {
    Rotate { roots: vec![Root::KubernetesCa, Root::ServiceAccount], ..bench.rotate() }
}

fn without(rotate: Rotate, host: &str) -> Rotate {
    let hosts = rotate.hosts.into_iter().filter(|member| member.name != host).collect();
    Rotate { hosts, leave_behind: vec![host.to_owned()], ..rotate }
}

fn cut_off(bench: &Bench, host: &str) {
    bench.fleet.stage(|s| s.faults.links.insert(host.to_owned(), Link { back: None }));
}

fn mend(bench: &Bench, host: &str) {
    bench.fleet.stage(|s| s.faults.links.remove(host));
}

/// The power of a host goes, or comes, and a minute passes.
fn power(bench: &Bench, host: &str, on: bool) {
    bench.fleet.stage(|s| if on { s.world.power_on(host) } else { s.world.power_off(host) });
    bench.fleet.idle(A_MINUTE);
}

fn failed_with(bench: &Bench, id: &ExecutionId, code: &str) -> bool {
    let failed = |event: &Event| matches!(event, Event::StepFailed { failure, .. } if failure.code == code);
    bench.history(id).iter().any(|record| failed(&record.event))
}

/// Goal: one that does not answer us and runs all the same is not left: it would go on with the old trust, lead, and admit nobody.
#[test]
fn one_that_runs_is_not_left() {
    for rotate in [Bench::rotate, without_etcd_ca] {
        let bench = Bench::new(FleetPlan::sized(3, 1));
        cut_off(&bench, LEFT);
        let id = bench.start(&without(rotate(&bench), LEFT));
        let rest = bench.drive(&id, None).expect("nothing crashes it");
        assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
        assert!(failed_with(&bench, &id, "left-controller-runs"));
        mend(&bench, LEFT);
        assert_eq!((roots(&bench), bench.fleet.stage(|s| s.faults.changes)), (bench.original.clone(), 0));
    }
}

/// Goal: where the etcd CA stays, a dead one is left only once it has left etcd: it could come back, and serve the old trust beside the new.
#[test]
fn one_that_could_come_back_beside_the_new_trust_is_not_left() {
    let bench = Bench::new(FleetPlan::sized(3, 1));
    power(&bench, LEFT, false);
    let id = bench.start(&without(without_etcd_ca(&bench), LEFT));
    let rest = bench.drive(&id, None).expect("nothing crashes it");
    assert!(
        matches!(rest, Rest::RolledBack { .. }) && failed_with(&bench, &id, "left-controller-is-member"),
        "{rest:?}"
    );
    assert_eq!(bench.fleet.stage(|s| s.faults.changes), 0);
    bench.fleet.stage(|s| s.world.remove_member(LEFT));
    let id = bench.start(&without(without_etcd_ca(&bench), LEFT));
    let rest = bench.drive(&id, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
}

/// Goal: one that was dead and is back goes back with the others, whether it answers us or not: what it accepts is the first trust already.
#[test]
fn one_that_is_back_goes_back_with_the_others() {
    for answers in [true, false] {
        let bench = Bench::new(FleetPlan::sized(3, 1));
        power(&bench, LEFT, false);
        let id = bench.start(&without(bench.rotate(), LEFT));
        let rest = bench.drive(&id, None).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
        power(&bench, LEFT, true);
        if !answers {
            cut_off(&bench, LEFT);
        }
        let rest = bench.drive(&id, Some(say::roll_back())).expect("it ends in time");
        assert!(matches!(&rest, Rest::RolledBack { left } if left.is_empty()), "{answers}: {rest:?}");
        mend(&bench, LEFT);
        assert_eq!(roots(&bench), bench.original, "{answers}");
    }
}

/// Goal: where the etcd CA stays, nobody is stopped on the way back while one that may serve the new trust is silent; it goes on once that one
/// is back, or has left etcd.
#[test]
fn nobody_is_stopped_while_one_cannot_be() {
    for comes_back in [true, false] {
        let bench = Bench::new(FleetPlan::sized(3, 1));
        let stand = Stand::of(&bench, &without_etcd_ca(&bench));
        let whole = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
        let checked = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str() == "start/check-control-plane@cluster");
        let bench = Bench::of(&whole.first(checked).after);
        power(&bench, LEFT, false);
        let stopped = || bench.fleet.stage(|s| s.faults.log.iter().filter(|c| c.contains("systemctl stop")).count());
        let before = stopped();
        bench.drive(&stand.execution, Some(say::roll_back())).expect_err("it waits for longer than a test may");
        assert_eq!(stopped(), before, "the others go on");
        if comes_back {
            power(&bench, LEFT, true);
        } else {
            bench.fleet.stage(|s| s.world.remove_member(LEFT));
        }
        let rest = bench.drive(&stand.execution, Some(say::resume()));
        let rest = rest.unwrap_or_else(|_| panic!("{comes_back}: {}", last_words(&bench, &stand.execution)));
        let without: &[&str] = if comes_back { &[] } else { &[LEFT] };
        assert!(matches!(&rest, Rest::RolledBack { left } if left == without), "{comes_back}: {rest:?}");
        let mut differ: Vec<String> = roots(&bench)
            .into_iter()
            .filter(|(place, hash)| bench.original.get(place) != Some(hash))
            .map(|((host, _), _)| host)
            .collect();
        differ.dedup();
        assert!(differ.iter().all(|host| without.contains(&host.as_str())), "{differ:?}");
    }
}

//! Shows that a host that a rotation went on without is let in by an execution of its own.

use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::facts::{HostFacts, K0sHost};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::drive::{Rest, Start};
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::{ExecutionId, StepId};
use k0rotate_tests::ends::roots;
use k0rotate_tests::harness::{Bench, block_on, say};
use k0rotate_workflows::rejoin::{Beside, Rejoin, Trust};
use std::time::Duration;

/// What a step of the rotation ended with.
fn output<A: Activity>(bench: &Bench, id: &ExecutionId, phase: &str, target: &str) -> A::Output {
    let wanted = StepId::of(phase, A::NAME, target);
    let mut outputs = bench.history(id).into_iter().filter_map(|record| match record.event {
        Event::StepSucceeded { step, output } if step == wanted => Some(output),
        _ => None,
    });
    outputs.next_back().expect("the step succeeded").decode().expect("its output is readable")
}

fn host(bench: &Bench, id: &ExecutionId, name: &str) -> K0sHost {
    let facts: HostFacts = output::<CheckHost>(bench, id, "check-hosts", name);
    facts.host
}

fn left(bench: &Bench, id: &ExecutionId) -> Vec<String> {
    let records = bench.history(id);
    let mut left: Vec<String> = records
        .into_iter()
        .filter_map(|record| match record.event {
            Event::StepLeft { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    left.dedup();
    left
}

/// Drives a rotation of 3+2 in which one of these hosts loses its power at such a change, gives the power back at the end, and says
/// which host was left: changes of hosts at work in the same moment come in any order.
fn rotated_without(one_of: &[&str], at: &str) -> (Bench, ExecutionId, String) {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let probe = Bench::new(FleetPlan::sized(3, 2));
    let undisturbed = probe.start(&probe.rotate());
    probe.drive(&undisturbed, None).expect("nothing crashes it");
    let log = probe.fleet.stage(|stage| stage.faults.log.clone());
    let first = log
        .iter()
        .position(|line| line.contains(at) && one_of.iter().any(|name| line.starts_with(&format!("{name} "))));
    let first = u64::try_from(first.expect("there is such a change")).expect("a small number") + 1;
    let id = bench.start(&bench.rotate());
    let dead = k0rotate_activities::rehearsal::stage::faults::Fault::PowerCut(None);
    bench.fleet.stage(|stage| stage.faults.plan.insert(first, dead));
    let mut rest = bench.drive(&id, None);
    for _ in 0..3 {
        if matches!(rest, Ok(Rest::Stuck { .. })) {
            rest = bench.drive(&id, Some(say::resume()));
        }
    }
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");
    let left = left(&bench, &id);
    assert!(left.len() == 1 && one_of.contains(&left[0].as_str()), "{left:?}");
    bench.fleet.stage(|stage| stage.world.power_on(&left[0]));
    bench.fleet.idle(Duration::from_secs(90));
    (bench, id, left[0].clone())
}

fn rejoin(bench: &Bench, id: &ExecutionId, name: &str, beside: Beside) -> Rejoin {
    let new: NewTrust = output::<MakeTrust>(bench, id, "make-trust", "cluster");
    let host = host(bench, id, name);
    let pairs = new.of(name).into_iter().map(|(root, pair)| (root, pair.clone())).collect();
    let names = bench.plan.hosts.iter().filter(|h| h.role.is_controller() && h.name != name);
    Rejoin {
        trust: Trust::New(if host.role.is_controller() { pairs } else { Vec::new() }),
        host,
        controllers: names.map(|h| self::host(bench, id, &h.name)).collect(),
        ca: new.shared[&Root::KubernetesCa].public.clone(),
        rotation: id.to_string(),
        beside,
        nodes: 2,
    }
}

fn let_in(bench: &Bench, rejoin: &Rejoin) {
    let life = bench.life();
    let start = Start { subject: "rehearsal".into(), by: "test".into(), reason: "to see".into() };
    let id = block_on(life.engine.start(rejoin, start)).expect("a first event");
    let rest = bench.drive(&id, None);
    let events: Vec<String> = bench.history(&id).iter().map(|r| format!("{:?}", r.event)).collect();
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}\n{}", events.join("\n"));
}

/// Goal: a worker that died as it was let in is let in beside the resting rotation, which can be finalized then.
#[test]
fn a_worker_comes_back_beside_the_rotation() {
    let (bench, id, worker) = rotated_without(&["h4", "h5"], "systemctl stop");
    let refused = bench.drive(&id, Some(say::finalize()));
    assert!(matches!(refused, Ok(Rest::Stuck { .. })), "{refused:?}");
    let_in(&bench, &rejoin(&bench, &id, &worker, Beside::Resting));
    let rest = bench.drive(&id, Some(say::resume()));
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}");
}

/// Goal: a controller that died while its trust was swapped gets the new one, and the rotation can be finalized then.
#[test]
fn a_controller_comes_back_beside_the_rotation() {
    let (bench, id, controller) = rotated_without(&["h1", "h2", "h3"], "rename /var/lib/k0s/pki/ca.key");
    let_in(&bench, &rejoin(&bench, &id, &controller, Beside::Resting));
    let rest = bench.drive(&id, Some(say::finalize()));
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}");
}

/// Goal: a host that was let in keeps no old key, and goes back with the others: a worker by a token, a controller with files of another.
#[test]
fn who_came_back_goes_back_with_the_others() {
    for (one_of, at) in [(&["h4", "h5"][..], "systemctl stop"), (&["h1", "h2", "h3"], "rename /var/lib/k0s/pki/ca.key")]
    {
        let (bench, id, name) = rotated_without(one_of, at);
        let_in(&bench, &rejoin(&bench, &id, &name, Beside::Resting));
        let kept = bench.fleet.stage(|stage| stage.world.files(&name, &["/var/lib/k0s".to_owned()]));
        assert!(!kept.iter().any(|file| file.path.contains("/.k0rotate-")), "{name} keeps {kept:?}");
        let rest = bench.drive(&id, Some(say::roll_back()));
        let told: Vec<String> = bench.history(&id).iter().map(|r| format!("{:?}", r.event)).collect();
        let told =
            told.into_iter().filter(|line| line.contains("Left") || line.contains("Retried")).collect::<Vec<_>>();
        assert!(matches!(&rest, Ok(Rest::RolledBack { left }) if left.is_empty()), "{name}: {rest:?} {told:#?}");
        // Its front-proxy CA is a controller's own, and stays.
        let own = |place: &(String, String)| place.0 == name && place.1.contains("front-proxy");
        let now = roots(&bench);
        for (place, hash) in bench.original.iter().filter(|(place, _)| !own(place)) {
            assert_eq!(now.get(place), Some(hash), "{place:?}");
        }
    }
}

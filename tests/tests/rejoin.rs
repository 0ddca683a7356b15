//! Shows that a host that a rotation went on without is let in by an execution of its own.

use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::ends::roots;
use k0rotate_tests::harness::{Bench, say};
use k0rotate_tests::rejoining::{self, let_in, rotate_without};
use k0rotate_workflows::rejoin::Rejoin;

fn rotated_without(one_of: &[&str], at: &str) -> (Bench, ExecutionId, String) {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let (id, name) = rotate_without(&bench, one_of, at);
    (bench, id, name)
}

fn rejoin(bench: &Bench, id: &ExecutionId, name: &str) -> Rejoin {
    rejoining::of(&bench.history(id), name)
}

/// Goal: a worker that died as it was let in is let in beside the resting rotation, which can be finalized then.
#[test]
fn a_worker_comes_back_beside_the_rotation() {
    let (bench, id, worker) = rotated_without(&["h4", "h5"], "systemctl stop");
    let refused = bench.drive(&id, Some(say::finalize()));
    assert!(matches!(refused, Ok(Rest::Stuck { .. })), "{refused:?}");
    let_in(&bench, &rejoin(&bench, &id, &worker));
    let rest = bench.drive(&id, Some(say::resume()));
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}");
}

/// Goal: a controller that died while its trust was swapped gets the new one, and the rotation can be finalized then.
#[test]
fn a_controller_comes_back_beside_the_rotation() {
    let (bench, id, controller) = rotated_without(&["h1", "h2", "h3"], "rename /var/lib/k0s/pki/ca.key");
    let_in(&bench, &rejoin(&bench, &id, &controller));
    let rest = bench.drive(&id, Some(say::finalize()));
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}");
}

/// Goal: a host that was let in keeps no old key, and goes back with the others: a worker by a token, a controller with files of another.
#[test]
fn who_came_back_goes_back_with_the_others() {
    for (one_of, at) in [(&["h4", "h5"][..], "systemctl stop"), (&["h1", "h2", "h3"], "rename /var/lib/k0s/pki/ca.key")]
    {
        let (bench, id, name) = rotated_without(one_of, at);
        let_in(&bench, &rejoin(&bench, &id, &name));
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

/// Goal: a controller that dies for good on the way back, after another was let in, is left like any other: the API is not kept away for it.
#[test]
fn one_that_dies_on_the_way_back_is_left_though_another_was_let_in() {
    let controllers = ["h1", "h2", "h3"];
    let (bench, id, came) = rotated_without(&controllers, "rename /var/lib/k0s/pki/ca.key");
    let_in(&bench, &rejoin(&bench, &id, &came));
    let changes = |bench: &Bench| bench.fleet.stage(|stage| stage.faults.log.clone());
    let probe = Bench::of(&bench.image());
    let before = changes(&probe).len();
    probe.drive(&id, Some(say::roll_back())).expect("nothing crashes it");
    let log = changes(&probe);
    for dies in controllers {
        let own = |line: &String| line.starts_with(&format!("{dies} "));
        let stop = before + log[before..].iter().position(|l| own(l) && l.contains("systemctl stop")).expect("a stop");
        let swap = stop + log[stop..].iter().position(|l| own(l) && l.contains("pki/ca.key")).expect("a swap");
        let bench = Bench::of(&bench.image());
        let number = u64::try_from(swap).expect("a small number") + 1;
        bench.fleet.stage(|stage| stage.faults.plan.insert(number, Fault::PowerCut(None)));
        let rest = bench.drive(&id, Some(say::roll_back()));
        // Others may be at work in the same moment, in any order: one of them died.
        let Ok(Rest::RolledBack { left }) = &rest else { panic!("{dies} ({came} was let in): {rest:?}") };
        assert!(left.len() == 1 && controllers.contains(&left[0].as_str()), "{dies} ({came} was let in): {left:?}");
    }
}

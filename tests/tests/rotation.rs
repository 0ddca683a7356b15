//! Whole rotations on the rehearsal fleet, undisturbed: to the wait, to the end, and back from the wait.

use k0rotate_activities::fleet::Role;
use k0rotate_activities::layout::HELD;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::gap::measure;
use k0rotate_tests::harness::{Bench, say};

fn three_and_two() -> FleetPlan {
    FleetPlan::sized(3, 2)
}

fn topologies() -> Vec<(&'static str, FleetPlan)> {
    use Role::{Controller, ControllerWorker, Single};
    vec![
        ("1+0", FleetPlan::of(&[("c1", Controller)])),
        ("single", FleetPlan::of(&[("s1", Single)])),
        ("controller+worker", FleetPlan::of(&[("cw1", ControllerWorker)])),
        (
            "3 controller+worker",
            FleetPlan::of(&[("a", ControllerWorker), ("b", ControllerWorker), ("c", ControllerWorker)]),
        ),
        ("3+2", three_and_two()),
    ]
}

fn to_the_wait(bench: &Bench, name: &str) -> ExecutionId {
    let execution = bench.start(&bench.rotate());
    let rest = bench.drive(&execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Waiting { .. }), "{name}: {rest:?}\n{}", story(bench, &execution));
    execution
}

/// The history in short, for a failing test.
fn story(bench: &Bench, execution: &ExecutionId) -> String {
    let line = |event: &Event| match event {
        Event::StepStarted { .. } => None,
        Event::StepSucceeded { step, .. } => Some(format!("done {step}")),
        other => Some(format!("{other:?}").chars().take(300).collect()),
    };
    let lines: Vec<String> = bench.history(execution).iter().filter_map(|r| line(&r.event)).collect();
    lines.join("\n")
}

/// Goal: every topology reaches the wait and the end.
#[test]
fn it_rotates_and_finalizes() {
    for (name, plan) in topologies() {
        let bench = Bench::new(plan);
        let execution = to_the_wait(&bench, name);
        let rest = bench.drive(&execution, Some(say::finalize())).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Completed { .. }), "{name}: {rest:?}\n{}", story(&bench, &execution));
    }
}

/// Goal: every topology goes back from the wait.
#[test]
fn it_rolls_back_from_the_wait() {
    for (name, plan) in topologies() {
        let bench = Bench::new(plan);
        let execution = to_the_wait(&bench, name);
        let rest = bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
        assert!(matches!(rest, Rest::RolledBack { .. }), "{name}: {rest:?}\n{}", story(&bench, &execution));
    }
}

/// Goal: a crash between the held mark and the stop leaves a unit that runs on; the way back needs no new start of it and leaves nobody.
#[test]
fn a_controller_that_was_held_and_not_stopped_goes_back() {
    let (plan, held) = (three_and_two(), format!("write {HELD}"));
    let stage = Stage::new(&plan);
    let undisturbed = Bench::on(plan.clone(), stage.clone());
    to_the_wait(&undisturbed, "undisturbed");
    let log = undisturbed.fleet.stage(|s| s.faults.log.clone());
    let at =
        1 + log.iter().position(|change| change.ends_with(&held)).expect("a controller is held before it is stopped");

    let bench = Bench::on(plan, stage);
    bench.fleet.stage(|s| s.faults.plan.insert(at as u64, Fault::CrashAfter));
    let execution = bench.start(&bench.rotate());
    bench.drive(&execution, None).expect_err("the crash was planned");
    let rest = bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(&rest, Rest::RolledBack { left } if left.is_empty()), "{rest:?}\n{}", story(&bench, &execution));
}

/// Goal: forward and back, the API is away hardly longer than a bare stop and start of all controllers takes (model time).
#[test]
fn the_api_is_away_as_briefly_as_can_be() {
    let gap = measure(&three_and_two());
    assert!(!gap.bare.is_zero() && gap.rotation >= gap.bare, "the swap costs something: {gap:?}");
    assert!(gap.forward_ratio() <= 1.15 && gap.back_ratio() <= 1.15, "{gap:?}");
}

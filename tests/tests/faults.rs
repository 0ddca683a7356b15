//! Crashes and faults at every commit and every change of the world, then the word to go on or to go back.

use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::log::faulty::Fault as LogFault;
use k0rotate_tests::enumerate::{Case, Hurt, Then, Way, measure, run};
use k0rotate_tests::tier::{Tier, not_in, tier};
use std::time::Duration;

fn cases(plan: &FleetPlan, stage: &Stage, way: Way, every: usize) -> Vec<Case> {
    let (commits, changes) = measure(plan, stage, way);
    let crashes = [LogFault::CrashBefore, LogFault::CrashAfter];
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Refuse,
        Fault::Tear,
        Fault::Delay(Duration::from_secs(20)),
        Fault::LoseReply,
    ];
    let at_commits = (1..=commits).flat_map(|n| crashes.map(|fault| Hurt::Commit(n, fault)));
    let at_changes = (1..=changes).flat_map(|n| faults.map(|fault| Hurt::Change(n, fault)));
    let thens = if way == Way::Forward { vec![Then::Resume, Then::RollBack] } else { vec![Then::Resume] };
    let all =
        at_commits.chain(at_changes).flat_map(|hurt| thens.iter().map(move |then| Case { way, hurt, then: *then }));
    all.step_by(every).collect()
}

fn enumerate(name: &str, plan: &FleetPlan, every: usize) {
    let stage = Stage::new(plan);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for way in [Way::Forward, Way::Back] {
        for case in cases(plan, &stage, way, every) {
            count += 1;
            if let Err(why) = run(plan, &stage, case) {
                println!("{name}: {case}: {why}");
                wrong.push(format!("{name}: {case}: {why}"));
            }
        }
    }
    println!("{name}: {count} cases, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// The full tier takes every case; the others take one of so many, spread over both ways.
fn one_of(fast: usize, normal: usize) -> usize {
    match tier() {
        Tier::Fast => fast,
        Tier::Normal => normal,
        Tier::Full => 1,
    }
}

/// Goal: one controller comes to a good end wherever it is hurt.
#[test]
fn one_controller() {
    enumerate("1+0", &FleetPlan::of(&[("c1", Role::Controller)]), one_of(97, 5));
}

/// Goal: so does a controller that is a node too.
#[test]
fn one_controller_with_workloads() {
    if not_in(Tier::Normal) {
        return;
    }
    enumerate("controller+worker", &FleetPlan::of(&[("cw1", Role::ControllerWorker)]), one_of(97, 7));
}

/// Goal: so do three controllers and two workers.
#[test]
fn three_controllers_and_two_workers() {
    if not_in(Tier::Normal) {
        return;
    }
    enumerate("3+2", &FleetPlan::sized(3, 2), one_of(997, 31));
}

//! What becomes of an execution when a host does not answer before anything was stopped.

use k0rotate_activities::rehearsal::stage::faults::Link;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::{Rest, Word};
use k0rotate_engine::event::Event;
use k0rotate_engine::execution::Side;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::ends::state;
use k0rotate_tests::enumerate::Way;
use k0rotate_tests::harness::{Bench, say};
use std::time::Duration;

/// Cuts the link to the last worker for good.
fn cut(bench: &Bench) -> String {
    let worker = bench.plan.hosts.last().expect("a fleet has hosts").name.clone();
    bench.fleet.stage(|s| s.faults.links.insert(worker.clone(), Link { back: None }));
    worker
}

/// Goal: an execution that has changed nothing ends by itself, at the first trust, although a host never answers.
#[test]
fn at_the_first_look_it_ends() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(bench.fleet.stage(|s| s.faults.changes), 0);
}

/// Goal: without two of three controllers nothing is begun, whoever says that they are left behind: the one that is there is no quorum.
#[test]
fn two_dead_controllers_of_three_are_too_many() {
    let bench = Bench::new(FleetPlan::sized(3, 1));
    let dead = ["h2", "h3"];
    dead.iter().for_each(|host| bench.fleet.stage(|stage| stage.world.power_off(host)));
    bench.fleet.idle(Duration::from_secs(60));
    let mut rotate = bench.rotate();
    rotate.hosts.retain(|member| !dead.contains(&member.name.as_str()));
    rotate.leave_behind = dead.map(str::to_owned).to_vec();
    let id = bench.start(&rotate);
    let rest = bench.drive(&id, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(bench.fleet.stage(|s| s.faults.changes), 0);
}

/// Goal: a host that is held and then lost keeps the way back from beginning until it is left behind; then the others are let go.
#[test]
fn once_held_it_must_be_left_behind() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let copying = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("copy-keys/"));
    let photo = forward.first(copying);
    let bench = Bench::of(&photo.after);
    let lost = cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Refused(_)), "{rest:?}");
    let behind = Word::LeaveBehind { hosts: vec![lost.clone()], by: "test".into(), reason: "it burnt".into() };
    let rest = bench.drive(&stand.execution, Some(behind)).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    assert_eq!(state(&bench, &stand.execution).expect("a legal history").leg().left, std::slice::from_ref(&lost));
    let marked = |host: &str| bench.fleet.stage(|s| s.mark(host).is_some());
    let hosts: Vec<&str> = bench.plan.hosts.iter().map(|h| h.name.as_str()).filter(|host| marked(host)).collect();
    assert_eq!(hosts, [lost]);
}

/// Goal: one that is lost on a way back from where nothing was down is left behind there too, and the others are let go.
#[test]
fn lost_on_the_way_back_from_free_it_is_left_behind() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let copying = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("copy-keys/"));
    let back = Course::drive(&stand, Bench::of(&forward.first(copying).after).image(), Way::Back);
    let bench = Bench::of(&back.first(|e| matches!(e, Event::RollBackStarted { .. })).after);
    let lost = cut(&bench);
    let rest = bench.drive(&stand.execution, None).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    assert_eq!(state(&bench, &stand.execution).expect("a legal history").side(), Side::Back);
    let rest = bench.drive(&stand.execution, Some(say::leave_behind(&lost))).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Stuck { .. }), "{rest:?}");
    let rest = bench.drive(&stand.execution, Some(say::resume())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?}");
    let marked = |host: &str| bench.fleet.stage(|s| s.mark(host).is_some());
    let hosts: Vec<&str> = bench.plan.hosts.iter().map(|h| h.name.as_str()).filter(|host| marked(host)).collect();
    assert_eq!(hosts, [lost]);
}

/// Goal: a roll-back that is the first word of a drive and is refused drives nothing on.
#[test]
fn a_refused_roll_back_does_not_go_forward() {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let stand = Stand::new(&bench);
    let forward = Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward);
    let snapped = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("back-up/"));
    let photo = forward.first(snapped);
    let bench = Bench::of(&photo.before);
    cut(&bench);
    let before = bench.history(&stand.execution).len();
    let rest = bench.drive(&stand.execution, Some(say::roll_back())).expect("nothing crashes it");
    assert!(matches!(rest, Rest::Refused(_)), "{rest:?}");
    assert_eq!(bench.history(&stand.execution).len(), before);
}

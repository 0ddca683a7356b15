//! What a failure means in each zone, and who is waited for.

#![allow(clippy::unwrap_used, reason = "a test may")]
mod common;

use common::clock::block_on;
use common::toy::{Ask, MAX_OUTAGE, Toy, Window, first_world};
use common::{Bench, end_wait, registry, resume, roll_back};
use k0rotate_engine::clock::Clock;
use k0rotate_engine::drive::{Rest, Word};
use k0rotate_engine::event::{Event, LeftWhy, RollBackCause, StuckCause, Zone};
use k0rotate_engine::execution::Side;
use k0rotate_engine::failure::{Effect, Failure};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::faulty::Fault;
use k0rotate_engine::workflow::Guard;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(100_000);

fn begin(toy: &Toy) -> (Bench, ExecutionId) {
    let bench = Bench::default();
    first_world(&bench.world, toy);
    let id = bench.start(toy);
    (bench, id)
}

fn events(bench: &Bench, id: &ExecutionId) -> Vec<Event> {
    bench.history(id).into_iter().map(|r| r.event).collect()
}

fn turned_for(bench: &Bench, id: &ExecutionId) -> Option<RollBackCause> {
    events(bench, id).into_iter().find_map(|e| match e {
        Event::RollBackStarted { cause } => Some(cause),
        _ => None,
    })
}

fn left_by_failure(bench: &Bench, id: &ExecutionId) -> Vec<(String, Effect)> {
    let left = |e| match e {
        Event::StepLeft { step, why: LeftWhy::Failure { effect, .. }, .. } => Some((step.to_string(), effect)),
        _ => None,
    };
    events(bench, id).into_iter().filter_map(left).collect()
}

/// Drives, and makes the links to hosts go once a phase, or a while before that a step, has started.
fn drive_darkening(bench: &Bench, id: &ExecutionId, from: &str, hosts: &[&str], during: Duration) -> Rest {
    let engine = bench.engine();
    let registry = registry();
    let reached = |e: &Event| match e {
        Event::PhaseStarted { slug, .. } => slug == from,
        Event::StepStarted { step, .. } => step.as_str() == from,
        _ => false,
    };
    let darken = async {
        while !engine.history(id).await.unwrap().iter().any(|r| reached(&r.event)) {
            bench.clock.sleep(Duration::from_millis(5)).await;
        }
        if from.contains('@') {
            // By now its command is on the way.
            bench.clock.sleep(Duration::from_millis(60)).await;
        }
        for host in hosts {
            bench.world.darken(host, bench.clock.monotonic() + during);
        }
    };
    let drive = engine.drive(id, bench.world.clone(), &registry, None);
    block_on(&bench.clock, async { futures_util::future::join(drive, darken).await.0 })
}

/// Goal: in Free an effect that stays absent rolls back by itself, to the first world, and the failure stands in the same append.
#[test]
fn absent_in_free_rolls_back() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let first = bench.world.settings();
    bench.world.make_stubborn("w1", "staged");
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
    assert!(matches!(turned_for(&bench, &id), Some(RollBackCause::Failure(step)) if step.as_str() == "prepare/put@w1"));
    assert_eq!(bench.world.settings(), first);
    let history = bench.history(&id);
    let failed = history.iter().position(|r| matches!(r.event, Event::StepFailed { .. })).unwrap();
    assert!(matches!(history[failed + 1].event, Event::RollBackStarted { .. }));
}

/// Goal: in Free an unknown waits for an operator, and resume goes on once the host answers.
#[test]
fn unknown_in_free_is_stuck() {
    let (bench, id) = begin(&Toy::of(3, 2));
    let rest = drive_darkening(&bench, &id, "prepare/put@w2", &["w2"], LONG);
    let stuck = matches!(&rest, Rest::Stuck { side: Side::Forward, cause: StuckCause::Failure(step) } if step.as_str() == "prepare/put@w2");
    assert!(stuck, "{rest:?} {:#?}", bench.events(&id));
    let unknown = |e: &Event| matches!(e, Event::StepFailed { effect: Effect::Unknown, .. });
    assert!(events(&bench, &id).iter().any(unknown), "{:#?}", bench.events(&id));
    bench.world.mend();
    assert!(matches!(bench.drive(&id, Some(resume())), Rest::Waiting { .. }));
    assert!(bench.world.broken_rules().is_empty(), "{:?}", bench.world.broken_rules());
}

/// Goal: in Down a controller that must be stopped and cannot be looked at is waited for until the limit; then it is left, and
/// the way back is taken in the same append, on which nothing waits for it either.
#[test]
fn an_unreachable_controller_at_the_stop() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let rest = drive_darkening(&bench, &id, "stop/put@c3", &["c3"], MAX_OUTAGE / 2);
    assert!(matches!(rest, Rest::Waiting { .. }), "what comes back in time is sat out: {rest:?}");

    let (bench, id) = begin(&toy);
    let rest = drive_darkening(&bench, &id, "stop/put@c3", &["c3"], LONG);
    assert!(matches!(&rest, Rest::RolledBack { left } if left == &["c3"]), "{rest:?} {:#?}", bench.events(&id));
    assert_eq!(turned_for(&bench, &id), Some(RollBackCause::MaxOutage), "{:#?}", bench.events(&id));
    let history = bench.history(&id);
    let down = history.iter().find(|r| matches!(r.event, Event::ZoneEntered { .. })).unwrap().time;
    let turned = history.iter().find(|r| matches!(r.event, Event::RollBackStarted { .. })).unwrap().time;
    let waited = turned.since(down);
    // The zone rode with the intents of the stop, a moment later.
    assert!(
        waited + Duration::from_secs(1) >= MAX_OUTAGE && waited < MAX_OUTAGE + Duration::from_secs(20),
        "{waited:?}"
    );
    assert!(history.iter().all(|r| !matches!(r.event, Event::StepFailed { effect: Effect::Unknown, .. })));
}

/// Goal: the same where its link is gone before its stop was begun: it is sat out up to the limit, and nothing is recorded of it.
#[test]
fn an_unreachable_controller_before_its_stop() {
    let toy = Toy { at_once: 9, ..Toy::of(3, 2) };
    for (during, waits) in [(MAX_OUTAGE / 2, true), (LONG, false)] {
        let (bench, id) = begin(&toy);
        bench.world.darken_after("c3", "staged.link", during);
        let rest = bench.drive(&id, None);
        assert_eq!(matches!(rest, Rest::Waiting { .. }), waits, "{rest:?} {:#?}", bench.events(&id));
        assert_eq!(turned_for(&bench, &id), (!waits).then_some(RollBackCause::MaxOutage));
        let stopped = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str() == "stop/put@c3");
        assert_eq!(events(&bench, &id).iter().any(stopped), waits, "{:#?}", bench.events(&id));
    }
}

/// Goal: a crash with open stops in Down, one controller dark since: with a roll-back asked for, the open steps are settled once a
/// quorum answers, and the dark one is left; nothing is run before the way back.
#[test]
fn settling_in_down_needs_a_quorum_only() {
    let (bench, id) = begin(&Toy::of(3, 2));
    let mut at = 0;
    let open = |bench: &Bench| {
        let view = block_on(&bench.clock, bench.engine().view(&id)).unwrap().unwrap();
        (view.state.is_down(), view.state.leg().open)
    };
    while open(&bench) != (true, 3) {
        at += 1;
        let (again, _) = begin(&Toy::of(3, 2));
        assert!(again.drive_faulty(&id, None, at, Fault::CrashAfter).is_none());
        if open(&again) == (true, 3) {
            assert!(bench.drive_faulty(&id, None, at, Fault::CrashAfter).is_none());
        }
    }
    let before = bench.history(&id).len();
    bench.world.darken("c3", bench.clock.monotonic() + LONG);
    let rest = bench.drive(&id, Some(roll_back()));
    assert!(matches!(&rest, Rest::RolledBack { left } if left == &["c3"]), "{rest:?} {:#?}", bench.events(&id));
    let settled: Vec<&str> = events(&bench, &id)[before..before + 4].iter().map(Event::name).collect();
    assert_eq!(settled, ["StepFailed", "StepFailed", "StepLeft", "RollBackStarted"]);
}

/// Goal: a host that never answered, nothing having been begun, is absent in Free: the execution goes back by itself.
#[test]
fn a_host_that_never_answers_in_free() {
    let (bench, id) = begin(&Toy::of(3, 2));
    let first = bench.world.settings();
    bench.world.darken("w2", LONG);
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
    assert_eq!(bench.world.settings(), first);
    let absent = |e: &Event| matches!(e, Event::StepFailed { effect: Effect::Absent, .. });
    assert!(events(&bench, &id).iter().any(absent));
}

/// Goal: in Down nobody is waited for where a quorum answers: the third controller is left, and the outage is short.
#[test]
fn a_controller_that_goes_dark_while_swapping_is_left() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let rest = drive_darkening(&bench, &id, "swap", &["c3"], LONG);
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?} {:#?}", bench.events(&id));
    let left = left_by_failure(&bench, &id);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].0.contains("put@c3"), "{left:?}");
    let earlier = |e: &Event| matches!(e, Event::StepLeft { step, why: LeftWhy::Earlier(_), .. } if step.as_str() == "start/put@c3");
    assert!(events(&bench, &id).iter().any(earlier), "{:#?}", bench.events(&id));
    let view = block_on(&bench.clock, bench.engine().view(&id)).unwrap().unwrap();
    assert!(view.down_for(bench.clock.now()) < MAX_OUTAGE, "{:?}", view.outages);
    assert_eq!(view.state.forward.left, ["c3"]);
}

/// Goal: while no quorum answers nothing is decided, however long it takes; once it answers the execution goes back, never at rest in Down.
#[test]
fn everything_dark_in_down() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let first = bench.world.settings();
    let rest = drive_darkening(&bench, &id, "swap", &["c1", "c2", "c3"], MAX_OUTAGE * 4);
    assert!(matches!(&rest, Rest::RolledBack { left } if left.is_empty()), "{rest:?} {:#?}", bench.events(&id));
    assert!(events(&bench, &id).len() < 120, "looks write no events");
    assert_eq!(bench.world.settings(), first);
}

/// Goal: in Held a worker that cannot be reached is left; the others go on, its later steps are not looked at, and it is not held.
#[test]
fn a_dark_worker_in_held_is_left() {
    let toy = Toy::of(3, 4);
    let (bench, id) = begin(&toy);
    let rest = drive_darkening(&bench, &id, "join", &["w2"], LONG);
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?} {:#?}", bench.events(&id));
    assert_eq!(left_by_failure(&bench, &id).len(), 1);
    let earlier = |e: &Event| matches!(e, Event::StepLeft { step, why: LeftWhy::Earlier(_), .. } if step.as_str() == "clean/put@w2");
    assert!(events(&bench, &id).iter().any(earlier), "{:#?}", bench.events(&id));
    let word = Word::LeaveBehind { hosts: vec!["w2".into()], by: "ada".into(), reason: "broken".into() };
    assert!(matches!(bench.drive(&id, Some(word)), Rest::Waiting { .. }));
    // The last group of the toy is strict and has no member for who was left.
    let rest = bench.drive(&id, Some(end_wait()));
    assert!(matches!(&rest, Rest::Completed { left, .. } if left == &["w2"]), "{rest:?} {:#?}", bench.events(&id));
    assert!(bench.world.holds.lock().unwrap().iter().any(|hold| hold == "hold w2"));
}

/// Goal: in Held more dead targets than may be left keep the execution stuck, and an operator's word lets it go on without them, also where a
/// group is strict.
#[test]
fn more_than_may_be_left_are_left_by_word() {
    let toy = Toy::of(3, 4);
    let (bench, id) = begin(&toy);
    let rest = drive_darkening(&bench, &id, "join", &["w1", "w2"], LONG);
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Failure(_), .. }), "{rest:?} {:#?}", bench.events(&id));
    let rest = bench.drive(&id, Some(resume()));
    assert!(matches!(rest, Rest::Stuck { .. }), "nobody said so yet: {rest:?}");
    let word = Word::LeaveBehind { hosts: vec!["w1".into(), "w2".into()], by: "ada".into(), reason: "broken".into() };
    bench.drive(&id, Some(word));
    assert!(matches!(bench.drive(&id, Some(resume())), Rest::Waiting { .. }), "{:#?}", bench.events(&id));
    bench.world.darken("c3", bench.clock.monotonic() + LONG);
    let rest = bench.drive(&id, Some(end_wait()));
    assert!(matches!(rest, Rest::Stuck { side: Side::Forward, .. }), "{rest:?}");
    let word = Word::LeaveBehind { hosts: vec!["c3".into()], by: "ada".into(), reason: "broken".into() };
    bench.drive(&id, Some(word));
    let rest = bench.drive(&id, Some(resume()));
    assert!(
        matches!(&rest, Rest::Completed { left, .. } if left == &["w1", "w2", "c3"]),
        "{rest:?} {:#?}",
        bench.events(&id)
    );
}

/// Goal: if the first three all fail no further one starts, and an operator decides; those never started start at resume.
#[test]
fn first_three_failures_end_a_group() {
    let toy = Toy { at_once: 1, most_left: 6, ..Toy::of(1, 6) };
    let (bench, id) = begin(&toy);
    for worker in 1..=6 {
        bench.world.make_stubborn(&format!("w{worker}"), "trust");
    }
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Failure(_), .. }), "{rest:?}");
    let joins = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("join/"));
    assert_eq!(events(&bench, &id).iter().filter(|e| joins(e)).count(), 3, "{:#?}", bench.events(&id));
    bench.world.mend();
    let rest = bench.drive(&id, Some(resume()));
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?} {:#?}", bench.events(&id));
    assert_eq!(events(&bench, &id).iter().filter(|e| joins(e)).count(), 6);
}

/// Goal: more failures than may be left fail the group in Held: every failure is recorded with the consequence.
#[test]
fn more_than_most_left_is_stuck() {
    let toy = Toy { at_once: 1, ..Toy::of(1, 5) };
    let (bench, id) = begin(&toy);
    bench.world.make_stubborn("w2", "trust");
    bench.world.make_stubborn("w4", "trust");
    let rest = bench.drive(&id, None);
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Failure(_), .. }), "{rest:?}");
    let failed = |e: &Event| matches!(e, Event::StepFailed { .. });
    assert_eq!(events(&bench, &id).iter().filter(|e| failed(e)).count(), 2);
    assert!(left_by_failure(&bench, &id).is_empty());
    assert!(matches!(bench.drive(&id, Some(roll_back())), Rest::RolledBack { .. }));
}

/// Goal: a guard's no waits for an operator outside of Down, rolls back where a window passed, and in Down is asked until the limit.
#[test]
fn what_a_guard_says() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let first = bench.world.settings();
    bench.world.say_no(Window::NAME, Failure::refused("window-passed"));
    assert!(matches!(bench.drive(&id, None), Rest::RolledBack { .. }));
    assert_eq!(turned_for(&bench, &id), Some(RollBackCause::WindowPassed));
    assert_eq!(bench.world.settings(), first);

    let (bench, id) = begin(&toy);
    bench.world.say_no(Ask::NAME, Failure::new("not-yet"));
    assert!(matches!(bench.drive(&id, None), Rest::RolledBack { .. }));
    assert_eq!(turned_for(&bench, &id), Some(RollBackCause::MaxOutage));
    let swapped = |e: &Event| matches!(e, Event::StepStarted { step, .. } if step.as_str().starts_with("swap/"));
    assert!(!events(&bench, &id).iter().any(swapped));
    assert!(!events(&bench, &id).iter().any(|e| matches!(e, Event::Stuck { .. })));
    let down = |e: &Event| matches!(e, Event::ZoneEntered { zone: Zone::Down { .. }, .. });
    assert!(events(&bench, &id).iter().any(down));
}

/// Goal: on the way back in Down there is no limit: what fails is tried again until it works.
#[test]
fn the_way_back_in_down_keeps_trying() {
    let toy = Toy::of(3, 2);
    let (bench, id) = begin(&toy);
    let first = bench.world.settings();
    bench.world.say_no(Ask::NAME, Failure::new("not-yet"));
    bench.world.make_stubborn("c1", "up");
    bench.world.make_stubborn("c2", "up");
    let engine = bench.engine();
    let registry = registry();
    let rest = block_on(&bench.clock, async {
        let mend = async {
            bench.clock.sleep(Duration::from_secs(3600)).await;
            bench.world.mend();
        };
        futures_util::future::join(engine.drive(&id, bench.world.clone(), &registry, None), mend).await.0
    });
    assert!(matches!(rest, Rest::RolledBack { .. }), "{rest:?} {:#?}", bench.events(&id));
    assert_eq!(bench.world.settings(), first);
    assert!(!events(&bench, &id).iter().any(|e| matches!(e, Event::Stuck { .. })));
}

/// Goal: fewer at once than the workflow allows holds in Free and in Held, and not in Down, where controllers may need each other.
#[test]
fn fewer_at_once_holds_but_in_down() {
    let toy = Toy { at_once: 4, ..Toy::of(3, 4) };
    let (bench, id) = begin(&toy);
    let engine = bench.engine().at_once(2);
    let rest = block_on(&bench.clock, engine.drive(&id, bench.world.clone(), &registry(), None));
    assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    let (mut open, mut most) = (0, std::collections::BTreeMap::<String, usize>::new());
    for event in events(&bench, &id) {
        match event {
            Event::StepStarted { step, .. } => {
                open += 1;
                let phase = step.as_str().split('/').next().unwrap().to_owned();
                most.entry(phase).and_modify(|m| *m = open.max(*m)).or_insert(open);
            }
            Event::StepSucceeded { .. } => open -= 1,
            _ => {}
        }
    }
    assert_eq!(["prepare", "swap", "join"].map(|phase| most[phase]), [2, 3, 2], "{most:?}");
}

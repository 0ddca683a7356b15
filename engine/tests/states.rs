//! Every pair of state and event: what may follow, and what must not.

#![allow(clippy::unwrap_used, reason = "a test may")]
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{AttemptEnd, Event, Json, LeftWhy, RollBackCause, StuckCause, WaitEnd, Zone};
use k0rotate_engine::execution::{State, Status};
use k0rotate_engine::failure::{Effect, Failure};
use k0rotate_engine::ids::{Incarnation, StepId};
use proptest::prelude::*;
use std::time::Duration;

const DOWN: Zone = Zone::Down { max_outage: Duration::from_secs(300), quorum: 2 };

fn who() -> String {
    "ada".to_owned()
}

fn started() -> Event {
    let (workflow, subject, trace_id) = ("toy".into(), "prod".into(), "0".into());
    Event::ExecutionStarted { workflow, version: 1, subject, input: json(), by: who(), reason: who(), trace_id }
}

fn json() -> Json {
    Json("{}".to_owned())
}

fn zone(zone: Zone) -> Event {
    Event::ZoneEntered { zone, reason: who() }
}

fn id(name: &str) -> StepId {
    StepId::of("p", "a", name)
}

fn step(name: &str) -> Event {
    let (step, activity, target) = (id(name), "a".to_owned(), name.to_owned());
    Event::StepStarted { step, activity, target, input: json(), before: json(), group: None, undo: false }
}

fn done(name: &str) -> Event {
    Event::StepSucceeded { step: id(name), output: json() }
}

fn failed(name: &str, effect: Effect) -> Event {
    Event::StepFailed { step: id(name), failure: Failure::new("f"), effect }
}

fn left(name: &str) -> Event {
    let why = LeftWhy::Failure { failure: Failure::new("f"), effect: Effect::Unknown };
    Event::StepLeft { step: id(name), target: name.to_owned(), why }
}

fn retried(attempt: u32) -> Event {
    Event::StepRetried { step: id("x"), attempt, ended: AttemptEnd::Interrupted, not_before: Timestamp(0) }
}

fn wait() -> Event {
    Event::WaitStarted { name: "finalize".into(), until: None }
}

fn wait_until() -> Event {
    Event::WaitStarted { name: "finalize".into(), until: Some(Timestamp(1)) }
}

fn wait_ended() -> Event {
    Event::WaitEnded { name: "finalize".into(), end: WaitEnd::Operator { by: who(), reason: who() } }
}

fn stuck(cause: StuckCause) -> Event {
    Event::Stuck { cause }
}

fn paused() -> Event {
    stuck(StuckCause::Paused { by: who(), reason: who() })
}

fn resumed() -> Event {
    Event::Resumed { by: who(), reason: who() }
}

fn back(cause: RollBackCause) -> Event {
    Event::RollBackStarted { cause }
}

fn asked() -> Event {
    back(RollBackCause::Asked { by: who(), reason: who() })
}

fn left_behind() -> Event {
    Event::LeftBehind { hosts: vec!["w7".into()], by: who(), reason: who() }
}

fn adopted() -> Event {
    let (incarnation, predecessor) = (Incarnation::new("b"), Incarnation::new("a"));
    Event::Adopted { by: who(), reason: who(), incarnation, predecessor }
}

fn completed() -> Event {
    Event::Completed { output: json(), left: vec![] }
}

fn rolled_back() -> Event {
    Event::RolledBack { left: vec![] }
}

/// States by name, each with a shortest history that leads there. `x` is a step that is open there, or failed.
fn states() -> Vec<(&'static str, Vec<Event>)> {
    let failed_and_stuck = || [failed("x", Effect::Absent), stuck(StuckCause::Failure(id("x")))];
    let with = |events: &[Event]| [vec![started()], events.to_vec()].concat();
    vec![
        ("new", vec![]),
        ("free", with(&[])),
        ("free+open", with(&[step("x")])),
        ("down", with(&[zone(DOWN)])),
        ("down+open", with(&[zone(DOWN), step("x")])),
        ("held", with(&[zone(Zone::Held)])),
        ("held+open", with(&[zone(Zone::Held), step("x")])),
        ("final", with(&[zone(Zone::Final)])),
        ("waiting", with(&[wait()])),
        ("waiting,final", with(&[zone(Zone::Final), wait()])),
        ("waiting until", with(&[wait_until()])),
        ("waiting until,paused", with(&[wait_until(), paused()])),
        ("stuck", with(&[vec![step("x")], failed_and_stuck().to_vec()].concat())),
        ("stuck,final", with(&[zone(Zone::Final), paused()])),
        ("back,free", with(&[asked()])),
        ("back,free+open", with(&[asked(), step("x")])),
        ("back,down", with(&[zone(DOWN), asked()])),
        ("back,down+open", with(&[zone(DOWN), asked(), step("x")])),
        ("back,held", with(&[asked(), zone(Zone::Held)])),
        ("stuck back", with(&[asked(), paused()])),
        ("stuck back from held", with(&[zone(DOWN), zone(Zone::Held), asked(), paused()])),
        ("stuck back from held,held", with(&[zone(DOWN), zone(Zone::Held), asked(), zone(Zone::Held), paused()])),
        ("completed", with(&[completed()])),
        ("rolled back", with(&[asked(), rolled_back()])),
    ]
}

const OPEN_STATES: &[&str] = &["free+open", "down+open", "held+open", "back,free+open", "back,down+open"];
const AT_WORK: &[&str] = &[
    "free",
    "free+open",
    "down",
    "down+open",
    "held",
    "held+open",
    "final",
    "back,free",
    "back,free+open",
    "back,down",
    "back,down+open",
    "back,held",
];

/// Every event (with what in it matters) and the states in which it may follow.
fn rows() -> Vec<(&'static str, Event, Vec<&'static str>)> {
    let undo = |event| match event {
        Event::StepStarted { step, activity, target, input, before, group, .. } => {
            Event::StepStarted { step, activity, target, input, before, group, undo: true }
        }
        other => other,
    };
    let earlier = Event::StepLeft { step: id("y"), target: "z".into(), why: LeftWhy::Earlier(id("z")) };
    let by_time = Event::WaitEnded { name: "finalize".into(), end: WaitEnd::Time };
    let unknown_open = ["free+open", "held+open", "back,free+open"];
    let resting = ["stuck", "stuck,final", "waiting", "waiting,final", "waiting until", "waiting until,paused"];
    let may_rest = ["free", "held", "final", "back,free", "back,held"];
    let ends: &[&str] = &["new", "completed", "rolled back"];
    let not_ended: Vec<_> = states().iter().map(|(n, _)| *n).filter(|n| !ends.contains(n)).collect();
    let is_back = |names: &[&'static str]| names.iter().copied().filter(|n| n.starts_with("back")).collect::<Vec<_>>();
    vec![
        ("ExecutionStarted", started(), vec!["new"]),
        ("PhaseStarted", Event::PhaseStarted { slug: "p".into(), title: "P".into() }, AT_WORK.to_vec()),
        ("ZoneEntered Free", zone(Zone::Free), vec![]),
        ("ZoneEntered Down", zone(DOWN), vec!["free", "free+open", "back,free", "back,free+open"]),
        (
            "ZoneEntered Held",
            zone(Zone::Held),
            AT_WORK.iter().copied().filter(|n| !n.contains("held") && !n.contains("final")).collect(),
        ),
        ("ZoneEntered Final", zone(Zone::Final), AT_WORK.iter().copied().filter(|n| !n.contains("final")).collect()),
        ("StepStarted y", step("y"), AT_WORK.to_vec()),
        ("StepStarted x", step("x"), AT_WORK.iter().copied().filter(|n| !OPEN_STATES.contains(n)).collect()),
        ("StepStarted undo", undo(step("y")), is_back(AT_WORK)),
        ("StepRetried 2", retried(2), OPEN_STATES.to_vec()),
        ("StepRetried 3", retried(3), vec![]),
        ("StepSucceeded", done("x"), OPEN_STATES.to_vec()),
        ("StepFailed absent", failed("x", Effect::Absent), OPEN_STATES.to_vec()),
        ("StepFailed unknown", failed("x", Effect::Unknown), unknown_open.to_vec()),
        ("StepLeft", left("x"), OPEN_STATES.to_vec()),
        ("StepLeft earlier", earlier, vec![]),
        ("WaitStarted", wait(), vec!["free", "held", "final"]),
        ("WaitEnded", wait_ended(), vec!["waiting", "waiting,final", "waiting until"]),
        ("WaitEnded by a time", by_time, vec!["waiting until"]),
        ("Stuck paused", paused(), [may_rest.as_slice(), &["waiting until"]].concat()),
        ("Stuck by no failure", stuck(StuckCause::Failure(id("x"))), vec![]),
        (
            "Resumed",
            resumed(),
            vec![
                "stuck",
                "stuck,final",
                "waiting until,paused",
                "stuck back",
                "stuck back from held",
                "stuck back from held,held",
            ],
        ),
        (
            "RollBackStarted asked",
            asked(),
            vec!["free", "down", "held", "waiting", "waiting until", "waiting until,paused", "stuck"],
        ),
        ("RollBackStarted outage", back(RollBackCause::MaxOutage), vec!["down"]),
        ("RollBackStarted parked", back(RollBackCause::Parked), vec!["down"]),
        ("RollBackStarted window", back(RollBackCause::WindowPassed), vec!["free"]),
        ("RollBackStarted by no failure", back(RollBackCause::Failure(id("x"))), vec![]),
        ("RolledBack", rolled_back(), vec!["back,free", "back,held"]),
        ("LeftBehind", left_behind(), [resting.as_slice(), &["stuck back", "stuck back from held"]].concat()),
        ("Adopted", adopted(), not_ended),
        ("Completed", completed(), vec!["free", "held", "final"]),
    ]
}

/// Goal: in every state just the events of the table may follow.
#[test]
fn every_pair() {
    let mut wrong = Vec::new();
    for (name, event, may) in rows() {
        for (state, history) in states() {
            let before = State::of(&history).unwrap_or_else(|e| panic!("{state}: {e}"));
            let after = before.apply(&event);
            if after.is_ok() != may.contains(&state) {
                wrong.push(format!("{name} in {state}: {:?}", after.map(|s| s.status)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Goal: a wait that was paused is gone on with, or turned back from; what is resumed on the way back does not wait.
#[test]
fn a_paused_wait_goes_on() {
    let paused_wait = [started(), wait_until(), paused()];
    let waits = |status: Result<Status, String>| matches!(status, Ok(Status::Waiting { until: Some(_), .. }));
    assert!(waits(status(&[paused_wait.to_vec(), vec![resumed()]].concat())));
    let back = [paused_wait.to_vec(), vec![asked(), paused(), resumed()]].concat();
    assert_eq!(status(&back), Ok(Status::RollingBack));
    let again = [paused_wait.to_vec(), vec![resumed(), wait_ended(), paused(), resumed()]].concat();
    assert_eq!(status(&again), Ok(Status::Running));
}

/// Goal: every kind of event stands in the table.
#[test]
fn no_event_is_missing() {
    let mut names: Vec<&str> = rows().iter().map(|(_, event, _)| event.name()).collect();
    names.dedup();
    assert_eq!(names.len(), 17, "{names:?}");
}

fn status(events: &[Event]) -> Result<Status, String> {
    State::of(events).map(|s| s.status).map_err(|e| e.why)
}

/// Goal: a failure rolls back by itself where the zone says so, an unknown never.
#[test]
fn who_may_roll_back_by_itself() {
    let turn = || back(RollBackCause::Failure(id("x")));
    let with = |zones: &[Event], effect| {
        status(&[vec![started()], zones.to_vec(), vec![step("x"), failed("x", effect), turn()]].concat())
    };
    assert_eq!(with(&[], Effect::Absent), Ok(Status::RollingBack));
    assert_eq!(with(&[zone(DOWN)], Effect::Absent), Ok(Status::RollingBack));
    assert_eq!(with(&[], Effect::Unknown), Err("an unknown never rolls back by itself".into()));
    assert_eq!(
        with(&[zone(Zone::Held)], Effect::Absent),
        Err("a failure rolls back by itself in Free and Down only".into())
    );
    let down_unknown = with(&[zone(DOWN)], Effect::Unknown);
    assert_eq!(down_unknown, Err("in Down an unknown is looked at again, or left".into()));
}

/// Goal: nothing starts, is tried or ends while a step is failed; Resumed opens it again, without its used tries.
#[test]
fn a_failed_step_blocks_until_it_is_opened_again() {
    let failed_once = [started(), step("x"), failed("x", Effect::Absent)];
    for event in [step("y"), retried(2), completed(), wait(), done("x")] {
        let name = event.name();
        let after = status(&[failed_once.to_vec(), vec![event]].concat());
        assert!(after.is_err(), "{name}: {after:?}");
    }
    let again = [failed_once.to_vec(), vec![stuck(StuckCause::Failure(id("x"))), resumed()]].concat();
    let state = State::of(&again).expect("legal");
    assert_eq!((state.leg().open, state.leg().failed), (1, 0));
    let retry = |ended| Event::StepRetried { step: id("x"), attempt: 2, ended, not_before: Timestamp(0) };
    let state = state.apply(&retry(AttemptEnd::Failed(Failure::new("f")))).expect("legal");
    assert_eq!(state.leg().steps[&id("x")].used, 0, "the try before it was opened again is not counted");
}

/// Goal: an attempt that ended with the engine uses up no try; one that failed does.
#[test]
fn a_crash_uses_up_no_try() {
    let retry = |attempt, ended| Event::StepRetried { step: id("x"), attempt, ended, not_before: Timestamp(0) };
    let interrupted = [started(), step("x"), retry(2, AttemptEnd::Interrupted), retry(3, AttemptEnd::Interrupted)];
    assert_eq!(State::of(&interrupted).expect("legal").forward.steps[&id("x")].used, 0);
    let failed = [interrupted.to_vec(), vec![retry(4, AttemptEnd::Deadline)]].concat();
    assert_eq!(State::of(&failed).expect("legal").forward.steps[&id("x")].used, 1);
}

/// Goal: a target that was left has its later steps left without a look, and no other target has.
#[test]
fn later_steps_of_a_left_target() {
    let later =
        |target: &str| Event::StepLeft { step: id("later"), target: target.into(), why: LeftWhy::Earlier(id("x")) };
    let history = [started(), step("x"), left("x")];
    assert!(State::of(&[history.to_vec(), vec![later("x")]].concat()).is_ok());
    assert!(State::of(&[history.to_vec(), vec![later("other")]].concat()).is_err());
    assert_eq!(State::of(&history).expect("legal").forward.left, ["x"]);
}

/// Goal: the way back begins in Down only if the way forward is there.
#[test]
fn the_way_back_begins_in_down_or_free() {
    let zone_after = |events: &[Event]| State::of(events).expect("legal").zone();
    assert_eq!(zone_after(&[started(), zone(DOWN), asked()]), DOWN);
    assert_eq!(zone_after(&[started(), zone(DOWN), zone(Zone::Held), asked()]), Zone::Free);
    assert_eq!(zone_after(&[started(), asked()]), Zone::Free);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Goal: whatever legal events follow each other, counts agree with the steps, zones only rise, and what ended stays ended.
    #[test]
    fn legal_histories_keep_the_invariants(picks in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
        let mut events: Vec<Event> = rows().into_iter().map(|(_, event, _)| event).collect();
        events.extend([done("y"), failed("y", Effect::Absent), left("y"), stuck(StuckCause::Failure(id("y")))]);
        let mut state = State::default();
        let mut history = Vec::new();
        for pick in picks {
            let legal: Vec<_> =
                events.iter().filter_map(|e| state.clone().apply(e).ok().map(|next| (e, next))).collect();
            if legal.is_empty() {
                break;
            }
            let (event, next) = pick.get(&legal).clone();
            prop_assert!(!state.status.ended());
            if state.back.is_some() == next.back.is_some() {
                prop_assert!(next.zone().rank() >= state.zone().rank());
            }
            for leg in [Some(&next.forward), next.back.as_ref()].into_iter().flatten() {
                prop_assert_eq!(leg.open_steps().count(), leg.open);
            }
            let rests = matches!(next.status, Status::Stuck { .. } | Status::Waiting { .. } | Status::Completed | Status::RolledBack);
            prop_assert!(!(rests && next.is_down()), "rests in Down");
            prop_assert!(!(rests && next.leg().open > 0), "rests with an open step");
            history.push(event.clone());
            state = next;
        }
        prop_assert_eq!(State::of(&history).unwrap(), state);
    }
}

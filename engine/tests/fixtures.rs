//! The frozen text of every event of version 1: a history that was written once can be read for ever.

#![allow(clippy::unwrap_used, reason = "a test may")]
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{AttemptEnd, Event, Json, LeftWhy, Record, RollBackCause, StuckCause, WaitEnd, Zone};
use k0rotate_engine::failure::{Effect, Failure};
use k0rotate_engine::ids::{ExecutionId, Incarnation, StepId};
use k0rotate_engine::log::envelope::{Chain, open_after, seal_all};
use std::collections::BTreeSet;
use std::time::Duration;

/// One line an event, in the order of [`events`].
const FROZEN: &str = include_str!("fixtures/events-v1.jsonl");

/// The stored bytes of the same events as one history, in hex.
const STORED: &str = include_str!("fixtures/envelopes-v1.hex");

fn text(s: &str) -> String {
    s.to_owned()
}

fn step() -> StepId {
    StepId::of("stop", "stop", "c1")
}

fn failure() -> Failure {
    Failure::new("host-unreachable").with("host", "c1")
}

fn step_events() -> Vec<Event> {
    let started = |group: Option<&str>, undo| Event::StepStarted {
        step: step(),
        activity: text("stop"),
        target: text("c1"),
        input: Json(text(r#"{"host":"c1"}"#)),
        before: Json(text("null")),
        group: group.map(text),
        undo,
    };
    let retried =
        |ended| Event::StepRetried { step: step(), attempt: 2, ended, not_before: Timestamp(1_795_478_400_000) };
    let failed = |failure, effect| Event::StepFailed { step: step(), failure, effect };
    let left = |why| Event::StepLeft { step: step(), target: text("c1"), why };
    vec![
        started(None, false),
        started(Some("stop/stop@c1"), true),
        retried(AttemptEnd::Interrupted),
        retried(AttemptEnd::Failed(failure())),
        retried(AttemptEnd::Deadline),
        retried(AttemptEnd::Panicked),
        Event::StepSucceeded { step: step(), output: Json(text(r#"{"stopped":true}"#)) },
        failed(failure(), Effect::Absent),
        failed(Failure::refused("check-says-no"), Effect::Unknown),
        left(LeftWhy::Failure { failure: failure(), effect: Effect::Unknown }),
        left(LeftWhy::Earlier(step())),
    ]
}

fn operator_events() -> Vec<Event> {
    let (by, reason) = (text("ada"), text("CHG-4711"));
    let stuck = |cause| Event::Stuck { cause };
    let back = |cause| Event::RollBackStarted { cause };
    let ended = |end| Event::WaitEnded { name: text("finalize"), end };
    vec![
        Event::WaitStarted { name: text("finalize"), until: None },
        Event::WaitStarted { name: text("window"), until: Some(Timestamp(1_795_478_400_000)) },
        ended(WaitEnd::Operator { by: by.clone(), reason: reason.clone() }),
        ended(WaitEnd::Time),
        stuck(StuckCause::Failure(step())),
        stuck(StuckCause::Guard { name: text("window"), failure: failure() }),
        stuck(StuckCause::Hold(failure())),
        stuck(StuckCause::Paused { by: by.clone(), reason: reason.clone() }),
        Event::Resumed { by: by.clone(), reason: reason.clone() },
        back(RollBackCause::Failure(step())),
        back(RollBackCause::MaxOutage),
        back(RollBackCause::WindowPassed),
        back(RollBackCause::Parked),
        back(RollBackCause::Asked { by: by.clone(), reason: reason.clone() }),
        Event::RolledBack { left: vec![text("c3")] },
        Event::LeftBehind { hosts: vec![text("w7")], by: by.clone(), reason: reason.clone() },
        Event::Adopted { by, reason, incarnation: Incarnation::new("e1"), predecessor: Incarnation::new("7c") },
        Event::Completed { output: Json(text("{}")), left: vec![text("w7")] },
    ]
}

fn events() -> Vec<Event> {
    let zone = |zone| Event::ZoneEntered { zone, reason: text("the first controller stops") };
    let mut events = vec![
        Event::ExecutionStarted {
            workflow: text("rotate"),
            version: 1,
            subject: text("prod-3"),
            input: Json(text("{}")),
            by: text("ada"),
            reason: text("CHG-4711"),
            trace_id: text("0123456789abcdef0123456789abcdef"),
        },
        Event::PhaseStarted { slug: text("stop"), title: text("Stop the controllers") },
        zone(Zone::Free),
        zone(Zone::Down { max_outage: Duration::from_secs(300), quorum: 2 }),
        zone(Zone::Held),
        zone(Zone::Final),
    ];
    events.extend(step_events());
    events.extend(operator_events());
    events
}

/// Goal: today's code writes the frozen text and reads it back as the same event.
#[test]
fn every_event_is_written_and_read_as_it_was() {
    let events = events();
    let written: Vec<String> = events.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
    let frozen: Vec<&str> = FROZEN.lines().collect();
    assert_eq!(written, frozen);
    let read: Vec<Event> = frozen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
}

/// Goal: no kind of event is missing here.
#[test]
fn every_kind_is_frozen() {
    let kinds: BTreeSet<&str> = events().iter().map(Event::name).collect();
    assert_eq!(kinds.len(), 17, "{kinds:?}");
}

fn records() -> Vec<Record> {
    let record = |(seq, event)| Record {
        execution: ExecutionId::new("01JDQ8M2V7Y3ZK5N9P4R6T8W0X"),
        seq,
        time: Timestamp(1_795_478_400_000 + seq),
        incarnation: Incarnation::new("7c41f0a29b5e4d8890ab12cd34ef5678"),
        event,
    };
    (0..).zip(events()).map(record).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap();
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Goal: today's code stores the frozen bytes and reads them back as the same records, each linked to the one before.
#[test]
fn every_envelope_is_stored_and_read_as_it_was() {
    let written: Vec<String> = seal_all(&records()).unwrap().iter().map(|bytes| hex(bytes)).collect();
    assert_eq!(written, STORED.lines().collect::<Vec<_>>(), "stored now:\n{}", written.join("\n"));
    let mut chain = Chain::default();
    for (line, record) in STORED.lines().zip(records()) {
        let opened = open_after(&unhex(line), chain).unwrap();
        assert_eq!(opened.record, record);
        chain = opened.chain;
    }
}

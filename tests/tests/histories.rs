//! What is projected from histories of all kinds: the spans of a trace, which no longer history changes.

use k0rotate::telemetry::spans::{About, Span, spans};
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::{Event, Record, StuckCause};
use k0rotate_tests::harness::{Bench, say};
use k0rotate_tests::rejoining::{self, let_in, rotate_without};
use std::collections::BTreeSet;
use std::time::Duration;

/// Forward to the end, back from the wait, stuck and resumed, turned back by itself, killed, and with a host that was left and let in.
fn histories() -> Vec<(&'static str, Vec<Record>)> {
    let mut all = Vec::new();
    for (name, word) in [("finalized", say::finalize()), ("back from the wait", say::roll_back())] {
        let bench = Bench::new(FleetPlan::sized(3, 2));
        let id = bench.start(&bench.rotate());
        for change in [20, 60] {
            bench.fleet.stage(|stage| stage.faults.plan.insert(stage.faults.changes + change, Fault::CrashAfter));
            assert!(bench.drive(&id, None).is_err(), "it is killed");
        }
        assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
        bench.drive(&id, Some(word)).expect("nothing crashes it");
        all.push((name, bench.history(&id)));
    }
    all.push(("in trouble", in_trouble()));
    all.push(("stuck by a step", stuck_by_a_step()));
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    bench.fleet.stage(|stage| stage.faults.plan.extend((9..40).map(|at| (at, Fault::Refuse))));
    bench.drive(&id, None).expect("nothing crashes it");
    all.push(("turned back by itself", bench.history(&id)));
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let (id, worker) = rotate_without(&bench, &["h4", "h5"], "systemctl stop");
    bench.drive(&id, Some(say::finalize())).expect("it waits for the worker");
    let_in(&bench, &rejoining::of(&bench.history(&id), &worker));
    bench.drive(&id, Some(say::resume())).expect("nothing crashes it");
    all.push(("with a host left", bench.history(&id)));
    all
}

/// Changes fail in every way, it gets stuck and is resumed.
fn in_trouble() -> Vec<Record> {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    bench.fleet.stage(|stage| {
        let kinds = [Fault::LoseReply, Fault::Tear, Fault::Refuse];
        stage.faults.plan.extend((0..12).map(|n| (5 + 9 * n, kinds[usize::try_from(n % 3).unwrap_or(0)])));
    });
    let mut rest = bench.drive(&id, None).expect("nothing crashes it");
    for _ in 0..12 {
        if matches!(rest, Rest::Stuck { .. }) {
            bench.fleet.idle(Duration::from_secs(30));
            rest = bench.drive(&id, Some(say::resume())).expect("nothing crashes it");
        }
    }
    bench.history(&id)
}

/// Nothing can be destroyed for a while: what failed is opened again by the word.
fn stuck_by_a_step() -> Vec<Record> {
    let bench = Bench::new(FleetPlan::sized(3, 2));
    let id = bench.start(&bench.rotate());
    assert!(matches!(bench.drive(&id, None), Ok(Rest::Waiting { .. })));
    bench.fleet.stage(|stage| {
        let from = stage.faults.changes;
        stage.faults.plan.extend((from..from + 200).map(|at| (at, Fault::Refuse)));
    });
    let rest = bench.drive(&id, Some(say::finalize()));
    assert!(matches!(rest, Ok(Rest::Stuck { cause: StuckCause::Failure(_), .. })), "{rest:?}");
    bench.fleet.stage(|stage| stage.faults.forget_plans());
    let rest = bench.drive(&id, Some(say::resume()));
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}");
    bench.history(&id)
}

fn count(history: &[Record], wanted: impl Fn(&Event) -> bool) -> usize {
    history.iter().filter(|record| wanted(&record.event)).count()
}

fn about(spans: &[Span], about: About) -> Vec<&Span> {
    spans.iter().filter(|span| span.about == about).collect()
}

/// Goal: whatever part of a history is known, its spans are those of the whole that have ended by then: none changes, none is named twice, and
/// each lies within the one that it is a part of.
#[test]
fn a_longer_history_changes_no_span() {
    let mut kinds = BTreeSet::new();
    for (name, history) in histories() {
        kinds.extend(history.iter().map(|record| record.event.name()));
        let whole = spans(&history);
        for known in 0..=history.len() {
            let ended: Vec<Span> = whole.iter().filter(|span| span.ended < known as u64).cloned().collect();
            assert_eq!(spans(&history[..known]), ended, "{name}: {known} events");
        }
        let ids: BTreeSet<_> = whole.iter().map(|span| span.id.to_bytes()).collect();
        assert_eq!(ids.len(), whole.len(), "{name}: an id stands twice");
        for span in &whole {
            let Some(parent) = whole.iter().find(|other| other.id == span.parent) else { continue };
            let within = parent.from <= span.from && span.until <= parent.until;
            assert!(within, "{name}: {} is not within {}", span.name, parent.name);
        }
    }
    for kind in
        ["StepRetried", "StepFailed", "StepLeft", "Stuck", "Resumed", "RollBackStarted", "Completed", "RolledBack"]
    {
        assert!(kinds.contains(kind), "the histories have a {kind}");
    }
}

/// Goal: every step, attempt, phase and rest of a history is told by a span of its own, and says how it ended.
#[test]
fn everything_that_began_is_told() {
    for (name, history) in histories() {
        let spans = spans(&history);
        let ended = history.iter().any(|r| matches!(r.event, Event::Completed { .. } | Event::RolledBack { .. }));
        assert_eq!(about(&spans, About::Execution).len(), usize::from(ended), "{name}");
        let tries = count(&history, |event| matches!(event, Event::StepStarted { .. } | Event::StepRetried { .. }));
        assert_eq!(about(&spans, About::Attempt).len(), tries, "{name}");
        let ends = count(&history, |event| {
            matches!(event, Event::StepSucceeded { .. } | Event::StepFailed { .. } | Event::StepLeft { .. })
        });
        assert_eq!(about(&spans, About::Step).len(), ends, "{name}: one for each time that a step came to an end");
        let failed = count(&history, |event| matches!(event, Event::StepFailed { .. } | Event::StepLeft { .. }));
        let told =
            about(&spans, About::Step).iter().filter(|span| !says(span, "k0rotate.step.outcome", "done")).count();
        assert_eq!(told, failed, "{name}");
        let phases = count(&history, |event| matches!(event, Event::PhaseStarted { .. }));
        assert!(about(&spans, About::Phase).len() >= phases - usize::from(!ended), "{name}");
    }
}

fn says(span: &Span, name: &str, value: &str) -> bool {
    span.attributes.iter().any(|known| known.key.as_str() == name && known.value.as_str() == value)
}

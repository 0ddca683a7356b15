//! Traces as a collector gets them: one a rotation, whatever is killed, and nothing lost however the collector is.

#[allow(dead_code, reason = "each test uses what it needs")]
mod collector;
#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use collector::{Collector, Mood, Speaks, of, place, variables};
use k0rotate::telemetry::spans::spans;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_engine::event::{Event, Record};
use opentelemetry_proto::tonic::trace::v1::Span;
use stand::Fleet;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const YES: [&str; 3] = ["--yes", "--reason", "CHG-4711"];

fn with(verb: &str) -> Vec<&str> {
    [&[verb], YES.as_slice()].concat()
}

fn fleet(hosts: &str, variables: Vec<(&'static str, String)>) -> Fleet {
    let mut fleet = Fleet::new(hosts);
    fleet.variables = variables;
    fleet
}

fn history(fleet: &Fleet) -> Vec<Record> {
    let said = fleet.ends(&["history", "-o", "json"], 0);
    serde_json::from_str(&said.out).expect("it prints records")
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

/// Every span that the history has ended is there, in one trace, below a parent that is there.
fn is_whole(history: &[Record], got: &[Span]) {
    let expected: BTreeSet<Vec<u8>> = spans(history).iter().map(|span| span.id.to_bytes().to_vec()).collect();
    let ids: BTreeSet<Vec<u8>> = got.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids, expected, "{} spans instead of {}", ids.len(), expected.len());
    let Event::ExecutionStarted { trace_id, .. } = &history[0].event else { panic!("a first event") };
    let trace = u128::from_str_radix(trace_id, 16).expect("it is hex").to_be_bytes();
    assert!(got.iter().all(|span| span.trace_id == trace), "all are of trace {trace_id}");
    let without: Vec<&str> =
        got.iter().filter(|span| span.parent_span_id.is_empty()).map(|span| span.name.as_str()).collect();
    assert_eq!(without, ["RUN rotate"]);
    for span in got.iter().filter(|span| !span.parent_span_id.is_empty()) {
        assert!(ids.contains(&span.parent_span_id), "the parent of {} is there", span.name);
    }
    // Counted once more from the events, apart from the code that makes spans.
    let steps = history.iter().filter(|record| matches!(record.event, Event::StepStarted { .. })).count();
    let tries = history.iter().filter(|record| matches!(record.event, Event::StepRetried { .. })).count();
    assert_eq!(got.iter().filter(|span| !of(span, "k0rotate.attempt").is_empty()).count(), steps + tries);
    assert!(got.iter().all(|span| span.start_time_unix_nano <= span.end_time_unix_nano));
}

/// Goal: over gRPC and over HTTP, a rotation that is killed three times, resumed and finalized is one trace, each span once after dropping
/// repeats, with who, why and where.
#[test]
fn a_rotation_is_one_trace_whatever_is_killed() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let collector = Collector::new(speaks);
        let fleet = fleet("1+1", collector.variables());
        fleet.killed_at(&with("rotate"), 12, Fault::CrashAfter);
        fleet.killed_at(&["resume"], 10, Fault::CrashBefore);
        fleet.killed_at(&["resume"], 10, Fault::CrashAfter);
        let said = fleet.ends(&["resume"], 0);
        assert!(!said.err.contains("not all traces"), "{}", said.err);
        fleet.ends(&with("finalize"), 0);
        let (history, got) = (history(&fleet), collector.each_once());
        is_whole(&history, &got);
        let root = named(&got, "RUN rotate");
        assert_eq!(of(root, "cicd.pipeline.run.id"), history[0].execution.as_str());
        assert_eq!(
            (of(root, "cicd.pipeline.result"), of(root, "k0rotate.reason")),
            ("success".into(), "CHG-4711".into())
        );
        assert!(of(root, "k0rotate.by").starts_with("alice@"), "{root:?}");
        let openings = root.events.iter().filter(|event| event.name == "k0rotate.opened").count();
        let wrote: BTreeSet<&str> = history.iter().map(|record| record.incarnation.as_str()).collect();
        assert!(wrote.len() > 2 && openings == wrote.len(), "each of {wrote:?} is told once, not {openings}");
        let stop = named(&got, "stop");
        assert_eq!(
            (of(stop, "k0rotate.target"), of(stop, "cicd.pipeline.task.run.result")),
            ("c1".into(), "success".into())
        );
        assert!(!of(stop, "server.address").is_empty(), "{stop:?}");
        assert!(got.iter().any(|span| span.name == "wait for finalize"));
        assert!(collector.resources().contains(&("service.name".into(), "k0rotate".into())));
        assert_eq!(collector.authorization().as_deref(), Some("Bearer collectors-own"));
    }
}

/// Goal: over gRPC and over HTTP, whatever is killed, what a host is asked in an attempt is a live span below that attempt: host, program and exit
/// status, each step that acts on a host has some, and no argument, path or answer is in any.
#[test]
fn what_hosts_are_asked_stands_below_the_attempts() {
    const SAID: [&str; 7] = [
        "process.executable.name",
        "process.exit.code",
        "k0rotate.asked",
        "host.name",
        "server.address",
        "k0rotate.step",
        "error.type",
    ];
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let collector = Collector::new(speaks);
        let fleet = fleet("1+1", collector.variables());
        fleet.killed_at(&with("rotate"), 12, Fault::CrashAfter);
        let said = fleet.ends(&["resume"], 0);
        assert!(!said.err.contains("spans of commands were not taken"), "{}", said.err);
        fleet.ends(&with("finalize"), 0);
        let got = collector.each_once();
        let attempts: BTreeMap<&[u8], &Span> =
            got.iter().filter(|span| !of(span, "k0rotate.attempt").is_empty()).map(|s| (&s.span_id[..], s)).collect();
        let commands = collector.commands();
        for command in &commands {
            let attempt = attempts.get(&command.parent_span_id[..]).expect("it is below an attempt");
            assert_eq!(command.trace_id, attempt.trace_id);
            assert_eq!(of(command, "k0rotate.step"), of(attempt, "k0rotate.step"));
            assert!(["c1", "w1"].contains(&of(command, "host.name").as_str()), "{command:?}");
            let is_known = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            assert!(is_known(&command.name), "{command:?}");
            for said in &command.attributes {
                assert!(SAID.contains(&said.key.as_str()), "{command:?}");
                assert!(said.key == "k0rotate.step" || is_known(&of(command, &said.key)), "{command:?}");
            }
        }
        let stops = |span: &&Span| span.name == "systemctl" && of(span, "k0rotate.step").ends_with("/stop@c1");
        let stop = commands.iter().find(stops).expect("k0s was stopped");
        assert_eq!((of(stop, "process.exit.code"), of(stop, "k0rotate.asked")), ("0".into(), "change".into()));
        let told: BTreeSet<String> = commands.iter().map(|span| of(span, "k0rotate.step")).collect();
        // A kill takes the spans of its last seconds with it.
        let killed = history(&fleet)[0].incarnation.to_string();
        let since = attempts.values().filter(|span| of(span, "k0rotate.incarnation") != killed);
        let asked: BTreeSet<String> = since.map(|span| of(span, "k0rotate.step")).collect();
        let silent: Vec<&String> = asked.iter().filter(|one| one.ends_with("c1") && !told.contains(*one)).collect();
        assert!(silent.is_empty() && asked.len() > 10, "{silent:?} of {asked:?}");
    }
}

/// Goal: a collector that is away for the first half loses nothing and fails nothing; what it missed comes with the next verb that drives.
#[test]
fn a_collector_that_was_away_loses_nothing() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let at = place();
        let fleet = fleet("1+1", variables(at, speaks));
        fleet.killed_at(&with("rotate"), 30, Fault::CrashAfter);
        let said = fleet.ends(&["resume"], 0);
        assert!(said.err.contains("not all traces were taken"), "{}", said.err);
        let collector = Collector::at(at, speaks);
        let said = fleet.ends(&with("finalize"), 0);
        assert!(!said.err.contains("not all traces"), "{}", said.err);
        is_whole(&history(&fleet), &collector.each_once());
    }
}

/// Goal: one that hangs, says that it is busy, or is no collector at all delays no end by more than its last moment and moves no cursor.
#[test]
fn a_bad_collector_delays_and_loses_nothing() {
    let begun = Instant::now();
    Fleet::new("1+0").ends(&with("rotate"), 0);
    let alone = begun.elapsed();
    for (speaks, mood) in [
        (Speaks::Http, Mood::Silent),
        (Speaks::Grpc, Mood::Silent),
        (Speaks::Http, Mood::Busy),
        (Speaks::Grpc, Mood::Busy),
        (Speaks::Http, Mood::Stranger),
    ] {
        let collector = Collector::new(speaks);
        collector.is(mood);
        let fleet = fleet("1+0", collector.variables());
        let begun = Instant::now();
        let said = fleet.ends(&with("rotate"), 0);
        let took = begun.elapsed();
        assert!(said.err.contains("not all traces were taken"), "{mood:?}: {}", said.err);
        // Other tests run beside this one: the time is only to tell a bounded wait from one for an answer.
        assert!(took < alone * 3 + Duration::from_secs(6), "{mood:?}: {took:?} instead of {alone:?}");
        assert!(collector.refused() > 0, "it was asked");
        collector.is(Mood::Well);
        fleet.ends(&with("finalize"), 0);
        is_whole(&history(&fleet), &collector.each_once());
    }
}

/// Goal: what was taken is not sent again by later verbs, which send what came since; where the cursor is lost all is sent once more, by
/// another process, and is the same.
#[test]
fn the_cursor_moves_once_it_was_taken() {
    let collector = Collector::new(Speaks::Http);
    let fleet = fleet("1+0", collector.variables());
    fleet.ends(&with("rotate"), 0);
    let before = collector.spans().len();
    assert!(before > 20, "{before}");
    fleet.ends(&["resume"], 0);
    assert_eq!(collector.spans().len(), before, "nothing is new at the wait");
    fleet.ends(&with("rollback"), 0);
    let (history, got) = (history(&fleet), collector.each_once());
    is_whole(&history, &got);
    assert_eq!(collector.spans().len(), got.len(), "nobody was killed, so nothing came twice");
    assert_eq!(of(named(&got, "RUN rotate"), "cicd.pipeline.result"), "cancellation");
    assert!(got.iter().any(|span| of(span, "k0rotate.leg") == "back"));
    std::fs::remove_file(fleet.stand.dir().join("state/rehearsal/sent-traces.json")).expect("there is a cursor");
    fleet.ends(&["resume"], 0);
    assert_eq!((collector.spans().len(), collector.each_once().len()), (2 * got.len(), got.len()));
}

/// Goal: whoever calls a verb within a trace of their own is linked: with the execution, and with the phases that began then.
#[test]
fn callers_are_linked() {
    let collector = Collector::new(Speaks::Http);
    let mut fleet = fleet("1+0", collector.variables());
    let caller = |n: u32| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b{n}-01");
    fleet.variables.push(("TRACEPARENT", caller(1)));
    fleet.ends(&with("rotate"), 0);
    fleet.variables.pop();
    fleet.variables.push(("TRACEPARENT", caller(2)));
    fleet.ends(&with("finalize"), 0);
    let got = collector.each_once();
    let linked = |span: &Span| -> Vec<u8> { span.links.iter().map(|link| link.span_id[7] & 15).collect() };
    assert_eq!(linked(named(&got, "RUN rotate")), [1, 2]);
    assert_eq!(linked(named(&got, "Look at the hosts")), [1]);
    assert_eq!(linked(named(&got, "Destroy the old keys")), [2]);
    is_whole(&history(&fleet), &got);
}

/// Goal: nothing is sent where nobody named a collector, or somebody said no; what is set wrongly is said and fails nothing.
#[test]
fn nothing_is_sent_unasked() {
    let collector = Collector::new(Speaks::Http);
    let mut fleet = Fleet::new("1+0");
    fleet.variables.push(("OTEL_TRACES_EXPORTER", "otlp".into()));
    fleet.ends(&with("rotate"), 0);
    fleet.variables = collector.variables();
    fleet.variables.push(("OTEL_SDK_DISABLED", "true".into()));
    fleet.ends(&["resume"], 0);
    fleet.variables = collector.variables();
    fleet.variables.push(("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json".into()));
    let said = fleet.ends(&["resume"], 0);
    assert!(said.err.contains("no traces are sent: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is http/json"), "{}", said.err);
    assert_eq!(collector.spans().len() + collector.refused(), 0);
}

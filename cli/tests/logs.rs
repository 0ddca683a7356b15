//! Lines of the audit as a collector gets them: all of them in order, and a copy in which a rewritten file is found.

#[allow(dead_code, reason = "each test uses what it needs")]
mod collector;
#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use collector::{Collector, Mood, Speaks, body};
use k0rotate::audit::Line;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use stand::Fleet;
use std::fs;
use std::path::PathBuf;

fn audit(fleet: &Fleet) -> PathBuf {
    fleet.stand.dir().join("state/rehearsal/audit.jsonl")
}

fn lines(fleet: &Fleet) -> Vec<String> {
    fs::read_to_string(audit(fleet)).expect("there is an audit").lines().map(str::to_owned).collect()
}

/// What came, each once, in order.
fn copy(collector: &Collector) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for line in collector.logs().iter().map(body) {
        if !once.contains(&line) {
            once.push(line);
        }
    }
    once
}

/// Goal: over gRPC and over HTTP the collector has each line of the audit as it stands in the file, within the trace, also where it was away for
/// a part and the tool was killed.
#[test]
fn every_line_comes_as_it_was_written() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let collector = Collector::new(speaks);
        let mut fleet = Fleet::new("1+0");
        fleet.variables = collector.variables();
        fleet.killed_at(&["rotate", "--yes"], 12, Fault::CrashAfter);
        collector.is(Mood::Busy);
        let said = fleet.ends(&["resume"], 0);
        assert!(said.err.contains("not all log records were taken"), "{}", said.err);
        collector.is(Mood::Well);
        fleet.ends(&["finalize", "--yes"], 0);
        assert_eq!(copy(&collector), lines(&fleet));
        let (first, all) = (collector.logs().len(), collector.logs());
        let line: Line = serde_json::from_str(&body(&all[0])).expect("it is a line");
        let trace = u128::from_str_radix(&line.entry.trace_id, 16).expect("it is hex").to_be_bytes();
        let roots: Vec<_> = collector.each_once().into_iter().filter(|span| span.parent_span_id.is_empty()).collect();
        assert!(all.iter().all(|record| record.trace_id == trace && record.span_id == roots[0].span_id));
        assert!(all.iter().all(|record| record.time_unix_nano > 0 && record.event_name == "k0rotate.audit"));
        fleet.ends(&["resume"], 0);
        assert_eq!(collector.logs().len(), first, "nothing comes twice once it was taken");
    }
}

/// Goal: where full files were put aside, also one that was not taken yet, each line comes once.
#[test]
fn lines_come_once_over_several_files() {
    let collector = Collector::new(Speaks::Http);
    let mut fleet = Fleet::new("1+0");
    fleet.variables = collector.variables();
    fleet.ends(&["rotate", "--yes"], 0);
    let put_aside = |fleet: &Fleet, upto: usize| {
        let all = lines(fleet);
        let first: Line = serde_json::from_str(&all[0]).expect("it is a line");
        let full = audit(fleet).with_file_name(format!("audit-{:012}.jsonl", first.line));
        fs::write(full, all[..upto].join("\n") + "\n").expect("it is ours");
        fs::write(audit(fleet), all[upto..].iter().map(|line| line.clone() + "\n").collect::<String>())
            .expect("it is ours");
        all
    };
    let first = put_aside(&fleet, lines(&fleet).len() - 3);
    collector.is(Mood::Busy);
    fleet.ends(&["rollback", "--yes"], 0);
    let second = put_aside(&fleet, 9);
    collector.is(Mood::Well);
    fleet.ends(&["resume"], 0);
    let all: Vec<String> = first.into_iter().chain(second.into_iter().skip(3)).collect();
    assert_eq!(collector.logs().iter().map(body).collect::<Vec<_>>(), all);
}

/// Goal: an audit that is written anew from some line on, in a chain that holds, comes once more, and the copy says which line it is.
#[test]
fn a_rewritten_audit_differs_from_the_copy() {
    const FORGED: u64 = 7;
    let collector = Collector::new(Speaks::Http);
    let mut fleet = Fleet::new("1+0");
    fleet.variables = collector.variables();
    fleet.ends(&["rotate", "--yes"], 0);
    let before = copy(&collector);
    let (mut text, mut at, mut previous) = (String::new(), 0, "0".repeat(64));
    for line in lines(&fleet) {
        let mut entry = serde_json::from_str::<Line>(&line).expect("it is a line").entry;
        if at + 1 == FORGED {
            entry.who = "mallory@ops1".into();
        }
        let line = Line::after(at, &previous, entry);
        (at, previous) = (line.line, line.hash.clone());
        text += &(line.text() + "\n");
    }
    fs::write(audit(&fleet), text).expect("it is ours");
    fleet.ends(&["resume"], 0);
    let after = copy(&collector);
    assert_eq!(after[..before.len()], before);
    // The copy has two lines of each number from there on.
    let numbers: Vec<u64> =
        after.iter().map(|line| serde_json::from_str::<Line>(line).expect("it is one").line).collect();
    assert_eq!(numbers[before.len()..], (FORGED..=before.len() as u64).collect::<Vec<_>>());
    // Who wants no log records says so.
    fleet.variables.push(("OTEL_LOGS_EXPORTER", "none".into()));
    fleet.ends(&["rollback", "--yes"], 0);
    assert_eq!(copy(&collector).len(), after.len());
}

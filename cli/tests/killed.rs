//! The daemon killed by SIGKILL again and again while many clusters rotate: all end as undisturbed, the audits are whole, each trace has each span.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses what it needs")]
mod collector;
#[allow(dead_code, reason = "each test uses what it needs")]
mod stand;

use collector::{Collector, Speaks};
use k0rotate::telemetry::spans::{spans, trace_of};
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_engine::event::Record;
use opentelemetry_proto::tonic::trace::v1::Span;
use stand::kept::Daemon;
use stand::many::{Draw, Many};
use stand::{Fleet, until};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;

/// What the clusters are, in turn.
const SHAPES: [&str; 4] = ["1+1", "3+1", "1+0", "1+2"];
/// Changes of a world, and questions to it, within which a kill is drawn.
const CHANGES: u64 = 12;
const QUESTIONS: u64 = 400;

/// How many clusters, and how often the daemon is killed.
fn bar() -> (usize, usize) {
    match std::env::var("K0ROTATE_TIER").as_deref() {
        Ok("full") => (20, 100),
        _ => (4, 12),
    }
}

/// Goal: SIGKILL of the daemon at points drawn from a seed, before and after changes of the world and between any two questions to it, while many
/// clusters rotate: started again until nothing is left to do, all end as they do undisturbed; each audit is whole and says what the history says;
/// each trace at the collector has each span of its history, those that came twice being the same.
#[test]
fn killed_anywhere_all_end_as_undisturbed() {
    let (clusters, kills) = bar();
    let shapes: Vec<&str> = SHAPES.iter().copied().cycle().take(clusters).collect();
    let (many, collector) = (Many::new(&shapes), Collector::new(Speaks::Grpc));
    let mut daemon = begin(&many, &collector);
    let clients = rotate_all(&many);
    let mut draw = Draw(7);
    let mut killed = 0;
    while killed < kills {
        many.fleets.iter().for_each(|(_, fleet)| plan(fleet, &mut draw));
        until("a kill, or the end", || daemon.has_ended() || many.all_are("Waiting"));
        many.fleets.iter().for_each(|(_, fleet)| fleet.stand.stage().faults.forget_plans());
        if !daemon.has_ended() {
            break;
        }
        killed += 1;
        daemon = begin(&many, &collector);
    }
    // Most of them must have come; in the smaller one a rotation may end before.
    assert!(killed * 3 >= kills, "it was killed only {killed} times");
    until("the end of all", || many.all_are("Waiting"));
    daemon.signal("-TERM");
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.said());
    clients.into_iter().for_each(|client| drop(client.wait_with_output()));
    println!("{clusters} clusters, {killed} kills");
    let undisturbed: BTreeMap<&str, Fleet> = SHAPES.iter().map(|shape| (*shape, undisturbed(shape))).collect();
    let got = by_trace(collector.each_once());
    for ((name, fleet), shape) in many.fleets.iter().zip(shapes) {
        let differs = undisturbed[shape].likeness().trust_differences(&fleet.likeness());
        assert_eq!(differs, Vec::<String>::new(), "{name} after {killed} kills");
        audit_is_whole(&many, name);
        trace_is_whole(&many, name, &got);
    }
}

fn begin(many: &Many, collector: &Collector) -> Daemon {
    let variables = collector.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let daemon = Daemon::begin_with(&many.etc(), &variables);
    many.doom(&daemon);
    daemon
}

/// Asks for all of them; each is under way then.
fn rotate_all(many: &Many) -> Vec<Child> {
    let begin = |(name, fleet): &(String, Fleet)| {
        let client = many.beside(&["rotate", name, "--yes", "--reason", "CHG-4711"]);
        until("the first change", || fleet.stand.stage().faults.changes > 0);
        client
    };
    many.fleets.iter().map(begin).collect()
}

/// A kill in each, so that none runs to its end while another is waited for; the first that comes counts.
fn plan(fleet: &Fleet, draw: &mut Draw) {
    let mut stage = fleet.stand.stage();
    let faults = &mut stage.faults;
    let change = faults.changes + 1 + draw.below(CHANGES);
    match draw.below(3) {
        0 => drop(faults.plan.insert(change, Fault::CrashBefore)),
        1 => drop(faults.plan.insert(change, Fault::CrashAfter)),
        _ => faults.crash_at_question = Some(faults.questions + 1 + draw.below(QUESTIONS)),
    }
}

fn undisturbed(shape: &str) -> Fleet {
    let fleet = Fleet::new(shape);
    fleet.ends(&["rotate", "--yes"], 0);
    fleet
}

fn audit_is_whole(many: &Many, name: &str) {
    let audit = many.dir.path().join("state").join(name).join("audit.jsonl").display().to_string();
    let said = many.ends(&["verify", &audit], 0);
    assert!(said.out.contains("chain whole, each as in the history,"), "{name}: {said:?}");
}

fn by_trace(spans: Vec<Span>) -> BTreeMap<Vec<u8>, Vec<Span>> {
    let mut all: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    for span in spans {
        all.entry(span.trace_id.clone()).or_default().push(span);
    }
    all
}

fn trace_is_whole(many: &Many, name: &str, got: &BTreeMap<Vec<u8>, Vec<Span>>) {
    let said = many.ends(&["history", name, "-o", "json", "--embedded"], 0);
    let history: Vec<Record> = serde_json::from_str(&said.out).expect("it prints records");
    let trace = got.get(&trace_of(&history[0]).to_bytes().to_vec()).expect("it came");
    let came: BTreeSet<Vec<u8>> = trace.iter().map(|span| span.span_id.clone()).collect();
    let ended: BTreeSet<Vec<u8>> = spans(&history).iter().map(|span| span.id.to_bytes().to_vec()).collect();
    assert_eq!(came, ended, "{name}: {} spans instead of {}", came.len(), ended.len());
}

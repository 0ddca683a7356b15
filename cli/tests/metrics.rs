//! Metrics as a collector gets them and as Prometheus reads them: what stands, what was done, and that nobody waits for either.
#![cfg(target_os = "linux")]
#![allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "what a test counts are small whole numbers")]

#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod collector;
mod page;
#[expect(dead_code, reason = "each binary of tests uses a part of it")]
mod stand;

use collector::{Collector, Mood, Speaks, place};
use k0rotate::telemetry::metrics::names::{ALL, Metric};
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_engine::event::{Event, Record};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, NumberDataPoint};
use stand::kept::{self, Daemon};
use stand::{Fleet, Said, until};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const YES: [&str; 4] = ["rotate", "--yes", "--reason", "CHG-4711"];

fn history(said: &Said) -> Vec<Record> {
    serde_json::from_str(&said.out).expect("it prints records")
}

/// Attempts and steps that have ended by what the last process recorded, counted apart from the code that measures.
fn ended(history: &[Record]) -> (usize, usize) {
    let last = &history.last().expect("it has events").incarnation;
    let own = history.iter().filter(|record| record.incarnation == *last);
    own.fold((0, 0), |(attempts, steps), record| match &record.event {
        Event::StepRetried { .. } => (attempts + 1, steps),
        Event::StepSucceeded { .. } | Event::StepFailed { .. } | Event::StepLeft { .. } => (attempts + 1, steps + 1),
        _ => (attempts, steps),
    })
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value.expect("it has a value") {
        Value::AsInt(number) => number as f64,
        Value::AsDouble(number) => number,
    }
}

/// Points of a metric: its attributes, and its value or how many values it has.
fn points(collector: &Collector, metric: &Metric) -> Vec<(Vec<(String, String)>, f64)> {
    let all = collector.metrics();
    let found = all.get(metric.name).unwrap_or_else(|| panic!("no {}; there are {:?}", metric.name, all.keys()));
    assert_eq!((found.unit.as_str(), found.description.as_str()), (metric.unit, metric.what));
    let named = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let mut named: Vec<_> =
            attributes.iter().map(|pair| (pair.key.clone(), collector::text(pair.value.as_ref()))).collect();
        named.sort();
        let keys: BTreeSet<&str> = named.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, metric.attributes.iter().copied().collect(), "attributes of {}", metric.name);
        named
    };
    match found.data.as_ref().expect("it has data") {
        Data::Gauge(gauge) => gauge.data_points.iter().map(|point| (named(&point.attributes), number(point))).collect(),
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
            sum.data_points.iter().map(|point| (named(&point.attributes), number(point))).collect()
        }
        Data::Histogram(of) => of.data_points.iter().map(|p| (named(&p.attributes), p.count as f64)).collect(),
        other => panic!("{other:?} is none of ours"),
    }
}

fn sum(collector: &Collector, metric: &Metric) -> f64 {
    points(collector, metric).iter().map(|(_, value)| value).sum()
}

fn with<'a>(points: &'a [(Vec<(String, String)>, f64)], attribute: &str, value: &str) -> Vec<&'a f64> {
    let has = |(all, _): &&(Vec<(String, String)>, f64)| all.contains(&(attribute.to_owned(), value.to_owned()));
    points.iter().filter(has).map(|(_, value)| value).collect()
}

/// Goal: over gRPC and over HTTP a verb sends, at its end, what it did itself and what stands: one that was killed before it counts for nothing in that.
#[test]
fn a_verb_sends_what_it_did() {
    use k0rotate::telemetry::metrics::names::{ATTEMPTS, COMMITS, EXECUTIONS, SIZE, STAY, STEPS, ZONES};
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let collector = Collector::new(speaks);
        let mut fleet = Fleet::new("1+1");
        fleet.variables = collector.variables();
        fleet.killed_at(&YES, 12, Fault::CrashAfter);
        let said = fleet.ends(&["resume"], 0);
        assert!(!said.err.contains("metrics"), "{}", said.err);
        let (attempts, steps) = ended(&history(&fleet.ends(&["history", "-o", "json"], 0)));
        assert!(attempts >= steps && steps > 10, "{attempts} {steps}");
        assert_eq!(sum(&collector, &ATTEMPTS), attempts as f64);
        assert_eq!(sum(&collector, &STEPS), steps as f64);
        let executions = points(&collector, &EXECUTIONS);
        assert_eq!(with(&executions, "k0rotate.state", "waiting"), [&1.0]);
        assert_eq!(with(&executions, "k0rotate.state", "stuck"), [&0.0]);
        assert_eq!(with(&points(&collector, &ZONES), "k0rotate.zone", "down"), [&1.0], "the API was away once");
        assert_eq!(with(&points(&collector, &STAY), "k0rotate.zone", "held").len(), 1, "it stays in held");
        assert!(sum(&collector, &SIZE) > 1000.0 && sum(&collector, &COMMITS) > 5.0);
        let who = collector.measuring();
        assert!(who.contains(&("service.name".into(), "k0rotate".into())), "{who:?}");
        let instance =
            |(name, value): &(String, String)| name == "service.instance.id" && value.ends_with("/rehearsal");
        assert!(who.iter().any(instance), "{who:?}");
        fleet.ends(&["finalize", "--yes"], 0);
        let executions = points(&collector, &EXECUTIONS);
        assert_eq!(with(&executions, "k0rotate.state", "waiting"), [&0.0]);
        assert_eq!(with(&executions, "k0rotate.state", "completed"), [&1.0]);
    }
}

/// Goal: a collector that says nothing, or that is none, holds up no end by more than a last moment, and changes no exit status; who wants no
/// metrics says so.
#[test]
fn a_bad_collector_delays_nothing() {
    for mood in [Mood::Silent, Mood::Stranger] {
        let collector = Collector::new(Speaks::Http);
        collector.is(mood);
        let mut fleet = Fleet::new("1+0");
        fleet.variables = collector.variables();
        fleet.variables.extend([("OTEL_TRACES_EXPORTER", "none".into()), ("OTEL_LOGS_EXPORTER", "none".into())]);
        fleet.ends(&YES, 0);
        let begun = Instant::now();
        let said = fleet.ends(&["resume"], 0);
        assert!(said.err.contains("the last metrics were not taken"), "{mood:?}: {}", said.err);
        // Other tests run beside this one: the time is only to tell a bounded wait from one for an answer.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert!(collector.refused() > 0, "it was asked");
        let asked = collector.refused();
        fleet.variables.push(("OTEL_METRICS_EXPORTER", "none".into()));
        fleet.ends(&["resume"], 0);
        assert_eq!(collector.refused(), asked);
    }
}

/// A configuration with one cluster, whose daemon has a page.
fn configured(fleet: &Fleet, etc: &Path) -> SocketAddr {
    let at = place();
    kept::configure(etc, &fleet.stand.dir().join("identity"));
    kept::add(etc, "blue", &fleet.stand.dir().join("k0sctl.yaml"));
    let main = etc.join("config.toml");
    let text = std::fs::read_to_string(&main).expect("it was written");
    std::fs::write(&main, format!("{text}[metrics]\nlisten = \"{at}\"\n")).expect("it is ours");
    at
}

fn ends(fleet: &Fleet, etc: &Path, words: &[&str], code: i32) -> Said {
    let said: Said = fleet.bare().args(words).arg("--config-dir").arg(etc).output().expect("the program starts").into();
    assert_eq!(said.code, Some(code), "{words:?}: {}{}", said.out, said.err);
    said
}

/// Goal: the daemon's page holds to the text format, has the families of the table and no other, counts what was done, and tells no state that is over.
#[test]
fn the_page_says_what_stands_and_what_was_done() {
    let (fleet, home) = (Fleet::new("1+1"), tempfile::tempdir().expect("a temporary folder"));
    let etc = home.path().join("etc");
    let at = configured(&fleet, &etc);
    let _daemon = Daemon::begin(&etc);
    let waiting = [("k0rotate_state", "waiting"), ("k8s_cluster_name", "blue")];
    until("the page", || page::get(at).is_some_and(|page| !page.of("k0rotate_executions", &waiting).is_empty()));
    assert_eq!(page::get(at).expect("it answers").sum("k0rotate_executions", &[]), 0.0);
    ends(&fleet, &etc, &["rotate", "blue", "--yes"], 0);
    let looked_at = "k0rotate_certificate_looked_at_seconds";
    until("the wait, and a look", || {
        page::get(at).is_some_and(|page| page.sum("k0rotate_executions", &waiting) * page.sum(looked_at, &[]) > 0.0)
    });
    let page = page::get(at).expect("it answers");
    let known: Vec<(&str, &str)> = ALL.iter().map(|metric| (metric.page, metric.kind.name())).collect();
    let found: Vec<(&str, &str)> = page.families.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(BTreeSet::from_iter(found), BTreeSet::from_iter(known));
    let (attempts, steps) = ended(&history(&ends(&fleet, &etc, &["history", "blue", "-o", "json"], 0)));
    assert_eq!(page.sum("k0rotate_attempts_total", &[]), attempts as f64);
    assert_eq!(page.sum("k0rotate_step_duration_seconds_count", &[]), steps as f64);
    let stop = [("cicd_pipeline_task_name", "stop"), ("k0rotate_step_outcome", "done")];
    assert_eq!(page.sum("k0rotate_step_duration_seconds_count", &stop), 1.0);
    assert_eq!(page.sum("k0rotate_zone_stay_seconds", &[("k0rotate_zone", "down")]), 0.0);
    assert_eq!(page.of("k0rotate_zone_stay_seconds", &[("k0rotate_zone", "held")]).len(), 1);
    ends(&fleet, &etc, &["finalize", "blue", "--yes"], 0);
    let completed = [("k0rotate_state", "completed"), ("k8s_cluster_name", "blue")];
    until("the end", || page::get(at).is_some_and(|page| page.sum("k0rotate_executions", &completed) > 0.0));
    let page = page::get(at).expect("it answers");
    assert_eq!(page.sum("k0rotate_executions", &waiting), 0.0);
    assert!(page.of("k0rotate_zone_stay_seconds", &[]).is_empty(), "a zone that was left is not told any more");
}

/// Goal: a page is for this machine alone: any other address is refused by `config check` with its place, and the daemon does not start with it.
#[test]
fn the_page_is_for_this_machine_alone() {
    let (fleet, home) = (Fleet::new("1+0"), tempfile::tempdir().expect("a temporary folder"));
    let etc = home.path().join("etc");
    let at = configured(&fleet, &etc);
    assert!(ends(&fleet, &etc, &["config", "check"], 0).out.contains("ok: 1 cluster"));
    let shown = ends(&fleet, &etc, &["config", "show"], 0).out;
    assert!(shown.contains("metrics.listen") && shown.contains(&at.to_string()), "{shown}");
    let main = etc.join("config.toml");
    let text = std::fs::read_to_string(&main).expect("it was written");
    for wrong in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464", "localhost:9464", "127.0.0.1", "9464"] {
        std::fs::write(&main, text.replace(&at.to_string(), wrong)).expect("it is ours");
        for words in [&["config", "check"][..], &["daemon"]] {
            let said = ends(&fleet, &etc, words, 2);
            assert!(said.err.contains("config.toml:5: `metrics.listen` takes a loopback address"), "{wrong}: {said:?}");
        }
    }
    std::fs::write(&main, text.replace(&at.to_string(), "[::1]:9464")).expect("it is ours");
    ends(&fleet, &etc, &["config", "check"], 0);
}

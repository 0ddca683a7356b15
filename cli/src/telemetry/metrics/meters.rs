//! The instruments of this process: what is counted goes on from its start; what stands is read anew each time, so that nothing stale is told.

use super::measured::{STATES, Standing, What};
use super::names::{self as metrics, Metric};
use crate::calendar::Look;
use crate::telemetry::collector::scope;
use crate::telemetry::names;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::ids::ExecutionId;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Limits of the classes of steps and stays, seconds.
const LONG: [f64; 12] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// Limits of the classes of commits, seconds.
const SHORT: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Series of one metric: above the certificates of as many clusters as a configuration has.
const MOST_SERIES: usize = 200_000;

/// What stands in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its name.
    pub cluster: String,
    /// Its executions.
    pub executions: BTreeMap<ExecutionId, Standing>,
    /// Bytes of its store.
    pub size: u64,
    /// The last look at its certificates.
    pub look: Option<Look>,
}

/// See the file's sentence.
pub struct Instruments {
    /// Kept: the readers ask it.
    _provider: SdkMeterProvider,
    resource: Resource,
    steps: Histogram<f64>,
    attempts: Counter<u64>,
    zones: Histogram<f64>,
    commits: Histogram<f64>,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

impl Instruments {
    /// What is counted is read by these.
    pub fn new(resource: Resource, readers: (impl MetricReader, impl MetricReader)) -> Self {
        let provider = SdkMeterProvider::builder().with_resource(resource.clone()).with_view(many);
        let provider = provider.with_reader(readers.0).with_reader(readers.1).build();
        let meter = provider.meter_with_scope(scope());
        let histogram = |metric: &Metric, limits: &[f64]| {
            let builder = meter.f64_histogram(metric.name).with_unit(metric.unit).with_description(metric.what);
            builder.with_boundaries(limits.to_vec()).build()
        };
        let attempts = meter.u64_counter(metrics::ATTEMPTS.name).with_unit(metrics::ATTEMPTS.unit);
        Self {
            steps: histogram(&metrics::STEPS, &LONG),
            attempts: attempts.with_description(metrics::ATTEMPTS.what).build(),
            zones: histogram(&metrics::ZONES, &LONG),
            commits: histogram(&metrics::COMMITS, &SHORT),
            known: Mutex::default(),
            resource,
            _provider: provider,
        }
    }

    /// Something is over.
    pub fn count(&self, what: &What) {
        match what {
            What::Step(activity, outcome, seconds) => {
                let of =
                    [KeyValue::new(names::TASK, activity.clone()), KeyValue::new(names::STEP_OUTCOME, outcome.clone())];
                self.steps.record(*seconds, &of);
            }
            What::Attempt(activity, outcome) => {
                let of = [
                    KeyValue::new(names::TASK, activity.clone()),
                    KeyValue::new(names::ATTEMPT_OUTCOME, outcome.clone()),
                ];
                self.attempts.add(1, &of);
            }
            What::Zone(zone, seconds) => self.zones.record(*seconds, &[KeyValue::new(names::ZONE, *zone)]),
        }
    }

    /// Events are durable after so long.
    pub fn commit(&self, took: Duration) {
        self.commits.record(took.as_secs_f64(), &[]);
    }

    /// What stands in the cluster whose store this is.
    pub fn know(&self, store: &Path, known: Known) {
        self.known().insert(store.to_owned(), known);
    }

    /// Nobody holds it here any more.
    pub fn forget(&self, store: &Path) {
        self.known().remove(store);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands now, for one reading. The reader reads as long as what is given back is kept.
    pub fn standing(&self, reader: impl MetricReader) -> SdkMeterProvider {
        let provider = SdkMeterProvider::builder().with_resource(self.resource.clone()).with_view(many);
        let provider = provider.with_reader(reader).build();
        let gauges = Gauges::of(&provider.meter_with_scope(scope()));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        self.known().values().for_each(|known| gauges.tell(known, now));
        provider
    }
}

fn many(_: &Instrument) -> Option<Stream> {
    Stream::builder().with_cardinality_limit(MOST_SERIES).build().ok()
}

struct Gauges {
    executions: Gauge<u64>,
    stay: Gauge<f64>,
    expiry: Gauge<i64>,
    looked_at: Gauge<u64>,
    size: Gauge<u64>,
}

impl Gauges {
    fn of(meter: &Meter) -> Self {
        let whole =
            |metric: &Metric| meter.u64_gauge(metric.name).with_unit(metric.unit).with_description(metric.what).build();
        let (stay, expiry) = (&metrics::STAY, &metrics::EXPIRY);
        Self {
            executions: whole(&metrics::EXECUTIONS),
            stay: meter.f64_gauge(stay.name).with_unit(stay.unit).with_description(stay.what).build(),
            expiry: meter.i64_gauge(expiry.name).with_unit(expiry.unit).with_description(expiry.what).build(),
            looked_at: whole(&metrics::LOOKED_AT),
            size: whole(&metrics::SIZE),
        }
    }

    fn tell(&self, known: &Known, now: Timestamp) {
        let cluster = KeyValue::new(names::CLUSTER, known.cluster.clone());
        self.size.record(known.size, std::slice::from_ref(&cluster));
        let looked_at = known.look.as_ref().map_or(0, |look| look.at.0 / 1000);
        self.looked_at.record(looked_at, std::slice::from_ref(&cluster));
        // A state that nothing is in is told, too: a rule that waits for it must see that it is known.
        let mut counts: BTreeMap<(&str, &str), u64> = STATES.iter().map(|state| (("rotate", *state), 0)).collect();
        for standing in known.executions.values() {
            *counts.entry((&standing.workflow, standing.state)).or_default() += 1;
        }
        for ((workflow, state), count) in counts {
            let of = [
                cluster.clone(),
                KeyValue::new(names::PIPELINE, workflow.to_owned()),
                KeyValue::new(names::STATE, state.to_owned()),
            ];
            self.executions.record(count, &of);
        }
        let mut stays: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (zone, since) in known.executions.values().filter_map(|standing| standing.zone) {
            stays.entry(zone).and_modify(|first| *first = since.min(*first)).or_insert(since);
        }
        for (zone, since) in stays {
            self.stay.record(
                now.since(since).as_secs_f64(),
                &[cluster.clone(), KeyValue::new(names::ZONE, zone.to_owned())],
            );
        }
        for end in known.look.iter().flat_map(|look| &look.ends) {
            let of = [
                cluster.clone(),
                KeyValue::new(names::ROOT, end.root.clone()),
                KeyValue::new(names::HOST, end.host.clone()),
                KeyValue::new(names::CERTIFICATE, end.kind()),
            ];
            self.expiry.record(end.not_after, &of);
        }
    }
}

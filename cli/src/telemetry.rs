//! What a history says, carried to where people look: to the audit's file, and as traces to a collector. docs/telemetry.md has the design.
//!
//! Modules in reading order.

pub mod names;
pub mod spans;

pub mod settings;

pub mod collector;

pub mod callers;
pub mod logs;
pub mod sent;
pub mod traces;

pub mod courier;

pub mod commands;
pub mod live;

pub mod metrics;

use crate::audit::file::Audit;
use courier::{Courier, Load};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use logs::Logs;
use metrics::Meters;
use metrics::store::Measures;
use settings::{Setting, Signal, Transport, setting};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use traces::Traces;

/// All couriers of one opening of a store. They are told of what is new, and get a last moment when this is dropped.
pub struct Telemetry {
    dir: PathBuf,
    audit: Option<Courier>,
    traces: Option<Courier>,
    logs: Option<Courier>,
    measures: Option<Courier>,
    /// Kept until what is measured last was counted.
    meters: Option<Arc<Meters>>,
}

impl Telemetry {
    /// As the environment says, for the store in this folder. What is set wrongly is said once, and is no error: a rotation is not refused
    /// for a collector's sake.
    pub fn begin(dir: &Path, cluster: &str, log: &Arc<dyn EventLog>, meters: Option<Arc<Meters>>) -> Self {
        let [own, spans, records] = std::array::from_fn(|_| dir.to_owned());
        let audit = Courier::send("audit lines", Arc::downgrade(log), move || Audit::open(&own));
        let traces = sent(Signal::Traces, "traces", log, move |transport| Traces::begin(&spans, transport));
        let logs = sent(Signal::Logs, "log records", log, move |transport| Logs::begin(&records, transport));
        let measures = meters.clone().and_then(|meters| {
            let load = Measures::of(dir, cluster, meters);
            Courier::send("metrics", Arc::downgrade(log), move || Ok(load))
        });
        Self { dir: dir.to_owned(), audit, traces, logs, measures, meters }
    }

    /// Remembers who called a verb about this execution, so that its trace names theirs.
    pub fn called(&self, execution: &ExecutionId, events: u64) {
        let caller =
            std::env::var("TRACEPARENT").ok().filter(|text| self.traces.is_some() && callers::context(text).is_some());
        if let Some(caller) = caller {
            callers::remember(&self.dir, execution, events, &caller);
        }
    }

    /// Something new is durable.
    pub fn nudge(&self) {
        [&self.audit, &self.traces, &self.logs, &self.measures].into_iter().flatten().for_each(Courier::nudge);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        live::last_moment();
        // Log records are read from the audit's file: its last lines first.
        drop(self.audit.take());
        let others = [&mut self.traces, &mut self.logs, &mut self.measures];
        others.into_iter().flatten().for_each(Courier::end);
        drop(self.measures.take());
        // The last that keeps them sends what stands once more; else this store is nobody's here.
        if let Some(Err(others)) = self.meters.take().map(Arc::try_unwrap) {
            others.instruments().forget(&self.dir);
        }
    }
}

fn sent<L: Load>(
    signal: Signal,
    what: &'static str,
    log: &Arc<dyn EventLog>,
    load: impl FnOnce(Transport) -> Result<L, String> + Send + 'static,
) -> Option<Courier> {
    match setting(signal, &|name| std::env::var(name).ok()) {
        Ok(Setting::Off) => None,
        Ok(Setting::Otlp(transport)) => Courier::send(what, Arc::downgrade(log), move || load(transport)),
        Err(wrong) => {
            eprintln!("· no {what} are sent: {wrong}");
            None
        }
    }
}

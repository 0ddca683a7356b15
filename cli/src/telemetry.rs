//! What a history says, carried to where people look: traces to a collector. docs/telemetry.md has the design and the names.
//!
//! Modules in reading order.

pub mod names;
pub mod spans;

pub mod settings;

pub mod collector;

pub mod callers;
pub mod sent;
pub mod traces;

pub mod courier;

use courier::Courier;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use settings::{Setting, Signal, setting};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All couriers of one opening of a store. They are told of what is new, and get a last moment when this is dropped.
pub struct Telemetry {
    dir: PathBuf,
    couriers: Vec<Courier>,
}

impl Telemetry {
    /// As the environment says, for the store in this folder. What is set wrongly is said once, and is no error: a rotation is not refused
    /// for a collector's sake.
    pub fn begin(dir: &Path, log: &Arc<dyn EventLog>) -> Self {
        let mut couriers = Vec::new();
        match setting(Signal::Traces, &|name| std::env::var(name).ok()) {
            Ok(Setting::Off) => {}
            Ok(Setting::Otlp(transport)) => {
                let dir = dir.to_owned();
                let load = move || traces::Traces::begin(&dir, transport);
                couriers.extend(Courier::send("traces", Arc::downgrade(log), load));
            }
            Err(wrong) => eprintln!("· no traces are sent: {wrong}"),
        }
        Self { dir: dir.to_owned(), couriers }
    }

    /// Remembers who called a verb about this execution, so that its trace names theirs.
    pub fn called(&self, execution: &ExecutionId, events: u64) {
        if self.couriers.is_empty() {
            return;
        }
        if let Some(caller) = std::env::var("TRACEPARENT").ok().filter(|text| callers::context(text).is_some()) {
            callers::remember(&self.dir, execution, events, &caller);
        }
    }

    /// Something new is durable.
    pub fn nudge(&self) {
        self.couriers.iter().for_each(Courier::nudge);
    }
}

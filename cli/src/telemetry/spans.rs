//! A history as spans: one trace an execution, each span once its end is recorded. Pure: the same history gives the same spans, ids too.

mod reading;
mod words;

use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::trying::Trying;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use reading::Reading;
use sha2::{Digest, Sha256};
pub use words::zone_name;

/// Longer texts are cut: a reason can be a page, and collectors refuse spans that are too large.
const LONGEST_TEXT: usize = 1024;

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// All of it.
    Execution,
    /// A heading of the runbook.
    Phase,
    /// A wait, or being stuck.
    Rest,
    /// A step, from its start, or from when it was reopened, to its end.
    Step,
    /// One try of a step.
    Attempt,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            Self::Execution => "execution",
            Self::Phase => "phase",
            Self::Rest => "rest",
            Self::Step => "step",
            Self::Attempt => "attempt",
        }
    }
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Its name.
    pub name: &'static str,
    /// When.
    pub at: Timestamp,
    /// What is known of it.
    pub attributes: Vec<KeyValue>,
}

/// A span whose end is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it is about.
    pub about: About,
    /// Of which trace.
    pub trace: TraceId,
    /// Hashed from the execution and the event that began it.
    pub id: SpanId,
    /// The span that it is a part of; invalid for the execution.
    pub parent: SpanId,
    /// Its name: few values, however many hosts there are.
    pub name: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// The event that began it.
    pub began: Seq,
    /// The event that ended it: a longer history changes nothing of it.
    pub ended: Seq,
    /// What is known of it.
    pub attributes: Vec<KeyValue>,
    /// What happened meanwhile.
    pub moments: Vec<Moment>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Span {
    /// How it is named in OTLP.
    pub fn kind(&self) -> SpanKind {
        match self.about {
            About::Execution => SpanKind::Server,
            _ => SpanKind::Internal,
        }
    }

    /// How links and children name it.
    pub fn context(&self) -> SpanContext {
        SpanContext::new(self.trace, self.id, TraceFlags::SAMPLED, false, TraceState::NONE)
    }
}

/// The spans that a history has ended so far, in the order in which they ended.
pub fn spans(history: &[Record]) -> Vec<Span> {
    let Some(first) = history.first() else { return Vec::new() };
    let Some(mut reading) = Reading::begin(first) else { return Vec::new() };
    history.iter().skip(1).for_each(|record| reading.add(record));
    reading.spans
}

/// The trace of an execution, as its first event names it.
pub fn trace_of(first: &Record) -> TraceId {
    match &first.event {
        Event::ExecutionStarted { trace_id, .. } => trace_named(&first.execution, trace_id),
        _ => trace_named(&first.execution, ""),
    }
}

/// The trace of an execution whose first event names this one.
fn trace_named(execution: &ExecutionId, trace_id: &str) -> TraceId {
    let hashed = || {
        let digest: [u8; 32] = Sha256::digest(execution.as_str()).into();
        digest.first_chunk::<16>().map_or(TraceId::INVALID, |bytes| TraceId::from_bytes(*bytes))
    };
    TraceId::from_hex(trace_id).ok().filter(|id| *id != TraceId::INVALID).unwrap_or_else(hashed)
}

/// The span of an attempt, which the history will end.
pub fn attempt_of(trying: &Trying) -> SpanContext {
    let id = span_id(&trying.execution, About::Attempt, trying.began, trying.step.as_str());
    let trace = trace_named(&trying.execution, &trying.trace_id);
    SpanContext::new(trace, id, TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// The span of the execution as a whole.
pub fn root_of(execution: &ExecutionId) -> SpanId {
    span_id(execution, About::Execution, 0, "")
}

/// The span of an execution as a whole, as a `TRACEPARENT`: for those that it calls.
pub fn caller_of(execution: &ExecutionId, trace_id: &str) -> String {
    format!("00-{trace_id}-{}-01", root_of(execution))
}

/// The id of the span about this that the event at `began` began. `which` tells apart what one event begins several of.
fn span_id(execution: &ExecutionId, about: About, began: Seq, which: &str) -> SpanId {
    let text = format!("k0rotate span\n{execution}\n{}\n{began}\n{which}", about.name());
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.first_chunk::<8>().map_or(SpanId::INVALID, |bytes| SpanId::from_bytes(*bytes))
}

/// A text that is not too long, for people.
fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        return text.to_owned();
    }
    text.chars().take(LONGEST_TEXT - 1).chain(['…']).collect()
}

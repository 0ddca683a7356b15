//! What a history says to whoever measures: what took how long, and where it stands. Pure; counted from the same spans that traces are.

use crate::telemetry::names;
use crate::telemetry::spans::zone_name;
use crate::telemetry::spans::{About, Span, spans};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::Seq;
use k0rotate_engine::view::ExecutionView;

/// Something that is over.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A step, with its activity, its outcome and its seconds.
    Step(String, String, f64),
    /// An attempt, with its activity and its outcome.
    Attempt(String, String),
    /// A stay in a zone, with its seconds.
    Zone(&'static str, f64),
}

/// The same with the event that ended it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Its place in the history.
    pub ended: Seq,
    /// What.
    pub what: What,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of which workflow.
    pub workflow: String,
    /// One of [`STATES`].
    pub state: &'static str,
    /// Its zone and since when; none once it has ended.
    pub zone: Option<(&'static str, Timestamp)>,
}

/// The states that executions are counted by.
pub const STATES: [&str; 6] = ["running", "waiting", "stuck", "rolling-back", "completed", "rolled-back"];

fn state(status: &Status) -> &'static str {
    match status {
        Status::New | Status::Running => "running",
        Status::Waiting { .. } => "waiting",
        Status::Stuck { .. } => "stuck",
        Status::RollingBack => "rolling-back",
        Status::Completed => "completed",
        Status::RolledBack => "rolled-back",
    }
}

/// All that is over, in no order.
pub fn measured(history: &[Record]) -> Vec<Measured> {
    let mut all: Vec<Measured> = spans(history).iter().filter_map(of_span).collect();
    all.extend(stays(history).0);
    all
}

/// Where it stands; none if its history cannot be followed.
pub fn standing(history: &[Record]) -> Option<Standing> {
    let view = ExecutionView::of(history).ok().flatten()?;
    let state = state(&view.state.status);
    Some(Standing { workflow: view.workflow, state, zone: stays(history).1 })
}

fn of_span(span: &Span) -> Option<Measured> {
    let attribute = |name: &str| {
        let found = span.attributes.iter().find(|known| known.key.as_str() == name);
        found.map(|known| known.value.as_str().into_owned()).unwrap_or_default()
    };
    let seconds = span.until.since(span.from).as_secs_f64();
    let what = match span.about {
        About::Step => What::Step(attribute(names::TASK), attribute(names::STEP_OUTCOME), seconds),
        About::Attempt => {
            let activity = span.name.strip_suffix(" attempt").unwrap_or(&span.name);
            What::Attempt(activity.to_owned(), attribute(names::ATTEMPT_OUTCOME))
        }
        About::Execution | About::Phase | About::Rest => return None,
    };
    Some(Measured { ended: span.ended, what })
}

/// Stays in zones that are over, and the one that goes on. Where the way turns the API is as far away as before: a stay goes on.
fn stays(history: &[Record]) -> (Vec<Measured>, Option<(&'static str, Timestamp)>) {
    let mut over = Vec::new();
    let mut now = history.first().map(|first| ("free", first.time));
    for record in history {
        let next = match &record.event {
            Event::ZoneEntered { zone, .. } => Some((zone_name(*zone), record.time)),
            Event::Completed { .. } | Event::RolledBack { .. } => None,
            _ => continue,
        };
        let is_the_same = now.map(|(zone, _)| zone) == next.map(|(zone, _)| zone);
        if let (Some((zone, since)), false) = (now, is_the_same) {
            let what = What::Zone(zone, record.time.since(since).as_secs_f64());
            over.push(Measured { ended: record.seq, what });
            now = next;
        }
    }
    (over, now)
}

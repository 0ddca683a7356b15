//! Who called the verbs of an execution: `TRACEPARENT`s, kept beside the store, since a span that is sent by a later process must name the same.

use super::sent::replace;
use k0rotate_engine::ids::{ExecutionId, Seq};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// Its name in the folder of the store.
const FILE: &str = "callers.json";
/// So many are kept of an execution; more would only be a loop that resumes.
const MOST: usize = 64;

/// Each caller, and how many events there were when it called.
type All = BTreeMap<ExecutionId, Vec<(Seq, String)>>;

/// What a `TRACEPARENT` names, if it names anything.
pub fn context(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.trim().to_owned())]);
    let found = TraceContextPropagator::new().extract(&carrier).span().span_context().clone();
    found.is_valid().then_some(found)
}

/// Adds one. That it cannot be kept is no reason to fail a verb: a link is missing then.
pub fn remember(dir: &Path, execution: &ExecutionId, events: Seq, traceparent: &str) {
    let path = dir.join(FILE);
    let mut all = read(&path);
    let known = all.entry(execution.clone()).or_default();
    if known.len() < MOST {
        known.push((events, traceparent.trim().to_owned()));
        let kept = serde_json::to_vec(&all).map_err(|e| e.to_string());
        let kept = kept.and_then(|bytes| replace(&path, &bytes).map_err(|e| e.to_string()));
        kept.unwrap_or_else(|why| tracing::debug!(why, "the caller could not be kept"));
    }
}

/// Who called the verbs of an execution, each with the number of events that there were.
pub fn of(dir: &Path, execution: &ExecutionId) -> Vec<(Seq, SpanContext)> {
    let all = read(&dir.join(FILE)).remove(execution).unwrap_or_default();
    all.iter().filter_map(|(events, text)| Some((*events, context(text)?))).collect()
}

fn read(path: &Path) -> All {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    //! Shows what is taken for a caller, and that it is kept.

    use super::{context, of, remember};
    use k0rotate_engine::ids::ExecutionId;

    /// Goal: what is no `TRACEPARENT` is no caller; one that is, is there again for another process.
    #[test]
    fn callers_are_kept() {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for wrong in ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "hello"] {
            assert_eq!(context(wrong), None, "{wrong}");
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let execution = ExecutionId::new("01J");
        remember(dir.path(), &execution, 7, &format!("{caller}\n"));
        let known = of(dir.path(), &execution);
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].0, known[0].1.span_id().to_string()), (7, "00f067aa0ba902b7".to_owned()));
        assert_eq!(of(dir.path(), &ExecutionId::new("01K")).len(), 0);
    }
}

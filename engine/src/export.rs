//! A history as text: one line of JSON an event, to be read and checked by whoever has no store.
//!
//! Each line holds the stored bytes beside their readable form and the hash of the chain up to it; hashes are over the
//! stored bytes. A closing line says how many events there are, so that a cut file is told from a whole one. A chain
//! alone can be written anew as a whole: who must rule that out compares the head with one that was kept elsewhere.

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::{ExecutionId, Seq};
use crate::log::envelope::{self, Chain, EnvelopeError, Opened, hex};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a whole export says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose history it is.
    pub execution: ExecutionId,
    /// How many events there are.
    pub events: u64,
    /// The hash that the last of them ends with.
    pub head: Chain,
    /// When the first was written.
    pub first_time: Timestamp,
    /// When the last was written.
    pub last_time: Timestamp,
    /// Whether the execution had ended; if not, it may have gone on since.
    pub ended: bool,
}

/// The first line that is not what was exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not a line of an export.
    #[error("it is not a line of an exported history")]
    Text,
    /// Its stored bytes are not believed.
    #[error("{0}: the line or one before it was changed, moved or removed")]
    Bytes(EnvelopeError),
    /// It belongs elsewhere.
    #[error("event {found} stands where event {due} must")]
    Place {
        /// The one that must stand here.
        due: Seq,
        /// The one that does.
        found: Seq,
    },
    /// Another execution's.
    #[error("it belongs to execution {0}")]
    Execution(ExecutionId),
    /// What people read is not what was stored.
    #[error("its readable form is not that of the stored bytes")]
    Readable,
    /// The end of the file came first.
    #[error("the closing line is missing")]
    Cut,
    /// The closing line is not that of the events before it.
    #[error("the closing line does not fit the {0} events before it")]
    Closing(u64),
}

/// Why stored bytes could not be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot be exported: {why}")]
pub struct ExportError {
    /// Its place in the history.
    pub seq: Seq,
    /// What is wrong with it.
    pub why: EnvelopeError,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: Seq,
    /// Milliseconds since 1970, UTC.
    time: Timestamp,
    event: Value,
    bytes: String,
    hash: String,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    execution: ExecutionId,
    events: u64,
    head: String,
}

/// Writes a history, given as [`EventLog::stored`](crate::log::EventLog::stored) gives it.
pub fn export(stored: &[Vec<u8>]) -> Result<String, ExportError> {
    let mut text = String::new();
    let mut last: Option<Opened> = None;
    for (seq, bytes) in (0..).zip(stored) {
        let chain = last.as_ref().map_or(Chain::default(), |opened| opened.chain);
        let opened = envelope::open_after(bytes, chain).map_err(|why| ExportError { seq, why })?;
        push(&mut text, &line(&opened, bytes));
        last = Some(opened);
    }
    if let Some(last) = last {
        push(&mut text, &closing(&last));
    }
    Ok(text)
}

/// Checks an exported history from its first line to its last.
pub fn verify(text: &str) -> Result<Summary, Broken> {
    let mut first: Option<Opened> = None;
    let mut last: Option<Opened> = None;
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        let broken = |why| Broken { line, why };
        if let Ok(found) = serde_json::from_str::<Closing>(text) {
            let (Some(first), Some(last)) = (&first, &last) else { return Err(broken(Why::Closing(0))) };
            if found != closing(last) {
                return Err(broken(Why::Closing(last.record.seq + 1)));
            }
            return match lines.next() {
                Some((line, _)) => Err(Broken { line, why: Why::Text }),
                None => Ok(summary(first, last)),
            };
        }
        let opened = check(text, last.as_ref()).map_err(broken)?;
        first.get_or_insert_with(|| opened.clone());
        last = Some(opened);
    }
    Err(Broken { line: text.lines().count() + 1, why: Why::Cut })
}

fn summary(first: &Opened, last: &Opened) -> Summary {
    Summary {
        execution: last.record.execution.clone(),
        events: last.record.seq + 1,
        head: last.chain,
        first_time: first.record.time,
        last_time: last.record.time,
        ended: matches!(last.record.event, Event::Completed { .. } | Event::RolledBack { .. }),
    }
}

/// Checks one event's line against the event before it.
fn check(text: &str, last: Option<&Opened>) -> Result<Opened, Why> {
    let found: Line = serde_json::from_str(text).map_err(|_| Why::Text)?;
    let bytes = BASE64.decode(&found.bytes).map_err(|_| Why::Text)?;
    let due = last.map_or(0, |opened| opened.record.seq + 1);
    if found.seq != due {
        return Err(Why::Place { due, found: found.seq });
    }
    let chain = last.map_or(Chain::default(), |opened| opened.chain);
    let opened = envelope::open_after(&bytes, chain).map_err(Why::Bytes)?;
    let record = &opened.record;
    if record.seq != due {
        return Err(Why::Place { due, found: record.seq });
    }
    if last.is_some_and(|last| last.record.execution != record.execution) {
        return Err(Why::Execution(record.execution.clone()));
    }
    let right = line(&opened, &bytes);
    let same = (found.time, &found.event, &found.hash) == (right.time, &right.event, &right.hash);
    // A field that stands twice is read once: only the length tells.
    if !same || json(&right).len() != text.len() {
        return Err(Why::Readable);
    }
    Ok(opened)
}

fn line(opened: &Opened, bytes: &[u8]) -> Line {
    Line {
        seq: opened.record.seq,
        time: opened.record.time,
        event: readable(&opened.record.event),
        bytes: BASE64.encode(bytes),
        hash: hex(&opened.chain.0),
    }
}

fn closing(last: &Opened) -> Closing {
    let (execution, events) = (last.record.execution.clone(), last.record.seq + 1);
    Closing { execution, events, head: hex(&last.chain.0) }
}

/// The event with the JSON of activities unfolded.
fn readable(event: &Event) -> Value {
    let mut value = serde_json::to_value(event).expect("an event has no keys that are not text");
    for fields in value.as_object_mut().into_iter().flat_map(|kinds| kinds.values_mut()) {
        for name in ["input", "before", "output"] {
            let Some(field) = fields.get_mut(name) else { continue };
            // What is no JSON after all is shown as it is.
            if let Some(inner) = field.as_str().and_then(|text| serde_json::from_str(text).ok()) {
                *field = inner;
            }
        }
    }
    value
}

fn push<T: Serialize>(text: &mut String, line: &T) {
    text.push_str(&json(line));
    text.push('\n');
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a line has no keys that are not text")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]
    use super::*;
    use crate::event::{Json, Record};
    use crate::ids::{Incarnation, StepId};

    fn record(execution: &str, seq: Seq, event: Event) -> Record {
        let (execution, incarnation) = (ExecutionId::new(execution), Incarnation::new("7c"));
        Record { execution, seq, time: Timestamp(1_000 + seq), incarnation, event }
    }

    fn history(execution: &str) -> Vec<Record> {
        let mut events: Vec<Event> = (0..6)
            .map(|n| Event::StepSucceeded {
                step: StepId::of("check", "check-host", &format!("h{n}")),
                output: Json(format!(r#"{{"seen":[{n},true]}}"#)),
            })
            .collect();
        events.insert(0, Event::PhaseStarted { slug: "check".into(), title: "Check the hosts".into() });
        events.push(Event::Completed { output: Json("null".into()), left: vec![] });
        (0..).zip(events).map(|(seq, event)| record(execution, seq, event)).collect()
    }

    fn exported() -> String {
        export(&envelope::seal_all(&history("x")).unwrap()).unwrap()
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn broken(lines: &[String]) -> Broken {
        verify(&lines.join("\n")).unwrap_err()
    }

    /// Goal: a whole export is believed and summed up; inputs and outputs are readable.
    #[test]
    fn a_whole_export_is_believed() {
        let text = exported();
        let summary = verify(&text).unwrap();
        assert_eq!((summary.execution.as_str(), summary.events, summary.ended), ("x", 8, true));
        assert_eq!((summary.first_time, summary.last_time), (Timestamp(1_000), Timestamp(1_007)));
        assert!(text.contains(r#""output":{"seen":[3,true]}"#), "{text}");
        assert!(text.lines().last().unwrap().contains(&summary.head.to_string()));
    }

    /// Goal: any one byte of any line that is another is found, and that line is named.
    #[test]
    fn every_changed_byte_is_found() {
        let whole = lines(&exported());
        for line in 0..whole.len() {
            for at in 0..whole[line].len() {
                let mut changed = whole.clone();
                let old = changed[line].as_bytes()[at];
                let new = if old == b'7' { "8" } else { "7" };
                changed[line].replace_range(at..=at, new);
                assert_eq!(broken(&changed).line, line + 1, "byte {at} of line {}", line + 1);
            }
        }
    }

    /// Goal: a line that is missing, doubled or swapped with the next is found where the order breaks.
    #[test]
    fn every_moved_line_is_found() {
        let whole = lines(&exported());
        for line in 0..whole.len() {
            let mut missing = whole.clone();
            missing.remove(line);
            assert_eq!(broken(&missing).line, line + 1, "line {} is missing", line + 1);
            let mut doubled = whole.clone();
            doubled.insert(line, whole[line].clone());
            assert_eq!(broken(&doubled).line, line + 2, "line {} stands twice", line + 1);
            if line + 1 < whole.len() {
                let mut swapped = whole.clone();
                swapped.swap(line, line + 1);
                assert_eq!(broken(&swapped).line, line + 1, "line {} is swapped", line + 1);
            }
        }
    }

    /// Goal: a readable form that does not match the stored bytes is found, also where a field stands twice.
    #[test]
    fn a_lie_in_the_readable_form_is_found() {
        let whole = exported();
        let lies =
            [("[3,true]", "[4,true]"), ("\"time\":1004", "\"time\":1005"), ("\"seen\":[3", "\"seen\":0,\"seen\":[3")];
        for (truth, lie) in lies {
            let told = whole.replacen(truth, lie, 1);
            assert_ne!(told, whole);
            assert_eq!(verify(&told), Err(Broken { line: 5, why: Why::Readable }), "{lie}");
        }
    }

    /// Goal: a line of another history is found even if it is sealed to fit.
    #[test]
    fn a_line_of_another_history_is_found() {
        let mut mixed = history("x");
        mixed[4].execution = ExecutionId::new("y");
        let text = export(&envelope::seal_all(&mixed).unwrap()).unwrap();
        assert_eq!(verify(&text), Err(Broken { line: 5, why: Why::Execution(ExecutionId::new("y")) }));
    }

    /// Goal: bytes that were changed are not exported; nothing is not a history.
    #[test]
    fn what_is_broken_is_not_exported() {
        let mut stored = envelope::seal_all(&history("x")).unwrap();
        stored[2][9] ^= 1;
        assert_eq!(export(&stored), Err(ExportError { seq: 2, why: EnvelopeError::Chain }));
        assert_eq!(verify(""), Err(Broken { line: 1, why: Why::Cut }));
    }
}

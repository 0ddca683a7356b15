//! Checks lines of an audit: each against the line before it, and all against histories.

use super::file::Head;
use super::{Entry, Line, NOTHING};
use k0rotate_engine::ids::{ExecutionId, Seq};
use std::collections::BTreeMap;
use std::fmt;

/// The first line that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its place in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is no line of an audit, or its text is not the one that was written.
    #[error("it is not a line as it is written")]
    Text,
    /// It was changed.
    #[error("it was changed: its hash is not that of what it says")]
    Changed,
    /// It stands elsewhere.
    #[error("line {found} stands where line {due} must: one was dropped, added or moved")]
    Place {
        /// The one that must stand here.
        due: u64,
        /// The one that does.
        found: u64,
    },
    /// It does not follow.
    #[error("it does not follow from the line before it")]
    Follow,
    /// The file ends too early.
    #[error("the file ends before it: {0} lines were written")]
    Cut(u64),
    /// The last line has no end.
    #[error("the line is torn")]
    Torn,
    /// Another end was written.
    #[error("another line was written here")]
    Head,
    /// The history says otherwise.
    #[error("event {event} of {execution} says something else in the history")]
    History {
        /// Whose.
        execution: ExecutionId,
        /// Which.
        event: Seq,
    },
    /// The history has no such event.
    #[error("the history has no event {event} of {execution}")]
    NoEvent {
        /// Whose.
        execution: ExecutionId,
        /// Which.
        event: Seq,
    },
    /// Its execution is not known.
    #[error("the store beside it has no execution {0}")]
    NoExecution(ExecutionId),
    /// An event before it has no line.
    #[error("event {due} of {execution} has no line before it")]
    Gap {
        /// Whose.
        execution: ExecutionId,
        /// Which.
        due: Seq,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// Checks each line against the one before it. A part of a file may begin anywhere; what comes before it is vouched for by its first line.
pub fn chain(text: &str) -> Result<Vec<Line>, Broken> {
    let mut lines: Vec<Line> = Vec::new();
    for (at, text) in (1..).zip(text.split_inclusive('\n')) {
        let broken = |why| Broken { line: at, why };
        let text = text.strip_suffix('\n').ok_or(broken(Why::Torn))?;
        let line: Line = serde_json::from_str(text).map_err(|_| broken(Why::Text))?;
        // A field that stands twice, or is not known, is read past: only the text tells.
        if line.text() != text {
            return Err(broken(Why::Text));
        }
        let due = lines.last().map_or(line.line, |last| last.line + 1);
        if line.line != due {
            return Err(broken(Why::Place { due, found: line.line }));
        }
        if line.hash != line.hashed() {
            return Err(broken(Why::Changed));
        }
        let first = if line.line == 1 { NOTHING } else { line.previous.as_str() };
        if line.previous != lines.last().map_or(first, |last| last.hash.as_str()) {
            return Err(broken(Why::Follow));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Compares with what was written last.
pub fn ends_as(lines: &[Line], head: &Head) -> Result<(), Broken> {
    let first = lines.first().map_or(1, |line| line.line);
    let Some(at) = head.lines.checked_sub(first).and_then(|at| usize::try_from(at).ok()) else { return Ok(()) };
    match lines.get(at) {
        None => Err(Broken { line: lines.len() + 1, why: Why::Cut(head.lines) }),
        Some(line) if line.hash != head.hash => Err(Broken { line: at + 1, why: Why::Head }),
        Some(_) => Ok(()),
    }
}

/// Compares with histories. Gives how many of their events have no line yet; those of executions that are not known are passed over.
pub fn fits(lines: &[Line], histories: &BTreeMap<ExecutionId, Vec<Entry>>) -> Result<u64, Broken> {
    let mut seen: BTreeMap<&ExecutionId, Seq> = BTreeMap::new();
    for (at, line) in (1..).zip(lines) {
        let Some(history) = histories.get(&line.entry.execution) else { continue };
        let broken = |why| Broken { line: at, why };
        let (execution, event) = (line.entry.execution.clone(), line.entry.event);
        let due = seen.entry(&line.entry.execution).or_insert(0);
        if event > *due {
            return Err(broken(Why::Gap { execution, due: *due }));
        }
        let known = usize::try_from(event).ok().and_then(|at| history.get(at));
        match known {
            None => return Err(broken(Why::NoEvent { execution, event })),
            Some(entry) if *entry != line.entry || event < *due => {
                return Err(broken(Why::History { execution, event }));
            }
            Some(_) => *due = event + 1,
        }
    }
    let missing = |(execution, history): (&ExecutionId, &Vec<Entry>)| {
        (history.len() as u64).saturating_sub(seen.get(execution).copied().unwrap_or(0))
    };
    Ok(histories.iter().map(missing).sum())
}

//! Verifies an audit: its chain, the end that was written, and the history where one lies beside it.

use super::check::{Broken, Why, chain, ends_as, fits};
use super::entries::entries;
use super::{Entry, FILE, Line, file, parts};
use crate::args::Global;
use crate::error::Error;
use crate::source::{Place, Source};
use k0rotate_engine::ids::ExecutionId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an audit file is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Its own chain alone.
    Nothing,
    /// The exported history beside it.
    History,
    /// The store beside it.
    Store,
}

/// A file that is as it was written.
pub struct Verified {
    /// Its lines.
    pub lines: Vec<Line>,
    /// What it was held against.
    pub against: Against,
    /// Events without a line.
    pub missing: u64,
}

/// Whether a text is an audit.
pub fn is_audit(text: &str) -> bool {
    text.lines().next().is_some_and(|line| serde_json::from_str::<Line>(line).is_ok())
}

/// The files of an audit, as one text.
struct Texts {
    text: String,
    /// Each with the number of lines before it.
    files: Vec<(usize, PathBuf)>,
}

impl Texts {
    /// Of one file.
    fn one(path: &Path, text: &str) -> Self {
        Self { text: text.to_owned(), files: vec![(0, path.to_owned())] }
    }

    /// Of this file, and of the full ones beside it if it is the one that is written.
    fn read(path: &Path, text: &str) -> Result<Self, Error> {
        let mut texts = Self { text: String::new(), files: Vec::new() };
        let is_written = path.file_name().is_some_and(|name| name == FILE);
        let full = path.parent().filter(|_| is_written).map(parts::all).unwrap_or_default();
        for full in full.into_iter().filter(|full| full.file_name() != path.file_name()) {
            let text = parts::text(&full).map_err(|e| Error::File(full.display().to_string(), e.to_string()))?;
            texts.add(&full, &text);
            if !text.is_empty() && !text.ends_with('\n') {
                return Err(texts.told(Broken { line: texts.text.lines().count(), why: Why::Torn }));
            }
        }
        texts.add(path, text);
        Ok(texts)
    }

    fn add(&mut self, path: &Path, text: &str) {
        self.files.push((self.text.lines().count(), path.to_owned()));
        self.text.push_str(text);
    }

    /// With the file in which it is, and its place there.
    fn told(&self, Broken { line, why }: Broken) -> Error {
        let file = self.files.iter().rfind(|(before, _)| *before < line).or(self.files.first());
        let (before, path) = file.map_or((0, ""), |(before, path)| (*before, path.to_str().unwrap_or(FILE)));
        Error::Audit(format!("{path}: {}", Broken { line: line - before, why }))
    }
}

/// Verifies the file, with the full ones beside it if it is the one that is written; an audit that lies where its store is, against the store.
pub async fn verify(global: &Global, path: &Path, text: &str) -> Result<Verified, Error> {
    let texts = Texts::read(path, text)?;
    let broken = |broken| texts.told(broken);
    let lines = chain(&texts.text).map_err(broken)?;
    let is_written = path.file_name().is_some_and(|name| name == FILE);
    if let Some(head) = file::head(path).filter(|_| is_written) {
        ends_as(&lines, &head).map_err(broken)?;
    }
    let dir = path.parent().filter(|dir| is_written && dir.join("anchor").exists());
    let Some(dir) = dir else { return Ok(Verified { lines, against: Against::Nothing, missing: 0 }) };
    if let Some(first) = lines.first().filter(|first| first.line != 1) {
        return Err(broken(Broken { line: 1, why: Why::Place { due: 1, found: first.line } }));
    }
    let source = Source::at(&Place::of_store(global, dir).await).await?;
    let mut histories = BTreeMap::new();
    for execution in source.executions().await? {
        let stored = source.stored(&execution).await?;
        histories.insert(execution, of_history(&stored)?);
    }
    if let Some(strange) = lines.iter().position(|line| !histories.contains_key(&line.entry.execution)) {
        let why = Why::NoExecution(lines[strange].entry.execution.clone());
        return Err(broken(Broken { line: strange + 1, why }));
    }
    let missing = fits(&lines, &histories).map_err(broken)?;
    if missing > 0 && !source.is_held() {
        return Err(Error::Audit(format!(
            "{}: {missing} events of the store beside it have no line: the file was cut, or the process that wrote it was killed; the next verb that drives writes them",
            path.display()
        )));
    }
    Ok(Verified { lines, against: Against::Store, missing })
}

/// Verifies the audit of an exported folder against the history in it.
pub fn of_folder(dir: &Path, text: &str, execution: &ExecutionId, stored: &[Vec<u8>]) -> Result<Verified, Error> {
    let texts = Texts::one(&dir.join(FILE), text);
    let broken = |broken| texts.told(broken);
    let lines = chain(text).map_err(broken)?;
    let histories = BTreeMap::from([(execution.clone(), of_history(stored)?)]);
    let missing = fits(&lines, &histories).map_err(broken)?;
    Ok(Verified { lines, against: Against::History, missing })
}

fn of_history(stored: &[Vec<u8>]) -> Result<Vec<Entry>, Error> {
    entries(stored).map_err(|e| Error::Broken(e.to_string()))
}

/// The lines of an execution up to so many events, with those of others between them, so that the chain holds. All of a text that cannot be
/// read: it is evidence.
pub fn part_of(text: &str, execution: &ExecutionId, events: usize) -> String {
    let is_own = |line: &Line| line.entry.execution == *execution && line.entry.event < events as u64;
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let own: Result<Vec<bool>, _> =
        all.iter().map(|text| serde_json::from_str(text).map(|line| is_own(&line))).collect();
    let Ok(own) = own else { return text.to_owned() };
    match (own.iter().position(|own| *own), own.iter().rposition(|own| *own)) {
        (Some(first), Some(last)) => all[first..=last].concat(),
        _ => String::new(),
    }
}

/// Whether such a part has the last of so many events.
pub fn is_up_to(part: &str, execution: &ExecutionId, events: usize) -> bool {
    let last = part.lines().next_back().and_then(|line| serde_json::from_str::<Line>(line).ok());
    last.is_some_and(|line| line.entry.execution == *execution && line.entry.event + 1 == events as u64)
}

#[cfg(test)]
mod tests {
    //! Shows which lines become evidence of an execution.

    use super::part_of;
    use crate::audit::check::chain;
    use crate::audit::{Line, NOTHING};
    use k0rotate_engine::ids::ExecutionId;

    fn line(after: Option<&Line>, execution: &str, event: u64) -> Line {
        let entry = format!(
            r#"{{"time":"","cluster":"","execution":"{execution}","workflow":"","event":{event},"what":"","who":"","trace_id":"","incarnation":"","head":""}}"#
        );
        let (number, previous) = after.map_or((0, NOTHING), |line| (line.line, line.hash.as_str()));
        Line::after(number, previous, serde_json::from_str(&entry).expect("it is an entry"))
    }

    /// Goal: from its first line to its last that the history has, with those of others between them, in a chain that holds.
    #[test]
    fn a_part_holds_together() {
        let mut lines: Vec<Line> = Vec::new();
        for (execution, event) in [("x", 0), ("y", 0), ("z", 0), ("y", 1), ("y", 2), ("z", 1)] {
            lines.push(line(lines.last(), execution, event));
        }
        let text: String = lines.iter().map(|line| line.text() + "\n").collect();
        let part = |name: &str, events| part_of(&text, &ExecutionId::new(name), events);
        let numbers = |text: &str| chain(text).expect("it holds").iter().map(|line| line.line).collect::<Vec<_>>();
        assert_eq!(numbers(&part("y", 9)), [2, 3, 4, 5]);
        assert_eq!(numbers(&part("y", 2)), [2, 3, 4], "what was written since the history was read is not in it");
        assert_eq!(part("w", 9), "");
        assert_eq!(part_of("what is this", &ExecutionId::new("y"), 9), "what is this");
    }
}

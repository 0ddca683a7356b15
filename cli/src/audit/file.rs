//! The audit's files beside the store: written by whoever holds the store, behind a cursor that is the files themselves.

use super::entries::entries;
use super::{Entry, FILE, Line, NOTHING, parts};
use crate::telemetry::courier::Load;
use crate::telemetry::sent::replace;
use async_trait::async_trait;
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::log::EventLog;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Weak;

/// Beside the file: how many lines were written, and the last one's hash. A file that is shorter was cut.
const HEAD: &str = "audit.head";

/// How the file ended when it was written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Lines in all.
    pub lines: u64,
    /// The hash of the last.
    pub hash: String,
}

/// The head that lies beside a file.
pub fn head(beside: &Path) -> Option<Head> {
    serde_json::from_slice(&fs::read(beside.with_file_name(HEAD)).ok()?).ok()
}

/// See the file's sentence.
pub struct Audit {
    path: PathBuf,
    file: File,
    /// Bytes of the file, and the number of its first line.
    size: u64,
    first: u64,
    /// From so many bytes on it is full.
    full: u64,
    head: Head,
    /// Events of each execution that have a line.
    known: BTreeMap<ExecutionId, Seq>,
}

impl Audit {
    /// Opens them, or makes the first. A last line that was torn by a kill is taken away: it is written again. A line that is not ours stays as it is,
    /// for `verify` to find.
    pub fn open(dir: &Path) -> Result<Self, String> {
        Self::opened(dir.join(FILE), parts::FULL).map_err(|e| format!("{FILE}: {e}"))
    }

    fn opened(path: PathBuf, full: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        let bytes = fs::read(&path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        drop(bytes);
        let mut head = Head { lines: 0, hash: NOTHING.to_owned() };
        let (mut known, mut first) = (BTreeMap::new(), 1);
        for part in path.parent().map(parts::all).unwrap_or_default() {
            first = head.lines + 1;
            for text in BufReader::new(File::open(part)?).split(b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(&text?) else { continue };
                known.insert(line.entry.execution, line.entry.event + 1);
                head = Head { lines: line.line, hash: line.hash };
            }
        }
        Ok(Self { path, file, size: whole as u64, first, full, head, known })
    }

    /// Puts a full file aside. Where it was, the next opening makes another if this process ends in between.
    fn turn(&mut self) -> io::Result<()> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        let full = dir.join(parts::name(self.first));
        if full.exists() {
            // What lies there is none of ours any more, and evidence.
            return Ok(());
        }
        fs::rename(&self.path, full)?;
        File::open(dir)?.sync_all()?;
        *self = Self::opened(self.path.clone(), self.full)?;
        Ok(())
    }

    /// How many events of a history have a line.
    fn of(&self, execution: &ExecutionId) -> Seq {
        self.known.get(execution).copied().unwrap_or(0)
    }

    /// Adds lines, durably.
    pub fn add(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        if self.size >= self.full {
            self.turn()?;
        }
        let (mut text, mut head, mut known) = (String::new(), self.head.clone(), self.known.clone());
        for entry in entries {
            known.insert(entry.execution.clone(), entry.event + 1);
            let line = Line::after(head.lines, &head.hash, entry);
            text.push_str(&line.text());
            text.push('\n');
            head = Head { lines: line.line, hash: line.hash };
        }
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()) {
            // What is written of it is looked at anew: it may be half a line.
            *self = Self::opened(self.path.clone(), self.full)?;
            return Err(error);
        }
        (self.head, self.known) = (head, known);
        self.size += text.len() as u64;
        replace(&self.path.with_file_name(HEAD), &serde_json::to_vec(&self.head).map_err(io::Error::other)?)
    }
}

#[async_trait]
impl Load for Audit {
    async fn carry(&mut self, log: &Weak<dyn EventLog>) -> Result<(), String> {
        let Some(log) = log.upgrade() else { return Ok(()) };
        let mut new = Vec::new();
        for head in log.heads().await.map_err(|e| e.to_string())? {
            let from = self.of(&head.execution);
            if from < head.len {
                let stored = log.stored(&head.execution).await.map_err(|e| e.to_string())?;
                let of = entries(&stored).map_err(|e| e.to_string())?;
                new.extend(of.into_iter().filter(|entry| entry.event >= from));
            }
        }
        drop(log);
        if new.is_empty() { Ok(()) } else { self.add(new).map_err(|e| format!("{FILE}: {e}")) }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that a full file is put aside, and the chain goes on.

    use super::{Audit, Entry, FILE, head, parts};
    use crate::audit::check::chain;
    use std::fs;
    use std::path::Path;

    /// So few bytes that every other addition finds a full file.
    const SMALL: u64 = 1000;

    fn entry(event: u64) -> Entry {
        let text = format!(
            r#"{{"time":"","cluster":"","execution":"x","workflow":"","event":{event},"what":"","who":"","trace_id":"","incarnation":"","head":""}}"#
        );
        serde_json::from_str(&text).expect("it is an entry")
    }

    fn open(dir: &Path) -> Audit {
        Audit::opened(dir.join(FILE), SMALL).expect("it can be made")
    }

    fn whole(dir: &Path) -> String {
        parts::all(dir).iter().map(|part| parts::text(part).expect("it is ours")).collect()
    }

    /// Goal: lines that are added by several openings stand in several files, in one chain, each event once; no file but the last is short, and the
    /// head counts all.
    #[test]
    fn a_full_file_is_put_aside() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for event in (0..30).step_by(2) {
            let mut audit = open(dir.path());
            assert_eq!(audit.of(&entry(0).execution), event, "what has a line is known, wherever it stands");
            audit.add(vec![entry(event)]).expect("there is room");
            audit.add(vec![entry(event + 1)]).expect("there is room");
        }
        let files = parts::all(dir.path());
        assert!(files.len() > 5, "{files:?}");
        for full in &files[..files.len() - 1] {
            assert!(fs::metadata(full).expect("it is there").len() >= SMALL, "{full:?}");
        }
        let lines = chain(&whole(dir.path())).expect("one chain");
        assert_eq!(lines.iter().map(|line| line.line).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
        assert_eq!(lines.iter().map(|line| line.entry.event).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
        let head = head(&dir.path().join(FILE)).expect("it was written");
        assert_eq!((head.lines, Some(&head.hash)), (30, lines.last().map(|line| &line.hash)));
    }

    /// Goal: a kill between the old file's new name and the new file, or in the middle of its first line, loses and doubles nothing.
    #[test]
    fn killed_while_it_turns_it_goes_on() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        open(dir.path()).add((0..5).map(entry).collect()).expect("there is room");
        for torn in [None, Some("{\"line\":6,\"ti")] {
            let mut audit = open(dir.path());
            let next = audit.of(&entry(0).execution);
            fs::rename(dir.path().join(FILE), dir.path().join(parts::name(audit.first))).expect("it is ours");
            torn.into_iter().for_each(|torn| fs::write(dir.path().join(FILE), torn).expect("it is ours"));
            audit = open(dir.path());
            assert_eq!(audit.of(&entry(0).execution), next);
            audit.add(vec![entry(next)]).expect("there is room");
        }
        let lines = chain(&whole(dir.path())).expect("one chain");
        assert_eq!(lines.iter().map(|line| line.entry.event).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    }

    /// Goal: whoever has lines up to one finds the files with the later ones, and no more.
    #[test]
    fn later_lines_are_found_by_names() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut audit = open(dir.path());
        (0..12).for_each(|event| audit.add(vec![entry(event)]).expect("there is room"));
        let all = parts::all(dir.path());
        for (at, part) in all.iter().enumerate() {
            for line in chain(&parts::text(part).expect("it is ours")).expect("a part of a chain") {
                assert_eq!(parts::from(dir.path(), line.line), all[at..]);
            }
        }
        assert_eq!(parts::from(dir.path(), 0), all);
        assert!(all.len() > 2);
    }
}

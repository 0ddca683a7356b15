//! The audit's file beside the store: written by whoever holds the store, behind a cursor that is the file itself.

use super::entries::entries;
use super::{Entry, FILE, Line, NOTHING};
use crate::telemetry::courier::Load;
use crate::telemetry::sent::replace;
use async_trait::async_trait;
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::log::EventLog;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
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
    head: Head,
    /// Events of each execution that have a line.
    known: BTreeMap<ExecutionId, Seq>,
}

impl Audit {
    /// Opens it, or makes it. A last line that was torn by a kill is taken away: it is written again. A line that is not ours stays as it is,
    /// for `verify` to find.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let path = dir.join(FILE);
        Self::opened(path).map_err(|e| format!("{FILE}: {e}"))
    }

    fn opened(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        let bytes = fs::read(&path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        let mut head = Head { lines: 0, hash: NOTHING.to_owned() };
        let mut known = BTreeMap::new();
        for text in String::from_utf8_lossy(&bytes[..whole]).lines() {
            let Ok(line) = serde_json::from_str::<Line>(text) else { continue };
            known.insert(line.entry.execution, line.entry.event + 1);
            head = Head { lines: line.line, hash: line.hash };
        }
        Ok(Self { path, file, head, known })
    }

    /// How many events of a history have a line.
    fn of(&self, execution: &ExecutionId) -> Seq {
        self.known.get(execution).copied().unwrap_or(0)
    }

    /// Adds lines, durably.
    pub fn add(&mut self, entries: Vec<Entry>) -> io::Result<()> {
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
            *self = Self::opened(self.path.clone())?;
            return Err(error);
        }
        (self.head, self.known) = (head, known);
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

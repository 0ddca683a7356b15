//! How far a history was sent: a small file beside the store. It moves only once what comes before it was accepted.

use crate::private;
use k0rotate_engine::ids::{ExecutionId, Seq};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The only format so far.
const FORMAT: u32 = 1;

/// See the file's sentence.
pub struct Sent {
    path: PathBuf,
    kept: Kept,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// Events of each history that were read, and of which all was accepted.
    executions: BTreeMap<ExecutionId, Seq>,
}

impl Sent {
    /// Reads it. One that is not there, or not ours, is one that was never written: what is sent twice is the same.
    pub fn read(path: &Path) -> Self {
        let kept = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| kept.format == FORMAT);
        let nothing = Kept { format: FORMAT, executions: BTreeMap::new() };
        Self { path: path.to_owned(), kept: kept.unwrap_or(nothing) }
    }

    /// How many events of a history.
    pub fn of(&self, execution: &ExecutionId) -> Seq {
        self.kept.executions.get(execution).copied().unwrap_or(0)
    }

    /// Moves it, durably.
    pub fn move_to(&mut self, execution: &ExecutionId, events: Seq) -> Result<(), String> {
        self.kept.executions.insert(execution.clone(), events);
        let bytes = serde_json::to_vec(&self.kept).map_err(|e| e.to_string())?;
        replace(&self.path, &bytes).map_err(|e| e.to_string())
    }
}

/// Puts a file in the place of another, durably: at each moment one of the two is there, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    private::write(&new, bytes).map_err(|e| io::Error::other(e.to_string()))?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

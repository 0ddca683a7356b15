//! Reading a store without opening it: a copy is taken under a lock that readers share, and opened elsewhere.
//!
//! Nothing is written to the store, and no opening is counted: any number may look at the same time, also where nothing can be
//! written. The lock is held while the files are copied, not while they are read.

use super::anchor;
use super::look::{self, Look};
use super::opening::lock_shared;
use super::store::Store;
use super::{Syncer, failed};
use crate::event::Record;
use crate::ids::ExecutionId;
use crate::log::LogError;
use crate::log::envelope::Opened;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// All histories of a store as they were at one moment, each held against its chain.
pub struct Reading {
    histories: Vec<History>,
}

struct History {
    execution: ExecutionId,
    records: Vec<(Vec<u8>, Opened)>,
}

impl Reading {
    /// Takes a copy of the store in `dir` into `scratch`, an empty folder that nobody else can read, and holds it against the anchor as
    /// an opening does. `Held` if a process has the store open.
    pub fn take(dir: &Path, scratch: &Path, how: &Look) -> Result<Self, LogError> {
        let (store, kept, tried) = (dir.join("store"), scratch.join("store"), scratch.join("look"));
        let Some(lock) = lock_shared(dir)? else { return Ok(Self { histories: Vec::new() }) };
        let due = anchor::newest(&dir.join("anchor"))?;
        let there = store.join("db").exists();
        if there {
            look::copy_store(&store, &kept, |_| true).map_err(failed("copy the store"))?;
        }
        drop(lock);
        let noted = due.is_some();
        let due = due.unwrap_or_default();
        if !there && due.total > 0 {
            return Err(LogError::Damaged(format!(
                "the store is gone, and all of its {} events are missing",
                due.total
            )));
        }
        // Without a mark nothing was ever acknowledged, and a first opening may have left what nobody can open.
        if !there || (!noted && dir.join(super::opening::FIRST).exists()) {
            return Ok(Self { histories: Vec::new() });
        }
        look::look_at_store(&kept, &tried, how, &due)?;
        let store = Store::open(&kept, Arc::new(Unsynced))?;
        let histories = histories(&store)?;
        if !noted && !histories.is_empty() {
            let events: usize = histories.iter().map(|history| history.records.len()).sum();
            return Err(look::no_anchor(events as u64));
        }
        Ok(Self { histories })
    }

    /// All executions, oldest first.
    pub fn executions(&self) -> Vec<ExecutionId> {
        self.histories.iter().map(|history| history.execution.clone()).collect()
    }

    /// The records of one.
    pub fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, LogError> {
        Ok(self.of(execution)?.iter().map(|(_, opened)| opened.record.clone()).collect())
    }

    /// The stored bytes of each of its records.
    pub fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, LogError> {
        Ok(self.of(execution)?.iter().map(|(bytes, _)| bytes.clone()).collect())
    }

    fn of(&self, execution: &ExecutionId) -> Result<&[(Vec<u8>, Opened)], LogError> {
        let found = self.histories.iter().find(|history| history.execution == *execution);
        found.map(|history| history.records.as_slice()).ok_or_else(|| LogError::NotFound(execution.to_string()))
    }
}

fn histories(store: &Store) -> Result<Vec<History>, LogError> {
    let read = |(execution, end)| Ok(History { records: look::history(store, &execution, &end)?, execution });
    store.ends()?.into_iter().map(read).collect()
}

/// A copy that is thrown away need not survive anything.
struct Unsynced;

impl Syncer for Unsynced {
    fn sync(&self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

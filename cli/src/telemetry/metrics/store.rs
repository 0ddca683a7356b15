//! Counts what a store's histories say that this process wrote, and keeps in mind how each of its executions stands.

use super::Meters;
use super::measured::{Standing, measured, standing};
use super::meters::Known;
use crate::calendar::Look;
use crate::telemetry::courier::Load;
use async_trait::async_trait;
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::log::EventLog;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// See the file's sentence.
pub struct Measures {
    dir: PathBuf,
    cluster: String,
    meters: Arc<Meters>,
    /// Events of each history that were read.
    read: BTreeMap<ExecutionId, Seq>,
    executions: BTreeMap<ExecutionId, Standing>,
}

impl Measures {
    /// Of the cluster whose store lies in this folder.
    pub fn of(dir: &Path, cluster: &str, meters: Arc<Meters>) -> Self {
        Self {
            dir: dir.to_owned(),
            cluster: cluster.to_owned(),
            meters,
            read: BTreeMap::new(),
            executions: BTreeMap::new(),
        }
    }

    async fn count(&mut self, log: &dyn EventLog) -> Result<(), String> {
        let (own, _) = log.incarnations();
        for head in log.heads().await.map_err(|e| e.to_string())? {
            let from = self.read.get(&head.execution).copied().unwrap_or(0);
            if from >= head.len {
                continue;
            }
            let history = log.read(&head.execution, 0).await.map_err(|e| e.to_string())?;
            let is_own = |seq: Seq| {
                let record = usize::try_from(seq).ok().and_then(|at| history.get(at));
                record.is_some_and(|record| record.incarnation == own)
            };
            let new = measured(&history).into_iter().filter(|over| over.ended >= from && is_own(over.ended));
            new.for_each(|over| self.meters.instruments().count(&over.what));
            self.executions.extend(standing(&history).map(|standing| (head.execution.clone(), standing)));
            self.read.insert(head.execution, history.len() as Seq);
        }
        Ok(())
    }
}

#[async_trait]
impl Load for Measures {
    async fn carry(&mut self, log: &Weak<dyn EventLog>) -> Result<(), String> {
        let counted = match log.upgrade() {
            Some(log) => self.count(&*log).await,
            None => Ok(()),
        };
        let known = Known {
            cluster: self.cluster.clone(),
            executions: self.executions.clone(),
            size: ["store", "blobs"].iter().map(|folder| size(&self.dir.join(folder))).sum(),
            look: Look::read(&self.dir),
        };
        self.meters.instruments().know(&self.dir, known);
        counted
    }
}

/// Bytes of the files in a folder. What cannot be looked at counts for nothing.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => size(&entry.path()),
        Ok(of) => of.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

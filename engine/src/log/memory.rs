//! An event log in memory: for tests, the demo and forecasts. The store outlives the openings of it, as a disk outlives processes.

use super::{Append, Appended, BlobHash, Cursor, EventLog, Followed, Head, LogError, MAX_APPEND, Owner};
use crate::event::Record;
use crate::ids::{ExecutionId, Incarnation, Seq};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// The store; clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: Mutex<Kept>,
    written: Notify,
}

#[derive(Clone, Default)]
struct Kept {
    histories: BTreeMap<ExecutionId, Vec<Record>>,
    owners: BTreeMap<ExecutionId, Owner>,
    /// Every record in the order in which it was written: (execution, seq).
    order: Vec<(ExecutionId, Seq)>,
    blobs: BTreeMap<BlobHash, Vec<u8>>,
    openings: Vec<Incarnation>,
    appends: u64,
}

/// One opening of a [`MemoryStore`].
pub struct MemoryLog {
    store: MemoryStore,
    incarnation: Incarnation,
    predecessors: Vec<Incarnation>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it as a process of its own would, with an incarnation that follows on all before it.
    pub fn open(&self) -> MemoryLog {
        let mut kept = self.kept();
        let predecessors: Vec<Incarnation> = kept.openings.iter().rev().cloned().collect();
        let digest = hex(&Sha256::digest(format!("opening {}", predecessors.len())));
        let incarnation = Incarnation::new(&digest[..32]);
        kept.openings.push(incarnation.clone());
        MemoryLog { store: self.clone(), incarnation, predecessors }
    }

    /// A store of its own that holds what this one holds now, as a copied disk would.
    #[must_use]
    pub fn copied(&self) -> Self {
        let kept = self.kept().clone();
        Self { inner: Arc::new(Inner { kept: Mutex::new(kept), written: Notify::new() }) }
    }

    /// How many appends were durable so far: what syncs would be on a disk.
    pub fn appends(&self) -> u64 {
        self.kept().appends
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().expect("no code panics while it holds this lock")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Kept {
    fn append(&mut self, append: Append) -> Result<Appended, LogError> {
        let size: usize = append.events.iter().map(|e| serde_json::to_vec(e).map_or(0, |bytes| bytes.len())).sum();
        if size > MAX_APPEND {
            return Err(LogError::TooLarge(size));
        }
        let Some(owner) = self.owners.get(&append.execution) else {
            return Err(LogError::NotFound(format!("a claim of {}", append.execution)));
        };
        if *owner != append.owner {
            return Ok(Appended::Fenced { owner: owner.clone() });
        }
        let history = self.histories.entry(append.execution.clone()).or_default();
        if let Some(records) = same(history, &append) {
            return Ok(Appended::Appended(records));
        }
        let actual = history.len() as Seq;
        if actual != append.expected {
            return Ok(Appended::Conflict { actual });
        }
        let time = history.last().map_or(append.time, |last| last.time.max(append.time));
        let records: Vec<Record> = append
            .events
            .into_iter()
            .zip(actual..)
            .map(|(event, seq)| Record {
                execution: append.execution.clone(),
                seq,
                time,
                incarnation: append.owner.incarnation.clone(),
                event,
            })
            .collect();
        history.extend(records.iter().cloned());
        self.order.extend(records.iter().map(|r| (r.execution.clone(), r.seq)));
        self.appends += 1;
        Ok(Appended::Appended(records))
    }
}

/// The records that an append would write, if just these stand in its place already.
fn same(history: &[Record], append: &Append) -> Option<Vec<Record>> {
    let from = usize::try_from(append.expected).ok()?;
    let there = history.get(from..from.checked_add(append.events.len())?)?;
    let equal = there.iter().zip(&append.events).all(|(r, event)| r.event == *event);
    let ours = there.iter().all(|r| r.incarnation == append.owner.incarnation);
    (equal && ours).then(|| there.to_vec())
}

#[async_trait]
impl EventLog for MemoryLog {
    fn incarnations(&self) -> (Incarnation, Vec<Incarnation>) {
        (self.incarnation.clone(), self.predecessors.clone())
    }

    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let appended = self.store.kept().append(append);
        self.store.inner.written.notify_waiters();
        appended
    }

    async fn read(&self, execution: &ExecutionId, from: Seq) -> Result<Vec<Record>, LogError> {
        let kept = self.store.kept();
        let history = kept.histories.get(execution).ok_or_else(|| LogError::NotFound(execution.to_string()))?;
        Ok(history.iter().filter(|r| r.seq >= from).cloned().collect())
    }

    async fn heads(&self) -> Result<Vec<Head>, LogError> {
        let kept = self.store.kept();
        let heads = kept.histories.iter().filter(|(_, records)| !records.is_empty());
        Ok(heads.map(|(id, records)| Head { execution: id.clone(), len: records.len() as Seq }).collect())
    }

    async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError> {
        let from: usize = match after {
            None => 0,
            Some(cursor) => cursor.0.parse().map_err(|_| LogError::NotFound(format!("cursor {}", cursor.0)))?,
        };
        loop {
            let written = self.store.inner.written.notified();
            tokio::pin!(written);
            // Listening begins before the look, so that nothing written in between is missed.
            written.as_mut().enable();
            {
                let kept = self.store.kept();
                let order = kept.order.get(from..).unwrap_or_default();
                if !order.is_empty() {
                    let records = order
                        .iter()
                        .filter_map(|(id, seq)| kept.histories.get(id)?.get(usize::try_from(*seq).ok()?).cloned());
                    return Ok(Followed::Records(records.collect(), Cursor(kept.order.len().to_string())));
                }
            }
            written.await;
        }
    }

    async fn claim(&self, execution: &ExecutionId) -> Result<Owner, LogError> {
        let mut kept = self.store.kept();
        let term = kept.owners.get(execution).map_or(0, |owner| owner.term) + 1;
        let owner = Owner { incarnation: self.incarnation.clone(), term };
        kept.owners.insert(execution.clone(), owner.clone());
        Ok(owner)
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError> {
        let hash = BlobHash(hex(&Sha256::digest(bytes)));
        self.store.kept().blobs.insert(hash.clone(), bytes.to_vec());
        Ok(hash)
    }

    async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
        let kept = self.store.kept();
        let bytes = kept.blobs.get(hash).cloned().ok_or_else(|| LogError::NotFound(hash.to_string()))?;
        if hex(&Sha256::digest(&bytes)) == hash.0 { Ok(bytes) } else { Err(LogError::Damaged(hash.to_string())) }
    }

    async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError> {
        self.store.kept().blobs.remove(hash);
        Ok(())
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, LogError> {
        Ok(self.store.kept().blobs.keys().cloned().collect())
    }
}

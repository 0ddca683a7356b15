//! An event log that fails or ends the process, as it were, at a chosen append: for enumerating crash points.

use super::{Append, Appended, BlobHash, Cursor, EventLog, Followed, Head, LogError, Owner};
use crate::event::Record;
use crate::ids::{ExecutionId, Incarnation, Seq};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What happens at the chosen append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before anything is written.
    CrashBefore,
    /// The process ends once it is durable, before the answer.
    CrashAfter,
    /// Nothing is written and the log cannot say so.
    FailBefore,
    /// It is durable and the log cannot say so.
    FailAfter,
}

/// Wraps a log. A crash never answers; whoever drives drops the drive when [`FaultyLog::crashed`] is done.
pub struct FaultyLog {
    inner: Arc<dyn EventLog>,
    at: u64,
    fault: Fault,
    seen: AtomicU64,
    crashed: watch::Sender<bool>,
}

impl FaultyLog {
    /// The fault comes at the append of this number, from 1, as counted by this wrapper.
    pub fn new(inner: Arc<dyn EventLog>, at: u64, fault: Fault) -> Self {
        Self { inner, at, fault, seen: AtomicU64::new(0), crashed: watch::Sender::new(false) }
    }

    /// Waits for the crash.
    pub async fn crashed(&self) {
        let mut crashed = self.crashed.subscribe();
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = crashed.wait_for(|crashed| *crashed).await;
    }

    /// Whether it crashed.
    pub fn has_crashed(&self) -> bool {
        *self.crashed.borrow()
    }

    /// Appends that were asked for so far.
    pub fn appends(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    async fn crash(&self) -> Result<Appended, LogError> {
        self.crashed.send_replace(true);
        std::future::pending().await
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    fn incarnations(&self) -> (Incarnation, Vec<Incarnation>) {
        self.inner.incarnations()
    }

    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if self.has_crashed() {
            return self.crash().await;
        }
        if number != self.at {
            return self.inner.append(append).await;
        }
        match self.fault {
            Fault::CrashBefore => self.crash().await,
            Fault::FailBefore => Err(LogError::Unknown("injected".to_owned())),
            Fault::CrashAfter => {
                self.inner.append(append).await?;
                self.crash().await
            }
            Fault::FailAfter => {
                self.inner.append(append).await?;
                Err(LogError::Unknown("injected".to_owned()))
            }
        }
    }

    async fn read(&self, execution: &ExecutionId, from: Seq) -> Result<Vec<Record>, LogError> {
        self.inner.read(execution, from).await
    }

    async fn heads(&self) -> Result<Vec<Head>, LogError> {
        self.inner.heads().await
    }

    async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError> {
        self.inner.follow(after).await
    }

    async fn claim(&self, execution: &ExecutionId) -> Result<Owner, LogError> {
        self.inner.claim(execution).await
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError> {
        self.inner.put_blob(bytes).await
    }

    async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
        self.inner.get_blob(hash).await
    }

    async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError> {
        self.inner.remove_blob(hash).await
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, LogError> {
        self.inner.blobs().await
    }
}

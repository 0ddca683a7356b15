//! The contract of an event log; it names nothing of any one store.

pub mod envelope;
pub mod faulty;
pub mod memory;
pub mod orphans;
pub mod sled;

use crate::clock::Timestamp;
use crate::event::{Event, Record};
use crate::ids::{ExecutionId, Incarnation, Seq};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An append's encoded events may take this many bytes; anything larger is a blob.
pub const MAX_APPEND: usize = 64 * 1024;

/// The right to write one history, given by [`EventLog::claim`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The opening that owns it.
    pub incarnation: Incarnation,
    /// Rises with each claim.
    pub term: u64,
}

/// Events to be added to one history, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose.
    pub execution: ExecutionId,
    /// The seq of the first of them: the length of the history as the writer knows it.
    pub expected: Seq,
    /// Who writes.
    pub owner: Owner,
    /// The wall clock; the log raises it to the time of the last record.
    pub time: Timestamp,
    /// At least one.
    pub events: Vec<Event>,
}

/// The answer to an append that was durable before it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable. The records as written. Also the answer if the very same records stand there already.
    Appended(Vec<Record>),
    /// The history is longer or shorter than expected; nothing was written.
    Conflict {
        /// Its length.
        actual: Seq,
    },
    /// Somebody else owns it; nothing was written.
    Fenced {
        /// Who.
        owner: Owner,
    },
}

/// SHA-256 of a blob's bytes, in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobHash(pub String);

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An opaque place in the order in which records were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub String);

/// What [`EventLog::follow`] answers.
#[derive(Clone, Debug)]
pub enum Followed {
    /// Records after the cursor, at least one, and the cursor to go on from. Ordered within an execution only.
    Records(Vec<Record>, Cursor),
    /// The cursor lies before what is kept: read the histories and follow from the end.
    TooOld,
}

/// The length of a history and its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose.
    pub execution: ExecutionId,
    /// Its length.
    pub len: Seq,
}

/// Why a log could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It may or may not be durable. Appending the same records again is safe; going on is not.
    #[error("the event log could not say whether it wrote: {0}")]
    Unknown(String),
    /// The store cannot be trusted: it was changed, cut or lost its tail.
    #[error("the event log is damaged: {0}")]
    Damaged(String),
    /// Another process holds the store.
    #[error("the event log is held by another process: {0}")]
    Held(String),
    /// The append is larger than [`MAX_APPEND`].
    #[error("an append of {0} bytes is over the limit of {MAX_APPEND}")]
    TooLarge(usize),
    /// There is no such history or blob.
    #[error("not in the event log: {0}")]
    NotFound(String),
}

/// A durable, ordered log of many histories.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Which opening this is, and those before it, newest first.
    fn incarnations(&self) -> (Incarnation, Vec<Incarnation>);
    /// Adds events; durable when it answers.
    async fn append(&self, append: Append) -> Result<Appended, LogError>;
    /// The records from `from` on; linearizable. A history without records is [`LogError::NotFound`].
    async fn read(&self, execution: &ExecutionId, from: Seq) -> Result<Vec<Record>, LogError>;
    /// The stored bytes of each record of a history, as an export holds them. A log that stores no bytes seals them now.
    async fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, LogError> {
        let records = self.read(execution, 0).await?;
        envelope::seal_all(&records).map_err(|e| LogError::Damaged(e.to_string()))
    }
    /// All histories, oldest first.
    async fn heads(&self) -> Result<Vec<Head>, LogError>;
    /// Waits for records after the cursor; `None` starts at the oldest record that is kept.
    async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError>;
    /// Takes the right to write a history (which may be empty yet) from whoever had it.
    async fn claim(&self, execution: &ExecutionId) -> Result<Owner, LogError>;
    /// Stores bytes; durable when it answers.
    async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError>;
    /// Fetches bytes; their hash is checked.
    async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError>;
    /// Takes bytes away; durable when it answers, and a success where they are not there (any more).
    async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError>;
    /// All that are there, in no order.
    async fn blobs(&self) -> Result<Vec<BlobHash>, LogError>;
}

//! The event log on sled: one thread writes, and every answer is durable.
//!
//! ```text
//! DIR/lock    held while the store is open       DIR/store/   sled's files
//!             or copied by a reader
//! DIR/anchor  what the store must hold           DIR/blobs/   one file a blob, named by its hash
//! DIR/look/   a copy of the store, while it is looked at    DIR/first  there until the first opening has ended
//! ```

pub mod anchor;
mod blobs;
mod committer;
mod look;
mod opening;
mod reading;
mod store;
mod tail;

pub use look::{Look, LookCommand, probe_store};
pub use opening::{Opened, Options, Timed};
pub use reading::Reading;

use crate::clock::Clock;
use crate::ids::{ExecutionId, Incarnation, Seq};
use crate::log::{Append, Appended, BlobHash, Cursor, EventLog, Followed, Head, LogError, Owner};
use async_trait::async_trait;
use committer::Request;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tail::Tail;
use tokio::sync::oneshot;

/// An event log in a directory of this machine. Dropping it closes it.
pub struct SledLog {
    clock: Arc<dyn Clock>,
    incarnation: Incarnation,
    predecessors: Vec<Incarnation>,
    blobs: PathBuf,
    tail: Arc<Tail>,
    /// Both are `None` only while it is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
    /// Held until all else is closed.
    _lock: File,
}

impl SledLog {
    /// Opens the store in this directory, or makes it. See [`Options`] for what `open` takes by default.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<(Self, Opened), LogError> {
        Self::open_with(dir, clock, &Options::default())
    }

    /// Opens it in a stated way.
    pub fn open_with(dir: &Path, clock: Arc<dyn Clock>, options: &Options) -> Result<(Self, Opened), LogError> {
        opening::open(dir, clock, options)
    }

    /// Asks the thread that owns the store; the clock does not jump meanwhile.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, LogError> {
        let _busy = self.clock.busy();
        let gone = || LogError::Unknown("the thread that writes it has ended".into());
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Works on a thread of its own: large files must not hold appends up.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let _busy = self.clock.busy();
        let (reply, answer) = oneshot::channel();
        // Nobody listens any more if the caller was dropped.
        std::thread::spawn(move || drop(reply.send(work())));
        answer.await.map_err(|_| LogError::Unknown("the thread that works on a blob has ended".into()))?
    }
}

impl Drop for SledLog {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.committer.take() {
            // It catches its panics; if it ended by one all the same, the next opening finds what it left.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl EventLog for SledLog {
    fn incarnations(&self) -> (Incarnation, Vec<Incarnation>) {
        (self.incarnation.clone(), self.predecessors.clone())
    }

    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        self.ask(|reply| Request::Append(append, reply)).await
    }

    async fn read(&self, execution: &ExecutionId, from: Seq) -> Result<Vec<crate::event::Record>, LogError> {
        let records = self.ask(|reply| Request::Read(execution.clone(), reply)).await?;
        if records.is_empty() {
            return Err(LogError::NotFound(execution.to_string()));
        }
        Ok(records.into_iter().map(|(_, opened)| opened.record).filter(|r| r.seq >= from).collect())
    }

    async fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, LogError> {
        let records = self.ask(|reply| Request::Read(execution.clone(), reply)).await?;
        Ok(records.into_iter().map(|(bytes, _)| bytes).collect())
    }

    async fn heads(&self) -> Result<Vec<Head>, LogError> {
        self.ask(Request::Heads).await
    }

    async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError> {
        self.tail.follow(after).await
    }

    async fn claim(&self, execution: &ExecutionId) -> Result<Owner, LogError> {
        self.ask(|reply| Request::Claim(execution.clone(), reply)).await
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError> {
        let (dir, bytes) = (self.blobs.clone(), bytes.to_vec());
        self.work(move || blobs::put(&dir, &bytes)).await
    }

    async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
        let (dir, hash) = (self.blobs.clone(), hash.clone());
        self.work(move || blobs::get(&dir, &hash)).await
    }

    async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError> {
        let (dir, hash) = (self.blobs.clone(), hash.clone());
        self.work(move || blobs::remove(&dir, &hash)).await
    }

    async fn blobs(&self) -> Result<Vec<BlobHash>, LogError> {
        let dir = self.blobs.clone();
        self.work(move || blobs::list(&dir)).await
    }
}

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// How the store's file is made durable; tests take it out, count it or let it fail.
pub trait Syncer: Send + Sync + 'static {
    /// Returns once the file's bytes are on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// `fdatasync`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataSync;

impl Syncer for DataSync {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Names of files are durable only once their directory is.
fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed("sync a directory of the store"))
}

/// What an I/O error means: nothing is known of what was being written.
fn failed(what: &'static str) -> impl Fn(io::Error) -> LogError {
    move |e| LogError::Unknown(format!("could not {what}: {e}"))
}

/// Calls sled, which panics over broken bytes.
fn guarded<T>(what: &'static str, call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, LogError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) => Err(failed(what)(e)),
        Ok(Err(e)) => Err(LogError::Damaged(format!("could not {what}: {e}"))),
        Err(_) => Err(LogError::Damaged(format!("could not {what}: sled panicked"))),
    }
}

//! Opening a store: the lock, the look, the anchor, and a new incarnation.

use super::anchor::{Anchor, Mark};
use super::committer::Committer;
use super::look::{self, Look, Seen};
use super::store::{End, Store};
use super::tail::Tail;
use super::{DataSync, SledLog, Syncer, blobs, failed, sync_dir};
use crate::clock::Clock;
use crate::ids::{ExecutionId, Incarnation};
use crate::log::LogError;
use crate::log::envelope::hex;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Terms of one opening; those of the next are above all of them.
const TERMS: u64 = 1 << 32;

/// How long whoever opens the store waits for readers to end; they hold it while they copy its files.
const READERS: Duration = Duration::from_secs(5);
/// How often it tries meanwhile.
const AGAIN: Duration = Duration::from_millis(10);

/// A file that is there until the first opening of a store has ended: a power cut until then may leave a store that no one can open,
/// and in which nothing is.
pub const FIRST: &str = "first";

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Where it is looked at first. A process that can, passes a command of its own binary; the default looks here.
    pub look: Look,
    /// How it is made durable.
    pub syncer: Arc<dyn Syncer>,
    /// Told how long each commit took: whoever measures.
    pub commits: Option<Timed>,
    /// What the name of this opening begins with, so that each event says what kind of process wrote it.
    pub prefix: &'static str,
}

/// Told of a duration; called by the thread that writes, so it must not wait for anything.
pub type Timed = Arc<dyn Fn(Duration) + Send + Sync>;

impl Default for Options {
    fn default() -> Self {
        Self { look: Look::Here, syncer: Arc::new(DataSync), commits: None, prefix: "" }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The histories that have not ended, oldest first.
    pub open: Vec<ExecutionId>,
    /// How many histories there are.
    pub histories: usize,
    /// How many events there are.
    pub events: u64,
}

/// Opens the store in a directory, or makes it.
pub fn open(dir: &Path, clock: Arc<dyn Clock>, options: &Options) -> Result<(SledLog, Opened), LogError> {
    let (store_dir, blobs, copy) = (dir.join("store"), dir.join("blobs"), dir.join("look"));
    make_dir(dir)?;
    let lock = lock(dir)?;
    let (mut anchor, noted) = Anchor::open(&dir.join("anchor"))?;
    if noted.is_none() {
        begin_anew(dir, &store_dir)?;
    }
    for dir in [&store_dir, &blobs] {
        make_dir(dir)?;
    }
    let due = noted.unwrap_or_default();
    if store_dir.join("db").exists() {
        look::look_at_store(&store_dir, &copy, &options.look, &due)?;
    } else if due.total > 0 {
        return Err(LogError::Damaged(format!("the store is gone, and all of its {} events are missing", due.total)));
    }
    let store = Store::open(&store_dir, options.syncer.clone())?;
    let (ends, openings) = (store.ends()?, store.openings()?);
    let seen = look::seen(&ends, openings.len() as u64);
    seen.check(&due)?;
    if noted.is_none() && seen.counted > 0 {
        return Err(look::no_anchor(seen.counted));
    }
    let incarnation = draw(options.prefix)?;
    let mark = begin(dir, &store, &mut anchor, &seen, &incarnation)?;
    if let Ok(()) = fs::remove_file(dir.join(FIRST)) {
        sync_dir(dir)?;
    }
    blobs::sweep(&blobs)?;
    let opened = opened(&ends, &seen);
    let tail = Arc::new(Tail::new(incarnation.clone()));
    let committer = committer(store, anchor, tail.clone(), incarnation.clone(), ends, mark);
    let committer = Committer { commits: options.commits.clone(), ..committer };
    let (requests, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("event-log".into()).spawn(move || committer.serve(&receiver));
    let thread = thread.map_err(failed("start the thread that writes"))?;
    let predecessors = openings.into_iter().rev().collect();
    let (requests, committer) = (Some(requests), Some(thread));
    let log = SledLog { clock, incarnation, predecessors, blobs, tail, requests, committer, _lock: lock };
    Ok((log, opened))
}

/// Removes what a first opening left that never ended, and notes that another one begins. Without a mark nothing was acknowledged yet;
/// a store that only lost its anchor is not touched: its first opening has ended.
fn begin_anew(dir: &Path, store: &Path) -> Result<(), LogError> {
    let first = dir.join(FIRST);
    if first.exists() && store.exists() {
        fs::remove_dir_all(store).map_err(failed("remove a store that was never opened"))?;
    }
    if !store.exists() {
        File::create(first).map_err(failed("make a directory of the store"))?;
        sync_dir(dir)?;
    }
    Ok(())
}

/// Writes the new opening down, then what the store must hold from now on.
fn begin(
    dir: &Path,
    store: &Store,
    anchor: &mut Anchor,
    seen: &Seen,
    incarnation: &Incarnation,
) -> Result<Mark, LogError> {
    store.add_opening(seen.openings, incarnation)?;
    store.sync()?;
    sync_dir(dir)?;
    let mark = Mark { openings: seen.openings + 1, ..seen.mark() };
    anchor.sync(&mark)?;
    Ok(mark)
}

fn committer(
    store: Store,
    anchor: Anchor,
    tail: Arc<Tail>,
    incarnation: Incarnation,
    ends: Vec<(ExecutionId, End)>,
    mark: Mark,
) -> Committer {
    Committer {
        store,
        anchor,
        tail,
        incarnation,
        ends: ends.into_iter().collect(),
        owners: BTreeMap::new(),
        term: mark.openings * TERMS,
        mark,
        staged: Vec::new(),
        commits: None,
        broken: None,
    }
}

fn opened(ends: &[(ExecutionId, End)], seen: &Seen) -> Opened {
    let open = ends.iter().filter(|(_, end)| !end.ended).map(|(execution, _)| execution.clone());
    Opened { open: open.collect(), histories: ends.len(), events: seen.counted }
}

/// Events name hosts and people: nobody else may read them.
fn make_dir(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make a directory of the store"))?;
    dir.parent().map_or(Ok(()), |parent| if parent.as_os_str().is_empty() { Ok(()) } else { sync_dir(parent) })
}

/// The lock of whoever opens the store. Readers are waited for, since they only copy; another one that opened it is not.
fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(failed("open the lock of the store"))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < READERS && is_shared(&file)? => thread::sleep(AGAIN),
            Err(e) => return Err(not_locked(e, &path)),
        }
    }
}

/// Whether nobody but readers has it locked.
fn is_shared(file: &File) -> Result<bool, LogError> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| true).map_err(failed("unlock the store")),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(failed("lock the store")(e)),
    }
}

/// The lock of whoever reads; none where no store was ever opened. It writes nothing.
pub fn lock_shared(dir: &Path) -> Result<Option<File>, LogError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("open the lock of the store")(e)),
    };
    file.try_lock_shared().map_err(|e| not_locked(e, &path)).map(|()| Some(file))
}

fn not_locked(error: TryLockError, path: &Path) -> LogError {
    match error {
        TryLockError::WouldBlock => LogError::Held(path.display().to_string()),
        TryLockError::Error(e) => failed("lock the store")(e),
    }
}

fn draw(prefix: &str) -> Result<Incarnation, LogError> {
    let mut bytes = [0; 16];
    let random = File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    random.map_err(failed("draw an incarnation"))?;
    Ok(Incarnation::new(format!("{prefix}{}", hex(&bytes))))
}

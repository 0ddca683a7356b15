//! A look at a copy of a store, in a child process, before we open the store itself.
//!
//! Opening changes a store, and sled may panic, abort or hang over broken bytes. So a child opens a copy under a time limit;
//! a store that falls short of what it must hold is refused as it was found. Nothing is ever taken from the copy: it need not
//! survive a power cut, and one that was left behind means nothing.

use super::anchor::Mark;
use super::store::Store;
use super::{DataSync, failed, store, sync_dir};
use crate::ids::ExecutionId;
use crate::log::LogError;
use crate::log::envelope::{self, Chain};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Makes the command that prints [`probe_store`] of the directory it is given.
pub type LookCommand = Arc<dyn Fn(&Path) -> Command + Send + Sync>;

/// Where a store is looked at.
#[derive(Clone)]
pub enum Look {
    /// In a child process, which may end in any way within the limit.
    Child(LookCommand, Duration),
    /// Here: for tests of stores that are whole.
    Here,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its last append.
    pub commit: u64,
    /// Events in all, as its last append says.
    pub total: u64,
    /// Events in all, as its histories are long.
    pub counted: u64,
    /// Openings so far.
    pub openings: u64,
    /// The hash of its last append's last record.
    pub chain: [u8; 32],
}

impl Seen {
    /// The mark that the anchor should hold for it.
    pub fn mark(&self) -> Mark {
        Mark { commit: self.commit, total: self.total, openings: self.openings, chain: Chain(self.chain) }
    }

    /// Whether it holds all that it says of itself and all that the anchor knows of.
    pub fn check(&self, anchor: &Mark) -> Result<(), LogError> {
        let damaged = |text: String| Err(LogError::Damaged(text));
        let due = self.total.max(anchor.total);
        if self.counted < due {
            return damaged(format!("{} of {due} events are missing", due - self.counted));
        }
        if self.counted > self.total || self.commit < anchor.commit {
            return damaged(format!("{} events stand where {due} were written", self.counted));
        }
        if self.openings < anchor.openings {
            return damaged(format!("{} of its openings are missing", anchor.openings - self.openings));
        }
        if self.commit == anchor.commit && self.chain != anchor.chain.0 {
            return damaged("its last event is not the one that was written".into());
        }
        Ok(())
    }
}

/// Events that nothing vouches for.
pub fn no_anchor(events: u64) -> LogError {
    LogError::Damaged(format!("there are {events} events, but no anchor says how many there must be"))
}

/// Looks at the store in this directory, which it may change, and returns one line for [`Look::Child`] to read.
/// The histories that are open are read in full.
pub fn probe_store(dir: &Path) -> String {
    let answer = Store::open(dir, Arc::new(DataSync)).and_then(|store| look(&store));
    let answer = answer.map_err(|e| match e {
        LogError::Damaged(why) => why,
        other => other.to_string(),
    });
    serde_json::to_string(&answer).expect("an answer has no keys that are not text")
}

fn look(store: &Store) -> Result<Seen, LogError> {
    let ends = store.ends()?;
    for (execution, end) in ends.iter().filter(|(_, end)| !end.ended) {
        history(store, execution, end)?;
    }
    Ok(seen(&ends, store.openings()?.len() as u64))
}

/// What the ends of all histories say of the store.
pub fn seen(ends: &[(ExecutionId, store::End)], openings: u64) -> Seen {
    let last = ends.iter().map(|(_, end)| end).max_by_key(|end| end.place.commit);
    let counted = ends.iter().map(|(_, end)| end.len).sum();
    let Some(last) = last else { return Seen { openings, ..Seen::default() } };
    Seen { commit: last.place.commit, total: last.place.total, counted, openings, chain: last.chain.0 }
}

/// Reads a history whole and holds it against its chain and its end.
pub fn history(
    store: &Store,
    execution: &ExecutionId,
    end: &store::End,
) -> Result<Vec<(Vec<u8>, envelope::Opened)>, LogError> {
    let mut chain = Chain::default();
    let mut records = Vec::new();
    for bytes in store.records(execution)?.into_iter().take(usize::try_from(end.len).unwrap_or(usize::MAX)) {
        let seq = records.len() as u64;
        let damaged = |why: &str| LogError::Damaged(format!("event {seq} of {execution}: {why}"));
        let opened = envelope::open_after(&bytes, chain).map_err(|e| damaged(&e.to_string()))?;
        if opened.record.seq != seq || opened.record.execution != *execution {
            return Err(damaged("it stands in the wrong place"));
        }
        chain = opened.chain;
        records.push((bytes, opened));
    }
    if chain != end.chain {
        return Err(LogError::Damaged(format!("{execution} does not end as it was written")));
    }
    Ok(records)
}

/// Looks at a copy of the store, and refuses the store if it falls short. Where only a file that sled makes anew is broken, it is
/// removed from the store.
pub fn look_at_store(store: &Path, copy: &Path, how: &Look, anchor: &Mark) -> Result<(), LogError> {
    let look = |keep: fn(&str) -> bool| {
        remove(copy)?;
        copy_store(store, copy, keep).map_err(failed("copy the store"))?;
        ask(copy, how)?.check(anchor)
    };
    let seen = look(|_| true).or_else(|first| {
        look(|name| !mends_itself(name)).map_err(|_| first)?;
        mend(store)
    });
    remove(copy)?;
    seen
}

/// Removes what sled makes anew.
fn mend(store: &Path) -> Result<(), LogError> {
    let failed = || failed("mend the store");
    for entry in fs::read_dir(store).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if mends_itself(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(failed())?;
        }
    }
    sync_dir(store)
}

/// Whether sled makes this file anew if it is not there. A broken one alone makes sled refuse a store that is whole.
fn mends_itself(name: &str) -> bool {
    name.starts_with("snap.") || name == "conf"
}

/// Removes a directory that may not be there.
fn remove(dir: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove the copy of the store")(e)),
        _ => Ok(()),
    }
}

/// Copies its files into a new folder.
pub fn copy_store(from: &Path, to: &Path, keep: fn(&str) -> bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && keep(&name.to_string_lossy()) {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

fn ask(store: &Path, how: &Look) -> Result<Seen, LogError> {
    let answer = match how {
        Look::Here => probe_store(store),
        Look::Child(command, limit) => answer_of(command(store), *limit)?,
    };
    // The last line, so that a test harness around the child may say what it wants before it.
    let line = answer.lines().rev().find(|l| l.starts_with("{\"")).unwrap_or_default();
    match serde_json::from_str::<Result<Seen, String>>(line) {
        Ok(answer) => answer.map_err(LogError::Damaged),
        Err(_) => Err(LogError::Damaged("opening it ended the process that tried".into())),
    }
}

fn answer_of(mut command: Command, limit: Duration) -> Result<String, LogError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed("start a look at the store"))?;
    let answer = read_within(&mut child, limit);
    // Whatever it answered, it is not needed any more; an error means that it has ended by itself.
    let _ = child.kill();
    child.wait().map_err(failed("look at the store"))?;
    answer.ok_or_else(|| LogError::Damaged(format!("opening it took longer than {limit:?}")))
}

fn read_within(child: &mut Child, limit: Duration) -> Option<String> {
    let mut stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let whole = stdout.read_to_string(&mut text).is_ok();
        // The receiver is gone if the limit has passed.
        let _ = send.send(if whole { text } else { String::new() });
    });
    receive.recv_timeout(limit).ok()
}

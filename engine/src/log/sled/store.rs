//! sled itself: keys, values and the one way to make them durable.
//!
//! A key is one append, `e` execution NUL first-seq; its value is a length, a checksum and the append's records. One key an
//! append is atomic by itself, and the last key of an execution is its head. What is longer than a value may be goes on in keys
//! `p` execution NUL first-seq part, written before. `i` number holds one opening.

use super::{Syncer, failed, guarded, sync_dir};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::{ExecutionId, Incarnation, Seq};
use crate::log::LogError;
use crate::log::envelope::{self, Chain, Place};
use sled::{Db, Mode};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// sled's default is 1 GB; a history is read once and then in the page cache of the kernel.
const CACHE: u64 = 4 << 20;
/// The longest value. sled puts a node of more than 128 KiB in a file of its own, which it never syncs; a node has at most 17 values.
const VALUE: usize = 6 * 1024;
/// What is written with zeros beyond sled's end: two of its segments. A sync of a file that grows also writes the file's length and
/// place on the disk, which takes as long again. Zeros are what sled itself puts where nothing stands.
const ROOM: u64 = 1024 * 1024;
const EXECUTION: u8 = b'e';
const OPENING: u8 = b'i';
const PART: u8 = b'p';

/// The end of one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its length.
    pub len: Seq,
    /// The hash of its last record.
    pub chain: Chain,
    /// The time of its last record.
    pub time: Timestamp,
    /// Where the last append stands.
    pub place: Place,
    /// No event can follow.
    pub ended: bool,
}

/// An open sled database, used by one thread at a time: it has deadlocks under concurrent load.
pub struct Store {
    db: Db,
    /// sled's `flush` ends in `sync_file_range`, which survives no power cut; this file descriptor is ours to sync.
    file: File,
    syncer: Arc<dyn Syncer>,
    /// How far the file was written, by sled or with zeros, when that was last looked at.
    end: Cell<u64>,
}

impl Store {
    /// Opens it, and syncs before anything that was read is believed.
    pub fn open(dir: &Path, syncer: Arc<dyn Syncer>) -> Result<Self, LogError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE).mode(Mode::HighThroughput);
        let config = config.flush_every_ms(None);
        let db = guarded("open the store", || config.open())?;
        let file = OpenOptions::new().read(true).write(true).open(dir.join("db")).map_err(failed("open the store"))?;
        let store = Self { db, file, syncer, end: Cell::new(u64::MAX) };
        store.sync()?;
        // sled writes this file once and never syncs it; a torn one makes it refuse a store that is whole.
        File::open(dir.join("conf")).and_then(|conf| conf.sync_all()).map_err(failed("sync the store"))?;
        sync_dir(dir)?;
        Ok(store)
    }

    /// Makes all that was put durable.
    pub fn sync(&self) -> Result<(), LogError> {
        guarded("flush the store", || self.db.flush())?;
        self.syncer.sync(&self.file).map_err(failed("sync the store"))?;
        self.make_room().map_err(failed("write to the store"))
    }

    /// Writes zeros where sled will write next, once it has written beyond those before. Between a flush and the next put sled
    /// writes nothing: nobody else writes to the file now.
    fn make_room(&self) -> io::Result<()> {
        let mut end = self.file.metadata()?.len();
        if end > self.end.get() {
            let room = usize::try_from(ROOM - end % ROOM).unwrap_or_default();
            self.file.write_all_at(&vec![0; room], end)?;
            end += room as u64;
        }
        self.end.set(end);
        Ok(())
    }

    /// Puts one append. Parts without their append mean nothing.
    pub fn put(&self, execution: &ExecutionId, first: Seq, value: &[u8]) -> Result<(), LogError> {
        let key = key(execution, first);
        let len = u32::try_from(value.len()).expect("an append is far below 4 GiB");
        let (head, rest) = value.split_at(value.len().min(VALUE));
        for (n, part) in (0..).zip(rest.chunks(VALUE)) {
            self.insert(part_of(&key, n), part)?;
        }
        self.insert(key, &[&len.to_le_bytes(), head].concat())
    }

    /// What was put, from the value that its key holds.
    fn got(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, LogError> {
        let lacks = || LogError::Damaged("an append lacks a part".into());
        let (len, head) = value.split_first_chunk::<4>().ok_or_else(lacks)?;
        let (len, mut whole) = (u32::from_le_bytes(*len) as usize, head.to_vec());
        for n in 0..len.saturating_sub(whole.len()).div_ceil(VALUE) {
            let part = guarded("read the store", || self.db.get(part_of(key, n)))?;
            whole.extend_from_slice(&part.ok_or_else(lacks)?);
        }
        if whole.len() == len { Ok(whole) } else { Err(lacks()) }
    }

    fn insert(&self, key: Vec<u8>, value: &[u8]) -> Result<(), LogError> {
        guarded("write to the store", || self.db.insert(key, value)).map(drop)
    }

    /// The stored records of a history, unchecked but for the checksum, and in order.
    pub fn records(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, LogError> {
        let mut records = Vec::new();
        let mut entries = self.db.range(key(execution, 0)..=key(execution, Seq::MAX));
        while let Some(entry) = guarded("read the store", || entries.next().transpose())? {
            let value = self.got(&entry.0, &entry.1)?;
            records.extend(unpack(&value)?.into_iter().map(<[u8]>::to_vec));
        }
        Ok(records)
    }

    /// The end of every history, oldest first. Reads one append of each.
    pub fn ends(&self) -> Result<Vec<(ExecutionId, End)>, LogError> {
        let mut ends = Vec::new();
        let mut after = vec![EXECUTION];
        while let Some(execution) = self.first_after(&after)? {
            let last = key(&execution, Seq::MAX);
            let entry = guarded("read the store", || self.db.get_lt(&last))?;
            let (key, value) = entry.ok_or_else(|| LogError::Damaged(format!("{execution} has no end")))?;
            ends.push((execution, end(&self.got(&key, &value)?)?));
            after = last;
        }
        Ok(ends)
    }

    /// All openings so far, oldest first.
    pub fn openings(&self) -> Result<Vec<Incarnation>, LogError> {
        let mut openings = Vec::new();
        let mut entries = self.db.scan_prefix([OPENING]);
        while let Some((key, value)) = guarded("read the store", || entries.next().transpose())? {
            let [text] = unpack(&value)?[..] else { return Err(not_an_opening()) };
            let text = std::str::from_utf8(text).map_err(|_| not_an_opening())?;
            if *key != opening(openings.len() as u64) {
                return Err(LogError::Damaged(format!("opening {} of the store is missing", openings.len())));
            }
            openings.push(Incarnation::new(text));
        }
        Ok(openings)
    }

    /// Adds the opening with this number.
    pub fn add_opening(&self, number: u64, incarnation: &Incarnation) -> Result<(), LogError> {
        let value = pack(&[incarnation.as_str().as_bytes().to_vec()]);
        self.insert(opening(number), &value)
    }

    fn first_after(&self, after: &[u8]) -> Result<Option<ExecutionId>, LogError> {
        let entry = guarded("read the store", || self.db.get_gt(after))?;
        Ok(entry.as_ref().and_then(|(key, _)| execution_of(key)))
    }
}

/// The value of one append.
pub fn pack(records: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![0; 4];
    for record in records {
        let len = u32::try_from(record.len()).expect("a record is far below 4 GiB");
        value.extend_from_slice(&len.to_le_bytes());
        value.extend_from_slice(record);
    }
    let sum = crc32fast::hash(&value[4..]);
    value[..4].copy_from_slice(&sum.to_le_bytes());
    value
}

fn unpack(value: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    let broken = || LogError::Damaged("an append fails its checksum".into());
    let (sum, mut rest) = value.split_first_chunk::<4>().ok_or_else(broken)?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*sum) {
        return Err(broken());
    }
    let mut records = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(broken)?;
        records.push(record);
        rest = after;
    }
    if rest.is_empty() { Ok(records) } else { Err(broken()) }
}

fn end(value: &[u8]) -> Result<End, LogError> {
    let records = unpack(value)?;
    let last = records.last().ok_or_else(|| LogError::Damaged("an append is empty".into()))?;
    let last = envelope::open(last).map_err(|e| LogError::Damaged(e.to_string()))?;
    let ended = ends_history(&last.record.event);
    Ok(End { len: last.record.seq + 1, chain: last.chain, time: last.record.time, place: last.place, ended })
}

/// Whether no event can follow it.
pub fn ends_history(event: &Event) -> bool {
    matches!(event, Event::Completed { .. } | Event::RolledBack { .. })
}

fn key(execution: &ExecutionId, first: Seq) -> Vec<u8> {
    let mut key = vec![EXECUTION];
    key.extend_from_slice(execution.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

/// The key of the rest of an append.
fn part_of(key: &[u8], n: usize) -> Vec<u8> {
    let mut part = vec![PART];
    part.extend_from_slice(&key[1..]);
    part.extend_from_slice(&u32::try_from(n).expect("an append has few parts").to_be_bytes());
    part
}

fn execution_of(key: &[u8]) -> Option<ExecutionId> {
    let (front, _) = key.strip_prefix(&[EXECUTION])?.split_last_chunk::<8>()?;
    let text = std::str::from_utf8(front.strip_suffix(&[0])?).ok()?;
    Some(ExecutionId::new(text))
}

fn opening(number: u64) -> Vec<u8> {
    let mut key = vec![OPENING];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn not_an_opening() -> LogError {
    LogError::Damaged("an opening of the store cannot be read".into())
}

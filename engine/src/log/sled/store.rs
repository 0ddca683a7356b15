//! sled itself: keys, values and the one way to make them durable.
//!
//! A key is one append, `e` execution NUL first-seq; its value is a checksum and the append's records. One key an append
//! is atomic by itself, and the last key of an execution is its head. `i` number holds one opening.

use super::{Syncer, failed, guarded, sync_dir};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::{ExecutionId, Incarnation, Seq};
use crate::log::LogError;
use crate::log::envelope::{self, Chain, Place};
use sled::{Db, IVec, Mode};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// sled's default is 1 GB; a history is read once and then in the page cache of the kernel.
const CACHE: u64 = 4 << 20;
const EXECUTION: u8 = b'e';
const OPENING: u8 = b'i';

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
}

impl Store {
    /// Opens it, and syncs before anything that was read is believed.
    pub fn open(dir: &Path, syncer: Arc<dyn Syncer>) -> Result<Self, LogError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE).mode(Mode::HighThroughput);
        let config = config.flush_every_ms(None);
        let db = guarded("open the store", || config.open())?;
        let file = OpenOptions::new().read(true).write(true).open(dir.join("db")).map_err(failed("open the store"))?;
        let store = Self { db, file, syncer };
        store.sync()?;
        sync_dir(dir)?;
        Ok(store)
    }

    /// Makes all that was put durable.
    pub fn sync(&self) -> Result<(), LogError> {
        guarded("flush the store", || self.db.flush())?;
        self.syncer.sync(&self.file).map_err(failed("sync the store"))
    }

    /// Puts one append.
    pub fn put(&self, execution: &ExecutionId, first: Seq, value: &[u8]) -> Result<(), LogError> {
        guarded("write to the store", || self.db.insert(key(execution, first), value)).map(drop)
    }

    /// The stored records of a history, unchecked but for the checksum, and in order.
    pub fn records(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, LogError> {
        let mut records = Vec::new();
        let mut entries = self.db.range(key(execution, 0)..=key(execution, Seq::MAX));
        while let Some(entry) = guarded("read the store", || entries.next().transpose())? {
            records.extend(unpack(&entry.1)?.into_iter().map(<[u8]>::to_vec));
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
            let (_, value) = entry.ok_or_else(|| LogError::Damaged(format!("{execution} has no end")))?;
            ends.push((execution, end(&value)?));
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
        guarded("write to the store", || self.db.insert(opening(number), value.as_slice())).map(drop)
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

fn end(value: &IVec) -> Result<End, LogError> {
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

//! The anchor: a small file beside the store that knows how much the store must hold.
//!
//! sled takes a bad checksum for the end of its log, so a flipped bit drops the tail in silence and opening
//! destroys the evidence. Two slots are synced in turn at phase starts, at rest and every [`EVERY`] commits; the third
//! is written after each sync of the store and never itself synced. Hence a power cut alone loses nothing acknowledged,
//! rot alone is never silent, and both at once lose at most [`EVERY`] commits.

use super::failed;
use crate::log::LogError;
use crate::log::envelope::Chain;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Commits between two synced slots.
pub const EVERY: u64 = 64;

/// Slots lie a page apart, so that a torn write harms one of them.
const SLOT: usize = 4096;
const SYNCED: u64 = 2;
const MAGIC: &[u8; 8] = b"k0rAnch1";
const BODY: usize = 8 + 4 * 8 + 32;

/// What the store held at some time, and must hold for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last append.
    pub commit: u64,
    /// Events in all.
    pub total: u64,
    /// Openings of the store so far.
    pub openings: u64,
    /// The hash of the last append's last record.
    pub chain: Chain,
}

/// The open anchor file.
pub struct Anchor {
    file: File,
    /// Rises with each write; the newest valid slot is the truth.
    writes: u64,
    /// The synced slot that was written last; the other one is next.
    synced: u64,
    /// The commit that it holds.
    at_sync: u64,
}

impl Anchor {
    /// Opens or makes the file, and reads the newest mark in it.
    pub fn open(path: &Path) -> Result<(Self, Option<Mark>), LogError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(failed("open the anchor"))?;
        let newest = (0..=SYNCED).filter_map(|slot| read(&file, slot)).max_by_key(|(writes, _)| *writes);
        let synced = (0..SYNCED).max_by_key(|slot| read(&file, *slot).map(|(writes, _)| writes)).unwrap_or(0);
        let writes = newest.map_or(0, |(writes, _)| writes);
        Ok((Self { file, writes, synced, at_sync: 0 }, newest.map(|(_, mark)| mark)))
    }

    /// Notes a commit that the store has synced; syncs the note itself where that is due or asked for.
    pub fn note(&mut self, mark: &Mark, sync: bool) -> Result<(), LogError> {
        self.write(SYNCED, mark)?;
        if sync || mark.commit >= self.at_sync + EVERY { self.sync(mark) } else { Ok(()) }
    }

    /// Notes it in the older of the two synced slots.
    pub fn sync(&mut self, mark: &Mark) -> Result<(), LogError> {
        self.synced = (self.synced + 1) % SYNCED;
        self.write(self.synced, mark)?;
        self.file.sync_data().map_err(failed("sync the anchor"))?;
        self.at_sync = mark.commit;
        Ok(())
    }

    fn write(&mut self, slot: u64, mark: &Mark) -> Result<(), LogError> {
        self.writes += 1;
        let mut bytes = [0; BODY + 4];
        bytes[..8].copy_from_slice(MAGIC);
        for (n, field) in [self.writes, mark.commit, mark.total, mark.openings].into_iter().enumerate() {
            bytes[8 + 8 * n..16 + 8 * n].copy_from_slice(&field.to_le_bytes());
        }
        bytes[40..BODY].copy_from_slice(&mark.chain.0);
        let sum = crc32fast::hash(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&bytes, slot * SLOT as u64).map_err(failed("write the anchor"))
    }
}

/// The newest mark in the file, which is only read; none if there is no file.
pub fn newest(path: &Path) -> Result<Option<Mark>, LogError> {
    match File::open(path) {
        Ok(file) => Ok((0..=SYNCED).filter_map(|slot| read(&file, slot)).max_by_key(|(n, _)| *n).map(|(_, mark)| mark)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("read the anchor")(e)),
    }
}

fn read(file: &File, slot: u64) -> Option<(u64, Mark)> {
    let mut bytes = [0; BODY + 4];
    file.read_exact_at(&mut bytes, slot * SLOT as u64).ok()?;
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) || !body.starts_with(MAGIC) {
        return None;
    }
    let field = |n: usize| body[8 + 8 * n..].first_chunk().map(|b| u64::from_le_bytes(*b));
    let chain = Chain(*body.last_chunk::<32>()?);
    Some((field(0)?, Mark { commit: field(1)?, total: field(2)?, openings: field(3)?, chain }))
}

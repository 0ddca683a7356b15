//! Bytes too large for an event, each in a file named by its hash.

use super::{failed, sync_dir};
use crate::log::envelope::hex;
use crate::log::{BlobHash, LogError};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Ends the name of a file that is not whole yet.
const UNFINISHED: &str = ".tmp";

/// Tells the writers of one process apart.
static WRITER: AtomicU64 = AtomicU64::new(0);

/// Stores bytes; when it answers, the file and its name are on the disk.
pub fn put(dir: &Path, bytes: &[u8]) -> Result<BlobHash, LogError> {
    let hash = BlobHash(hex(&Sha256::digest(bytes)));
    if !get(dir, &hash).is_ok_and(|old| old == bytes) {
        let writer = WRITER.fetch_add(1, Ordering::Relaxed);
        let unfinished = dir.join(format!("{hash}.{writer}{UNFINISHED}"));
        write(&unfinished, bytes).map_err(failed("write a blob"))?;
        fs::rename(&unfinished, dir.join(&hash.0)).map_err(failed("name a blob"))?;
    }
    // Also where it was there already: a process killed between rename and sync leaves a name that a power cut takes.
    sync_dir(dir)?;
    Ok(hash)
}

/// Fetches bytes and checks their hash.
pub fn get(dir: &Path, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
    let bytes = match fs::read(path(dir, hash)?) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(LogError::NotFound(format!("blob {hash}"))),
        Err(e) => return Err(failed("read a blob")(e)),
    };
    if hex(&Sha256::digest(&bytes)) != hash.0 {
        return Err(LogError::Damaged(format!("blob {hash} holds other bytes than its name says")));
    }
    Ok(bytes)
}

/// Takes a file away, if it is there; when it answers, its name is gone from the disk.
pub fn remove(dir: &Path, hash: &BlobHash) -> Result<(), LogError> {
    let Ok(path) = path(dir, hash) else { return Ok(()) };
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove a blob")(e)),
        // Also where it is gone already: a process killed before the sync leaves a name that a power cut brings back.
        _ => sync_dir(dir),
    }
}

/// All that are whole.
pub fn list(dir: &Path) -> Result<Vec<BlobHash>, LogError> {
    let hashes = names(dir)?.into_iter().map(BlobHash);
    Ok(hashes.filter(|hash| path(dir, hash).is_ok()).collect())
}

/// Removes what a killed process left half written.
pub fn sweep(dir: &Path) -> Result<(), LogError> {
    for name in names(dir)?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        fs::remove_file(dir.join(name)).map_err(failed("remove an unfinished blob"))?;
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, LogError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(dir).and_then(Iterator::collect);
    let entries = entries.map_err(failed("list the blobs"))?.into_iter();
    Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A hash read from elsewhere must not lead out of the directory.
fn path(dir: &Path, hash: &BlobHash) -> Result<PathBuf, LogError> {
    let plain = hash.0.len() == 64 && hash.0.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { Ok(dir.join(&hash.0)) } else { Err(LogError::NotFound(format!("blob {hash}"))) }
}

//! Reads what the scripts print about files and processes.

use crate::host::{FileInfo, FileKind, HostError, OwnerIds, Process};
use std::collections::{BTreeMap, HashMap};

fn unreadable() -> HostError {
    HostError::Refused("listing".to_owned())
}

/// NUL-separated records as text.
fn records(bytes: &[u8]) -> Vec<String> {
    let mut records: Vec<String> = bytes.split(|b| *b == 0).map(|r| String::from_utf8_lossy(r).into_owned()).collect();
    records.pop();
    records
}

/// Reads `files.sh`.
pub fn files(bytes: &[u8]) -> Result<Vec<FileInfo>, HostError> {
    let records = records(bytes);
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let end = (0..records.len()).step_by(3).find(|at| records[*at] == "hashes").ok_or_else(unreadable)?;
    let hashes: HashMap<&str, &str> = records[end + 1..].iter().filter_map(|r| swap(r.split_once("  ")?)).collect();
    let mut found = BTreeMap::new();
    for record in records[..end].chunks(3) {
        let [head, path, target] = record else { return Err(unreadable()) };
        // A file that went away between the two looks has no hash, and is gone.
        if let Some(info) = file(head, path, target, &hashes)? {
            found.insert(path.clone(), info);
        }
    }
    Ok(found.into_values().collect())
}

fn swap<'a>((hash, path): (&'a str, &'a str)) -> Option<(&'a str, &'a str)> {
    (hash.len() == 64).then_some((path, hash))
}

fn file(head: &str, path: &str, target: &str, hashes: &HashMap<&str, &str>) -> Result<Option<FileInfo>, HostError> {
    let parts: Vec<&str> = head.split(' ').collect();
    let [kind, mode, uid, gid, size] = parts[..] else { return Err(unreadable()) };
    let kind = match kind {
        "f" => {
            let Some(hash) = hashes.get(path) else { return Ok(None) };
            FileKind::File { sha256: (*hash).to_owned(), size: size.parse().map_err(|_| unreadable())? }
        }
        "d" => FileKind::Dir,
        "l" => FileKind::Link { target: target.to_owned() },
        _ => FileKind::Other,
    };
    let mode = u32::from_str_radix(mode, 8).map_err(|_| unreadable())?;
    let owner = OwnerIds { uid: uid.parse().map_err(|_| unreadable())?, gid: gid.parse().map_err(|_| unreadable())? };
    Ok(Some(FileInfo { path: path.to_owned(), kind, mode, owner }))
}

/// Reads `processes.sh`.
pub fn processes(bytes: &[u8]) -> Result<Vec<Process>, HostError> {
    let records = records(bytes);
    let read = |record: &[String]| match record {
        [pid, start, comm, exe] => Ok(Process {
            pid: pid.parse().map_err(|_| unreadable())?,
            start: start.parse().map_err(|_| unreadable())?,
            comm: comm.clone(),
            exe: exe.clone(),
        }),
        _ => Err(unreadable()),
    };
    let mut found: Vec<Process> = records.chunks(4).map(read).collect::<Result<_, _>>()?;
    found.sort_by_key(|p| p.pid);
    Ok(found)
}

//! Files of a real machine, as the model wants them.

use k0rotate_activities::host::OwnerIds;
use k0rotate_activities::rehearsal::machine::NoSpace;
use k0rotate_activities::rehearsal::world::{Entry, Kind};
use k0rotate_engine::clock::Timestamp;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Writes a file whole: beside it, then renamed.
pub fn write(path: &str, bytes: &[u8], mode: u32, uid: u32) -> Result<(), NoSpace> {
    let target = Path::new(path);
    let beside = format!("{path}.part");
    let done: io::Result<()> = (|| {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&beside, bytes)?;
        chown(&beside, Some(uid), Some(0))?;
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
        // Through a link, as a program that writes in place would.
        let real = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        fs::rename(&beside, real)
    })();
    done.map_err(|_| NoSpace)
}

/// Sets mode and owner of what is there.
pub fn own(path: &str, mode: u32, uid: u32) {
    let _ = chown(path, Some(uid), None);
    let _ = fs::set_permissions(path, Permissions::from_mode(mode));
}

/// Makes a directory.
pub fn make_dir(path: &str, mode: u32, uid: u32) {
    let _ = fs::create_dir_all(path);
    own(path, mode, uid);
}

/// Makes or replaces a symbolic link.
pub fn link(path: &str, target: &str) {
    let beside = format!("{path}.part");
    let _ = fs::remove_file(&beside);
    if symlink(target, &beside).is_ok() {
        let _ = fs::rename(&beside, path);
    }
}

/// Makes a socket's file; nobody answers on it.
pub fn socket(path: &str, mode: u32, uid: u32) {
    let _ = fs::remove_file(path);
    if let Some(parent) = Path::new(path).parent() {
        let _ = fs::create_dir_all(parent);
    }
    drop(UnixListener::bind(path));
    own(path, mode, uid);
}

/// Removes a file or a tree.
pub fn remove(path: &str) {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != ErrorKind::NotFound
    {
        let _ = fs::remove_dir_all(path);
    }
}

/// Names in a directory, sorted.
pub fn list(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// An entry and all below it, by path.
pub fn tree(root: &str) -> Vec<(String, Entry)> {
    let mut found = Vec::new();
    let Some(entry) = entry(root) else { return found };
    let dir = entry.kind == Kind::Dir;
    found.push((root.to_owned(), entry));
    if dir {
        found.extend(list(root).into_iter().flat_map(|name| tree(&format!("{root}/{name}"))));
    }
    found
}

fn entry(path: &str) -> Option<Entry> {
    let meta = fs::symlink_metadata(path).ok()?;
    let kind = if meta.is_dir() {
        Kind::Dir
    } else if meta.is_symlink() {
        Kind::Link(fs::read_link(path).ok()?.to_string_lossy().into_owned())
    } else if meta.is_file() {
        Kind::File(fs::read(path).ok()?.into())
    } else {
        Kind::Socket
    };
    let since = meta.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let modified = Timestamp(u64::try_from(since.as_millis()).ok()?);
    Some(Entry { kind, mode: meta.mode() & 0o7777, owner: OwnerIds { uid: meta.uid(), gid: meta.gid() }, modified })
}

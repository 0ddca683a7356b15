//! A file system in memory: modes, owners, links; what a crash would keep.

use crate::host::{FileInfo, FileKind, OwnerIds};
use crate::pki::sha256_hex;
use crate::rehearsal::machine::{Bytes, NoSpace};
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(Bytes),
    /// A directory.
    Dir,
    /// A symbolic link.
    Link(String),
    /// A socket.
    Socket,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: OwnerIds,
    /// When it was last written.
    pub modified: Timestamp,
}

impl Entry {
    /// A regular file of root.
    pub fn file(bytes: Vec<u8>, mode: u32, modified: Timestamp) -> Self {
        Self { kind: Kind::File(bytes.into()), mode, owner: ROOT, modified }
    }
}

/// The files of a machine.
#[derive(Clone, Debug, Default)]
pub struct Files {
    entries: BTreeMap<String, Entry>,
    /// Whether writes fail for want of space.
    pub full: bool,
    /// Stamped on what is written.
    pub now: Timestamp,
}

const ROOT: OwnerIds = OwnerIds { uid: 0, gid: 0 };
/// More links than this in a row are a loop.
const LONGEST_WAY: usize = 8;

impl Files {
    /// The entry at a path; links in the last place and before it are followed.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&self.resolve(path)?)
    }

    /// The entry itself, be it a link.
    pub fn raw(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Option<Bytes> {
        match &self.entry(path)?.kind {
            Kind::File(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    fn resolve(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..LONGEST_WAY {
            let Some((at, target)) = self.first_link(&path) else { return Some(path) };
            let rest = &path[at.len()..];
            let base = if target.starts_with('/') { target } else { format!("{}/{target}", parent(&at)) };
            path = format!("{base}{rest}");
        }
        None
    }

    fn first_link(&self, path: &str) -> Option<(String, String)> {
        if let Some(Entry { kind, .. }) = self.entries.get(path) {
            // Below an entry that is there, no parent can be a link: entries are stored by their real path.
            return if let Kind::Link(target) = kind { Some((path.to_owned(), target.clone())) } else { None };
        }
        path.match_indices('/').skip(1).map(|(at, _)| &path[..at]).find_map(|prefix| {
            match &self.entries.get(prefix)?.kind {
                Kind::Link(target) => Some((prefix.to_owned(), target.clone())),
                _ => None,
            }
        })
    }

    /// Names in a directory.
    pub fn list(&self, dir: &str) -> Vec<String> {
        let Some(dir) = self.resolve(dir) else { return Vec::new() };
        let prefix = format!("{dir}/");
        let names = self.below(&prefix).filter_map(|(path, _)| path.strip_prefix(&prefix));
        names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    fn below(&self, prefix: &str) -> impl Iterator<Item = (&String, &Entry)> {
        let prefix = prefix.to_owned();
        self.entries.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
    }

    /// All that [`crate::host::Host::files`] shows of these roots.
    pub fn infos(&self, roots: &[String]) -> Vec<FileInfo> {
        let mut found = BTreeMap::new();
        for (path, entry) in roots.iter().flat_map(|root| self.tree(root)) {
            found.insert(path.clone(), info(&path, entry));
        }
        found.into_values().collect()
    }

    /// The entry at a path, then all below it; links are not followed below the root.
    pub fn tree(&self, root: &str) -> Vec<(String, &Entry)> {
        let root = root.trim_end_matches('/');
        let prefix = format!("{root}/");
        let own = self.entries.get_key_value(root).into_iter();
        own.chain(self.below(&prefix)).map(|(path, entry)| (path.clone(), entry)).collect()
    }

    /// Writes a file whole; a link at its place is followed, as a program that opens it would.
    pub fn write(&mut self, path: &str, bytes: &[u8], mode: u32, owner: OwnerIds) -> Result<(), NoSpace> {
        if self.full {
            return Err(NoSpace);
        }
        let path = self.resolve(path).unwrap_or_else(|| path.to_owned());
        self.replace(&path, Kind::File(bytes.into()), mode, owner);
        Ok(())
    }

    /// Writes by a temporary name and a rename: a link at its place is replaced.
    pub fn write_over(&mut self, path: &str, bytes: &[u8], mode: u32, owner: OwnerIds) -> Result<(), NoSpace> {
        if self.full {
            return Err(NoSpace);
        }
        self.parents(path, 0o700);
        self.replace(path, Kind::File(bytes.into()), mode, owner);
        Ok(())
    }

    /// Puts anything anywhere; parents are made with 0755.
    pub fn replace(&mut self, path: &str, kind: Kind, mode: u32, owner: OwnerIds) {
        self.parents(path, 0o755);
        self.entries.insert(path.to_owned(), Entry { kind, mode, owner, modified: self.now });
    }

    /// Makes a directory, or sets the mode of the one that is there.
    pub fn make_dir(&mut self, path: &str, mode: u32, owner: Option<OwnerIds>) {
        self.parents(path, 0o755);
        let now = self.now;
        let new = Entry { kind: Kind::Dir, mode, owner: owner.unwrap_or(ROOT), modified: now };
        let entry = self.entries.entry(path.to_owned()).or_insert(new);
        entry.mode = mode;
        entry.owner = owner.unwrap_or(entry.owner);
    }

    fn parents(&mut self, path: &str, mode: u32) {
        let dirs: Vec<&str> = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]).collect();
        for dir in dirs {
            if !self.entries.contains_key(dir) {
                let entry = Entry { kind: Kind::Dir, mode, owner: ROOT, modified: self.now };
                self.entries.insert(dir.to_owned(), entry);
            }
        }
    }

    /// Sets mode and owner.
    pub fn own(&mut self, path: &str, mode: u32, uid: u32) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.mode = mode;
            entry.owner.uid = uid;
        }
    }

    /// Dates an entry.
    pub fn touch(&mut self, path: &str, modified: Timestamp) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.modified = modified;
        }
    }

    /// Removes an entry and all below it.
    pub fn remove(&mut self, path: &str) {
        let gone: Vec<String> = self.tree(path).into_iter().map(|(path, _)| path).collect();
        for path in gone {
            self.entries.remove(&path);
        }
    }

    /// Renames, into a folder that is made if it has to be; what is at the new place goes. A short code says why not.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), &'static str> {
        if !self.entries.contains_key(from) {
            return if self.entries.contains_key(to) { Ok(()) } else { Err("no-such-file") };
        }
        let moved: Vec<(String, Entry)> =
            self.tree(from).into_iter().map(|(path, entry)| (path, entry.clone())).collect();
        if matches!(moved[0].1.kind, Kind::Dir) && self.below(&format!("{to}/")).next().is_some() {
            return Err("directory-not-empty");
        }
        self.remove(from);
        self.remove(to);
        self.parents(to, 0o700);
        for (path, entry) in moved {
            self.entries.insert(format!("{to}{}", &path[from.len()..]), entry);
        }
        Ok(())
    }

    /// Copies with modes, owners and link targets.
    pub fn copy(&mut self, from: &str, to: &str) -> Result<(), &'static str> {
        if !self.entries.contains_key(from) {
            return Err("no-such-file");
        }
        if self.full {
            return Err("no-space");
        }
        let copied: Vec<(String, Entry)> =
            self.tree(from).into_iter().map(|(path, entry)| (path, entry.clone())).collect();
        self.remove(to);
        self.parents(to, 0o700);
        for (path, entry) in copied {
            self.entries.insert(format!("{to}{}", &path[from.len()..]), entry);
        }
        Ok(())
    }

    /// A tar archive of these paths and all below them, numeric owners, links kept.
    pub fn tar(&self, paths: &[String]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in paths.iter().flat_map(|path| self.tree(path)) {
            append(&mut archive, path.trim_start_matches('/'), entry);
        }
        archive.into_inner().expect("memory takes every write")
    }
}

/// Appends an entry to an archive; sockets are passed over, as tar does.
pub fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, entry: &Entry) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.uid.into());
    header.set_gid(entry.owner.gid.into());
    header.set_mtime(entry.modified.0 / 1000);
    header.set_size(0);
    let written = match &entry.kind {
        Kind::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, &bytes[..])
        }
        Kind::Dir => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("{name}/"), std::io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        Kind::Socket => Ok(()),
    };
    written.expect("memory takes every write");
}

fn info(path: &str, entry: &Entry) -> FileInfo {
    let kind = match &entry.kind {
        Kind::File(bytes) => FileKind::File { sha256: sha256_hex(bytes), size: bytes.len() as u64 },
        Kind::Dir => FileKind::Dir,
        Kind::Link(target) => FileKind::Link { target: target.clone() },
        Kind::Socket => FileKind::Other,
    };
    FileInfo { path: path.to_owned(), kind, mode: entry.mode, owner: entry.owner }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| if parent.is_empty() { "/" } else { parent })
}

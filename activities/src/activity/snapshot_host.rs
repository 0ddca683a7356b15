//! Takes a copy of all trust files off a host, as they lie: what a roll-back falls back on if the host's own copies are lost.

use super::common::{self, Step};
use super::files;
use super::made::Made;
use crate::archive::{self, Entry, Kind};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{FileInfo, FileKind};
use crate::pki::sha256_hex;
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// In place when an archive that holds exactly what lies on the host is sealed and was read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHost {
    /// Which.
    pub host: K0sHost,
    #[serde(skip)]
    made: Made<Snapshot>,
}

/// A sealed copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The tar archive, sealed; links are links in it, owners are numbers.
    pub sealed: SecretRef,
    /// Its entries (path, kind, link target, mode, owner, hash) as JSON, sealed.
    pub manifest: SecretRef,
    /// SHA-256 of the archive, lower-case hex.
    pub sha256: String,
    /// How many entries it has.
    pub entries: usize,
}

impl SnapshotHost {
    /// A use of it.
    pub fn new(host: K0sHost) -> Self {
        Self { host, made: Made::default() }
    }

    fn roots(&self) -> Vec<String> {
        let [conf, kubelet_pki] = files::kubelet_files(&self.host);
        let bootstrap = format!("{}/kubelet-bootstrap.conf", self.host.data_dir);
        vec![files::pki_dir(&self.host), conf, bootstrap, kubelet_pki]
    }
}

impl Activity for SnapshotHost {
    const NAME: &'static str = "snapshot-host";
    type Env = Fleet;
    type Before = ();
    type Output = Snapshot;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(120), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<Snapshot>, Failure> {
        let Some(snapshot) = self.made.get() else { return Ok(None) };
        let read_back = cx.env.secrets.get(&snapshot.sealed).await?;
        if sha256_hex(read_back.expose()) != snapshot.sha256 {
            return Err(Failure::refused("sealed-snapshot-differs").with("host", &self.host.name));
        }
        Ok(Some(snapshot))
    }

    /// A copy is kept.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let host = common::host(cx, &self.host.name)?;
        let (roots, failed) = (self.roots(), common::of(&self.host.name));
        let archive = host.tar_out(&roots).await.map_err(&failed)?;
        let lies = host.files(&roots).await.map_err(&failed)?;
        let entries = archive::list(cx.clock.as_ref(), &archive).await?;
        if let Some(path) = difference(&lies, &entries) {
            return Err(Failure::new("snapshot-differs").with("host", &self.host.name).with("path", path));
        }
        let manifest = serde_json::to_vec(&entries).map_err(|_| Failure::refused("not-encodable"))?;
        let sha256 = sha256_hex(archive.expose());
        let sealed = cx.env.secrets.put(&archive).await?;
        let manifest = cx.env.secrets.put(&Secret::new(manifest)).await?;
        self.made.set(Snapshot { sealed, manifest, sha256, entries: entries.len() });
        Ok(())
    }
}

/// The first path that lies on the host and is not in the archive as it lies; a kubelet may renew its certificate meanwhile.
fn difference<'a>(lies: &'a [FileInfo], entries: &[Entry]) -> Option<&'a str> {
    let archived: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let same = |file: &FileInfo| {
        let Some(entry) = archived.get(file.path.trim_start_matches('/')) else { return false };
        let kind = match (&file.kind, &entry.kind) {
            (FileKind::File { sha256, .. }, Kind::File { sha256: archived, .. }) => sha256 == archived,
            (FileKind::Link { target }, Kind::Link { target: archived }) => target == archived,
            (FileKind::Dir, Kind::Dir) => true,
            _ => false,
        };
        let owner = (u64::from(file.owner.uid), u64::from(file.owner.gid)) == (entry.uid, entry.gid);
        let mode = matches!(file.kind, FileKind::Link { .. }) || file.mode & 0o7777 == entry.mode;
        kind && owner && mode
    };
    lies.iter().find(|file| file.kind != FileKind::Other && !same(file)).map(|file| file.path.as_str())
}

#[cfg(test)]
mod tests {
    //! Shows that nothing on a host can be missing from its copy, or differ, without being named.

    use super::*;
    use crate::host::OwnerIds;

    /// Goal: a missing entry, another content, another owner and a link that became a file are each found.
    #[test]
    fn differences_are_found() {
        let owner = OwnerIds { uid: 0, gid: 0 };
        let file =
            FileInfo { path: "/d/a".into(), kind: FileKind::File { sha256: "1".into(), size: 1 }, mode: 0o640, owner };
        let link = FileInfo { path: "/d/l".into(), kind: FileKind::Link { target: "a".into() }, mode: 0o777, owner };
        let lies = [file, link];
        let entry = |path: &str, mode, kind| Entry { path: path.into(), mode, uid: 0, gid: 0, kind };
        let a = entry("d/a", 0o640, Kind::File { sha256: "1".into(), size: 1 });
        let l = entry("d/l", 0o777, Kind::Link { target: "a".into() });
        assert_eq!(difference(&lies, &[a.clone(), l.clone()]), None);
        assert_eq!(difference(&lies, std::slice::from_ref(&l)), Some("/d/a"));
        let changed = entry("d/a", 0o640, Kind::File { sha256: "2".into(), size: 1 });
        assert_eq!(difference(&lies, &[changed, l.clone()]), Some("/d/a"));
        assert_eq!(difference(&lies, &[Entry { uid: 9, ..a.clone() }, l.clone()]), Some("/d/a"));
        let followed = entry("d/l", 0o640, Kind::File { sha256: "1".into(), size: 1 });
        assert_eq!(difference(&lies, &[a, followed]), Some("/d/l"));
    }
}

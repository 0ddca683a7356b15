//! Lists tar archives, gzipped or not, without unpacking them.

use crate::pki::sha256_hex;
use crate::secret::Secret;
use flate2::read::GzDecoder;
use k0rotate_engine::clock::Clock;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use zeroize::Zeroizing;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File {
        /// SHA-256 of its content, lower-case hex.
        sha256: String,
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Link {
        /// As it stands in the link.
        target: String,
    },
    /// Anything else.
    Other,
}

/// The entries of an archive, every byte of it read. It may be large: it is read on a thread of its own.
pub async fn list(clock: &dyn Clock, archive: &Secret) -> Result<Vec<Entry>, Failure> {
    let _busy = clock.busy();
    let archive = archive.clone();
    let listed = tokio::task::spawn_blocking(move || list_blocking(archive.expose())).await;
    listed.ok().and_then(Result::ok).ok_or_else(|| Failure::new("archive-unreadable"))
}

/// What the regular files of a small plain archive hold, by path without a leading slash; all else has `None`.
pub fn contents(archive: &Secret) -> Result<BTreeMap<String, Option<Secret>>, Failure> {
    contents_of(archive.expose()).map_err(|_| Failure::new("archive-unreadable"))
}

fn contents_of(archive: &[u8]) -> std::io::Result<BTreeMap<String, Option<Secret>>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = path(&entry.path_bytes());
        let file = entry.header().entry_type().is_file();
        let mut content = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or(0));
        entry.read_to_end(&mut content)?;
        found.insert(path, file.then(|| Secret::new(content)));
    }
    Ok(found)
}

fn path(bytes: &[u8]) -> String {
    text(Some(bytes)).trim_start_matches("./").trim_end_matches('/').to_owned()
}

fn list_blocking(archive: &[u8]) -> std::io::Result<Vec<Entry>> {
    let plain: Box<dyn Read + '_> =
        if archive.starts_with(&[0x1f, 0x8b]) { Box::new(GzDecoder::new(archive)) } else { Box::new(archive) };
    let mut tar = tar::Archive::new(plain);
    let mut entries = Vec::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => Kind::Dir,
            tar::EntryType::Symlink => Kind::Link { target: text(entry.link_name_bytes().as_deref()) },
            kind if kind.is_file() => {
                let mut content = Zeroizing::new(Vec::new());
                let size = entry.read_to_end(&mut content)? as u64;
                Kind::File { sha256: sha256_hex(&content), size }
            }
            _ => Kind::Other,
        };
        let header = entry.header();
        let (mode, uid, gid) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
        let path = path(&entry.path_bytes());
        entries.push(Entry { path, mode, uid, gid, kind });
    }
    // The end of the archive, and with it gzip's own checksum, lies behind the last entry.
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink())?;
    Ok(entries)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    //! Shows that an archive is listed with what stands in it, and a torn one is not.

    use super::*;
    use k0rotate_engine::clock::SystemClock;
    use std::io::Write;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o640);
        header.set_uid(996);
        header.set_gid(0);
        header.set_size(3);
        builder.append_data(&mut header, "pki/ca.key", &b"key"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_mode(0o777);
        link.set_size(0);
        link.set_uid(0);
        link.set_gid(0);
        builder.append_link(&mut link, "kubelet/pki/current.pem", "one.pem").unwrap();
        builder.into_inner().unwrap()
    }

    /// Goal: paths, modes, owners, hashes and link targets, of a plain archive and of a gzipped one.
    #[tokio::test]
    async fn an_archive_is_listed() {
        let plain = archive();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let packed = encoder.finish().unwrap();
        for bytes in [plain, packed.clone()] {
            let entries = list(&SystemClock::default(), &Secret::new(bytes)).await.unwrap();
            let file = Kind::File { sha256: sha256_hex(b"key"), size: 3 };
            assert_eq!(entries[0], Entry { path: "pki/ca.key".into(), mode: 0o640, uid: 996, gid: 0, kind: file });
            assert_eq!(entries[1].kind, Kind::Link { target: "one.pem".into() });
        }
        let torn = Secret::new(packed[..packed.len() - 9].to_vec());
        assert_eq!(
            list(&SystemClock::default(), &torn).await.map_err(|f| f.code),
            Err("archive-unreadable".to_owned())
        );
    }
}

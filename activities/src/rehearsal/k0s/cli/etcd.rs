//! `k0s etcd member-list` and `k0s backup`.

use super::{Outcome, error, no_socket, printed};
use crate::rehearsal::k0s::client::{load_pool, load_shown};
use crate::rehearsal::k0s::setup::Setup;
use crate::rehearsal::machine::{Call, End, Machine};
use crate::rehearsal::world::{Entry, Kind, append};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// Hangs for ever while etcd is down or has no quorum (lab §16).
pub(super) fn member_list(m: &mut dyn Machine, setup: &Setup) -> Outcome {
    if setup.single {
        return error("wrong storage type: kine");
    }
    let (crt, key) = (setup.pki("apiserver-etcd-client.crt"), setup.pki("apiserver-etcd-client.key"));
    let Some(shows) = load_shown(m, &crt, &key) else {
        return error(&format!("can't list etcd cluster members: open {crt}: no such file or directory"));
    };
    let trust = load_pool(m, &setup.pki("etcd/ca.crt"));
    let call = Call { address: "127.0.0.1:2379".to_owned(), trust, shows: Some(shows), ..Call::default() };
    if m.dial(&call).end != End::Handshake || m.store().is_none() {
        return Outcome::Waits(
            b"level=warning msg=\"[core] grpc: addrConn.createTransport failed to connect\" component=grpc\n".to_vec(),
        );
    }
    let members = m.members().into_iter().map(|(name, url)| format!("{name:?}:{url:?}"));
    printed(format!("{{\"members\":{{{}}}}}\n", members.collect::<Vec<_>>().join(",")))
}

/// Only a healthy controller can be backed up (facts §4.1).
pub(super) fn backup(m: &mut dyn Machine, setup: &Setup, args: &[&str]) -> Outcome {
    let path = match args {
        ["--save-path", path] => *path,
        [flag] => flag.strip_prefix("--save-path=").unwrap_or_default(),
        _ => "",
    };
    if let Some(why) = no_socket(m, "status") {
        return error(&format!("unable to detect cluster status {why}"));
    }
    if !setup.controller {
        return error("backup command must be run on the controller node, have `worker`");
    }
    if path != "-" && !m.exists(path) {
        return error(&format!("the save-path directory ({path}) does not exist"));
    }
    if path != "-" {
        return Outcome::Unknown;
    }
    let config = crate::k0s::flag(&setup.args, "config").unwrap_or("/etc/k0s/k0s.yaml").to_owned();
    let Some(revision) = m.store().map(|store| store.revision()) else {
        return error("failed to create etcd snapshot: context deadline exceeded");
    };
    if !m.exists(&config) {
        return error(&format!("failed to add {config} to archive: open {config}: no such file or directory"));
    }
    let mut archive = tar::Builder::new(Vec::new());
    let database = if setup.single { "kine-state-backup.db" } else { "etcd-snapshot.db" };
    let content = format!("model snapshot of revision {revision}\n").into_bytes();
    append(&mut archive, database, &Entry::file(content, 0o600, m.now()));
    let folder = |name: &str| (format!("{}/{name}", setup.data), name.to_owned());
    for (path, name) in [folder("pki"), folder("manifests"), (config, "k0s.yaml".to_owned())] {
        for (found, entry) in m.tree(&path).into_iter().filter(|(_, entry)| entry.kind != Kind::Socket) {
            append(&mut archive, &format!("{name}{}", &found[path.len()..]), &entry);
        }
    }
    let plain = archive.into_inner().unwrap_or_default();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = gzip.write_all(&plain).and_then(|()| gzip.finish()).unwrap_or_default();
    printed(packed)
}

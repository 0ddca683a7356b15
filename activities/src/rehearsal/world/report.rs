//! What tests and reports want to know of the whole world.

use super::World;
use crate::host::FileInfo;
use crate::rehearsal::machine::Service;
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long no API server was ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gap {
    total: Duration,
    down_since: Option<Timestamp>,
}

/// Trust files of all hosts by host: everything in `pki`, the kubelets' files and their kubeconfigs.
pub type TrustFiles = BTreeMap<String, Vec<FileInfo>>;

impl World {
    /// Whether any API server is ready, as a client with the right trust and credentials would find it.
    pub fn api_up_anywhere(&self) -> bool {
        (0..self.hosts.len()).any(|host| self.api_up(host))
    }

    fn api_up(&self, host: usize) -> bool {
        let sim = &self.hosts[host];
        let listener = sim.listeners.get(&6443).filter(|_| sim.up(self.now));
        let ready =
            listener.is_some_and(|l| matches!(&l.service, Service::Api(loaded) if loaded.ready_at <= self.now.0));
        ready && self.stored(host)
    }

    /// How long no API server has been ready since the world began, in the world's time.
    pub fn api_gap(&self) -> Duration {
        let open = self.gap.down_since.map_or(Duration::ZERO, |since| self.now.since(since));
        self.gap.total + open
    }

    /// Looks at the API after something happened.
    pub(super) fn watch_api(&mut self) {
        match (self.api_up_anywhere(), self.gap.down_since) {
            (true, Some(since)) => {
                self.gap.total += self.now.since(since);
                self.gap.down_since = None;
            }
            (false, None) => self.gap.down_since = Some(self.now),
            _ => {}
        }
    }

    /// All files that hold trust, by host, with content hashes, modes and owners.
    pub fn trust_files(&self) -> TrustFiles {
        let of = |host: &super::host::SimHost| {
            let data = &self.plan.data_dir;
            let root = self.plan.kubelet_root.clone().unwrap_or_else(|| format!("{data}/kubelet"));
            let roots = ["pki", "kubelet.conf", "kubelet-bootstrap.conf"].map(|name| format!("{data}/{name}"));
            host.files.infos(&[roots.to_vec(), vec![format!("{root}/pki")]].concat())
        };
        self.hosts.iter().map(|host| (host.name.clone(), of(host))).collect()
    }
}

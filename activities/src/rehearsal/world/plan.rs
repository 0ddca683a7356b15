//! What a rehearsal fleet is to look like.

use crate::fleet::{Member, Role};
use k0rotate_engine::clock::Timestamp;

/// A host that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHost {
    /// Its name, also its hostname.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its address.
    pub address: String,
    /// Its own version of k0s, if it is not the fleet's.
    pub version: Option<String>,
}

impl PlannedHost {
    /// As workflows know it.
    pub fn member(&self) -> Member {
        Member { name: self.name.clone(), role: self.role, address: self.address.clone() }
    }
}

/// A fleet that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPlan {
    /// In the order of the inventory.
    pub hosts: Vec<PlannedHost>,
    /// As `k0s version` prints it.
    pub version: String,
    /// `--enable-dynamic-config`.
    pub dynamic_config: bool,
    /// `--data-dir`; passed to k0s only if it is not `/var/lib/k0s`.
    pub data_dir: String,
    /// `--kubelet-root-dir`, if it is not below the data directory.
    pub kubelet_root: Option<String>,
    /// Pods on each node besides k0s' own.
    pub pods_per_node: usize,
    /// Service-account token Secrets of the old kind.
    pub legacy_secrets: usize,
    /// Join tokens for workers that whoever added hosts has left behind.
    pub worker_tokens: usize,
    /// The same for controllers.
    pub controller_tokens: usize,
    /// Users whose certificate `k0s kubeconfig create` left in `pki/` of the first controller.
    pub user_certs: Vec<String>,
    /// Controllers stopped in the same moment run into the bad race: the etcd leader finds nobody to hand over to (lab §30).
    pub stop_race: bool,
    /// What the model draws from; certificates are random all the same.
    pub seed: u64,
    /// When the world begins.
    pub start: Timestamp,
}

/// 2026-11-24T12:00:00Z.
const START: Timestamp = Timestamp(1_795_521_600_000);

impl FleetPlan {
    /// Hosts of these names and roles at 10.77.0.11 and on, all else as a fresh install of v1.36.3+k0s.2.
    pub fn of(hosts: &[(&str, Role)]) -> Self {
        let hosts = hosts.iter().enumerate().map(|(i, (name, role))| PlannedHost {
            name: (*name).to_owned(),
            role: *role,
            address: format!("10.77.0.{}", 11 + i),
            version: None,
        });
        Self {
            hosts: hosts.collect(),
            version: "v1.36.3+k0s.2".to_owned(),
            dynamic_config: false,
            data_dir: "/var/lib/k0s".to_owned(),
            kubelet_root: None,
            pods_per_node: 2,
            legacy_secrets: 1,
            worker_tokens: 0,
            controller_tokens: 0,
            user_certs: Vec::new(),
            stop_race: false,
            seed: 1,
            start: START,
        }
    }

    /// So many controllers (h1, h2, …) and then workers.
    pub fn sized(controllers: usize, workers: usize) -> Self {
        let names: Vec<String> = (1..=controllers + workers).map(|i| format!("h{i}")).collect();
        let role = |i| if i < controllers { Role::Controller } else { Role::Worker };
        Self::of(&names.iter().enumerate().map(|(i, name)| (name.as_str(), role(i))).collect::<Vec<_>>())
    }
}

//! What is known of a host: found by check-host, recorded, and handed to every later step.

use crate::fleet::{Role, Root};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where k0s lives on a host: part of the input of every step that touches it, so that undo needs nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct K0sHost {
    /// Its name in the inventory.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The systemd unit, `k0scontroller` or `k0sworker`.
    pub unit: String,
    /// Absolute path of k0s, from the unit's ExecStart.
    pub k0s: String,
    /// As `k0s version` prints it, for example `v1.36.3+k0s.2`.
    pub version: String,
    /// Data directory, usually `/var/lib/k0s`.
    pub data_dir: String,
    /// Kubelet root directory, usually `<data-dir>/kubelet`.
    pub kubelet_root: String,
    /// Name of its Node object, if it has workloads.
    pub node: Option<String>,
    /// Name of its Lease and ControlNode, `hostname` in `k0s-ctrl-<hostname>`.
    pub hostname: String,
    /// The address at which the host itself is asked, without port.
    pub address: String,
    /// Port of kube-apiserver.
    pub api_port: u16,
}

/// Where a control plane keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// etcd run by k0s.
    Etcd,
    /// Somebody else's etcd.
    ExternalEtcd,
    /// kine on a local file.
    KineSqlite,
    /// kine on a database server.
    KineRemote,
}

/// A certificate or public key found on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustFile {
    /// Absolute path.
    pub path: String,
    /// Which root it is of or was signed by.
    pub root: Root,
    /// Whether it is the root itself.
    pub is_root: bool,
    /// SHA-256 of the certificate's DER (of the public key's DER for a service-account key), lower-case hex.
    pub fingerprint: String,
    /// Common name of the subject; empty for a public key.
    pub common_name: String,
    /// Seconds since the epoch; `None` for a public key.
    pub not_after: Option<i64>,
    /// The same of when it begins; not in histories from before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
}

/// What check-host found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct HostFacts {
    /// Where k0s lives.
    pub host: K0sHost,
    /// Contents of /etc/machine-id.
    pub machine_id: String,
    /// Boot id at the look.
    pub boot_id: String,
    /// Host clock minus our clock, milliseconds.
    pub clock_skew_ms: i64,
    /// Arguments of the unit's ExecStart that the plan's digest covers.
    pub unit_args: Vec<String>,
    /// Of a controller.
    pub storage: Option<Storage>,
    /// Address that etcd peers use, without port; managed etcd only.
    pub etcd_peer: Option<String>,
    /// Whether k0s' join API (:9443) runs here.
    pub join_api: bool,
    /// Whether konnectivity-server (:8132) runs here.
    pub konnectivity: bool,
    /// Whether the Lease `k0s-ctrl-<hostname>` exists.
    pub holds_ctrl_lease: bool,
    /// Whether kcm takes part in leader election (not on `single`).
    pub kcm_elects: bool,
    /// Common name of the Kubernetes CA's subject as found, or as k0s makes it.
    pub ca_common_name: String,
    /// How long the CAs that k0s makes here are valid, seconds, where its configuration says so.
    #[serde(default)]
    pub ca_lifetimes: BTreeMap<Root, i64>,
    /// All trust found on it.
    pub trust: Vec<TrustFile>,
}

impl HostFacts {
    /// Fingerprint of a root as it is in use here.
    pub fn root(&self, root: Root) -> Option<&str> {
        self.trust.iter().find(|file| file.is_root && file.root == root).map(|file| file.fingerprint.as_str())
    }

    /// What of it a plan counts on.
    pub fn covered(&self) -> Covered<'_> {
        let users: BTreeSet<&str> = self.user_certificates().collect();
        let trust = self.trust.iter().filter(|file| file.is_root || users.contains(file.path.as_str()));
        Covered {
            place: &self.host,
            machine_id: &self.machine_id,
            unit_args: &self.unit_args,
            storage: self.storage,
            etcd_peer: self.etcd_peer.as_ref(),
            ca_lifetimes: &self.ca_lifetimes,
            trust: trust.map(|file| (file.path.as_str(), file.fingerprint.as_str())).collect(),
        }
    }

    /// Certificates that `k0s kubeconfig create USER` left in `pki`: who holds such a kubeconfig is locked out by a new CA.
    pub fn user_certificates(&self) -> impl Iterator<Item = &str> {
        let pki = format!("{}/pki/", self.host.data_dir);
        self.trust.iter().filter_map(move |file| {
            let name = file.path.strip_prefix(&pki)?.strip_suffix(".crt")?;
            (!file.is_root && !name.contains('/') && !OWN_LEAFS.contains(&name)).then_some(file.path.as_str())
        })
    }
}

/// A host without what time, health or a restart of k0s changes. A plan's digest is over it, in this order.
///
/// Leafs stay out: k0s issues them anew at each start and kubelets renew theirs by themselves, so that a plan of Monday would never hold on
/// Tuesday, and whoever issues them is covered by its root. User certificates in `pki/` are people's: a new one is somebody more to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covered<'a> {
    place: &'a K0sHost,
    machine_id: &'a str,
    unit_args: &'a [String],
    storage: Option<Storage>,
    etcd_peer: Option<&'a String>,
    ca_lifetimes: &'a BTreeMap<Root, i64>,
    trust: BTreeSet<(&'a str, &'a str)>,
}

/// What k0s itself keeps in `pki` (facts §1.2).
const OWN_LEAFS: [&str; 9] = [
    "admin",
    "apiserver-etcd-client",
    "apiserver-kubelet-client",
    "ccm",
    "front-proxy-client",
    "k0s-api",
    "konnectivity",
    "scheduler",
    "server",
];

/// What check-cluster found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// UID of the namespace kube-system: what the cluster is known by.
    pub uid: String,
    /// All Nodes.
    pub nodes: Vec<String>,
    /// Nodes that are not ready now.
    pub not_ready: Vec<String>,
    /// Nodes that run Windows.
    pub windows: Vec<String>,
    /// etcd's members: peer address without port, by name; empty where k0s does not run etcd.
    pub etcd_members: BTreeMap<String, String>,
    /// Controllers that hold a Lease now, by hostname.
    pub controller_leases: Vec<String>,
    /// Whether the dynamic configuration is in use.
    pub dynamic_config: bool,
    /// Join tokens: ids of those for controllers and of those for workers.
    pub controller_tokens: Vec<String>,
    /// The same for workers.
    pub worker_tokens: Vec<String>,
    /// Service-account tokens in Secrets, `NAMESPACE/NAME`: invalid for ever once the key is replaced.
    pub legacy_secrets: Vec<String>,
    /// Objects that make the API server trust the cluster's CA, `KIND/NAME`.
    pub ca_bundles: Vec<String>,
    /// Webhooks that keep pods from being made while they do not answer.
    pub blocking_webhooks: Vec<String>,
    /// How many running pods mount a token and the CA, by `NAMESPACE/KIND/NAME` of their owner.
    pub token_pods: BTreeMap<String, u32>,
}

impl ClusterFacts {
    /// Whether all that a plan counts on is as it was then.
    pub fn is_as(&self, then: &Self) -> bool {
        let nodes = |facts: &Self| facts.nodes.iter().cloned().collect::<BTreeSet<_>>();
        self.uid == then.uid
            && nodes(self) == nodes(then)
            && self.etcd_members == then.etcd_members
            && self.dynamic_config == then.dynamic_config
    }
}

//! What is known of a host: found by check-host, recorded, and handed to every later step.

use crate::fleet::{Role, Root};
use serde::{Deserialize, Serialize};

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
}

/// What check-host found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// All trust found on it.
    pub trust: Vec<TrustFile>,
}

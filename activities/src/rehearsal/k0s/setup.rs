//! How k0s was started on a machine: its version, its arguments, its configuration file.

use crate::fleet::KeyKind;
use crate::k0s::{flag, switch};
use crate::rehearsal::machine::Machine;
use serde_json::Value;

/// User ids of the components, as `k0s install` makes the users.
pub mod uid {
    /// root.
    pub const ROOT: u32 = 0;
    /// etcd.
    pub const ETCD: u32 = 999;
    /// konnectivity-server.
    pub const KONNECTIVITY: u32 = 997;
    /// kube-apiserver, also kine and kcm.
    pub const APISERVER: u32 = 996;
    /// kube-scheduler.
    pub const SCHEDULER: u32 = 995;
}

/// Where k0s keeps what lasts only until the next boot.
pub const RUN: &str = "/run/k0s";

/// What a k0s process knows of itself.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `v1.36.3+k0s.2`.
    pub version: String,
    /// 36 of 1.36.3.
    pub minor: u32,
    /// The whole command line, the program first.
    pub args: Vec<String>,
    /// Whether it is a controller.
    pub controller: bool,
    /// Whether a kubelet runs.
    pub workloads: bool,
    /// `--single`: kine, no konnectivity, no leader election.
    pub single: bool,
    /// Data directory.
    pub data: String,
    /// Kubelet root directory.
    pub kubelet_root: String,
    /// `--token-file`.
    pub token_file: Option<String>,
    /// Where the API is asked by nodes, without port: the load balancer's address or the controller's.
    pub api_host: String,
    /// The configuration file, parsed; null without one.
    pub config: Value,
    /// Algorithm of the keys that it makes: RSA-2048 on real machines, P-256 on simulated ones.
    pub keys: KeyKind,
}

impl Setup {
    /// Reads the command line and the configuration file.
    pub fn of(m: &dyn Machine, version: &str, args: &[String], keys: KeyKind) -> Self {
        let controller = args.iter().any(|arg| arg == "controller");
        let single = controller && switch(args, "single");
        let data = flag(args, "data-dir").unwrap_or("/var/lib/k0s").to_owned();
        let config = m.read(flag(args, "config").unwrap_or("/etc/k0s/k0s.yaml"));
        let config = config.and_then(|bytes| serde_saphyr::from_str(&String::from_utf8_lossy(&bytes)).ok());
        let config: Value = config.unwrap_or_default();
        let named = |field: &str| config.pointer(field).and_then(Value::as_str).map(str::to_owned);
        let address = named("/spec/api/address").unwrap_or_else(|| m.address().to_owned());
        Self {
            minor: version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default(),
            version: version.to_owned(),
            controller,
            workloads: !controller || single || switch(args, "enable-worker"),
            single,
            kubelet_root: flag(args, "kubelet-root-dir").map_or_else(|| format!("{data}/kubelet"), str::to_owned),
            token_file: flag(args, "token-file").map(str::to_owned),
            api_host: named("/spec/api/externalAddress").unwrap_or(address),
            args: args.to_vec(),
            data,
            config,
            keys,
        }
    }

    /// A file below `pki/`.
    pub fn pki(&self, name: &str) -> String {
        format!("{}/pki/{name}", self.data)
    }

    /// Where the kubelet finds whom to accept as a client.
    pub fn kubelet_client_ca(&self) -> String {
        if self.minor >= 33 || self.controller { format!("{RUN}/kubelet/ca.crt") } else { self.pki("ca.crt") }
    }

    /// Whether etcd is the store.
    pub fn etcd(&self) -> bool {
        self.controller && !self.single
    }
}

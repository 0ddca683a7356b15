//! Where k0rotate keeps its own files on a host, and which files of k0s hold trust.

use crate::facts::K0sHost;
use crate::fleet::Root;

/// Folder of all that k0rotate keeps on a host outside the data directory; root-only.
pub const HOME: &str = "/var/lib/k0rotate";
/// The host's durable mark.
pub const MARK: &str = "/var/lib/k0rotate/mark";
/// While this file is there, the unit of k0s does not start (a drop-in with `ConditionPathExists=!`).
pub const HELD: &str = "/var/lib/k0rotate/held";

/// The drop-in that makes the unit respect [`HELD`].
pub fn drop_in(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.service.d/50-k0rotate-held.conf")
}

/// Where a file lies until it is whole; a change that is torn leaves it there.
pub fn beside(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or_default();
    format!("{dir}/.{name}.k0rotate")
}

/// The folder of an execution below the data directory (so that renames stay on one file system); root-only.
pub fn folder(host: &K0sHost, execution: &str) -> String {
    format!("{}/.k0rotate-{execution}", host.data_dir)
}

/// Where a file's successor is staged.
pub fn staged(host: &K0sHost, execution: &str, path: &str) -> String {
    format!("{}/new{}", folder(host, execution), below(host, path))
}

/// Where a file's predecessor is kept.
pub fn kept(host: &K0sHost, execution: &str, path: &str) -> String {
    format!("{}/old{}", folder(host, execution), below(host, path))
}

fn below<'a>(host: &K0sHost, path: &'a str) -> &'a str {
    path.strip_prefix(&host.data_dir).unwrap_or(path)
}

/// Key and certificate (or public key) of a root, key first: renamed in this order a crash in between is fail-safe (lab §9).
pub fn root_pair(host: &K0sHost, root: Root) -> [String; 2] {
    let d = &host.data_dir;
    let (key, public) = match root {
        Root::KubernetesCa => ("pki/ca.key", "pki/ca.crt"),
        Root::EtcdCa => ("pki/etcd/ca.key", "pki/etcd/ca.crt"),
        Root::FrontProxyCa => ("pki/front-proxy-ca.key", "pki/front-proxy-ca.crt"),
        Root::ServiceAccount => ("pki/sa.key", "pki/sa.pub"),
    };
    [format!("{d}/{key}"), format!("{d}/{public}")]
}

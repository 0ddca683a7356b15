//! The looks of which check-host is made.

use super::common::{self, Step};
use super::files::{self, Listing, ROOTS};
use crate::facts::{HostFacts, K0sHost, Storage, TrustFile};
use crate::fleet::{Role, Root};
use crate::host::{FileKind, TlsEnd, TlsRequest};
use crate::k0s::{self, Status};
use crate::kube::Api;
use crate::kubeconfig::Kubeconfig;
use crate::layout;
use crate::pki::{self, CertInfo};
use k0rotate_engine::failure::Failure;
use serde_json::Value;
use std::collections::BTreeMap;

/// The systemd unit of a role.
pub fn unit(role: Role) -> &'static str {
    if role.is_controller() { "k0scontroller" } else { "k0sworker" }
}

/// A role as inventories write it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Controller => "controller",
        Role::ControllerWorker => "controller+worker",
        Role::Single => "single",
        Role::Worker => "worker",
    }
}

/// The effective command line of the unit: its file, then the drop-ins. The first word is the absolute path of k0s.
pub async fn command_line(cx: &Step, name: &str, role: Role) -> Result<Vec<String>, Failure> {
    let unit = unit(role);
    let mut texts = Vec::new();
    for dir in ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"] {
        if let Some(text) = common::read_text(cx, name, &format!("{dir}/{unit}.service")).await? {
            texts.push(text);
            break;
        }
    }
    let drop_ins = [format!("/etc/systemd/system/{unit}.service.d")];
    for file in common::host(cx, name)?.files(&drop_ins).await.map_err(common::of(name))? {
        if has_extension(&file.path, "conf") && matches!(file.kind, FileKind::File { .. }) {
            texts.extend(common::read_text(cx, name, &file.path).await?);
        }
    }
    let words = k0s::exec_start(texts.iter().map(String::as_str)).filter(|words| words[0].starts_with('/'));
    words.ok_or_else(|| Failure::refused("unit-not-found").with("host", name).with("unit", unit))
}

/// The kernel's name for the host, as k0s names its Lease by it.
pub async fn hostname(cx: &Step, name: &str) -> Result<String, Failure> {
    let text = common::read_text(cx, name, "/proc/sys/kernel/hostname").await?;
    let hostname = text.map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    hostname.ok_or_else(|| Failure::new("hostname-unreadable").with("host", name))
}

/// The first certificate of a file; `None` if there is none.
pub async fn first_certificate(cx: &Step, name: &str, path: &str) -> Result<Option<CertInfo>, Failure> {
    Ok(common::read(cx, name, path).await?.and_then(|bytes| files::first_certificate(&bytes)))
}

/// All trust on a host: the roots that lie here, and what they have signed, whether it is valid or not.
pub async fn trust(cx: &Step, host: &K0sHost) -> Result<Vec<TrustFile>, Failure> {
    let mut found = Vec::new();
    let mut authorities: Vec<(Root, CertInfo)> = Vec::new();
    for root in ROOTS.into_iter().filter(|_| host.role.is_controller()) {
        let [_, path] = layout::root_pair(host, root);
        if root == Root::ServiceAccount {
            found.extend(service_account(cx, host, &path).await?);
        } else if let Some(ca) = files::certificate(cx, host, &path).await? {
            found.push(trust_file(&path, root, true, &ca));
            authorities.push((root, ca));
        }
    }
    if !host.role.is_controller() {
        let path = format!("{}/kubelet.conf", host.data_dir);
        let ca = kubelet_ca(cx, host, &path).await?;
        found.push(trust_file(&path, Root::KubernetesCa, true, &ca));
        authorities.push((Root::KubernetesCa, ca));
    }
    let [conf, kubelet_pki] = files::kubelet_files(host);
    let listing = Listing::of(cx, host, &[files::pki_dir(host), conf, kubelet_pki]).await?;
    let leafs = files::certificates(cx, host, listing.paths().filter(|path| may_hold_a_leaf(path))).await?;
    for (path, leaf) in leafs {
        if authorities.iter().any(|(_, ca)| ca.fingerprint == leaf.fingerprint) {
            continue;
        }
        let root = authorities.iter().find(|(_, ca)| pki::signed_by(&leaf, ca)).map(|(root, _)| *root);
        found.extend(root.map(|root| trust_file(&path, root, false, &leaf)));
    }
    Ok(found)
}

/// The rest of the facts. What a control plane does not answer speaks against it, and hides nothing else.
pub async fn complete(
    cx: &Step,
    host: K0sHost,
    status: &Status,
    unit_args: Vec<String>,
    trust: Vec<TrustFile>,
    against: &mut Vec<Failure>,
) -> Result<HostFacts, Failure> {
    let machine = common::host(cx, &host.name)?;
    let boot_id = machine.boot_id().await.map_err(common::of(&host.name))?;
    let machine_id = common::read_text(cx, &host.name, "/etc/machine-id").await?.unwrap_or_default();
    let theirs = machine.clock().await.map_err(common::of(&host.name))?;
    let clock_skew_ms = signed(theirs) - signed(cx.clock.now().0);
    let storage = host.role.is_controller().then(|| storage(status));
    let managed = storage == Some(Storage::Etcd);
    let peer = status.config_text("/spec/storage/etcd/peerAddress").filter(|_| managed);
    let ca = trust.iter().find(|file| file.is_root && file.root == Root::KubernetesCa);
    let serves = host.role.is_controller() && status.runs();
    let mut known = |answer: Result<bool, Failure>| answer.map_err(|failure| against.push(failure)).unwrap_or(false);
    Ok(HostFacts {
        machine_id: machine_id.trim().to_owned(),
        boot_id,
        clock_skew_ms,
        unit_args,
        storage,
        etcd_peer: peer.map(str::to_owned),
        join_api: serves && known(listens(cx, &host, port(status, "/spec/api/k0sApiPort", 9443)).await),
        konnectivity: serves && known(listens(cx, &host, port(status, "/spec/konnectivity/agentPort", 8132)).await),
        holds_ctrl_lease: serves && known(holds_ctrl_lease(cx, &host).await),
        kcm_elects: host.role.is_controller() && host.role != Role::Single,
        ca_common_name: ca.map_or_else(|| "kubernetes-ca".to_owned(), |ca| ca.common_name.clone()),
        ca_lifetimes: ca_lifetimes(status),
        trust,
        host,
    })
}

async fn holds_ctrl_lease(cx: &Step, host: &K0sHost) -> Result<bool, Failure> {
    let lease = Api::of(cx, host)?.controller_lease(&host.hostname).await?;
    Ok(lease.is_some_and(|lease| !lease.holder.is_empty()))
}

/// Whether a controller listens there, asked from the host itself.
async fn listens(cx: &Step, host: &K0sHost, port: u16) -> Result<bool, Failure> {
    let request = TlsRequest { address: socket(&host.address, port), ..TlsRequest::default() };
    let seen = common::host(cx, &host.name)?.tls(request).await.map_err(common::of(&host.name))?;
    match seen.end {
        TlsEnd::Refused => Ok(false),
        TlsEnd::Broken => Err(Failure::new("port-not-answering").with("host", &host.name).with("port", port)),
        _ => Ok(true),
    }
}

/// `address:port`, with brackets where IPv6 needs them.
pub fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn storage(status: &Status) -> Storage {
    let kine = status.config_text("/spec/storage/type") == Some("kine");
    let source = status.config_text("/spec/storage/kine/dataSource").unwrap_or("sqlite://");
    match (kine, source.starts_with("sqlite://")) {
        (true, true) => Storage::KineSqlite,
        (true, false) => Storage::KineRemote,
        (false, _) if status.config("/spec/storage/etcd/externalCluster").is_some_and(Value::is_object) => {
            Storage::ExternalEtcd
        }
        (false, _) => Storage::Etcd,
    }
}

fn ca_lifetimes(status: &Status) -> BTreeMap<Root, i64> {
    let (api, etcd) = ("/spec/api/ca/expiresAfter", "/spec/storage/etcd/ca/expiresAfter");
    let told = [(Root::KubernetesCa, api), (Root::FrontProxyCa, api), (Root::EtcdCa, etcd)];
    told.into_iter().filter_map(|(root, at)| Some((root, k0s::seconds(status.config_text(at)?)?))).collect()
}

fn port(status: &Status, pointer: &str, usual: u16) -> u16 {
    status.config(pointer).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(usual)
}

async fn kubelet_ca(cx: &Step, host: &K0sHost, path: &str) -> Result<CertInfo, Failure> {
    let text = common::read(cx, &host.name, path).await?;
    let config = text.and_then(|text| Kubeconfig::read(&text).ok());
    let ca = config.and_then(|config| pki::read_certificates(config.ca.as_bytes()).ok()?.into_iter().next());
    ca.ok_or_else(|| Failure::new("kubelet-conf-unreadable").with("host", &host.name))
}

/// `sa.pub` may hold several keys; the first is in use.
async fn service_account(cx: &Step, host: &K0sHost, path: &str) -> Result<Vec<TrustFile>, Failure> {
    let text = common::read(cx, &host.name, path).await?;
    let fingerprints = text.and_then(|text| pki::public_key_fingerprints(text.expose()).ok()).unwrap_or_default();
    let file = |fingerprint| TrustFile {
        path: path.to_owned(),
        root: Root::ServiceAccount,
        is_root: true,
        fingerprint,
        common_name: String::new(),
        not_after: None,
        not_before: None,
    };
    Ok(fingerprints.into_iter().map(file).collect())
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

fn may_hold_a_leaf(path: &str) -> bool {
    has_extension(path, "crt")
        || path.ends_with("/kubelet-client-current.pem")
        || path.ends_with("/kubelet-server-current.pem")
}

fn trust_file(path: &str, root: Root, is_root: bool, certificate: &CertInfo) -> TrustFile {
    TrustFile {
        path: path.to_owned(),
        root,
        is_root,
        fingerprint: certificate.fingerprint.clone(),
        common_name: certificate.subject_cn.clone(),
        not_after: Some(certificate.not_after),
        not_before: Some(certificate.not_before),
    }
}

fn signed(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

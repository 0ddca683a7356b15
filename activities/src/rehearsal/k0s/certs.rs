//! `EnsureCA`, `EnsureCertificate` and kubeconfigs, as at each start of a controller (facts §1.1, §1.2).

use super::setup::{Setup, uid};
use crate::kubeconfig;
use crate::pki::{self, Leaf, PkiError, Validity, key_matches, read_certificates, read_one};
use crate::rehearsal::machine::Machine;
use crate::secret::Secret;

const YEAR: i64 = 8760 * 3600;
const DECADE: i64 = 87_600 * 3600;
/// cfssl dates back by five minutes, to the minute.
const BACKDATE: i64 = 300;

/// What k0s prints after `Error: ` before it gives up.
pub type Fatal = String;

/// A leaf: name of the files, subject, owner.
struct Wanted {
    file: &'static str,
    ca: &'static str,
    cn: String,
    organization: &'static str,
    uid: u32,
    sans: Vec<String>,
}

/// All that happens to certificates and kubeconfigs before any component of a controller starts.
pub fn init(m: &mut dyn Machine, setup: &Setup) -> Result<(), Fatal> {
    m.make_dir(&setup.pki(""), 0o751, uid::ROOT);
    ensure_ca(m, setup, "ca", "kubernetes-ca")?;
    ensure_ca(m, setup, "front-proxy-ca", "kubernetes-front-proxy-ca")?;
    ensure_service_account(m, setup)?;
    for leaf in leafs(m, setup) {
        ensure_leaf(m, setup, &leaf)?;
    }
    for (conf, leaf, owner, mode) in kubeconfigs(setup) {
        write_kubeconfig(m, setup, conf, leaf, owner, mode)?;
    }
    Ok(())
}

/// The part that runs when etcd is started.
pub fn init_etcd(m: &mut dyn Machine, setup: &Setup) -> Result<(), Fatal> {
    let failed =
        |text: Fatal| format!("failed to start controller node components: failed to create etcd certs: {text}");
    m.make_dir(&setup.pki("etcd"), 0o711, uid::ETCD);
    ensure_ca(m, setup, "etcd/ca", "etcd-ca").map_err(failed)?;
    let local = || vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let peer = m.address().to_owned();
    let leaf = |file, cn: &str, organization, uid, sans| Wanted {
        file,
        ca: "etcd/ca",
        cn: cn.to_owned(),
        organization,
        uid,
        sans,
    };
    for leaf in [
        leaf("apiserver-etcd-client", "apiserver-etcd-client", "apiserver-etcd-client", uid::APISERVER, local()),
        leaf("etcd/server", "etcd-server", "etcd-server", uid::ETCD, local()),
        leaf("etcd/peer", &peer, "etcd-peer", uid::ETCD, vec![peer.clone()]),
    ] {
        ensure_leaf(m, setup, &leaf).map_err(failed)?;
    }
    if !m.exists(&setup.pki("etcd/jwt.key")) {
        let pair = pki::make_service_account(setup.keys).map_err(signing)?;
        put_pair(m, setup, ("etcd/jwt.key", "etcd/jwt.pub"), &pair, uid::ETCD)?;
    }
    for (name, mode) in [("ca.crt", 0o644), ("ca.key", 0o640), ("jwt.key", 0o640), ("jwt.pub", 0o644)] {
        m.own(&setup.pki(&format!("etcd/{name}")), mode, uid::ETCD);
    }
    Ok(())
}

/// Both files are kept only if both are there.
fn ensure_ca(m: &mut dyn Machine, setup: &Setup, file: &str, cn: &str) -> Result<(), Fatal> {
    let (key, crt) = (format!("{file}.key"), format!("{file}.crt"));
    if m.exists(&setup.pki(&key)) && m.exists(&setup.pki(&crt)) {
        return Ok(());
    }
    let now = seconds(m);
    let validity = Validity { not_before: backdated(now), not_after: now + DECADE };
    let pair = pki::make_ca(cn, setup.keys, validity).map_err(signing)?;
    put_pair(m, setup, (&key, &crt), &pair, uid::ROOT)
}

/// kube-apiserver gets the key only if the key was there before (facts §1.2).
fn ensure_service_account(m: &mut dyn Machine, setup: &Setup) -> Result<(), Fatal> {
    let (key, public) = (setup.pki("sa.key"), setup.pki("sa.pub"));
    if m.exists(&key) && m.exists(&public) {
        m.own(&key, 0o640, uid::APISERVER);
        return Ok(());
    }
    let pair = pki::make_service_account(setup.keys).map_err(signing)?;
    put_pair(m, setup, ("sa.key", "sa.pub"), &pair, uid::ROOT)
}

fn put_pair(
    m: &mut dyn Machine,
    setup: &Setup,
    files: (&str, &str),
    pair: &pki::Issued,
    uid: u32,
) -> Result<(), Fatal> {
    write(m, &setup.pki(files.0), pair.key.expose(), 0o640, uid)?;
    write(m, &setup.pki(files.1), pair.certificate.as_bytes(), 0o644, uid)
}

fn leafs(m: &dyn Machine, setup: &Setup) -> Vec<Wanted> {
    let leaf = |file, cn: &str, organization, uid| Wanted {
        file,
        ca: "ca",
        cn: cn.to_owned(),
        organization,
        uid,
        sans: Vec::new(),
    };
    let served =
        |file, cn: &str| Wanted { sans: server_names(m, setup), ..leaf(file, cn, "kubernetes", uid::APISERVER) };
    let (ccm, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let mut all = vec![
        Wanted {
            ca: "front-proxy-ca",
            ..leaf("front-proxy-client", "front-proxy-client", "front-proxy-client", uid::APISERVER)
        },
        leaf("admin", "kubernetes-admin", "system:masters", uid::ROOT),
        leaf("ccm", ccm, ccm, uid::APISERVER),
        leaf("scheduler", scheduler, scheduler, uid::SCHEDULER),
        leaf("apiserver-kubelet-client", "apiserver-kubelet-client", "system:masters", uid::APISERVER),
        served("server", "kubernetes"),
        served("k0s-api", "k0s-api"),
    ];
    if !setup.single {
        all.push(leaf("konnectivity", "kubernetes-konnectivity", "system:masters", uid::KONNECTIVITY));
    }
    all
}

fn server_names(m: &dyn Machine, setup: &Setup) -> Vec<String> {
    let mut names: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
    names.push("kubernetes.default.svc.cluster.local".to_owned());
    names.extend(["localhost", "127.0.0.1", "10.96.0.1", m.address()].map(str::to_owned));
    if !names.contains(&setup.api_host) {
        names.push(setup.api_host.clone());
    }
    names
}

/// Conf, leaf, owner, mode.
fn kubeconfigs(setup: &Setup) -> Vec<(&'static str, &'static str, u32, u32)> {
    let private = if setup.minor >= 35 { 0o600 } else { 0o640 };
    let admin = if setup.minor >= 32 { 0o600 } else { 0o640 };
    let mut all = vec![
        ("admin.conf", "admin", uid::ROOT, admin),
        ("ccm.conf", "ccm", uid::APISERVER, private),
        ("scheduler.conf", "scheduler", uid::SCHEDULER, private),
    ];
    if !setup.single {
        all.push(("konnectivity.conf", "konnectivity", uid::KONNECTIVITY, 0o640));
    }
    all
}

fn write_kubeconfig(
    m: &mut dyn Machine,
    setup: &Setup,
    conf: &str,
    leaf: &str,
    owner: u32,
    mode: u32,
) -> Result<(), Fatal> {
    let text = |name: String| m.read(&setup.pki(&name)).unwrap_or_default();
    let (ca, crt, key) = (text("ca.crt".to_owned()), text(format!("{leaf}.crt")), text(format!("{leaf}.key")));
    let key = Secret::new(key.to_vec());
    let (ca, crt) = (String::from_utf8_lossy(&ca), String::from_utf8_lossy(&crt));
    let conf_text = kubeconfig::component("https://localhost:6443", &ca, &crt, &key);
    write(m, &setup.pki(conf), conf_text.expose(), mode, owner)
}

fn ensure_leaf(m: &mut dyn Machine, setup: &Setup, leaf: &Wanted) -> Result<(), Fatal> {
    let (crt, key) = (setup.pki(&format!("{}.crt", leaf.file)), setup.pki(&format!("{}.key", leaf.file)));
    if regenerate(m, setup, &crt, &key)? {
        let issued = sign(m, setup, leaf)?;
        write(m, &key, issued.key.expose(), 0o640, leaf.uid)?;
        return write(m, &crt, issued.certificate.as_bytes(), 0o644, leaf.uid);
    }
    m.own(&key, 0o640, leaf.uid);
    m.own(&crt, 0o644, leaf.uid);
    Ok(())
}

/// Only the issuer's common name is compared, and which names count depends on the version (facts §1.1).
fn regenerate(m: &dyn Machine, setup: &Setup, crt: &str, key: &str) -> Result<bool, Fatal> {
    if !m.exists(crt) && !m.exists(key) {
        return Ok(true);
    }
    let Some(old) = m.read(crt).and_then(|bytes| read_one(&bytes).ok()) else { return Ok(true) };
    if matches!(old.issuer_cn.as_str(), "kubernetes-ca" | "kubernetes-front-proxy-ca" | "etcd-ca") && setup.minor <= 34
    {
        return Ok(true);
    }
    if setup.minor <= 34 {
        return Ok(false);
    }
    let ca = m.read(&setup.pki("ca.crt")).unwrap_or_default();
    let ca = parse_ca(&ca).map_err(|error| format!("unable to parse ca certificate: {error}"))?;
    let custom = old.issuer_cn == ca.subject_cn && m.exists(&setup.pki("ca.key"));
    let usual = ["kubernetes-ca", "kubernetes-front-proxy-ca", "etcd-ca"].contains(&old.issuer_cn.as_str());
    Ok(usual || custom)
}

fn sign(m: &dyn Machine, setup: &Setup, leaf: &Wanted) -> Result<pki::Issued, Fatal> {
    let ca = m.read(&setup.pki(&format!("{}.crt", leaf.ca))).unwrap_or_default();
    let key = Secret::new(m.read(&setup.pki(&format!("{}.key", leaf.ca))).unwrap_or_default().to_vec());
    let info = parse_ca(&ca)?;
    match key_matches(&info, &key) {
        Ok(true) => {}
        Ok(false) => return Err(cfssl(1000, "x509: provided PrivateKey doesn't match parent's PublicKey")),
        Err(_) => return Err(cfssl(2003, "Failed to parse private key")),
    }
    let now = seconds(m);
    let wanted = Leaf {
        common_name: leaf.cn.clone(),
        organization: Some(leaf.organization.to_owned()),
        sans: leaf.sans.clone(),
        server: true,
        client: true,
        validity: Validity { not_before: backdated(now), not_after: now + YEAR },
    };
    pki::issue(&String::from_utf8_lossy(&ca), &key, &wanted, setup.keys).map_err(signing)
}

/// As cfssl's `ParseCertificatePEM`.
fn parse_ca(pem: &[u8]) -> Result<pki::CertInfo, Fatal> {
    match read_certificates(pem) {
        Ok(mut all) if all.len() == 1 => Ok(all.remove(0)),
        Ok(_) => Err(cfssl(1003, "the PEM file should contain only one object")),
        Err(_) => Err(cfssl(1002, "Failed to decode certificate")),
    }
}

fn cfssl(code: u32, message: &str) -> Fatal {
    format!("{{\"code\":{code},\"message\":\"{message}\"}}")
}

fn signing(error: PkiError) -> Fatal {
    format!("certificate signing failed: {error}")
}

pub(super) fn write(m: &mut dyn Machine, path: &str, bytes: &[u8], mode: u32, uid: u32) -> Result<(), Fatal> {
    m.write(path, bytes, mode, uid).map_err(|_| format!("open {path}: no space left on device"))
}

/// The machine's wall clock in seconds.
pub fn seconds(m: &dyn Machine) -> i64 {
    i64::try_from(m.now().0 / 1000).unwrap_or(i64::MAX)
}

fn backdated(now: i64) -> i64 {
    (now - BACKDATE) / 60 * 60
}

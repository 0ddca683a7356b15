//! What a fleet looks like with its random keys taken out: who signed what, what else lies there, and what its API holds.

mod objects;

use super::world::World;
use crate::host::{FileInfo, FileKind};
use crate::kubeconfig::{Credentials, Kubeconfig};
use crate::pki::{self, CertInfo};
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};

/// Where a rotation could leave something besides trust files.
const OTHERS: [&str; 2] = ["/etc", "/var/lib"];

/// Pods come and go, and their volumes with them.
const PODS: &str = "/kubelet/pods/";

/// The public half of a root: a certificate, or a key of service accounts, which has none.
struct Root {
    /// For example `kubernetes-ca`, or `front-proxy-ca of c1`.
    name: String,
    spki: String,
    certificate: Option<CertInfo>,
    /// Of a key of service accounts: itself, PEM.
    public_key: Option<String>,
}

/// The roots that a fleet had when it was looked at first: they are called old from then on, all others new.
pub struct First(Vec<Root>);

impl First {
    /// Looks at them.
    pub fn of(world: &World) -> Self {
        Self(roots(world))
    }
}

/// What lies at each place, by host and path, and what the API holds. Two fleets that went the same way are equal in it, whatever their keys and dates are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Likeness {
    trust: Places,
    others: Places,
    objects: Places,
}

/// What lies there, by host and path.
type Places = BTreeMap<(String, String), String>;

impl Likeness {
    /// Looks at every trust file of every host, at all other files where k0s, systemd and k0rotate keep some, at the objects of the API, and at
    /// what k0s runs.
    pub fn of(world: &World, first: &First) -> Self {
        let known = Known::of(world, first);
        let mut seen = Self { objects: objects::places(world, &known), ..Self::default() };
        for (host, trust) in world.trust_files() {
            let certificates = certificates(world, &host, &trust);
            seen.others.insert((host.clone(), "what runs".to_owned()), runs(world, &host));
            let mut others = world.files(&host, &OTHERS.map(str::to_owned));
            others.retain(|file| file.kind != FileKind::Dir && !file.path.contains(PODS));
            for (files, places) in [(trust, &mut seen.trust), (others, &mut seen.others)] {
                for file in files {
                    let what = known.what(world, &host, &file, &certificates);
                    let what = format!("{what}, {:o} {}:{}", file.mode, file.owner.uid, file.owner.gid);
                    places.insert((host.clone(), dateless(&file.path)), what);
                }
            }
        }
        seen
    }

    /// Places where another fleet differs from this one, as sentences.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let others = differences(&self.others, &other.others);
        [self.trust_differences(other), others, self.object_differences(other)].concat()
    }

    /// The same of the objects of the API, and of members of etcd.
    pub fn object_differences(&self, other: &Self) -> Vec<String> {
        differences(&self.objects, &other.objects)
    }

    /// The same of trust files alone: a fleet that went there and back keeps traces elsewhere.
    pub fn trust_differences(&self, other: &Self) -> Vec<String> {
        differences(&self.trust, &other.trust)
    }

    /// How many trust files there are, their folders included.
    pub fn trust_files(&self) -> usize {
        self.trust.len()
    }
}

fn differences(own: &Places, other: &Places) -> Vec<String> {
    let places: BTreeSet<_> = own.keys().chain(other.keys()).collect();
    let differs = places.into_iter().filter(|place| own.get(*place) != other.get(*place));
    let told = |place: &(String, String)| {
        let of = |places: &Places| places.get(place).cloned().unwrap_or_else(|| "nothing".to_owned());
        format!("{} {}: {} instead of {}", place.0, place.1, of(other), of(own))
    };
    differs.map(told).collect()
}

/// Names of the programs of k0s that run there. Containers stay and go with their pods.
fn runs(world: &World, host: &str) -> String {
    let processes = world.processes(host).into_iter().filter(|process| !process.is_shim());
    let programs: Vec<String> = processes.map(|process| process.comm).collect::<BTreeSet<_>>().into_iter().collect();
    match programs.as_slice() {
        [] | [_] if world.is_to_run(host) => "k0s alone, or about to be started again".to_owned(),
        [] => "no k0s".to_owned(),
        some => some.join(" "),
    }
}

/// The first certificate of each file that has one, by path.
fn certificates(world: &World, host: &str, files: &[FileInfo]) -> Vec<(String, CertInfo)> {
    let read = files.iter().filter_map(|file| Some((file, world.read(host, &file.path)?)));
    read.filter_map(|(file, bytes)| Some((dateless(&file.path), pki::read_certificates(&bytes).ok()?.remove(0))))
        .collect()
}

/// All roots that files can be of, each with its generation.
struct Known(Vec<(String, Root)>);

impl Known {
    fn of(world: &World, first: &First) -> Self {
        let is_first = |root: &Root| first.0.iter().any(|old| old.spki == root.spki && old.name == root.name);
        let copy = |root: &Root| Root {
            name: root.name.clone(),
            spki: root.spki.clone(),
            certificate: root.certificate.clone(),
            public_key: root.public_key.clone(),
        };
        let mut all: Vec<(String, Root)> = first.0.iter().map(|root| ("old".to_owned(), copy(root))).collect();
        let mut generations: BTreeMap<String, usize> = BTreeMap::new();
        for root in roots(world).into_iter().filter(|root| !is_first(root)) {
            // Several new ones under one name are a split cluster: they must not look alike.
            let count = generations.entry(root.name.clone()).or_default();
            *count += 1;
            let generation = if *count == 1 { "new".to_owned() } else { format!("new ({count})") };
            all.push((generation, root));
        }
        Self(all)
    }

    fn what(&self, world: &World, host: &str, file: &FileInfo, certificates: &[(String, CertInfo)]) -> String {
        match &file.kind {
            FileKind::Dir => "a folder".to_owned(),
            FileKind::Other => "a socket".to_owned(),
            FileKind::Link { target } => format!("a link to {}", dateless(target)),
            FileKind::File { .. } => {
                let bytes = world.read(host, &file.path).unwrap_or_default();
                self.content(&Secret::new(bytes), certificates)
            }
        }
    }

    fn content(&self, bytes: &Secret, certificates: &[(String, CertInfo)]) -> String {
        if let Ok(config) = Kubeconfig::read(bytes) {
            let shows = match &config.credentials {
                Credentials::None => "nothing".to_owned(),
                Credentials::Token(_) => "a token".to_owned(),
                Credentials::Certificate { certificate, .. } => self.certificates(certificate.as_bytes()),
                Credentials::Files { certificate, .. } => dateless(certificate),
            };
            return format!(
                "a kubeconfig of {} that trusts {} and shows {shows}",
                config.user,
                self.certificates(config.ca.as_bytes())
            );
        }
        let mut parts = Vec::new();
        if pki::read_certificates(bytes.expose()).is_ok() {
            parts.push(self.certificates(bytes.expose()));
        }
        if let Ok(keys) = pki::public_key_fingerprints(bytes.expose()) {
            parts.extend(keys.iter().map(|key| format!("public key of {}", self.owner(key, certificates))));
        }
        if let Some(key) = private_key(bytes) {
            parts.push(format!("key of {}", self.owner(&key, certificates)));
        }
        if parts.is_empty() { "a file".to_owned() } else { parts.join(" and ") }
    }

    /// Each certificate of a file by its signer.
    fn certificates(&self, pem: &[u8]) -> String {
        let all = pki::read_certificates(pem).unwrap_or_default();
        all.iter().map(|certificate| self.certificate(certificate)).collect::<Vec<_>>().join(" and ")
    }

    fn certificate(&self, certificate: &CertInfo) -> String {
        if let Some((generation, root)) = self.0.iter().find(|(_, root)| root.spki == certificate.spki_sha256) {
            return format!("the {generation} {}", root.name);
        }
        let signed = |root: &Root| root.certificate.as_ref().is_some_and(|ca| pki::signed_by(certificate, ca));
        // Whom it names comes first: to verify a signature costs a thousand times as much.
        let named = |root: &Root| {
            let ca = root.certificate.as_ref();
            ca.is_some_and(|ca| ca.subject_der == certificate.issuer_der && ca.ski == certificate.aki)
        };
        let (likely, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, root)| named(root));
        match likely.into_iter().chain(others).find(|(_, root)| signed(root)) {
            Some((generation, root)) => format!("{} by the {generation} {}", certificate.subject_cn, root.name),
            None => format!("{} by a stranger", certificate.subject_cn),
        }
    }

    /// Whose key it is.
    fn owner(&self, spki: &str, certificates: &[(String, CertInfo)]) -> String {
        if let Some((generation, root)) = self.0.iter().find(|(_, root)| root.spki == spki) {
            return format!("the {generation} {}", root.name);
        }
        let beside = certificates.iter().find(|(_, certificate)| certificate.spki_sha256 == spki);
        beside.map_or_else(|| "nothing that lies here".to_owned(), |(path, _)| path.clone())
    }
}

/// Fingerprint of the public half of the private key in a file; the kubelet keeps certificate and key in one.
fn private_key(bytes: &Secret) -> Option<String> {
    let text = std::str::from_utf8(bytes.expose()).ok()?;
    let at = ["-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY", "-----BEGIN RSA PRIVATE KEY"];
    let at = at.iter().find_map(|label| text.find(label))?;
    let public = pki::public_key(&Secret::new(text.as_bytes()[at..].to_vec())).ok()?;
    pki::public_key_fingerprints(public.as_bytes()).ok()?.pop()
}

/// All roots that lie in the places of roots, each once.
fn roots(world: &World) -> Vec<Root> {
    let mut found: Vec<Root> = Vec::new();
    let mut add = |root: Root| {
        if !found.iter().any(|known| known.spki == root.spki && known.name == root.name) {
            found.push(root);
        }
    };
    for (host, files) in world.trust_files() {
        for file in files {
            let Some(bytes) = world.read(&host, &file.path) else { continue };
            let name = match file.path.rsplit_once("/pki/").map(|(_, name)| name) {
                Some("ca.crt") => "kubernetes-ca".to_owned(),
                Some("etcd/ca.crt") => "etcd-ca".to_owned(),
                Some("front-proxy-ca.crt") => format!("front-proxy-ca of {host}"),
                Some("sa.pub") => {
                    let keys = pki::public_key_fingerprints(&bytes).unwrap_or_default();
                    let public_key = String::from_utf8(bytes).ok();
                    keys.into_iter().for_each(|spki| {
                        let (name, public_key) = ("service-account".to_owned(), public_key.clone());
                        add(Root { name, spki, certificate: None, public_key });
                    });
                    continue;
                }
                _ => continue,
            };
            for certificate in pki::read_certificates(&bytes).unwrap_or_default() {
                let (name, spki) = (name.clone(), certificate.spki_sha256.clone());
                add(Root { name, spki, certificate: Some(certificate), public_key: None });
            }
        }
    }
    found
}

/// A path without what differs from run to run: a kubelet names its certificates by the second in which it got them, and our own folder
/// is named by the execution.
fn dateless(path: &str) -> String {
    let path = match path.split_once("/.k0rotate-") {
        Some((dir, rest)) => format!(
            "{dir}/.k0rotate-EXECUTION{}",
            rest.split_once('/').map_or(String::new(), |(_, below)| format!("/{below}"))
        ),
        None => path.to_owned(),
    };
    match path.rsplit_once("/kubelet-") {
        Some((dir, name)) => {
            let name: String = name.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            format!("{dir}/kubelet-{name}")
        }
        None => path,
    }
}

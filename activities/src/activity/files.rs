//! The files of k0s that hold trust: what lies where, what was signed by whom, and how they are kept and put back.

use super::common::{self, Step};
use super::host_facts;
use crate::archive;
use crate::facts::K0sHost;
use crate::fleet::Root;
use crate::host::{Change, FileInfo, FileKind};
use crate::layout;
use crate::pki::{self, CertInfo};
use crate::secret::Secret;
use k0rotate_engine::failure::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What lies on a host, by path.
pub struct Listing(BTreeMap<String, FileInfo>);

impl Listing {
    /// Looks at these files and all below them.
    pub async fn of(cx: &Step, host: &K0sHost, roots: &[String]) -> Result<Self, Failure> {
        let found = common::host(cx, &host.name)?.files(roots).await.map_err(common::of(&host.name))?;
        Ok(Self(found.into_iter().map(|file| (file.path.clone(), file)).collect()))
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something lies there, or below.
    pub fn has(&self, path: &str) -> bool {
        self.below(path).next().is_some()
    }

    /// All that lies there.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// What lies there.
    pub fn get(&self, path: &str) -> Option<&FileInfo> {
        self.0.get(path)
    }

    /// SHA-256 of a regular file.
    pub fn sha256(&self, path: &str) -> Option<&str> {
        match &self.0.get(path)?.kind {
            FileKind::File { sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// All that lies below a directory, by its path relative to it; the directory itself is the empty one.
    pub fn below<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (&'a str, &'a FileInfo)> {
        let from = self.0.range::<str, _>((Bound::Included(dir), Bound::Unbounded));
        from.take_while(move |(path, _)| path.starts_with(dir)).filter_map(move |(path, file)| {
            let rest = path.strip_prefix(dir)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((rest, file))
        })
    }

    /// Whether two trees hold the same files, links and bytes.
    pub fn same(&self, one: &str, other: &str) -> bool {
        let kinds = |dir| self.below(dir).map(|(rest, file)| (rest.to_owned(), file.kind.clone())).collect::<Vec<_>>();
        kinds(one) == kinds(other)
    }

    fn certificates<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = &'a String> {
        self.below(dir).filter(|(rest, _)| rest.strip_suffix(".crt").is_some()).map(|(_, file)| &file.path)
    }
}

/// The directory of a controller's trust.
pub fn pki_dir(host: &K0sHost) -> String {
    format!("{}/pki", host.data_dir)
}

/// kubelet.conf and the folder of the kubelet's own certificates.
pub fn kubelet_files(host: &K0sHost) -> [String; 2] {
    [format!("{}/kubelet.conf", host.data_dir), format!("{}/pki", host.kubelet_root)]
}

/// All that a kubelet of the old trust leaves: its files, and on a worker of 1.32 or older the CA that k0s writes only if it is absent
/// (facts §1.3); on newer ones nothing reads that file, and taking it away is harmless.
pub fn old_kubelet_files(host: &K0sHost) -> Vec<String> {
    let mut paths = kubelet_files(host).to_vec();
    if !host.role.is_controller() {
        paths.push(format!("{}/pki/ca.crt", host.data_dir));
    }
    paths
}

/// The kubelet's files as they lie, and as they were kept.
pub async fn kubelet_listing(cx: &Step, host: &K0sHost) -> Result<Listing, Failure> {
    let mut roots = old_kubelet_files(host);
    roots.push(kept_dir(cx, host));
    Listing::of(cx, host, &roots).await
}

/// The folder of the files that were taken out of use.
pub fn kept_dir(cx: &Step, host: &K0sHost) -> String {
    format!("{}/old", layout::folder(host, cx.execution.as_str()))
}

/// Where a kept file belongs: the way back of [`layout::kept`], given its path below the folder of kept files.
pub fn place(host: &K0sHost, rest: &str) -> String {
    let own_root = format!("{}/", host.kubelet_root);
    let outside = !own_root.starts_with(&format!("{}/", host.data_dir));
    if outside && rest.starts_with(&own_root) { rest.to_owned() } else { format!("{}{rest}", host.data_dir) }
}

/// Kubeconfigs that k0s writes anew at every start; each embeds the Kubernetes CA.
pub fn kubeconfigs(host: &K0sHost) -> Vec<String> {
    ["admin", "ccm", "scheduler", "konnectivity"].map(|name| format!("{}/pki/{name}.conf", host.data_dir)).to_vec()
}

/// Reads the first certificate of a file; `None` if there is none or it does not parse, for k0s keeps other things in `pki` too.
pub async fn certificate(cx: &Step, host: &K0sHost, path: &str) -> Result<Option<CertInfo>, Failure> {
    host_facts::first_certificate(cx, &host.name, path).await
}

/// The first one in these bytes.
pub fn first_certificate(bytes: &Secret) -> Option<CertInfo> {
    pki::read_certificates(bytes.expose()).ok()?.into_iter().next()
}

/// The same of many files, by path, in one question: while the control plane is down each one counts.
pub async fn certificates(
    cx: &Step,
    host: &K0sHost,
    paths: impl IntoIterator<Item = &String>,
) -> Result<BTreeMap<String, CertInfo>, Failure> {
    let paths: Vec<String> = paths.into_iter().cloned().collect();
    let mut found = BTreeMap::new();
    if paths.is_empty() {
        return Ok(found);
    }
    let archive = common::host(cx, &host.name)?.tar_out(&paths).await.map_err(common::of(&host.name))?;
    let contents = archive::contents(&archive).map_err(|failure| failure.with("host", &host.name))?;
    for path in paths {
        let certificate = match contents.get(path.trim_start_matches('/')) {
            Some(Some(bytes)) => first_certificate(bytes),
            // What a link leads to is not in the archive.
            Some(None) => certificate(cx, host, &path).await?,
            None => None,
        };
        found.extend(certificate.map(|certificate| (path, certificate)));
    }
    Ok(found)
}

/// Keys in `pki`, and their certificates after them, that were signed by one of these CAs: by signature, validity ignored,
/// for a chain check finds nothing once the CA has expired (lab §20). The CAs themselves are not among them.
pub async fn signed_by(
    cx: &Step,
    host: &K0sHost,
    listing: &Listing,
    authorities: &[CertInfo],
) -> Result<Vec<String>, Failure> {
    let dir = pki_dir(host);
    let roots: BTreeSet<String> = ROOTS.iter().flat_map(|root| layout::root_pair(host, *root)).collect();
    let leafs = certificates(cx, host, listing.certificates(&dir).filter(|path| !roots.contains(*path))).await?;
    let signed = leafs.into_iter().filter(|(_, leaf)| authorities.iter().any(|ca| pki::signed_by(leaf, ca)));
    // A key is found by its certificate, which must be the last to go.
    let pairs = signed.flat_map(|(path, _)| [path.replace(".crt", ".key"), path]);
    Ok(pairs.filter(|path| listing.has(path)).collect())
}

/// All roots.
pub const ROOTS: [Root; 4] = [Root::KubernetesCa, Root::EtcdCa, Root::FrontProxyCa, Root::ServiceAccount];

/// Moves what lies at `path` into the folder of kept files. What was kept first stays.
pub fn move_aside(cx: &Step, host: &K0sHost, listing: &Listing, path: &str) -> Vec<Change> {
    let to = layout::kept(host, cx.execution.as_str(), path);
    let remove = Change::Remove { path: path.to_owned() };
    match (listing.has(path), listing.has(&to)) {
        (false, _) => Vec::new(),
        (true, true) => vec![remove],
        // Staged pairs are renamed into `pki`, so that what lies there can be renamed out of it.
        (true, false) if path.starts_with(&format!("{}/", pki_dir(host))) => {
            vec![Change::Rename { from: path.to_owned(), to }]
        }
        // By copy, for the kubelet's root may lie on another file system.
        (true, false) => vec![Change::Copy { from: path.to_owned(), to }, remove],
    }
}

/// Copies what lies at `path` into the folder of kept files, unless something was kept before.
pub fn keep(cx: &Step, host: &K0sHost, listing: &Listing, path: &str) -> Option<Change> {
    let to = layout::kept(host, cx.execution.as_str(), path);
    (listing.has(path) && !listing.has(&to)).then(|| Change::Copy { from: path.to_owned(), to })
}

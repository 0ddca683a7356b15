//! Reads the CAs that an operator brings and checks them before anything else happens.

use crate::args::{OwnCaArg, RootArg};
use crate::error::Error;
use k0rotate_activities::fleet::{Root, Secrets};
use k0rotate_activities::pki::{self, CertInfo};
use k0rotate_activities::secret::Secret;
use k0rotate_activities::trust::OwnCa;
use k0rotate_engine::clock::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A larger file is neither a certificate nor a key.
const LARGEST_FILE: u64 = 64 * 1024;

/// A CA that passed.
pub struct Brought {
    /// PEM, as the file has it.
    certificate: String,
    key: Secret,
    /// What it says.
    info: CertInfo,
}

/// The CAs that are brought for the roots that are replaced. Two roots with one key would take each other's certificates.
pub fn read(asked: &[OwnCaArg], roots: &[Root]) -> Result<BTreeMap<Root, Brought>, Error> {
    let mut all: BTreeMap<Root, Brought> = BTreeMap::new();
    for own in asked {
        let (root, path) = (root_of(own)?, own.path.as_path());
        if !roots.contains(&root) {
            return Err(Error::Usage(format!("--own-ca {own}: this root is not among those that are replaced")));
        }
        let brought = one(path)?;
        if all.values().any(|other| other.info.spki_sha256 == brought.info.spki_sha256) {
            return Err(Error::OwnCa(path.display().to_string(), "another root is brought with the same key".into()));
        }
        if all.insert(root, brought).is_some() {
            return Err(Error::Usage(format!("--own-ca {own}: this root is brought twice")));
        }
    }
    Ok(all)
}

/// Their public parts, for a plan.
pub fn public(brought: &BTreeMap<Root, Brought>) -> BTreeMap<Root, OwnCa> {
    let public = |own: &Brought| OwnCa { certificate: own.certificate.clone(), key: None };
    brought.iter().map(|(root, own)| (*root, public(own))).collect()
}

/// Seals their keys: from here on the rotation needs no file of the operator's.
pub async fn seal(brought: &BTreeMap<Root, Brought>, secrets: &dyn Secrets) -> Result<BTreeMap<Root, OwnCa>, Error> {
    let mut sealed = BTreeMap::new();
    for (root, own) in brought {
        let key = secrets.put(&own.key).await.map_err(|failure| Error::Log(failure.to_string()))?;
        sealed.insert(*root, OwnCa { certificate: own.certificate.clone(), key: Some(key) });
    }
    Ok(sealed)
}

fn root_of(own: &OwnCaArg) -> Result<Root, Error> {
    let refused = |why: &str| Err(Error::Usage(format!("--own-ca {own}: {why}")));
    match own.root {
        RootArg::KubernetesCa => Ok(Root::KubernetesCa),
        RootArg::EtcdCa => Ok(Root::EtcdCa),
        RootArg::FrontProxyCa => refused("each controller has a front-proxy CA of its own, which k0rotate makes"),
        RootArg::ServiceAccount => refused("it is a key pair and no CA; k0rotate makes it"),
    }
}

fn one(path: &Path) -> Result<Brought, Error> {
    let (crt, key) = (ending(path, ".crt"), ending(path, ".key"));
    let certificate = String::from_utf8(contents(&crt)?).map_err(|_| wrong(&crt, "it is no PEM"))?;
    let private = Secret::new(contents(&key)?);
    let now = i64::try_from(SystemClock::default().now().0 / 1000).unwrap_or(i64::MAX);
    let info = pki::check_ca(certificate.as_bytes(), &private, now).map_err(|refusal| {
        let of_key = matches!(refusal, pki::CaRefusal::KeyUnreadable | pki::CaRefusal::KeyMismatch);
        wrong(if of_key { &key } else { &crt }, refusal)
    })?;
    Ok(Brought { certificate, key: private, info })
}

/// Read into one buffer that is large enough never to be moved: a moved buffer leaves a copy of a key behind.
fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(|e| wrong(path, e))?;
    let mut bytes = Vec::with_capacity(usize::try_from(LARGEST_FILE).unwrap_or(0) + 1);
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| wrong(path, e))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(wrong(path, format!("it is larger than {LARGEST_FILE} bytes")));
    }
    Ok(bytes)
}

fn ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::OwnCa(path.display().to_string(), what.to_string())
}

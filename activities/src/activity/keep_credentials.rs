//! Keeps what is needed to tell this trust from its successor: its public parts, and credentials, sealed, with what the controller makes of them.

use super::common::{self, Step};
use super::credentials::{Credential, Kind, Place, Verdict};
use super::files;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, Root};
use crate::layout;
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// A look alone: what it finds is sealed before the intent is written, and nothing on any machine changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepCredentials {
    /// Where.
    pub place: Place,
    /// Roots that are about to be replaced.
    pub roots: Vec<Root>,
}

/// A credential as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its kind.
    pub kind: Kind,
    /// Itself, sealed.
    pub sealed: SecretRef,
    /// What the controller made of it.
    pub verdict: Verdict,
}

/// The trust of a controller as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTrust {
    /// Certificates of its CAs and the public key of service accounts, PEM.
    pub public: BTreeMap<Root, String>,
    /// Credentials that rest on the roots to be replaced.
    pub credentials: Vec<Kept>,
}

impl Activity for KeepCredentials {
    const NAME: &'static str = "keep-credentials";
    type Env = Fleet;
    type Before = KeptTrust;
    type Output = KeptTrust;

    fn target(&self) -> String {
        self.place.controller.name.clone()
    }

    async fn before(&self, cx: &Step) -> Result<KeptTrust, Failure> {
        let mut kept = KeptTrust { public: public(cx, &self.place.controller).await?, credentials: Vec::new() };
        for kind in Kind::of(&self.roots) {
            let Some(credential) = self.place.find(cx, kind).await? else { continue };
            let verdict = self.place.show(cx, kind, &credential).await?;
            let sealed = cx.env.secrets.put(&pack(&credential)).await?;
            kept.credentials.push(Kept { kind, sealed, verdict });
        }
        Ok(kept)
    }

    async fn probe(&self, _cx: &Step, kept: &KeptTrust) -> Result<Option<KeptTrust>, Failure> {
        Ok(Some(kept.clone()))
    }

    /// Sealed copies say nothing to anybody.
    async fn undo(&self, _cx: &Step, _kept: &KeptTrust) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _kept: &KeptTrust) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, _cx: &Step, _kept: &KeptTrust) -> Result<(), Failure> {
        Ok(())
    }
}

impl Kept {
    /// Opens it.
    pub async fn open(&self, cx: &Step) -> Result<Credential, Failure> {
        unpack(&cx.env.secrets.get(&self.sealed).await?).ok_or_else(|| Failure::refused("kept-credential-unreadable"))
    }
}

async fn public(cx: &Step, host: &K0sHost) -> Result<BTreeMap<Root, String>, Failure> {
    let mut found = BTreeMap::new();
    for root in files::ROOTS {
        let [_, path] = layout::root_pair(host, root);
        if let Some(text) = common::read_text(cx, &host.name, &path).await? {
            found.insert(root, text);
        }
    }
    Ok(found)
}

/// A certificate before its key, or a token, behind a line that says which.
fn pack(credential: &Credential) -> Secret {
    let parts: [&[u8]; 3] = match credential {
        Credential::Bearer(bearer) => [b"bearer\n", bearer.expose(), b""],
        Credential::Certificate(identity) => [identity.certificate.as_bytes(), b"\n\0", identity.key.expose()],
    };
    Secret::new(parts.concat())
}

fn unpack(packed: &Secret) -> Option<Credential> {
    let bytes = packed.expose();
    if let Some(bearer) = bytes.strip_prefix(b"bearer\n") {
        return Some(Credential::Bearer(Secret::new(bearer.to_vec())));
    }
    let at = bytes.windows(2).position(|pair| pair == b"\n\0")?;
    let certificate = Zeroizing::new(bytes[..at].to_vec());
    let certificate = String::from_utf8_lossy(&certificate).into_owned();
    let key = Secret::new(bytes[at + 2..].to_vec());
    Some(Credential::Certificate(crate::host::ClientIdentity { certificate, key }))
}

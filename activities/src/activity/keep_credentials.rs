//! Keeps credentials of the trust that is in use, sealed, and records which of them are accepted, so that their refusal can be proved later.

use super::common::Step;
use super::credentials::{Credential, Kind, Place, Verdict};
use crate::fleet::{Fleet, Root};
use crate::secret::Secret;
use crate::trust::SecretRef;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
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

impl Activity for KeepCredentials {
    const NAME: &'static str = "keep-credentials";
    type Env = Fleet;
    type Before = Vec<Kept>;
    type Output = Vec<Kept>;

    fn target(&self) -> String {
        self.place.controller.name.clone()
    }

    async fn before(&self, cx: &Step) -> Result<Vec<Kept>, Failure> {
        let mut kept = Vec::new();
        for kind in Kind::of(&self.roots) {
            let Some(credential) = self.place.find(cx, kind).await? else { continue };
            let verdict = self.place.show(cx, kind, &credential).await?;
            let sealed = cx.env.secrets.put(&pack(&credential)?).await?;
            kept.push(Kept { kind, sealed, verdict });
        }
        Ok(kept)
    }

    async fn probe(&self, _cx: &Step, kept: &Vec<Kept>) -> Result<Option<Vec<Kept>>, Failure> {
        Ok(Some(kept.clone()))
    }

    /// Sealed copies say nothing to anybody.
    async fn undo(&self, _cx: &Step, _kept: &Vec<Kept>) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _kept: &Vec<Kept>) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, _cx: &Step, _kept: &Vec<Kept>) -> Result<(), Failure> {
        Ok(())
    }
}

impl Kept {
    /// Opens it.
    pub async fn open(&self, cx: &Step) -> Result<Credential, Failure> {
        unpack(&cx.env.secrets.get(&self.sealed).await?).ok_or_else(|| Failure::refused("kept-credential-unreadable"))
    }
}

/// A certificate before its key, or a token, behind a line that says which.
fn pack(credential: &Credential) -> Result<Secret, Failure> {
    let parts: [&[u8]; 3] = match credential {
        Credential::Bearer(bearer) => [b"bearer\n", bearer.expose(), b""],
        Credential::Certificate(identity) => [identity.certificate.as_bytes(), b"\n\0", identity.key.expose()],
    };
    Ok(Secret::new(parts.concat()))
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

//! Seals secrets with age, to all recipients, before they reach the event log's blobs.

use crate::fleet::Secrets;
use crate::secret::Secret;
use crate::trust::SecretRef;
use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use async_trait::async_trait;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::log::EventLog;
use std::io::{Read, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why a vault could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Not an age identity (`AGE-SECRET-KEY-1…`).
    #[error("the identity is not an age key")]
    Identity,
    /// Not an age recipient (`age1…`); its place in the list.
    #[error("recipient {0} is not an age recipient")]
    Recipient(usize),
    /// What is sealed to the recipients could not be opened with the identity: a rotation could not go on after a restart.
    #[error("the identity opens nothing that is sealed to the recipients")]
    NotARecipient,
}

/// Secrets sealed in the blobs of an event log.
pub struct Vault {
    log: Arc<dyn EventLog>,
    recipients: Vec<Recipient>,
    identity: Identity,
}

impl Vault {
    /// Opens it, and sees that what is sealed from now on can be opened again. `identity` may be the whole text of an identity file.
    pub fn open(log: Arc<dyn EventLog>, recipients: &[String], identity: &Secret) -> Result<Self, VaultError> {
        let identity = read_identity(identity)?;
        let recipients = read_recipients(recipients)?;
        let own = identity.to_public().to_string();
        if !recipients.iter().any(|recipient| recipient.to_string() == own) {
            return Err(VaultError::NotARecipient);
        }
        let vault = Self { log, recipients, identity };
        let tried = Secret::new(b"tried at opening".to_vec());
        let opened = vault.seal(&tried).ok().and_then(|sealed| vault.unseal(&sealed).ok());
        match opened {
            Some(opened) if opened.expose() == tried.expose() => Ok(vault),
            _ => Err(VaultError::NotARecipient),
        }
    }

    /// To whom it seals, `age1…`.
    pub fn recipients(&self) -> Vec<String> {
        self.recipients.iter().map(ToString::to_string).collect()
    }

    fn seal(&self, secret: &Secret) -> Result<Vec<u8>, Failure> {
        let failed = |_| Failure::refused("sealing-failed");
        let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|_| Failure::refused("sealing-failed"))?;
        let mut sealed = Vec::with_capacity(secret.expose().len() + 1024);
        let mut writer = encryptor.wrap_output(&mut sealed).map_err(failed)?;
        writer.write_all(secret.expose()).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(sealed)
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Secret, Failure> {
        unseal(&self.identity, sealed).ok_or_else(|| Failure::refused("secret-not-opened"))
    }
}

#[async_trait]
impl Secrets for Vault {
    async fn put(&self, secret: &Secret) -> Result<SecretRef, Failure> {
        let sealed = self.seal(secret)?;
        let hash = self.log.put_blob(&sealed).await.map_err(|_| Failure::new("secret-not-stored"))?;
        Ok(SecretRef(hash))
    }

    async fn get(&self, reference: &SecretRef) -> Result<Secret, Failure> {
        let sealed = self.log.get_blob(&reference.0).await.map_err(|_| Failure::new("secret-not-found"))?;
        self.unseal(&sealed)
    }

    async fn remove(&self, reference: &SecretRef) -> Result<(), Failure> {
        self.log.remove_blob(&reference.0).await.map_err(|_| Failure::new("secret-not-removed"))
    }

    async fn all(&self) -> Result<Vec<SecretRef>, Failure> {
        let blobs = self.log.blobs().await.map_err(|_| Failure::new("secrets-not-listed"))?;
        Ok(blobs.into_iter().map(SecretRef).collect())
    }
}

/// A new identity and its recipient.
pub fn make_identity() -> (Secret, String) {
    let identity = Identity::generate();
    (Secret::new(identity.to_string().expose_secret().as_bytes().to_vec()), identity.to_public().to_string())
}

/// Opens a sealed file, for example a backup that was exported, with an identity.
pub fn open_sealed(identity: &Secret, sealed: &[u8]) -> Result<Secret, VaultError> {
    unseal(&read_identity(identity)?, sealed).ok_or(VaultError::NotARecipient)
}

/// Whether something can be sealed to it.
pub fn is_recipient(text: &str) -> bool {
    text.parse::<age::x25519::Recipient>().is_ok()
}

/// The recipient that belongs to an identity.
pub fn recipient_of(identity: &Secret) -> Result<String, VaultError> {
    Ok(read_identity(identity)?.to_public().to_string())
}

fn unseal(identity: &Identity, sealed: &[u8]) -> Option<Secret> {
    let decryptor = age::Decryptor::new_buffered(sealed).ok()?;
    let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).ok()?;
    // Read into a buffer that is zeroised and large enough never to be moved: a moved buffer leaves a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut plain).ok()?;
    Some(Secret::new(std::mem::take(&mut *plain)))
}

/// The first line of the file that is neither empty nor a comment.
fn read_identity(text: &Secret) -> Result<Identity, VaultError> {
    let text = std::str::from_utf8(text.expose()).map_err(|_| VaultError::Identity)?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.and_then(|line| line.parse().ok()).ok_or(VaultError::Identity)
}

fn read_recipients(texts: &[String]) -> Result<Vec<Recipient>, VaultError> {
    let parse = |(at, text): (usize, &String)| text.trim().parse().map_err(|_| VaultError::Recipient(at + 1));
    texts.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    //! Shows that secrets come back, to each recipient, and never lie open in the log.

    use super::*;
    use k0rotate_engine::event::Record;
    use k0rotate_engine::ids::{ExecutionId, Incarnation, Seq};
    use k0rotate_engine::log::{Append, Appended, BlobHash, Cursor, Followed, Head, LogError, Owner};
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Blobs(Mutex<BTreeMap<String, Vec<u8>>>);

    #[async_trait]
    impl EventLog for Blobs {
        fn incarnations(&self) -> (Incarnation, Vec<Incarnation>) {
            (Incarnation::new("a"), Vec::new())
        }
        async fn append(&self, _: Append) -> Result<Appended, LogError> {
            Err(LogError::NotFound("histories".into()))
        }
        async fn read(&self, _: &ExecutionId, _: Seq) -> Result<Vec<Record>, LogError> {
            Err(LogError::NotFound("histories".into()))
        }
        async fn heads(&self) -> Result<Vec<Head>, LogError> {
            Ok(Vec::new())
        }
        async fn follow(&self, _: Option<&Cursor>) -> Result<Followed, LogError> {
            Ok(Followed::TooOld)
        }
        async fn claim(&self, _: &ExecutionId) -> Result<Owner, LogError> {
            Err(LogError::NotFound("histories".into()))
        }
        async fn put_blob(&self, bytes: &[u8]) -> Result<BlobHash, LogError> {
            let hash = crate::pki::sha256_hex(bytes);
            self.0.lock().unwrap().insert(hash.clone(), bytes.to_vec());
            Ok(BlobHash(hash))
        }
        async fn get_blob(&self, hash: &BlobHash) -> Result<Vec<u8>, LogError> {
            self.0.lock().unwrap().get(&hash.0).cloned().ok_or_else(|| LogError::NotFound(hash.0.clone()))
        }
        async fn remove_blob(&self, hash: &BlobHash) -> Result<(), LogError> {
            self.0.lock().unwrap().remove(&hash.0);
            Ok(())
        }
        async fn blobs(&self) -> Result<Vec<BlobHash>, LogError> {
            Ok(self.0.lock().unwrap().keys().cloned().map(BlobHash).collect())
        }
    }

    /// Goal: what was put comes back through a vault opened later, for either recipient, and the blob does not hold it.
    #[tokio::test]
    async fn a_secret_comes_back_and_lies_sealed() {
        let log = Arc::new(Blobs::default());
        let ((first, one), (second, two)) = (make_identity(), make_identity());
        let recipients = [one, two];
        let vault = Vault::open(log.clone(), &recipients, &first).unwrap();
        let reference = vault.put(&Secret::new(b"very private key".to_vec())).await.unwrap();
        let blob = log.get_blob(&reference.0).await.unwrap();
        assert!(!blob.windows(12).any(|window| window == b"private key"));
        let commented = Secret::new([b"# made today\n", second.expose()].concat());
        let later = Vault::open(log, &recipients, &commented).unwrap();
        assert_eq!(later.get(&reference).await.unwrap().expose(), b"very private key");
        assert_eq!(open_sealed(&second, &blob).unwrap().expose(), b"very private key");
        later.remove(&reference).await.unwrap();
        assert_eq!(later.get(&reference).await.unwrap_err().code, "secret-not-found");
    }

    /// Goal: an identity that could not open what is sealed from now on is refused at once.
    #[test]
    fn a_strange_identity_is_refused() {
        let log: Arc<dyn EventLog> = Arc::new(Blobs::default());
        let ((own, recipient), (strange, _)) = (make_identity(), make_identity());
        let open = |recipients: &[String], identity: &Secret| Vault::open(log.clone(), recipients, identity).err();
        assert_eq!(open(std::slice::from_ref(&recipient), &strange), Some(VaultError::NotARecipient));
        assert_eq!(open(&[], &own), Some(VaultError::NotARecipient));
        assert_eq!(open(&[recipient.clone(), "age1no".into()], &own), Some(VaultError::Recipient(2)));
        assert_eq!(open(std::slice::from_ref(&recipient), &Secret::default()), Some(VaultError::Identity));
        assert_eq!(recipient_of(&own), Ok(recipient));
    }
}

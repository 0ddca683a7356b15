//! The new trust of a cluster as it stands in the log: public parts, and references to sealed keys.

use crate::fleet::Root;
use k0rotate_engine::log::BlobHash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names a sealed secret: the hash of its ciphertext. Holds nothing secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretRef(pub BlobHash);

/// A key pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Its private key, PEM, sealed.
    pub key: SecretRef,
    /// Its certificate, or its public key for service accounts, PEM.
    pub public: String,
    /// SHA-256 of the certificate's DER, or of the public key's, lower-case hex.
    pub fingerprint: String,
    /// SHA-256 of the private key file as it will lie on hosts, to verify a copy without showing it.
    pub key_sha256: String,
}

/// A CA that the operator brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCa {
    /// PEM.
    pub certificate: String,
    /// PEM, sealed; `None` in a plan, which seals nothing.
    pub key: Option<SecretRef>,
}

/// The new trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTrust {
    /// One pair for all controllers: Kubernetes CA, etcd CA, service-account key.
    pub shared: BTreeMap<Root, Pair>,
    /// One front-proxy CA a controller, by host name.
    pub front_proxy: BTreeMap<String, Pair>,
}

impl NewTrust {
    /// The pairs of a controller, in the order in which they are put in place.
    pub fn of(&self, host: &str) -> Vec<(Root, &Pair)> {
        let own = self.front_proxy.get(host).map(|pair| (Root::FrontProxyCa, pair));
        self.shared.iter().map(|(root, pair)| (*root, pair)).chain(own).collect()
    }
}

//! Credentials as a process loads them from files, and requests made with them.

use crate::kubeconfig::{Credentials, Kubeconfig};
use crate::pki::{key_matches, read_certificates};
use crate::rehearsal::machine::{Call, Machine, Pool, Reply, Shown, Verb};
use crate::secret::Secret;
use serde_json::Value;

/// Trusted certificates of a PEM file; `None` if it holds none.
pub fn pool(pem: &[u8]) -> Option<Pool> {
    read_certificates(pem).ok().map(Into::into)
}

/// The same of a file.
pub fn load_pool(m: &dyn Machine, path: &str) -> Option<Pool> {
    pool(&m.read(path)?)
}

/// A chain with its key, as TLS libraries load it: they must belong together.
pub fn shown(certificate: &[u8], key: &[u8]) -> Option<Shown> {
    let chain = read_certificates(certificate).ok()?;
    let matches = key_matches(chain.first()?, &Secret::new(key.to_vec())).ok()?;
    matches.then(|| chain.into())
}

/// The same of files.
pub fn load_shown(m: &dyn Machine, certificate: &str, key: &str) -> Option<Shown> {
    if certificate == key {
        return kubelet_file(&m.read(certificate)?);
    }
    shown(&m.read(certificate)?, &m.read(key)?)
}

/// A file of the kubelet: certificate, then key.
fn kubelet_file(both: &[u8]) -> Option<Shown> {
    let text = std::str::from_utf8(both).ok()?;
    let at = text.find("-----BEGIN").and_then(|_| text.rfind("-----BEGIN"))?;
    shown(&both[..at], &both[at..])
}

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`.
    pub address: String,
    /// Whom it trusts.
    pub trust: Option<Pool>,
    /// Its certificate.
    pub shows: Option<Shown>,
    /// Its token.
    pub bearer: Option<String>,
}

impl Client {
    /// Loads a kubeconfig and what it names.
    pub fn load(m: &dyn Machine, path: &str) -> Option<Self> {
        Self::of(m, &m.read(path)?)
    }

    /// The same, of its content.
    pub fn of(m: &dyn Machine, text: &[u8]) -> Option<Self> {
        let config = Kubeconfig::read(&Secret::new(text.to_vec())).ok()?;
        let mut client = Self {
            address: config.server.trim_start_matches("https://").trim_end_matches('/').to_owned(),
            trust: Some(pool(config.ca.as_bytes()).unwrap_or_else(|| Pool::from([]))),
            shows: None,
            bearer: None,
        };
        match config.credentials {
            Credentials::None => {}
            Credentials::Token(token) => client.bearer = Some(String::from_utf8_lossy(token.expose()).into_owned()),
            Credentials::Certificate { certificate, key } => {
                client.shows = shown(certificate.as_bytes(), key.expose());
            }
            Credentials::Files { certificate, key } => client.shows = load_shown(m, &certificate, &key),
        }
        Some(client)
    }

    /// Sends a request.
    pub fn call(&self, m: &mut dyn Machine, verb: Verb, path: &str, body: Vec<u8>) -> Reply {
        m.dial(&Call {
            address: self.address.clone(),
            verb,
            path: path.to_owned(),
            body,
            trust: self.trust.clone(),
            shows: self.shows.clone(),
            bearer: self.bearer.clone(),
            headers: Vec::new(),
        })
    }

    /// Reads an object.
    pub fn get(&self, m: &mut dyn Machine, path: &str) -> Option<Value> {
        serde_json::from_slice(&self.call(m, Verb::Get, path, Vec::new()).ok()?).ok()
    }

    /// Sends an object; the object as it is now.
    pub fn send(&self, m: &mut dyn Machine, verb: Verb, path: &str, body: &Value) -> Option<Value> {
        serde_json::from_slice(&self.call(m, verb, path, body.to_string().into_bytes()).ok()?).ok()
    }
}

//! kube-controller-manager: its Lease, then all that only the leader does.

pub mod approver;
mod nodes;
pub mod sign;

use super::api::Store;
use super::client::Client;
use super::leases::{Holder, KCM};
use super::setup::Setup;
use crate::rehearsal::machine::{Machine, Ms, Next, Verb};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a candidate tries, and the leader renews.
const EVERY: Ms = 2200;
/// The duration of its Lease, which it does not give back when it ends.
const LEASE_SECONDS: u64 = 15;

/// What it loaded at its start.
#[derive(Clone, Debug)]
struct Loaded {
    ca: String,
    ca_key: Secret,
    sa_key: Secret,
    client: Client,
}

/// The process.
#[derive(Clone, Debug)]
pub struct Kcm {
    setup: Arc<Setup>,
    loaded: Option<Arc<Loaded>>,
    holder: Option<Holder>,
    nodes: nodes::Watched,
}

impl Kcm {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { setup: setup.clone(), loaded: None, holder: None, nodes: nodes::Watched::default() }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if m.told_to_end() {
            return Next::Exit(0);
        }
        if self.loaded.is_none() {
            let Some(loaded) = self.load(m) else { return Next::Exit(1) };
            self.loaded = Some(Arc::new(loaded));
            if !self.setup.single {
                let word = m.word(12);
                let identity = format!("{}_{word}", m.hostname());
                self.holder = Some(Holder::new(KCM, &identity, LEASE_SECONDS));
            }
            return Next::After(100);
        }
        let Some(loaded) = self.loaded.clone() else { return Next::Exit(1) };
        // Its own API server must accept it; what follows is read and written in one go.
        let accepted = loaded.client.call(m, Verb::Get, KCM, Vec::new()).ok().is_some() || self.holder.is_none();
        if !accepted && !lease_is_new(&loaded, m) {
            return Next::After(EVERY);
        }
        let (ms, now) = (m.ms(), m.now());
        let leads = match (&mut self.holder, m.store()) {
            (Some(holder), Some(store)) => {
                holder.tick(store, ms, now);
                holder.held
            }
            (None, Some(_)) => true,
            _ => false,
        };
        if leads {
            self.lead(m, &loaded);
            return Next::After(1000);
        }
        Next::After(EVERY)
    }

    fn lead(&mut self, m: &mut dyn Machine, loaded: &Loaded) {
        sign::approve_and_sign(m, &self.setup, &loaded.ca, &loaded.ca_key);
        publish_roots(m, &loaded.ca);
        fill_tokens(m, loaded);
        drop_expired_tokens(m);
        self.nodes.watch(m);
        nodes::keep_pods(m);
    }

    fn load(&self, m: &dyn Machine) -> Option<Loaded> {
        let ca = String::from_utf8_lossy(&m.read(&self.setup.pki("ca.crt"))?).into_owned();
        let ca_key = Secret::new(m.read(&self.setup.pki("ca.key"))?.to_vec());
        let info = crate::pki::read_one(ca.as_bytes()).ok()?;
        crate::pki::key_matches(&info, &ca_key).ok().filter(|matches| *matches)?;
        let sa_key = Secret::new(m.read(&self.setup.pki("sa.key"))?.to_vec());
        Some(Loaded { ca, ca_key, sa_key, client: Client::load(m, &self.setup.pki("ccm.conf"))? })
    }
}

/// Whether the only reason for no answer is that there is no Lease yet.
fn lease_is_new(loaded: &Loaded, m: &mut dyn Machine) -> bool {
    loaded.client.get(m, "/api/v1/namespaces").is_some() && m.store().is_some_and(|store| store.get(KCM).is_none())
}

/// `kube-root-ca.crt` in each namespace.
fn publish_roots(m: &mut dyn Machine, ca: &str) {
    let now = m.now();
    let Some(store) = m.store() else { return };
    for (_, namespace) in
        store.below("/api/v1/namespaces/").into_iter().filter(|(path, _)| path.matches('/').count() == 4)
    {
        let Some(name) = namespace["metadata"]["name"].as_str() else { continue };
        let path = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
        let old = store.get(&path);
        if old.as_ref().is_some_and(|o| o["data"]["ca.crt"] == ca) {
            continue;
        }
        let mut object = old.map_or_else(
            || json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": name, "creationTimestamp": super::times::second(now)}}),
            |old| (*old).clone(),
        );
        object["data"] = json!({ "ca.crt": ca });
        store.put(&path, object);
    }
}

/// Secrets of the old kind: the CA is kept up to date, a token is only made where none is (facts §4.3).
fn fill_tokens(m: &mut dyn Machine, loaded: &Loaded) {
    let now = super::certs::seconds(m);
    let Some(store) = m.store() else { return };
    let ca = STANDARD.encode(&loaded.ca);
    for (path, secret) in store.below("/api/v1/namespaces/") {
        if secret["type"] != "kubernetes.io/service-account-token" {
            continue;
        }
        let has_token = secret["data"]["token"].as_str().is_some_and(|token| !token.is_empty());
        if has_token && secret["data"]["ca.crt"] == ca.as_str() {
            continue;
        }
        let mut object = (*secret).clone();
        object["data"]["ca.crt"] = json!(ca);
        if !has_token && let Some(token) = legacy_token(&loaded.sa_key, &secret, now) {
            object["data"]["token"] = json!(STANDARD.encode(token));
            object["data"]["namespace"] =
                json!(STANDARD.encode(secret["metadata"]["namespace"].as_str().unwrap_or_default()));
        }
        store.put(&path, object);
    }
}

/// A token of the old kind: it never expires.
pub fn legacy_token(key: &Secret, secret: &Value, now: i64) -> Option<Vec<u8>> {
    let namespace = secret["metadata"]["namespace"].as_str()?;
    let account = secret["metadata"]["annotations"]["kubernetes.io/service-account.name"].as_str()?;
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:{namespace}:{account}"), "iat": now,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/service-account.name": account,
        "kubernetes.io/serviceaccount/secret.name": secret["metadata"]["name"],
    });
    crate::pki::sign_token(key, &claims).ok().map(|token| token.expose().to_vec())
}

/// tokencleaner.
fn drop_expired_tokens(m: &mut dyn Machine) {
    let now = m.now();
    let Some(store) = m.store() else { return };
    for path in expired_tokens(store, now.0) {
        store.delete(&path);
    }
}

fn expired_tokens(store: &dyn Store, now: u64) -> Vec<String> {
    let secrets = store.below("/api/v1/namespaces/kube-system/secrets/bootstrap-token-").into_iter();
    let expired = secrets.filter(|(_, secret)| {
        let until = secret["data"]["expiration"].as_str().and_then(|data| STANDARD.decode(data).ok());
        let until = until.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| super::times::millis(&text));
        until.is_some_and(|until| until <= now)
    });
    expired.map(|(path, _)| path).collect()
}

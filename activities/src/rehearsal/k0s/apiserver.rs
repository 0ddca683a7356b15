//! kube-apiserver: what it loads at its start, and who it takes a caller for.

use super::api::Store;
use super::client::{load_pool, load_shown};
use super::setup::Setup;
use crate::pki::{Purpose, verify_token};
use crate::rehearsal::machine::{Bytes, Call, End, Listener, Machine, Ms, Next, Pool, Service, Shown};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

/// From its start until it listens, until k0s finds it ready, and until `/readyz` says so (lab §21: 2.2, 5.3 and 7.0 s after k0s' start).
pub const LISTENS: Ms = 100;
/// See [`LISTENS`].
pub const ANSWERS: Ms = 3200;
/// See [`LISTENS`].
pub const READY: Ms = 4900;
/// How often it looks whether `extension-apiserver-authentication` still names its CAs.
const PUBLISH_EVERY: Ms = 1000;
/// Where delegated API servers learn whom to trust.
pub const AUTHENTICATION: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// Trust as loaded at its start.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Client certificates lead here.
    pub client_ca: Pool,
    /// Certificates of front proxies lead here.
    pub proxy_ca: Pool,
    /// Verifies service-account tokens; one or several keys.
    pub sa_pub: Bytes,
    /// Signs them.
    pub sa_key: Secret,
    /// Whom it trusts as a kubelet.
    pub kubelet_ca: Pool,
    /// What it shows to kubelets.
    pub kubelet_client: Option<Shown>,
    /// Whether it reaches kubelets through konnectivity.
    pub konnectivity: bool,
    /// `ca.crt` as loaded.
    pub client_ca_pem: String,
    /// `front-proxy-ca.crt` as loaded.
    pub proxy_ca_pem: String,
    /// For `/version`.
    pub version: String,
    /// From when on it answers requests for objects.
    pub answers_at: Ms,
    /// From when on it is ready.
    pub ready_at: Ms,
}

/// The process.
#[derive(Clone, Debug)]
pub struct ApiServer {
    setup: Arc<Setup>,
    started: Option<Ms>,
    loaded: Option<Arc<Loaded>>,
}

impl ApiServer {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { setup: setup.clone(), started: None, loaded: None }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if m.told_to_end() {
            return Next::Exit(0);
        }
        let Some(started) = self.started else {
            self.started = Some(m.ms());
            return Next::After(LISTENS);
        };
        if let Some(loaded) = &self.loaded {
            let wait = loaded.ready_at.saturating_sub(m.ms());
            if wait > 0 {
                return Next::After(wait);
            }
            if let Some(store) = m.store() {
                publish(loaded, store);
            }
            return Next::After(PUBLISH_EVERY);
        }
        if !self.reaches_store(m) {
            return Next::After(1000);
        }
        let (Some(loaded), Some(chain)) =
            (self.load(m, started), load_shown(m, &self.setup.pki("server.crt"), &self.setup.pki("server.key")))
        else {
            return Next::Exit(1);
        };
        let loaded = Arc::new(loaded);
        m.listen(6443, Listener { pid: m.me(), chain, client_ca: None, service: Service::Api(loaded.clone()) });
        self.loaded = Some(loaded);
        Next::After(1)
    }

    /// Its own etcd must accept the client certificate and be trusted; kine speaks through a socket.
    fn reaches_store(&self, m: &mut dyn Machine) -> bool {
        if !self.setup.etcd() {
            return m.store().is_some();
        }
        let call = Call {
            address: "127.0.0.1:2379".to_owned(),
            trust: load_pool(m, &self.setup.pki("etcd/ca.crt")),
            shows: load_shown(
                m,
                &self.setup.pki("apiserver-etcd-client.crt"),
                &self.setup.pki("apiserver-etcd-client.key"),
            ),
            ..Call::default()
        };
        m.dial(&call).end == End::Handshake
    }

    fn load(&self, m: &dyn Machine, started: Ms) -> Option<Loaded> {
        let pki = |name: &str| self.setup.pki(name);
        let text = |name: &str| m.read(&pki(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let client_ca = load_pool(m, &pki("ca.crt"))?;
        let sa_key = Secret::new(m.read(&pki("sa.key"))?.to_vec());
        crate::pki::public_key(&sa_key).ok()?;
        let sa_pub = m.read(&pki("sa.pub"))?;
        crate::pki::public_key_fingerprints(&sa_pub).ok()?;
        Some(Loaded {
            kubelet_ca: client_ca.clone(),
            client_ca,
            proxy_ca: load_pool(m, &pki("front-proxy-ca.crt"))?,
            sa_pub,
            sa_key,
            kubelet_client: load_shown(m, &pki("apiserver-kubelet-client.crt"), &pki("apiserver-kubelet-client.key")),
            konnectivity: !self.setup.single,
            client_ca_pem: text("ca.crt")?,
            proxy_ca_pem: text("front-proxy-ca.crt")?,
            version: self.setup.version.clone(),
            answers_at: started + ANSWERS,
            ready_at: started + READY,
        })
    }
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    fn new(name: &str, groups: impl IntoIterator<Item = String>) -> Self {
        let authenticated = "system:authenticated".to_owned();
        Self { name: name.to_owned(), groups: groups.into_iter().chain([authenticated]).collect() }
    }

    /// Whether it is in a group.
    pub fn is(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// Judges a caller: front proxy, then client certificate, then token. `None`: 401.
pub fn authenticate(loaded: &Loaded, m: &mut dyn Machine, call: &Call) -> Option<User> {
    if let Some(chain) = &call.shows {
        let header = |name: &str| {
            call.headers
                .iter()
                .filter(|(k, _)| k.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.clone())
                .collect::<Vec<_>>()
        };
        if let Some(user) = header("X-Remote-User").first()
            && chain.first().is_some_and(|leaf| leaf.subject_cn == "front-proxy-client")
            && m.verify(chain, &loaded.proxy_ca, Purpose::Client).is_ok()
        {
            return Some(User::new(user, header("X-Remote-Group")));
        }
        if m.verify(chain, &loaded.client_ca, Purpose::Client).is_ok() {
            let leaf = chain.first()?;
            return Some(User::new(&leaf.subject_cn, leaf.organizations.iter().cloned()));
        }
    }
    let bearer = call.bearer.as_deref()?;
    match bearer.split_once('.') {
        Some((id, secret)) if id.len() == 6 && !secret.contains('.') => bootstrap_user(m, id, secret),
        _ => service_account(loaded, m, bearer),
    }
}

fn bootstrap_user(m: &mut dyn Machine, id: &str, secret: &str) -> Option<User> {
    let now = m.now();
    let object = m.store()?.get(&format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}"))?;
    let field = |name: &str| decoded(&object["data"][name]);
    let alive = field("expiration").is_none_or(|until| super::times::millis(&until).is_none_or(|until| until > now.0));
    let right = field("token-secret")? == secret && field("usage-bootstrap-authentication")? == "true" && alive;
    right.then(|| User::new(&format!("system:bootstrap:{id}"), ["system:bootstrappers".to_owned()]))
}

fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

/// The signature, then that what it is bound to is still there.
fn service_account(loaded: &Loaded, m: &mut dyn Machine, bearer: &str) -> Option<User> {
    let token = Secret::new(bearer.as_bytes().to_vec());
    let claims = verify_token(&token, &loaded.sa_pub, super::certs::seconds(m)).ok()?;
    let subject = claims["sub"].as_str()?;
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let store = m.store()?;
    let within = format!("/api/v1/namespaces/{namespace}");
    store.get(&format!("{within}/serviceaccounts/{name}"))?;
    if let Some(secret) = claims["kubernetes.io/serviceaccount/secret.name"].as_str() {
        let object = store.get(&format!("{within}/secrets/{secret}"))?;
        (decoded(&object["data"]["token"])? == bearer).then_some(())?;
    }
    if let Some(pod) = claims["kubernetes.io"]["pod"]["name"].as_str() {
        let object = store.get(&format!("{within}/pods/{pod}"))?;
        (object["metadata"]["uid"] == claims["kubernetes.io"]["pod"]["uid"]).then_some(())?;
    }
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    Some(User::new(subject, groups))
}

/// Adds its CAs to `extension-apiserver-authentication`; others stay until they expire (facts §4.3).
pub fn publish(loaded: &Loaded, store: &mut dyn Store) {
    let old = store.get(AUTHENTICATION);
    let field = |name: &str| old.as_ref().and_then(|o| o["data"][name].as_str()).unwrap_or_default().to_owned();
    let merged = |old: String, own: &str| if old.contains(own.trim()) { old } else { format!("{old}{own}") };
    let client = merged(field("client-ca-file"), &loaded.client_ca_pem);
    let proxy = merged(field("requestheader-client-ca-file"), &loaded.proxy_ca_pem);
    if client == field("client-ca-file") && proxy == field("requestheader-client-ca-file") {
        return;
    }
    let mut object = old.map_or_else(
        || json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}}),
        |old| (*old).clone(),
    );
    object["data"] = json!({
        "client-ca-file": client,
        "requestheader-allowed-names": "[\"front-proxy-client\"]",
        "requestheader-client-ca-file": proxy,
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-username-headers": "[\"X-Remote-User\"]",
    });
    store.put(AUTHENTICATION, object);
}

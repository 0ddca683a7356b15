//! The kubelet: its Lease, its serving certificate, and the pods of its node.

mod sync;

use super::client::{Client, load_pool, load_shown};
use super::leases::{NODE_LEASES, lease};
use super::setup::Setup;
use super::{pods, times};
use crate::pki::{make_key, public_key};
use crate::rehearsal::machine::{Listener, Machine, Ms, Next, Pool, Service, Verb};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::sync::Arc;

/// From its start until it serves, if it has a certificate.
const SERVES: Ms = 400;
/// Between renewals of its Lease.
const LEASE_EVERY: Ms = 10_000;
/// Between looks at its containers.
const LOOK_EVERY: Ms = 1000;
/// Between looks at the list of its pods.
const LIST_EVERY: Ms = 5000;

/// The process.
#[derive(Clone, Debug)]
pub struct Kubelet {
    setup: Arc<Setup>,
    started: Option<Ms>,
    client: Option<Client>,
    client_ca: Option<Pool>,
    /// A request for a serving certificate: its name and the key.
    request: Option<(String, Secret)>,
    serves: bool,
    next_lease: Ms,
    next_list: Ms,
    next_request: Ms,
    pods: sync::Pods,
}

impl Kubelet {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self {
            setup: setup.clone(),
            started: None,
            client: None,
            client_ca: None,
            request: None,
            serves: false,
            next_lease: 0,
            next_list: 0,
            next_request: 0,
            pods: sync::Pods::default(),
        }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if m.told_to_end() {
            return Next::Exit(0);
        }
        if self.started.is_none() {
            self.started = Some(m.ms());
            self.client = Client::load(m, &format!("{}/kubelet.conf", self.setup.data));
            self.client_ca = load_pool(m, &self.setup.kubelet_client_ca());
            self.next_lease = m.ms() + LOOK_EVERY;
            return Next::After(SERVES);
        }
        let Some(client) = self.client.clone() else { return Next::Exit(1) };
        if !self.serves {
            self.serve(m, &client);
        }
        if m.ms() >= self.next_lease {
            self.renew(m, &client);
        }
        if m.ms() >= self.next_list {
            self.next_list = m.ms() + LIST_EVERY;
            self.pods.list(m, &self.setup, &client);
        }
        self.pods.look(m, &self.setup, &client);
        Next::After(LOOK_EVERY)
    }

    fn current(&self) -> String {
        format!("{}/pki/kubelet-server-current.pem", self.setup.kubelet_root)
    }

    fn serve(&mut self, m: &mut dyn Machine, client: &Client) {
        let current = self.current();
        if let (Some(chain), Some(ca)) = (load_shown(m, &current, &current), &self.client_ca) {
            let service = Service::Kubelet(ca.clone());
            m.listen(10250, Listener { pid: m.me(), chain, client_ca: None, service });
            self.serves = true;
            return;
        }
        if m.ms() >= self.next_request && self.request_certificate(m, client).is_none() {
            self.next_request = m.ms() + LIST_EVERY;
        }
    }

    /// Asks for a serving certificate, and takes it once it has been signed.
    fn request_certificate(&mut self, m: &mut dyn Machine, client: &Client) -> Option<()> {
        let all = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        let Some((name, key)) = self.request.clone() else {
            let key = make_key(self.setup.keys).ok()?;
            let request = json!({"cn": format!("system:node:{}", m.hostname()), "sans": [m.hostname(), m.address()], "key": public_key(&key).ok()?});
            let object = json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "csr-"},
                "spec": {"request": STANDARD.encode(request.to_string()), "signerName": "kubernetes.io/kubelet-serving", "usages": ["digital signature", "server auth"]},
            });
            let made = client.send(m, Verb::Post, all, &object)?;
            self.request = Some((pods::name(&made)?, key));
            return Some(());
        };
        let path = format!("{all}/{name}");
        let Some(request) = client.get(m, &path) else {
            self.request = None;
            return None;
        };
        let Some(certificate) = request["status"]["certificate"].as_str() else { return Some(()) };
        let pem = [STANDARD.decode(certificate).ok()?, key.expose().to_vec()].concat();
        self.request = None;
        store_pair(m, &self.setup, "server", &pem);
        Some(())
    }

    fn renew(&mut self, m: &mut dyn Machine, client: &Client) {
        self.next_lease = m.ms() + LEASE_EVERY;
        let (name, now) = (m.hostname().to_owned(), m.now());
        let path = format!("{NODE_LEASES}{name}");
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": times::micro(now)});
        if client.send(m, Verb::Patch, &path, &json!({ "spec": spec })).is_none() {
            let mut object = lease("kube-node-lease", &name);
            object["spec"] = spec;
            client.send(m, Verb::Post, NODE_LEASES.trim_end_matches('/'), &object);
        }
        let stamp = times::second(now);
        let node_path = format!("/api/v1/nodes/{name}");
        match client.get(m, &node_path) {
            Some(node) if !pods::ready(&node) => {
                let ready = pods::with_ready(&node, "True", "KubeletReady", &stamp);
                client.send(
                    m,
                    Verb::Patch,
                    &node_path,
                    &json!({"status": {"conditions": ready["status"]["conditions"]}}),
                );
            }
            Some(_) => {}
            None => {
                let node = pods::node(&name, m.address(), &self.setup.version, &stamp);
                client.send(m, Verb::Post, "/api/v1/nodes", &node);
            }
        }
    }
}

/// Writes a certificate with its key, dated, and the link that names it.
pub fn store_pair(m: &mut dyn Machine, setup: &Setup, which: &str, pem: &[u8]) -> Option<()> {
    let folder = format!("{}/pki", setup.kubelet_root);
    let path = format!("{folder}/kubelet-{which}-{}.pem", times::dashed(m.now()));
    m.write(&path, pem, 0o600, 0).ok()?;
    m.link(&format!("{folder}/kubelet-{which}-current.pem"), &path);
    Some(())
}

//! `k0s worker`, also inside a controller with workloads: bootstrap, profile, kubelet.

use super::client::Client;
use super::kcm::sign::{CLIENT, REQUESTS};
use super::kubelet::{Kubelet, store_pair};
use super::setup::{RUN, Setup, uid};
use super::stopping::clean;
use super::{Program, pods};
use crate::kubeconfig::{self, Kubeconfig};
use crate::pki::{Untrusted, make_key, public_key};
use crate::rehearsal::machine::{End, Machine, Ms, Next, Verb};
use crate::secret::Secret;
use crate::token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::sync::Arc;

/// How long the profile is asked for in silence (lab §25).
const GIVES_UP: Ms = 256_000;
/// Between tries of the bootstrap and of the profile.
const TRIES_EVERY: Ms = 2000;
/// From a start until containerd, the kubelet and the status socket are there (lab §21: 1.9, 2.7, 7.7 s).
const CONTAINERD_AFTER: Ms = 1700;
const KUBELET_AFTER: Ms = 800;
const STATUS_AFTER: Ms = 5000;

/// How a worker part does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Goes on after so long.
    After(Ms),
    /// k0s ends with this error.
    Fatal(String),
}

#[derive(Clone, Debug)]
enum Phase {
    New,
    /// The bootstrap kubeconfig as read at the start: a file placed later is not seen (lab §32).
    Bootstrap(Box<Bootstrap>),
    Profile(Ms),
    Containerd,
    Kubelet,
    Status,
    Up,
}

#[derive(Clone, Debug)]
struct Bootstrap {
    config: Vec<u8>,
    request: Option<(String, Secret)>,
}

/// The worker part.
#[derive(Clone, Debug)]
pub struct Worker {
    setup: Arc<Setup>,
    phase: Phase,
    next: Ms,
    containerd: Option<u32>,
    kubelet: Option<u32>,
    told: bool,
}

impl Worker {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        let setup = setup.clone();
        Self { setup, phase: Phase::New, next: 0, containerd: None, kubelet: None, told: false }
    }

    /// containerd and kubelet, if they were started.
    pub fn pids(&self) -> Vec<u32> {
        self.kubelet.into_iter().chain(self.containerd).collect()
    }

    /// Does what is due; may be asked too early.
    pub fn step(&mut self, m: &mut dyn Machine) -> Outcome {
        // On a real machine time goes on between two looks at it.
        let early = self.next.saturating_sub(m.ms());
        if early > 0 {
            return Outcome::After(early);
        }
        let outcome = self.go_on(m);
        if let Outcome::After(wait) = outcome {
            self.next = m.ms() + wait;
        }
        outcome
    }

    fn conf(&self) -> String {
        format!("{}/kubelet.conf", self.setup.data)
    }

    fn go_on(&mut self, m: &mut dyn Machine) -> Outcome {
        match &mut self.phase {
            Phase::New => match self.source(m) {
                Ok(phase) => {
                    self.phase = phase;
                    Outcome::After(100)
                }
                Err(error) => Outcome::Fatal(error),
            },
            Phase::Bootstrap(bootstrap) => {
                let mut bootstrap = bootstrap.clone();
                let wait = self.bootstrap(m, &mut bootstrap);
                self.phase = if m.exists(&self.conf()) { Phase::Profile(m.ms()) } else { Phase::Bootstrap(bootstrap) };
                Outcome::After(wait)
            }
            Phase::Profile(since) => {
                let since = *since;
                self.profile(m, since)
            }
            Phase::Containerd => {
                self.containerd = Some(start(m, "containerd", Program::Containerd));
                self.phase = Phase::Kubelet;
                Outcome::After(KUBELET_AFTER)
            }
            Phase::Kubelet => {
                let kubelet = Program::Kubelet(Box::new(Kubelet::new(&self.setup)));
                self.kubelet = Some(start(m, "kubelet", kubelet));
                self.phase = Phase::Status;
                Outcome::After(STATUS_AFTER)
            }
            Phase::Status => {
                m.socket(&format!("{RUN}/status.sock"), 0o755, uid::ROOT);
                self.phase = Phase::Up;
                Outcome::After(1000)
            }
            Phase::Up => {
                self.respawn(m);
                Outcome::After(RESPAWNS_EVERY)
            }
        }
    }

    fn respawn(&mut self, m: &mut dyn Machine) {
        if self.kubelet.is_some_and(|pid| !m.alive(pid)) {
            let kubelet = Program::Kubelet(Box::new(Kubelet::new(&self.setup)));
            self.kubelet = Some(start(m, "kubelet", kubelet));
        }
        if self.containerd.is_some_and(|pid| !m.alive(pid)) {
            self.containerd = Some(start(m, "containerd", Program::Containerd));
        }
    }

    /// kubelet.conf, else kubelet-bootstrap.conf, else the token or (in a controller) admin.conf (facts §2.1).
    fn source(&self, m: &dyn Machine) -> Result<Phase, String> {
        if m.exists(&self.conf()) {
            return Ok(Phase::Profile(m.ms()));
        }
        let own = format!("{}/kubelet-bootstrap.conf", self.setup.data);
        let config = if let Some(config) = m.read(&own) {
            config.to_vec()
        } else if self.setup.controller {
            m.read(&self.setup.pki("admin.conf")).unwrap_or_default().to_vec()
        } else {
            self.token(m)?
        };
        Ok(Phase::Bootstrap(Box::new(Bootstrap { config, request: None })))
    }

    fn token(&self, m: &dyn Machine) -> Result<Vec<u8>, String> {
        let Some(path) = &self.setup.token_file else {
            return Err("neither regular nor bootstrap kubeconfig files exist and no join token given; dunno how to make kubelet authenticate to API server".to_owned());
        };
        let fresh = "obtain a new token via \"k0s token create ...\" and store it in the file or reinstall this node via \"k0s install --force ...\" or \"k0sctl apply --force ...\"";
        match m.read(path) {
            None => Err(format!("token file {path:?} not found: {fresh}")),
            Some(text) if text.trim_ascii().is_empty() => Err(format!("token file {path:?} is empty: {fresh}")),
            Some(text) => token::decode(&Secret::new(text.to_vec()))
                .map(|config| config.expose().to_vec())
                .map_err(|_| "failed to decode join token".to_owned()),
        }
    }

    /// One try; how long until the next.
    fn bootstrap(&self, m: &mut dyn Machine, bootstrap: &mut Bootstrap) -> Ms {
        let Some(client) = Client::of(m, &bootstrap.config) else { return TRIES_EVERY };
        let Some((name, key)) = bootstrap.request.clone() else {
            let health = client.call(m, Verb::Get, "/healthz?timeout=1s", Vec::new()).end;
            if !matches!(health, End::Answer(200, _)) {
                let why = reason(&client, "/healthz?timeout=1s", &health).replace('"', "\\\"");
                m.log(&format!("bootstrap.go:297] \"Failed to connect to apiserver\" err=\"{why}\""));
                return TRIES_EVERY + 200;
            }
            bootstrap.request = self.request(m, &client);
            return if bootstrap.request.is_some() { 250 } else { TRIES_EVERY };
        };
        let Some(request) = client.get(m, &format!("{REQUESTS}{name}")) else { return TRIES_EVERY };
        let certificate = request["status"]["certificate"].as_str().and_then(|data| STANDARD.decode(data).ok());
        let (Some(certificate), Ok(config)) = (certificate, Kubeconfig::read(&Secret::new(bootstrap.config.clone())))
        else {
            return 500;
        };
        store_pair(m, &self.setup, "client", &[certificate, key.expose().to_vec()].concat());
        let current = format!("{}/pki/kubelet-client-current.pem", self.setup.kubelet_root);
        let conf = kubeconfig::kubelet(&config.server, &config.ca, &current);
        let _ = m.write(&self.conf(), conf.expose(), 0o600, uid::ROOT);
        100
    }

    /// The key of an earlier certificate is used again, and with it the name of the request and a certificate that is still there (facts §2.2).
    fn request(&self, m: &mut dyn Machine, client: &Client) -> Option<(String, Secret)> {
        let current = m.read(&format!("{}/pki/kubelet-client-current.pem", self.setup.kubelet_root));
        let old = current.and_then(|bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.rfind("-----BEGIN").map(|at| Secret::new(text.as_bytes()[at..].to_vec()))
        });
        let key = old.filter(|key| public_key(key).is_ok()).or_else(|| make_key(self.setup.keys).ok())?;
        let public = public_key(&key).ok()?;
        let name = format!("node-csr-{}", pods::hex_id(&format!("{public}{}", m.hostname()), 43));
        let request = json!({"cn": format!("system:node:{}", m.hostname()), "sans": [], "key": public});
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": STANDARD.encode(request.to_string()), "signerName": CLIENT, "usages": ["digital signature", "client auth"]},
        });
        let reply = client.call(m, Verb::Post, REQUESTS.trim_end_matches('/'), object.to_string().into_bytes());
        matches!(reply.end, End::Answer(201 | 409, _)).then_some((name, key))
    }

    fn profile(&mut self, m: &mut dyn Machine, since: Ms) -> Outcome {
        if !self.told {
            self.told = true;
            m.log("level=info msg=\"Found previous worker profile \\\"default\\\"\"");
            m.log("level=info msg=\"No cached API server addresses found\"");
        }
        let path = format!("/api/v1/namespaces/kube-system/configmaps/worker-config-default-1.{}", self.setup.minor);
        let client = Client::load(m, &self.conf());
        let end = client.as_ref().map(|client| client.call(m, Verb::Get, &path, Vec::new()).end);
        if let (Some(client), Some(End::Answer(200, _))) = (&client, &end) {
            self.prepare(m, client);
            self.phase = Phase::Containerd;
            return Outcome::After(CONTAINERD_AFTER);
        }
        if m.ms() < since + GIVES_UP {
            return Outcome::After(TRIES_EVERY);
        }
        Outcome::Fatal(match (client, end) {
            (_, Some(End::Answer(401, _))) => "the k0s worker node credentials are invalid, the node needs to be rejoined into the cluster with a fresh bootstrap token: Unauthorized".to_owned(),
            (Some(client), Some(end)) => reason(&client, &path, &end),
            _ => "failed to load kubelet.conf".to_owned(),
        })
    }

    /// Files that are derived from kubelet.conf at each start.
    fn prepare(&self, m: &mut dyn Machine, client: &Client) {
        let Some(Ok(config)) = m.read(&self.conf()).map(|text| Kubeconfig::read(&Secret::new(text.to_vec()))) else {
            return;
        };
        let ca = self.setup.kubelet_client_ca();
        if ca.starts_with(RUN) || !m.exists(&ca) {
            let _ = m.write(&ca, config.ca.as_bytes(), 0o644, uid::ROOT);
        }
        let _ = m.write(&format!("{RUN}/kubelet/config.yaml"), b"serverTLSBootstrap: true\n", 0o600, uid::ROOT);
        let _ = m.write(&format!("{}/worker-profile.yaml", self.setup.data), b"profile: default\n", 0o644, uid::ROOT);
        if self.setup.controller && self.setup.minor >= 34 {
            let pem = format!("{}/pki/kubelet-client-current.pem", self.setup.kubelet_root);
            let port = client.address.rsplit(':').next().unwrap_or("6443");
            let direct = kubeconfig::kubelet(&format!("https://127.0.0.1:{port}"), &config.ca, &pem);
            let _ = m.write(&format!("{RUN}/kubelet-direct.conf"), direct.expose(), 0o640, uid::ROOT);
        }
    }
}

fn start(m: &mut dyn Machine, name: &str, program: Program) -> u32 {
    let pid = m.spawn(program);
    let _ = m.write(&format!("{RUN}/{name}.pid"), format!("{pid}\n").as_bytes(), 0o644, uid::ROOT);
    pid
}

/// Between looks at whether kubelet and containerd live.
const RESPAWNS_EVERY: Ms = 5000;

/// Why a request failed, as client-go says it.
pub fn reason(client: &Client, path: &str, end: &End) -> String {
    let get = format!("Get \"https://{}{path}\": ", client.address);
    match end {
        End::NotTrusted(why) => format!("{get}tls: failed to verify certificate: x509: {}", hint(*why)),
        End::Refused => {
            let address = client.address.replace("localhost", "127.0.0.1");
            format!("{get}dial tcp {address}: connect: connection refused")
        }
        End::Unroutable => format!("{get}context deadline exceeded"),
        End::Answer(401, _) => "the server has asked for the client to provide credentials".to_owned(),
        End::Answer(code, _) => format!("the server answered {code}"),
        End::NotAccepted => format!("{get}remote error: tls: bad certificate"),
        End::Handshake => String::new(),
    }
}

/// Go's words for an untrusted server; the hint only where another key has the very same name (lab §16).
pub fn hint(why: Untrusted) -> String {
    let hint = " (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"kubernetes-ca\")";
    match why {
        Untrusted::UnknownAuthority { same_name: true } => format!("{why}{hint}"),
        Untrusted::Expired | Untrusted::NotYetValid => "certificate has expired or is not yet valid".to_owned(),
        _ => why.to_string(),
    }
}

/// Takes the lock, writes the runtime configuration, and ends what an earlier k0s left behind, by its pid files (lab §22).
pub fn lock(m: &mut dyn Machine, setup: &Setup) -> Result<(), String> {
    let runtime = format!("{RUN}/k0s.yaml");
    m.make_dir(RUN, 0o755, uid::ROOT);
    let _ = m.write(&format!("{RUN}/k0s.yaml.lock"), b"", 0o600, uid::ROOT);
    for file in m.list(RUN).into_iter().filter(|name| name.strip_suffix(".pid").is_some()) {
        let path = format!("{RUN}/{file}");
        let pid = m.read(&path).and_then(|text| String::from_utf8_lossy(&text).trim().parse::<u32>().ok());
        let name = file.trim_end_matches(".pid");
        if let Some(pid) = pid.filter(|pid| {
            m.comm(*pid).is_some_and(|comm| comm == "k0s" || name.starts_with(&comm) || comm.starts_with(name))
        }) {
            m.signal(pid, 9);
        }
        m.remove(&path);
    }
    let args = serde_json::Value::from(setup.args.clone());
    let text = format!(
        "apiVersion: k0s.k0sproject.io/v1beta1\nkind: RuntimeConfig\nspec:\n  pid: {}\n  args: {args}\n  k0sVars:\n    DataDir: {}\n    KubeletRootDir: {}\n",
        m.me(),
        setup.data,
        setup.kubelet_root
    );
    m.write(&runtime, text.as_bytes(), 0o600, uid::ROOT)
        .map_err(|_| "failed to write runtime config: no space left on device".to_owned())
}

/// The main process of a worker.
#[derive(Clone, Debug)]
pub struct Main {
    worker: Worker,
    started: bool,
    ending: bool,
}

impl Main {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self { worker: Worker::new(setup), started: false, ending: false }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if self.ending {
            clean(m);
            return Next::Exit(0);
        }
        if m.told_to_end() {
            for pid in self.worker.pids() {
                m.signal(pid, 15);
            }
            self.ending = true;
            return Next::After(200);
        }
        if !self.started {
            self.started = true;
            let setup = self.worker.setup.clone();
            if let Err(error) = lock(m, &setup) {
                return fail(m, &error);
            }
            return Next::After(100);
        }
        match self.worker.step(m) {
            Outcome::After(wait) => Next::After(wait),
            Outcome::Fatal(error) => fail(m, &error),
        }
    }
}

fn fail(m: &mut dyn Machine, error: &str) -> Next {
    m.log(&format!("Error: {error}"));
    clean(m);
    Next::Exit(1)
}

//! `k0s controller`: certificates first, then one component after the other, then what it does while it runs.

use super::client::{Client, load_pool, load_shown};
use super::kcm::approver;
use super::leases::{Holder, NODE_LEASES};
use super::setup::{RUN, Setup, uid};
use super::stopping::Stopping;
use super::worker::{Outcome, Worker};
use super::{Program, apiserver, certs, etcd, kcm, servers, worker};
use crate::rehearsal::machine::{Call, End, Machine, Ms, Next, Verb};
use std::sync::Arc;

/// A component that is not ready by then ends k0s (facts §1.4: `ReadyWaitDuration`).
const READY_WITHIN: Ms = 120_000;
/// Between looks at a component that is not ready yet.
const LOOK_EVERY: Ms = 250;
/// From the API server's being ready until kcm and scheduler start, and until the worker part does.
const KCM_AFTER: Ms = 1400;
const WORKER_AFTER: Ms = 600;
/// A component that died is started again after so long.
const RESPAWN_AFTER: Ms = 5000;
/// `k0s-ctrl-<hostname>`, and how often it is renewed or tried for.
const CTRL_LEASE_SECONDS: u64 = 60;
const CTRL_EVERY: Ms = 5000;
/// One serving certificate is approved in each of these.
const APPROVE_EVERY: Ms = 10_000;

/// The main process.
#[derive(Clone, Debug)]
pub struct Controller {
    setup: Arc<Setup>,
    phase: Phase,
    /// Components, in the order of their start: name of the pid file, pid, when it was found dead.
    pub(super) children: Vec<Child>,
    worker: Option<Worker>,
    pub(super) leases: Vec<Holder>,
    client: Option<Client>,
    next_lease: Ms,
    next_approval: Ms,
    stopping: Option<Stopping>,
}

/// A component that was started.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) pid: u32,
    dead_since: Option<Ms>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    New,
    Certificates,
    Store,
    WaitStore(Ms),
    Konnectivity,
    Api,
    WaitApi(Ms),
    Join(Ms),
    Up(Ms),
}

impl Controller {
    /// Not started yet.
    pub fn new(setup: &Arc<Setup>) -> Self {
        Self {
            setup: setup.clone(),
            phase: Phase::New,
            children: Vec::new(),
            worker: setup.workloads.then(|| Worker::new(setup)),
            leases: Vec::new(),
            client: None,
            next_lease: 0,
            next_approval: 0,
            stopping: None,
        }
    }

    /// Does what is due.
    pub fn step(&mut self, m: &mut dyn Machine) -> Next {
        if m.told_to_end() && self.stopping.is_none() {
            let status = i32::from(!matches!(self.phase, Phase::Up(_)));
            self.stopping = Some(Stopping::new(m, status));
        }
        if let Some(mut stopping) = self.stopping.take() {
            let setup = self.setup.clone();
            let next = stopping.step(m, &setup, self);
            self.stopping = Some(stopping);
            return next;
        }
        match self.go_on(m) {
            Ok(next) => next,
            Err(fatal) => {
                m.log(&format!("Error: {fatal}"));
                self.stopping = Some(Stopping::new(m, 1));
                Next::After(0)
            }
        }
    }

    fn go_on(&mut self, m: &mut dyn Machine) -> Result<Next, String> {
        let (phase, next) = match self.phase {
            Phase::New => {
                worker::lock(m, &self.setup)?;
                (Phase::Certificates, 300)
            }
            Phase::Certificates => {
                certs::init(m, &self.setup)?;
                m.own(&self.setup.pki("ca.key"), 0o640, uid::APISERVER);
                (Phase::Store, 200)
            }
            Phase::Store => {
                self.start_store(m)?;
                (Phase::WaitStore(m.ms()), LOOK_EVERY)
            }
            Phase::WaitStore(since) if self.store_answers(m) => {
                (Phase::Konnectivity, since.saturating_sub(m.ms()) + 1000)
            }
            Phase::WaitStore(since) => (
                self.wait(m, since, Phase::WaitStore(since), if self.setup.single { "Kine" } else { "Etcd" })?,
                LOOK_EVERY,
            ),
            Phase::Konnectivity => {
                if !self.setup.single {
                    self.start(m, "konnectivity");
                    m.make_dir(&format!("{RUN}/konnectivity-server"), 0o755, uid::KONNECTIVITY);
                    m.socket(&format!("{RUN}/konnectivity-server/konnectivity-server.sock"), 0o770, uid::KONNECTIVITY);
                }
                (Phase::Api, 100)
            }
            Phase::Api => {
                self.start(m, "kube-apiserver");
                (Phase::WaitApi(m.ms()), apiserver::ANSWERS)
            }
            Phase::WaitApi(since) => {
                if self.api_ready(m) {
                    m.socket(&format!("{RUN}/status.sock"), 0o755, uid::ROOT);
                    self.hold_leases(m);
                    (Phase::Join(m.ms()), 200)
                } else {
                    (self.wait(m, since, Phase::WaitApi(since), "APIServer")?, LOOK_EVERY)
                }
            }
            Phase::Join(since) => {
                if !self.setup.single {
                    self.start(m, "k0s-control-api");
                }
                self.next_approval = m.ms() + APPROVE_EVERY;
                (Phase::Up(since), LOOK_EVERY)
            }
            Phase::Up(since) => {
                self.run(m, since)?;
                (Phase::Up(since), LOOK_EVERY)
            }
        };
        self.phase = phase;
        Ok(Next::After(next))
    }

    fn wait(&mut self, m: &mut dyn Machine, since: Ms, phase: Phase, component: &str) -> Result<Phase, String> {
        self.respawn(m);
        if m.ms() < since + READY_WITHIN {
            return Ok(phase);
        }
        Err(format!("failed to start controller node components: {component} health-check timed out"))
    }

    fn start_store(&mut self, m: &mut dyn Machine) -> Result<(), String> {
        if self.setup.single {
            m.make_dir(&format!("{}/db", self.setup.data), 0o750, uid::APISERVER);
            self.start(m, "kine");
        } else {
            certs::init_etcd(m, &self.setup)?;
            m.make_dir(&format!("{}/etcd", self.setup.data), 0o700, uid::ETCD);
            self.start(m, "etcd");
        }
        Ok(())
    }

    /// etcd is ready when it answers a client that shows the right certificate, which needs a quorum.
    fn store_answers(&self, m: &mut dyn Machine) -> bool {
        if self.setup.single {
            return m.store().is_some();
        }
        let pki = |name: &str| self.setup.pki(name);
        let call = Call {
            address: "127.0.0.1:2379".to_owned(),
            trust: load_pool(m, &pki("etcd/ca.crt")),
            shows: load_shown(m, &pki("apiserver-etcd-client.crt"), &pki("apiserver-etcd-client.key")),
            ..Call::default()
        };
        m.dial(&call).end == End::Handshake && m.store().is_some()
    }

    /// `APIServer.Ready()`: the served certificate must lead to `ca.crt`, and the administrator must be accepted.
    fn api_ready(&mut self, m: &mut dyn Machine) -> bool {
        let Some(client) = Client::load(m, &self.setup.pki("admin.conf")) else { return false };
        let answered = matches!(client.call(m, Verb::Get, "/readyz", Vec::new()).end, End::Answer(200 | 500, _))
            && m.store().is_some();
        self.client = Some(client);
        answered
    }

    pub(super) fn start(&mut self, m: &mut dyn Machine, name: &'static str) {
        let setup = &self.setup;
        let program = match name {
            "etcd" => Program::Etcd(etcd::Etcd::new(setup)),
            "kine" => Program::Kine,
            "konnectivity" => Program::Konnectivity(servers::Konnectivity::new(setup)),
            "kube-apiserver" => Program::ApiServer(Box::new(apiserver::ApiServer::new(setup))),
            "kube-controller-manager" => Program::Kcm(Box::new(kcm::Kcm::new(setup))),
            "k0s-control-api" => Program::JoinApi(servers::JoinApi::new(setup)),
            _ => Program::Scheduler,
        };
        let pid = m.spawn(program);
        let _ = m.write(&format!("{RUN}/{name}.pid"), format!("{pid}\n").as_bytes(), 0o644, uid::ROOT);
        self.children.retain(|child| child.name != name);
        self.children.push(Child { name, pid, dead_since: None });
    }

    fn respawn(&mut self, m: &mut dyn Machine) {
        let now = m.ms();
        let mut due = Vec::new();
        for child in &mut self.children {
            if m.alive(child.pid) {
                continue;
            }
            let since = *child.dead_since.get_or_insert(now);
            if now >= since + RESPAWN_AFTER {
                due.push(child.name);
            }
        }
        for name in due {
            self.start(m, name);
        }
    }

    fn hold_leases(&mut self, m: &mut dyn Machine) {
        if self.setup.single {
            return;
        }
        let word = m.word(12);
        let identity = super::pods::hex_id(&format!("{}/{word}", m.hostname()), 32);
        let path = format!("{NODE_LEASES}k0s-ctrl-{}", m.hostname());
        let leader = format!("{NODE_LEASES}k0s-endpoint-reconciler");
        self.leases = vec![
            Holder::new(&path, &identity, CTRL_LEASE_SECONDS),
            Holder::new(&leader, &identity, CTRL_LEASE_SECONDS),
        ];
    }

    fn run(&mut self, m: &mut dyn Machine, since: Ms) -> Result<(), String> {
        self.respawn(m);
        let up = m.ms() - since;
        if up >= KCM_AFTER && !self.children.iter().any(|child| child.name == "kube-scheduler") {
            self.start(m, "kube-controller-manager");
            self.start(m, "kube-scheduler");
        }
        if m.ms() >= self.next_lease && self.accepted(m) {
            self.next_lease = m.ms() + CTRL_EVERY;
            let (ms, now) = (m.ms(), m.now());
            if let Some(store) = m.store() {
                self.leases.iter_mut().for_each(|lease| lease.tick(store, ms, now));
            }
        }
        if m.ms() >= self.next_approval {
            self.next_approval = m.ms() + APPROVE_EVERY;
            let leads = self.setup.single || self.leases.last().is_some_and(|lease| lease.held);
            if leads && self.accepted(m) {
                approver::approve_one(m);
            }
        }
        if up >= WORKER_AFTER
            && let Some(worker) = &mut self.worker
            && let Outcome::Fatal(error) = worker.step(m)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Whether its own API server still takes it for the administrator.
    pub(super) fn accepted(&self, m: &mut dyn Machine) -> bool {
        let Some(client) = &self.client else { return false };
        client.call(m, Verb::Get, "/api/v1/namespaces/kube-system", Vec::new()).ok().is_some()
    }

    /// Pids of the worker part, if there is one.
    pub(super) fn worker_pids(&self) -> Vec<u32> {
        self.worker.iter().flat_map(Worker::pids).collect()
    }
}

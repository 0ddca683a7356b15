//! Rotations of the stand-in's fleet over SSH: started, driven, killed, looked at.

use super::{Lab, address};
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::{Fleet, KeyKind, Role, Root};
use k0rotate_activities::host::ssh::{SshDir, SshHost};
use k0rotate_activities::host::{Command, FileKind, Host};
use k0rotate_activities::secret::Secret;
use k0rotate_activities::vault::{Vault, make_identity};
use k0rotate_engine::clock::SystemClock;
use k0rotate_engine::drive::{Engine, Rest, Start, Word};
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::registry::Registry;
use k0rotate_workflows::rotate::{Member, Rotate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a fleet may take to be healthy after its machines have booted.
const HEALTHY_WITHIN: Duration = Duration::from_secs(180);
/// Between looks at the history for a moment to kill.
const LOOK: Duration = Duration::from_millis(20);

/// A fleet of machines and an event log that outlives the processes that drive.
pub struct Rotation<'a> {
    lab: &'a Lab,
    controllers: usize,
    workers: usize,
    store: MemoryStore,
    identity: (Secret, String),
}

/// Who drives: dropped like a process that is killed.
struct Driver {
    engine: Engine,
    fleet: Arc<Fleet>,
    registry: Registry<Fleet>,
}

impl<'a> Rotation<'a> {
    /// Of so many machines.
    pub fn new(lab: &'a Lab, controllers: usize, workers: usize) -> Self {
        Self { lab, controllers, workers, store: MemoryStore::new(), identity: make_identity() }
    }

    /// Machines over SSH, by name; connections of their own.
    pub fn hosts(&self) -> BTreeMap<String, Arc<dyn Host>> {
        let dir = Arc::new(SshDir::new(None).expect("a folder for sockets"));
        let host = |n: usize| {
            let name = format!("h{n}");
            let host: Arc<dyn Host> = Arc::new(SshHost::over_ssh(&name, self.lab.options(n), dir.clone()));
            (name, host)
        };
        (1..=self.controllers + self.workers).map(host).collect()
    }

    fn driver(&self) -> Driver {
        let log = Arc::new(self.store.open());
        let clock = Arc::new(SystemClock::default());
        let (identity, recipient) = &self.identity;
        let vault = Vault::open(log.clone(), std::slice::from_ref(recipient), identity).expect("the identity opens it");
        let fleet = Fleet {
            hosts: self.hosts(),
            clock: clock.clone(),
            secrets: Arc::new(vault),
            by: "tests@here".to_owned(),
            keys: KeyKind::P256,
        };
        let registry = Registry::new().with::<Rotate>();
        Driver { engine: Engine::new(log, clock), fleet: Arc::new(fleet), registry }
    }

    fn input(&self) -> Rotate {
        let member = |n: usize| Member {
            name: format!("h{n}"),
            role: if n <= self.controllers { Role::Controller } else { Role::Worker },
            address: address(n),
        };
        Rotate {
            hosts: (1..=self.controllers + self.workers).map(member).collect(),
            roots: vec![Root::KubernetesCa, Root::EtcdCa, Root::FrontProxyCa, Root::ServiceAccount],
            primary: None,
            refresh: Refresh::System,
            reboot_at_once: None,
            not_before: None,
            not_after: None,
            room_seconds: 600,
            max_outage_seconds: 300,
            leave_behind: Vec::new(),
            keep_token: Vec::new(),
            allow: Vec::new(),
        }
    }

    /// Waits until every node is reached through every controller, and every k0s says that it runs.
    pub async fn healthy(&self) {
        let hosts = self.hosts();
        let limit = tokio::time::Instant::now() + HEALTHY_WITHIN;
        let asked = |host: Arc<dyn Host>, args: Vec<String>| async move {
            host.exec(Command::new("/usr/local/bin/k0s", args)).await.is_ok_and(|output| output.ok())
        };
        for (at, host) in hosts.values().enumerate() {
            let status = vec!["status".to_owned()];
            let node = |n: usize| format!("/api/v1/nodes/h{n}/proxy/healthz");
            let raw = |n: usize| ["kubectl", "get", "--raw", &node(n)].map(str::to_owned).to_vec();
            let nodes = (self.controllers + 1..=self.controllers + self.workers).map(raw);
            let questions: Vec<_> = std::iter::once(status).chain(nodes.filter(|_| at < self.controllers)).collect();
            for question in questions {
                while !asked(host.clone(), question.clone()).await {
                    assert!(tokio::time::Instant::now() < limit, "{} says no to {question:?}", host.name());
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Begins one; nothing is driven yet.
    pub async fn start(&self) -> ExecutionId {
        let start = Start { subject: "lab".into(), by: "tests@here".into(), reason: "a test".into() };
        self.driver().engine.start(&self.input(), start).await.expect("a history can begin")
    }

    /// Drives until it rests.
    pub async fn drive(&self, execution: &ExecutionId, word: Option<Word>) -> Rest {
        let driver = self.driver();
        driver.engine.drive(execution, driver.fleet.clone(), &driver.registry, word).await
    }

    /// Drives until it rests, killed once in every phase; how often it was killed.
    pub async fn drive_killed(&self, execution: &ExecutionId, mut word: Option<Word>) -> (Rest, usize) {
        // Phases of an earlier drive do not count.
        let known = self.phases(&self.driver(), execution).await;
        let mut killed = known.clone();
        loop {
            let driver = self.driver();
            let driving = driver.engine.drive(execution, driver.fleet.clone(), &driver.registry, word.take());
            tokio::select! {
                rest = driving => return (rest, killed.len() - known.len()),
                phase = self.next_phase(&driver, execution, &killed) => killed.insert(phase),
            };
        }
    }

    /// Waits until a step of a phase in which nobody was killed yet has begun.
    async fn next_phase(&self, driver: &Driver, execution: &ExecutionId, killed: &BTreeSet<String>) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            let begun = self.phases(driver, execution).await;
            if let Some(phase) = begun.difference(killed).next() {
                return phase.clone();
            }
        }
    }

    /// Phases in which a step has begun.
    async fn phases(&self, driver: &Driver, execution: &ExecutionId) -> BTreeSet<String> {
        let history = driver.engine.history(execution).await.unwrap_or_default();
        let steps = history.iter().filter_map(|r| match &r.event {
            Event::StepStarted { step, .. } => step.as_str().split('/').next().map(str::to_owned),
            _ => None,
        });
        steps.collect()
    }

    /// The history as text, for a test that fails.
    pub async fn told(&self, execution: &ExecutionId) -> String {
        let history = self.driver().engine.history(execution).await.unwrap_or_default();
        let lines = history.iter().map(|r| format!("{} {:?}", r.seq, r.event));
        let short = lines.map(|line| line.chars().take(400).collect::<String>());
        short.collect::<Vec<_>>().join("\n")
    }

    /// Hashes of the roots on the controllers: (host, path, hash).
    pub async fn roots(&self) -> BTreeSet<(String, String, String)> {
        let files = ["ca.crt", "ca.key", "sa.pub", "sa.key", "etcd/ca.crt", "etcd/ca.key", "front-proxy-ca.crt"];
        let paths = files.map(|file| format!("/var/lib/k0s/pki/{file}"));
        let mut found = BTreeSet::new();
        for (name, host) in self.hosts().into_iter().take(self.controllers) {
            for file in host.files(&paths).await.expect("files can be listed") {
                let FileKind::File { sha256, .. } = file.kind else { continue };
                found.insert((name.clone(), file.path, sha256));
            }
        }
        found
    }
}

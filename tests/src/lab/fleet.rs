//! A lab's machines looked at from outside the tool: whether the fleet is healthy, and which roots lie on it.

use super::Lab;
use k0rotate_activities::host::ssh::{SshDir, SshHost};
use k0rotate_activities::host::{Command, FileKind, Host};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a fleet may take to be healthy after its machines have booted.
const HEALTHY_WITHIN: Duration = Duration::from_secs(180);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The machines of a lab with the stand-in.
pub struct Machines<'a> {
    lab: &'a Lab,
    controllers: usize,
    workers: usize,
}

impl<'a> Machines<'a> {
    /// So many.
    pub fn new(lab: &'a Lab, controllers: usize, workers: usize) -> Self {
        Self { lab, controllers, workers }
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

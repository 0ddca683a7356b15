//! A lab's machines looked at from outside the tool: whether the fleet is healthy, and which roots lie on it.

use super::Lab;
use k0rotate_activities::host::ssh::{SshDir, SshHost};
use k0rotate_activities::host::{Command, FileKind, Host};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Where trust lies, and what k0rotate may have beside it only while it works. Its own folder, with a lock in it, stays.
const TRUST: [&str; 8] = [
    "/var/lib/k0s/pki",
    "/var/lib/k0s/kubelet.conf",
    "/var/lib/k0s/kubelet-bootstrap.conf",
    "/var/lib/k0s/kubelet/pki",
    "/var/lib/k0rotate/mark",
    "/var/lib/k0rotate/held",
    "/etc/systemd/system/k0scontroller.service.d/50-k0rotate-held.conf",
    "/etc/systemd/system/k0sworker.service.d/50-k0rotate-held.conf",
];
/// Files that are roots.
const ROOTS: [&str; 8] = [
    "/pki/ca.crt",
    "/pki/ca.key",
    "/pki/sa.pub",
    "/pki/sa.key",
    "/pki/etcd/ca.crt",
    "/pki/etcd/ca.key",
    "/pki/front-proxy-ca.crt",
    "/pki/front-proxy-ca.key",
];
/// How long a fleet may take to be healthy after its machines have booted.
const HEALTHY_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The machines of a lab with the stand-in.
pub struct Machines<'a> {
    lab: &'a Lab,
    controllers: usize,
    workers: usize,
}

/// A name without digits.
fn undated(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
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

    /// All that concerns trust on the disks: host, path, kind, mode, owner; of a root its hash too. k0s issues leafs anew at each start, so
    /// that only their places can be compared; dates and draws in names are taken out.
    pub async fn disks(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, host) in self.hosts() {
            let kept = Command::new("find", ["/var/lib/k0s", "-maxdepth", "1", "-name", ".k0rotate*"]);
            let kept = host.exec(kept).await.expect("a folder can be listed").text();
            found.extend(kept.lines().map(|path| format!("{name} {path} is left")));
            for file in host.files(&TRUST.map(str::to_owned)).await.expect("files can be listed") {
                let root = ROOTS.iter().any(|root| file.path.ends_with(root));
                let kind = match file.kind {
                    FileKind::File { sha256, .. } if root => sha256,
                    FileKind::File { .. } => "file".to_owned(),
                    FileKind::Dir => "folder".to_owned(),
                    FileKind::Link { target } => format!("-> {}", undated(&target)),
                    FileKind::Other => "other".to_owned(),
                };
                let owner = format!("{}:{}", file.owner.uid, file.owner.gid);
                found.insert(format!("{name} {} {kind} {:o} {owner}", undated(&file.path), file.mode));
            }
        }
        found
    }

    /// Hashes of the roots on the controllers: (host, path, hash).
    pub async fn roots(&self) -> BTreeSet<(String, String, String)> {
        let paths = ROOTS.map(|file| format!("/var/lib/k0s{file}"));
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

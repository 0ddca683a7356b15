//! What a careful engineer scripts: a bare stop and start, and k0s' own page on replacing the Kubernetes CA and the service-account keys
//! (docs/troubleshooting/certificate-authorities.md), each step on all hosts at once where the page lets it.

use crate::lab::Lab;
use std::thread;
use std::time::Duration;

const PKI: &str = "/var/lib/k0s/pki";
/// What the page deletes on controllers, and copies from the first to the others.
const PAIRS: [&str; 4] = ["ca.crt", "ca.key", "sa.pub", "sa.key"];
/// Between two looks of a wait.
const LOOK: Duration = Duration::from_millis(500);
/// A wait that takes longer has failed.
const MOST_LOOKS: usize = 600;

/// On this lab.
pub struct Hand<'a> {
    lab: &'a Lab,
    controllers: usize,
    hosts: usize,
}

impl<'a> Hand<'a> {
    /// So many controllers and workers.
    pub fn new(lab: &'a Lab, (controllers, workers): (usize, usize)) -> Self {
        Self { lab, controllers, hosts: controllers + workers }
    }

    /// Stops all controllers at once, and starts them all at once.
    pub fn bare(&self) {
        self.on_controllers("systemctl stop k0scontroller");
        self.on_controllers("systemctl start k0scontroller");
        self.on_controllers(&until("k0s kubectl get --raw /readyz"));
    }

    /// The page, step by step.
    pub fn documented(&self) {
        // 1: a backup.
        self.on(1, "umask 077; k0s backup --save-path - >/root/backup.tar.gz");
        // 2: stop k0s on all nodes.
        self.on_workers("systemctl stop k0sworker");
        self.on_controllers("systemctl stop k0scontroller");
        // 3: delete the pairs, and the kubelet's files.
        let pairs = PAIRS.map(|file| format!("{PKI}/{file}")).join(" ");
        self.on_controllers(&format!("rm -f {pairs}"));
        self.on_workers("rm -rf /var/lib/k0s/kubelet.conf /var/lib/k0s/kubelet/pki");
        // 4: the first controller makes new ones. Alone it has no quorum of etcd, so only they are waited for.
        self.on(1, "systemctl start --no-block k0scontroller");
        self.on(1, &until(&PAIRS.map(|file| format!("test -s {PKI}/{file}")).join(" && ")));
        // 5: the others get them.
        let archive = self.on(1, &format!("tar -C {PKI} -cf - {} | base64 -w0", PAIRS.join(" ")));
        for n in 2..=self.controllers {
            self.on(n, &format!("echo {archive} | base64 -d | tar -C {PKI} -xf -"));
        }
        for n in 2..=self.controllers {
            self.on(n, "systemctl start k0scontroller");
        }
        self.on_controllers(&until("k0s kubectl get --raw /readyz"));
        // 6: the workers come in with a token, by a reboot.
        let token = self.on(1, "k0s token create --expiry 1h --role worker | base64 -d | gunzip | base64 -w0");
        self.on_workers(&format!("umask 077; echo {token} | base64 -d > /var/lib/k0s/kubelet-bootstrap.conf"));
        each(self.controllers + 1..=self.hosts, |n| drop(self.lab.ask(&["restart", &n.to_string()])));
        for n in self.controllers + 1..=self.hosts {
            self.on(1, &until(&format!("k0s kubectl get --raw /api/v1/nodes/h{n}/proxy/healthz")));
        }
        // 7: the token is not needed any more.
        self.on_workers("rm -f /var/lib/k0s/kubelet-bootstrap.conf");
        self.on(1, "k0s token list --role worker | awk 'NR > 1 { print $1 }' | xargs -rn1 k0s token invalidate");
    }

    fn on(&self, n: usize, command: &str) -> String {
        self.lab.ask(&["ssh", &n.to_string(), &format!("export PATH=$PATH:/usr/local/bin; {command}")])
    }

    fn on_controllers(&self, command: &str) {
        each(1..=self.controllers, |n| drop(self.on(n, command)));
    }

    fn on_workers(&self, command: &str) {
        each(self.controllers + 1..=self.hosts, |n| drop(self.on(n, command)));
    }
}

/// On all of these hosts at once; ends with the last.
fn each(hosts: impl Iterator<Item = usize>, one: impl Fn(usize) + Sync) {
    let one = &one;
    thread::scope(|scope| hosts.for_each(|n| drop(scope.spawn(move || one(n)))));
}

/// A command that ends once this one succeeds.
fn until(command: &str) -> String {
    let pause = LOOK.as_secs_f64();
    format!("for i in $(seq {MOST_LOOKS}); do {{ {command}; }} >/dev/null 2>&1 && exit 0; sleep {pause}; done; exit 1")
}

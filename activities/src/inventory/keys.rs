//! Every key that k0sctl documents, what becomes of it here, and the look through a file for all others.

use super::problem::{Code, Problem};
use super::tree::{Node, Source, Value};

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It has its effect.
    Honoured,
    /// It is read, has no effect here, and this is why.
    Unused(&'static str),
    /// The file is refused with this reason, unless the value says "no".
    Refused(&'static str),
    /// The connection is read; its host must be left behind, for this reason.
    LeaveBehind(&'static str),
}

use Use::{Honoured, LeaveBehind, Refused, Unused};

const INSTALLS: &str = "k0rotate installs nothing; what runs on the machine counts";
const MACHINE: &str = "asked from the machine itself";
const UPGRADES: &str = "concerns installs and upgrades by k0sctl alone";
const WINRM: &str = "Windows workers can't be rotated";

/// All keys; `[]` is each member of a list, `*` whatever stands below.
pub const KEYS: &[(&str, Use)] = &[
    ("apiVersion", Honoured),
    ("kind", Honoured),
    ("metadata", Honoured),
    ("metadata.name", Honoured),
    ("metadata.user", Unused("names a user in kubeconfigs that k0sctl writes")),
    ("metadata.kubeconfig", Unused("k0rotate writes no kubeconfig")),
    ("spec", Honoured),
    ("spec.hosts", Honoured),
    ("spec.hosts[].role", Honoured),
    ("spec.hosts[].noTaints", Unused(MACHINE)),
    ("spec.hosts[].uploadBinary", Unused(INSTALLS)),
    ("spec.hosts[].useExistingK0s", Unused(INSTALLS)),
    ("spec.hosts[].k0sBinaryPath", Unused(INSTALLS)),
    ("spec.hosts[].k0sInstallPath", Unused("the path is taken from the unit's ExecStart")),
    ("spec.hosts[].k0sDownloadURL", Unused(INSTALLS)),
    ("spec.hosts[].hostname", Honoured),
    ("spec.hosts[].dataDir", Honoured),
    ("spec.hosts[].kubeletRootDir", Honoured),
    ("spec.hosts[].installFlags", Honoured),
    ("spec.hosts[].environment", Unused("set by k0sctl when it installs; k0s keeps it in its unit")),
    ("spec.hosts[].environment.*", Unused("set by k0sctl when it installs; k0s keeps it in its unit")),
    ("spec.hosts[].files", Unused("k0rotate uploads nothing")),
    ("spec.hosts[].files.*", Unused("k0rotate uploads nothing")),
    ("spec.hosts[].hooks", Unused("k0rotate runs no hooks, not even those of connect")),
    ("spec.hosts[].hooks.*", Unused("k0rotate runs no hooks, not even those of connect")),
    ("spec.hosts[].os", Unused(MACHINE)),
    ("spec.hosts[].privateInterface", Unused(MACHINE)),
    ("spec.hosts[].privateAddress", Honoured),
    ("spec.hosts[].reset", Refused("k0sctl would take this host out of the cluster: do that first, or say `false`")),
    ("spec.hosts[].ssh", Honoured),
    ("spec.hosts[].ssh.address", Honoured),
    ("spec.hosts[].ssh.user", Honoured),
    ("spec.hosts[].ssh.port", Honoured),
    ("spec.hosts[].ssh.keyPath", Honoured),
    ("spec.hosts[].ssh.hostKey", Unused("files of known hosts count")),
    ("spec.hosts[].ssh.options", Honoured),
    ("spec.hosts[].ssh.options.*", Honoured),
    ("spec.hosts[].ssh.bastion", Honoured),
    ("spec.hosts[].localhost", Honoured),
    ("spec.hosts[].localhost.enabled", Honoured),
    ("spec.hosts[].openSSH", Honoured),
    ("spec.hosts[].openSSH.address", Honoured),
    ("spec.hosts[].openSSH.user", Honoured),
    ("spec.hosts[].openSSH.port", Honoured),
    ("spec.hosts[].openSSH.keyPath", Honoured),
    ("spec.hosts[].openSSH.configPath", Honoured),
    ("spec.hosts[].openSSH.disableMultiplexing", Unused("connections are always multiplexed")),
    ("spec.hosts[].openSSH.options", Honoured),
    ("spec.hosts[].openSSH.options.*", Honoured),
    // Ours: a simulated machine; k0sctl would refuse such a file.
    ("spec.hosts[].rehearsal", Honoured),
    ("spec.hosts[].winRM", LeaveBehind(WINRM)),
    ("spec.hosts[].winRM.*", LeaveBehind(WINRM)),
    ("spec.hosts[].winrm", LeaveBehind(WINRM)),
    ("spec.hosts[].winrm.*", LeaveBehind(WINRM)),
    ("spec.k0s", Honoured),
    ("spec.k0s.version", Unused(MACHINE)),
    ("spec.k0s.versionChannel", Unused(UPGRADES)),
    ("spec.k0s.dynamicConfig", Unused(MACHINE)),
    ("spec.k0s.config", Honoured),
    ("spec.k0s.config.*", Honoured),
    ("spec.options", Honoured),
    ("spec.options.wait", Unused(UPGRADES)),
    ("spec.options.wait.enabled", Unused(UPGRADES)),
    ("spec.options.drain", Unused("k0rotate drains no node")),
    ("spec.options.drain.enabled", Unused("k0rotate drains no node")),
    ("spec.options.drain.gracePeriod", Unused("k0rotate drains no node")),
    ("spec.options.drain.timeout", Unused("k0rotate drains no node")),
    ("spec.options.drain.force", Unused("k0rotate drains no node")),
    ("spec.options.drain.ignoreDaemonSets", Unused("k0rotate drains no node")),
    ("spec.options.drain.deleteEmptyDirData", Unused("k0rotate drains no node")),
    ("spec.options.drain.skipWaitForDeleteTimeout", Unused("k0rotate drains no node")),
    ("spec.options.drain.podSelector", Unused("k0rotate drains no node")),
    ("spec.options.evictTaint", Unused("k0rotate taints no node")),
    ("spec.options.evictTaint.enabled", Unused("k0rotate taints no node")),
    ("spec.options.evictTaint.taint", Unused("k0rotate taints no node")),
    ("spec.options.evictTaint.effect", Unused("k0rotate taints no node")),
    ("spec.options.evictTaint.controllerWorkers", Unused("k0rotate taints no node")),
    ("spec.options.concurrency", Honoured),
    ("spec.options.concurrency.limit", Honoured),
    ("spec.options.concurrency.workerDisruptionPercent", Unused(UPGRADES)),
    ("spec.options.concurrency.uploads", Unused(UPGRADES)),
];

/// A key that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedKey {
    /// Its path, for example `spec.hosts[].files`.
    pub key: String,
    /// Its file.
    pub file: String,
    /// Its line in it.
    pub line: usize,
    /// Why it has none.
    pub why: String,
}

/// Looks at every key of a cluster document.
pub(super) fn look(source: &Source, root: &Node) -> (Vec<UnusedKey>, Vec<Problem>) {
    let mut found = (Vec::new(), Vec::new());
    walk(source, root, "", &mut found);
    found
}

fn walk(source: &Source, node: &Node, path: &str, found: &mut (Vec<UnusedKey>, Vec<Problem>)) {
    match &node.value {
        Value::List(members) => members.iter().for_each(|m| walk(source, m, &format!("{path}[]"), found)),
        Value::Map(entries) => {
            for entry in entries {
                let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                match use_of(&below) {
                    None => found.1.push(unknown(source, &below, entry.line)),
                    Some(Unused(why)) => found.0.push(UnusedKey {
                        key: below,
                        file: source.file.to_owned(),
                        line: source.line(entry.line),
                        why: why.to_owned(),
                    }),
                    Some(Refused(why)) if is_yes(&entry.value) => {
                        found.1.push(source.problem(Code::Refused, entry.line, format!("{below}: {why}")));
                    }
                    Some(Refused(_) | LeaveBehind(_)) => {}
                    Some(Honoured) => walk(source, &entry.value, &below, found),
                }
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
}

/// What becomes of a key by its path.
pub fn use_of(path: &str) -> Option<Use> {
    // A bastion has the keys of any SSH connection, one below another.
    let path = without_bastions(path);
    let exact = KEYS.iter().find(|(key, _)| *key == path);
    let open = || KEYS.iter().find(|(key, _)| key.strip_suffix('*').is_some_and(|start| path.starts_with(start)));
    exact.or_else(open).map(|(_, u)| *u)
}

fn without_bastions(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains(".bastion.") {
        path = path.replace(".bastion.", ".");
    }
    path
}

/// YAML 1.1's words for yes, as k0sctl reads them.
pub(super) fn is_yes(node: &Node) -> bool {
    node.text().is_some_and(|t| matches!(t.to_lowercase().as_str(), "true" | "yes" | "on" | "y"))
}

fn unknown(source: &Source, path: &str, line: usize) -> Problem {
    let problem = source.problem(Code::UnknownKey, line, format!("k0sctl knows no key {path}"));
    let flat = without_bastions(path);
    let (parent, name) = flat.rsplit_once('.').unwrap_or(("", &flat));
    let siblings = KEYS.iter().filter_map(|(key, _)| {
        let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
        (above == parent && last != "*").then_some(last)
    });
    let nearest = siblings.map(|s| (distance(name, s), s)).filter(|(d, _)| *d <= 3).min();
    match nearest {
        Some((_, name)) => problem.help(format!("did you mean `{name}`?")),
        None => problem.help("take it out; k0sctl would refuse it too"),
    }
}

/// Edits between two words, letters of either case alike.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

//! What has changed since a rotation looked at its cluster, and what that means for its way back.

use super::Then;
use crate::plan::result::Refusal;
use crate::survey::Survey;
use k0rotate_activities::activity::hold_cluster::LockedBy;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_engine::failure::Failure;
use serde::Serialize;
use std::collections::BTreeSet;

/// Something that is otherwise than the rotation found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A host, a Node, or `k0s`.
    pub of: String,
    /// What has changed.
    pub what: String,
    /// What the way back makes of it.
    pub then: String,
}

/// Failures of hosts that could not be reached at all.
const UNREACHED: [&str; 5] = ["host-unreachable", "link-lost", "host-slow", "access-denied", "host-key-unknown"];

/// What would keep the way back from starting or from coming through.
pub fn refusals(inventory: &Inventory, execution: &str, then: &Then, survey: &Survey) -> Vec<Refusal> {
    let mut all = Vec::new();
    for member in then.rotate.hosts.iter().filter(|member| !then.left.contains(&member.name)) {
        let name = &member.name;
        match survey.hosts.get(name) {
            None => all.push(Failure::refused("host-not-in-inventory").with("host", name)),
            Some(Err(failure)) if UNREACHED.contains(&failure.code.as_str()) => all.push(failure.clone()),
            Some(Ok(now)) if then.stopped.contains(name) => all.extend(other_version(then, now)),
            Some(_) => {}
        }
    }
    if then.was_down() {
        let joined = joined_controllers(inventory, then, survey).into_iter();
        all.extend(joined.map(|name| Failure::refused("controller-joined-since").with("controller", name)));
    }
    let foreign = survey.marks.iter().filter(|(_, mark)| mark.execution != execution);
    all.extend(foreign.map(|(host, mark)| {
        Failure::refused("host-held").with("host", host).with("by", &mark.by).with("execution", &mark.execution)
    }));
    let locked = survey.locks.iter().filter(|(_, by)| **by == LockedBy::K0sctl);
    all.extend(locked.map(|(host, _)| Failure::refused("k0sctl-runs").with("host", host)));
    all.iter().map(Refusal::from).collect()
}

/// As [`k0rotate_activities::guards::may_roll_back`] will refuse it.
fn other_version(then: &Then, now: &HostFacts) -> Option<Failure> {
    let before = then.hosts.get(&now.host.name).map(|facts| facts.host.version.as_str())?;
    let failure = || Failure::refused("k0s-version-changed").with("host", &now.host.name).with("was", before);
    (before != now.host.version).then(failure)
}

/// Controllers that would go on with the abandoned trust: by the inventory, and by their Leases.
fn joined_controllers(inventory: &Inventory, then: &Then, survey: &Survey) -> BTreeSet<String> {
    let listed = new_hosts(inventory, then).filter(|host| host.role.is_controller()).map(|host| host.name.clone());
    let known = |hostname: &String| {
        let found = then.hosts.values().any(|facts| facts.host.hostname == *hostname);
        let listed = inventory.host(hostname).is_some();
        found || listed || then.rotate.leave_behind.contains(hostname)
    };
    let leases = survey.cluster.as_ref().map(|cluster| cluster.controller_leases.clone()).unwrap_or_default();
    listed.chain(leases.into_iter().filter(|hostname| !known(hostname))).collect()
}

/// Hosts of the inventory that the rotation did not work on.
fn new_hosts<'a>(inventory: &'a Inventory, then: &'a Then) -> impl Iterator<Item = &'a InventoryHost> {
    let known = |host: &&InventoryHost| {
        then.rotate.hosts.iter().any(|member| member.name == host.name) || then.rotate.leave_behind.contains(&host.name)
    };
    inventory.hosts.iter().filter(move |host| !known(host))
}

/// What is otherwise now, and what becomes of it.
pub fn changes(inventory: &Inventory, then: &Then, survey: &Survey) -> Vec<Change> {
    let mut all = Vec::new();
    let mut add =
        |of: &str, what: String, then: &str| all.push(Change { of: of.to_owned(), what, then: then.to_owned() });
    for host in new_hosts(inventory, then) {
        let then = "not taken along: it trusts what is abandoned; join it anew afterwards";
        add(&host.name, format!("in the inventory since, {}", role(host)), then);
    }
    for member in then.rotate.hosts.iter().filter(|member| inventory.host(&member.name).is_none()) {
        add(&member.name, "gone from the inventory".to_owned(), "it is held and cannot be passed over");
    }
    for (name, failure) in survey.hosts.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?))) {
        add(
            name,
            format!("could not be looked at: {failure}"),
            "as far as it can be reached, its old files are put back",
        );
    }
    for (from, to, hosts) in versions(then, survey) {
        add(
            "k0s",
            format!("{from} -> {to} on {}", hosts.join(" ")),
            "binary, unit and configuration stay: only trust is put back",
        );
    }
    if let Ok(cluster) = &survey.cluster {
        let (before, now) = (set(&then.cluster.nodes), set(&cluster.nodes));
        let own: BTreeSet<&String> = inventory
            .hosts
            .iter()
            .filter_map(|h| survey.hosts.get(&h.name)?.as_ref().ok()?.host.node.as_ref())
            .collect();
        for node in now.difference(&before).filter(|node| !own.contains(*node)) {
            add(node, "a Node since, not in the inventory".to_owned(), "not taken along: join it anew afterwards");
        }
        for node in before.difference(&now) {
            add(node, "a Node no more".to_owned(), "its host must come in again, or the way back waits for it");
        }
    }
    all
}

fn set(names: &[String]) -> BTreeSet<&String> {
    names.iter().collect()
}

fn role(host: &InventoryHost) -> &'static str {
    if host.role.is_controller() { "a controller" } else { "a worker" }
}

/// Changed versions with the hosts that run them.
fn versions<'a>(then: &'a Then, survey: &'a Survey) -> Vec<(&'a str, &'a str, Vec<&'a str>)> {
    let mut all: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (name, now) in survey.hosts.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?))) {
        let Some(before) = then.hosts.get(name).filter(|before| before.host.version != now.host.version) else {
            continue;
        };
        let (from, to) = (before.host.version.as_str(), now.host.version.as_str());
        match all.iter_mut().find(|(f, t, _)| (*f, *t) == (from, to)) {
            Some((.., hosts)) => hosts.push(name),
            None => all.push((from, to, vec![name])),
        }
    }
    all
}

/// What was handed out under the trust that is abandoned.
pub fn breaks(then: &Then, survey: &Survey) -> Vec<String> {
    if !then.was_down() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let replaced = |root| then.rotate.roots.contains(&root);
    if replaced(Root::KubernetesCa) {
        let users = new_users(then, survey);
        let known = if users.is_empty() { String::new() } else { format!("; pki/ holds {}", users.join(", ")) };
        all.push(format!("kubeconfigs handed out since{known}"));
    }
    let Ok(cluster) = &survey.cluster else { return all };
    let legacy = cluster.legacy_secrets.len();
    if replaced(Root::ServiceAccount) && legacy > 0 {
        all.push(format!("{legacy} service-account tokens in Secrets, minted anew once more"));
    }
    let tokens = cluster.controller_tokens.len() + cluster.worker_tokens.len();
    if tokens > 0 {
        all.push(format!("{tokens} join tokens minted since; those of before are given back"));
    }
    all
}

/// Users whose certificate was not there when the rotation looked.
fn new_users(then: &Then, survey: &Survey) -> Vec<String> {
    let users = |facts: &HostFacts| {
        let paths: BTreeSet<&str> = facts.user_certificates().collect();
        let files = facts.trust.iter().filter(|file| paths.contains(file.path.as_str()));
        files.map(|file| (file.path.clone(), file.fingerprint.clone())).collect::<BTreeSet<_>>()
    };
    let before: BTreeSet<_> = then.hosts.values().flat_map(users).collect();
    let now: BTreeSet<_> = survey.hosts.values().filter_map(|found| found.as_ref().ok()).flat_map(users).collect();
    now.difference(&before).map(|(path, _)| crate::plan::affected::user(path)).collect()
}

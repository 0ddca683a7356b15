//! What has changed since a rotation looked at its cluster, and what that means for its way back.

use super::Then;
use crate::confirm::counted;
use crate::plan::result::Refusal;
use crate::survey::Survey;
use k0rotate_activities::activity::hold_cluster::LockedBy;
use k0rotate_activities::facts::{HostFacts, K0sHost};
use k0rotate_activities::fleet::{Role, Root};
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
pub fn refusals(execution: &str, then: &Then, today: &Today, survey: &Survey) -> Vec<Refusal> {
    let mut all = Vec::new();
    // A controller that was stopped is asked for even if it was left since.
    let counts = |name: &&String| !then.left.contains(*name) || then.stopped.contains(*name);
    let there = |name: &&String| counts(name) && !today.gone.contains(*name);
    for name in then.rotate.hosts.iter().map(|member| &member.name).filter(there) {
        let stopped = then.stopped.contains(name);
        match survey.hosts.get(name) {
            None if stopped => all.push(Failure::refused("host-not-in-inventory").with("host", name)),
            Some(Err(failure)) if unreached(failure) && stopped && then.was_verified() => {
                all.push(Failure::refused("controller-away").with("host", name).with("why", &failure.code));
            }
            Some(Err(failure)) if unreached(failure) => all.push(failure.clone()),
            Some(Ok(now)) if stopped => all.extend(other_version(then, now)),
            _ => {}
        }
    }
    if then.was_verified() {
        all.extend(today.silent.iter().cloned());
        all.extend(today.strangers.iter().cloned());
        let runs = |host: &&String| matches!(survey.hosts.get(*host), Some(Ok(_)));
        let outside = today.gone.iter().filter(runs);
        all.extend(outside.map(|host| Failure::new("host-not-in-cluster").with("host", host)));
        all.extend(survey.cluster.as_ref().err().cloned());
    }
    let foreign = survey.marks.iter().filter(|(_, mark)| mark.execution != execution);
    all.extend(foreign.map(|(host, mark)| {
        Failure::refused("host-held").with("host", host).with("by", &mark.by).with("execution", &mark.execution)
    }));
    let locked = survey.locks.iter().filter(|(_, by)| **by == LockedBy::K0sctl);
    all.extend(locked.map(|(host, _)| Failure::refused("k0sctl-runs").with("host", host)));
    all.iter().map(Refusal::from).collect()
}

fn unreached(failure: &Failure) -> bool {
    UNREACHED.contains(&failure.code.as_str())
}

/// As [`k0rotate_activities::guards::may_roll_back`] will refuse it.
fn other_version(then: &Then, now: &HostFacts) -> Option<Failure> {
    let before = then.hosts.get(&now.host.name).map(|facts| facts.host.version.as_str())?;
    let failure = || Failure::refused("k0s-version-changed").with("host", &now.host.name).with("was", before);
    (before != now.host.version).then(failure)
}

/// The cluster as it is today beside what the rotation knew, as look-again will see it. Before the new trust was verified nobody could
/// come or go.
#[derive(Clone, Debug, Default)]
pub struct Today {
    /// Hosts of the inventory that are in the cluster and were not known.
    pub joined: Vec<HostFacts>,
    /// Hosts of the inventory that were not known and do not answer.
    pub silent: Vec<Failure>,
    /// Hosts that were known and are in the cluster no more.
    pub gone: Vec<String>,
    /// Who is in the cluster and in no inventory.
    pub strangers: Vec<Failure>,
}

impl Today {
    /// From what is seen.
    pub fn of(inventory: &Inventory, then: &Then, survey: &Survey) -> Self {
        let Some(cluster) = survey.cluster.as_ref().ok().filter(|_| then.was_verified()) else {
            return Self::default();
        };
        let has = |host: &K0sHost| {
            let controls = host.role == Role::Single
                || cluster.controller_leases.contains(&host.hostname)
                || cluster.etcd_members.contains_key(&host.hostname);
            host.role.is_controller() && controls || host.node.as_ref().is_some_and(|node| cluster.nodes.contains(node))
        };
        let mut today = Self::default();
        for host in new_hosts(inventory, then) {
            match survey.hosts.get(&host.name) {
                Some(Ok(facts)) if has(&facts.host) => today.joined.push(facts.clone()),
                Some(Err(failure)) if unreached(failure) => today.silent.push(failure.clone()),
                _ => {}
            }
        }
        let known: Vec<&K0sHost> =
            then.hosts.values().chain(survey.hosts.values().filter_map(|f| f.as_ref().ok())).map(|f| &f.host).collect();
        today.gone = then.hosts.values().filter(|f| !has(&f.host)).map(|f| f.host.name.clone()).collect();
        let named = |name: &&String| {
            let host = known.iter().any(|host| host.hostname == **name || host.node.as_ref() == Some(name));
            !host && !then.rotate.leave_behind.contains(name)
        };
        let nodes = cluster.nodes.iter().filter(named);
        let controllers = cluster.controller_leases.iter().filter(named).filter(|name| !cluster.nodes.contains(name));
        let nodes = nodes.map(|name| Failure::refused("node-not-in-inventory").with("node", name));
        let controllers =
            controllers.map(|name| Failure::refused("controller-not-in-inventory").with("controller", name));
        today.strangers = nodes.chain(controllers).collect();
        today
    }
}

/// Hosts of the inventory that the rotation did not know.
fn new_hosts<'a>(inventory: &'a Inventory, then: &'a Then) -> impl Iterator<Item = &'a InventoryHost> {
    let known = |host: &&InventoryHost| {
        then.rotate.hosts.iter().any(|member| member.name == host.name) || then.rotate.leave_behind.contains(&host.name)
    };
    inventory.hosts.iter().filter(move |host| !known(host))
}

/// What is otherwise now, and what becomes of it.
pub fn changes(inventory: &Inventory, then: &Then, today: &Today, survey: &Survey) -> Vec<Change> {
    let mut all = Vec::new();
    let mut add =
        |of: &str, what: String, then: &str| all.push(Change { of: of.to_owned(), what, then: then.to_owned() });
    for facts in &today.joined {
        let (what, then) = if facts.host.role.is_controller() {
            ("joined, a controller", "gets the old pairs; its leafs are made anew")
        } else {
            ("joined, a worker", "re-joined with a token of the old CA")
        };
        add(&facts.host.name, what.to_owned(), then);
    }
    for name in &today.gone {
        add(name, "in the cluster no more".to_owned(), "skipped");
    }
    let out = |name: &&String| inventory.host(name).is_none() && !today.gone.contains(name);
    for name in then.rotate.hosts.iter().map(|member| &member.name).filter(out) {
        add(
            name,
            "gone from the inventory, not from the cluster".to_owned(),
            "cannot be brought back: put it in again",
        );
    }
    for (name, failure) in survey.hosts.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?))) {
        if !today.gone.contains(name) {
            add(name, format!("could not be looked at: {failure}"), "its old files are put back if it can be reached");
        }
    }
    for (from, to, hosts) in versions(then, survey) {
        let what = format!("{from} -> {to} on {}", hosts.join(" "));
        add("k0s", what, "binary, unit and configuration stay: only trust is put back");
    }
    all
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
        all.push(format!("{} in Secrets, minted anew once more", counted(legacy, "service-account token")));
    }
    let tokens = cluster.controller_tokens.len() + cluster.worker_tokens.len();
    if tokens > 0 {
        all.push(format!("{} minted since; those of before are given back", counted(tokens, "join token")));
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

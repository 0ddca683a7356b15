//! Where the file and the machines differ, in sentences.

use super::found::Rotation;
use crate::survey::Survey;
use k0rotate_activities::activity::host_facts::role_name;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_engine::failure::Failure;
use serde::Serialize;
use std::collections::BTreeMap;

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As in the page of failures; `drift`, `expired` or `another-cluster` for what no rotation is refused for.
    pub code: String,
    /// In a sentence.
    pub what: String,
}

/// All differences.
pub fn of(inventory: &Inventory, survey: &Survey, last: Option<&Rotation>) -> Vec<Difference> {
    let seen: Vec<&HostFacts> = survey.seen(inventory).collect();
    let mut all: Vec<Difference> = Vec::new();
    for failure in &survey.against {
        let told = Difference { code: failure.code.clone(), what: sentence(inventory, failure) };
        if !all.contains(&told) {
            all.push(told);
        }
    }
    for host in &inventory.hosts {
        if let Some(Ok(facts)) = survey.hosts.get(&host.name) {
            all.extend(drift(host, facts).into_iter().map(|what| Difference { code: "drift".to_owned(), what }));
        }
    }
    all.extend(versions(&seen));
    all.extend(twins(&seen));
    all.extend(another_cluster(survey, last));
    all.extend(expired(survey, &seen));
    all
}

/// What a failure says to a person who compares a file with machines.
fn sentence(inventory: &Inventory, failure: &Failure) -> String {
    let field = |key: &str| failure.fields.get(key).map_or("?", String::as_str);
    let host = field("host");
    match failure.code.as_str() {
        "host-unreachable" => format!("{host} is in the file, not reachable: no connection"),
        "access-denied" => format!("{host} is in the file, not reachable: the key, the user or sudo was refused"),
        "host-slow" | "link-lost" => format!("{host} is in the file, and did not answer in time"),
        "host-key-unknown" => {
            format!("{host} was not looked at: its host key is not known here, or not the known one; {ACCEPT}")
        }
        "winrm-not-spoken" => format!("{host} was not looked at: a Windows worker is reached by WinRM alone"),
        "unit-not-found" => format!("{host} has no systemd unit of k0s"),
        "k0s-not-running" => format!("{host}: k0s does not run"),
        "role-differs" => {
            let written = inventory.host(host).map_or("?", |h| role_name(h.role));
            format!("{host} runs as {}, the file says {written}", field("found"))
        }
        "split-trust" => format!("SPLIT: {} of {} is not that of {host}", field("root"), field("other")),
        "node-not-in-inventory" => format!("Node {} is not in the file", field("node")),
        "node-missing" => format!("{host} has no Node {} in the cluster", field("node")),
        "controller-not-in-inventory" => format!("controller {} is not in the file", field("controller")),
        "etcd-member-not-in-inventory" => format!("member {} of etcd is not in the file", field("member")),
        "controller-not-a-member" => format!("{host} is no member of etcd"),
        "api-not-ready" => format!("{host}: its API server does not call itself ready"),
        "etcd-not-answering" => format!("{host}: etcd does not answer"),
        "no-controller-to-ask" => "no controller answers for the cluster".to_owned(),
        _ => failure.to_string(),
    }
}

/// How an unknown host key is made known.
const ACCEPT: &str =
    "compare it with your provisioning, or record what is seen now: k0rotate inspect --accept-new-host-keys";

fn drift(host: &InventoryHost, facts: &HostFacts) -> Vec<String> {
    let (name, found) = (&host.name, &facts.host);
    let written = host.data_dir.as_deref().unwrap_or("/var/lib/k0s");
    let mut all = Vec::new();
    if found.data_dir != written {
        all.push(format!("{name}: the data directory is {}, the file says {written}", found.data_dir));
    }
    let usual = format!("{}/kubelet", found.data_dir);
    let written = host.kubelet_root.as_ref().unwrap_or(&usual);
    if facts.host.role.has_workloads() && found.kubelet_root != *written {
        all.push(format!("{name}: kubelet's root directory is {}, the file says {written}", found.kubelet_root));
    }
    let written = host.hostname.as_ref().map(|name| name.to_lowercase());
    if let Some(written) = written.filter(|name| found.hostname != *name && found.node.as_ref() != Some(name)) {
        all.push(format!("{name}: the machine calls itself {}, the file says {written}", found.hostname));
    }
    all
}

fn versions(seen: &[&HostFacts]) -> Option<Difference> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    seen.iter().for_each(|f| by_version.entry(&f.host.version).or_default().push(&f.host.name));
    let told: Vec<String> =
        by_version.iter().map(|(version, hosts)| format!("{version} on {}", hosts.join(" "))).collect();
    let what = format!("k0s is not the same everywhere: {}", told.join(", "));
    (told.len() > 1).then(|| Difference { code: "drift".to_owned(), what })
}

/// Two hosts of the file that are one machine would be changed twice.
fn twins(seen: &[&HostFacts]) -> Vec<Difference> {
    let mut by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let known = seen.iter().filter(|facts| !facts.machine_id.is_empty());
    known.for_each(|facts| by_id.entry(&facts.machine_id).or_default().push(&facts.host.name));
    let twins = by_id.into_values().filter(|hosts| hosts.len() > 1);
    let told =
        |hosts: Vec<&str>| format!("{} have the same machine id: one machine, or a copied image", hosts.join(" "));
    twins.map(|hosts| Difference { code: "drift".to_owned(), what: told(hosts) }).collect()
}

/// The name in the file is known here from another cluster.
fn another_cluster(survey: &Survey, last: Option<&Rotation>) -> Option<Difference> {
    let (now, then) = (&survey.cluster.as_ref().ok()?.uid, last?.uid.as_ref()?);
    let what = format!("the cluster that was rotated from here under this name had the UID {then}; this one has {now}");
    (now != then).then(|| Difference { code: "another-cluster".to_owned(), what })
}

fn expired(survey: &Survey, seen: &[&HostFacts]) -> Vec<Difference> {
    let now = i64::try_from(survey.at.0 / 1000).unwrap_or(i64::MAX);
    let of = |facts: &HostFacts| {
        let over = facts.trust.iter().filter(|file| file.not_after.is_some_and(|at| at <= now));
        let what = |path: &str| format!("{}: {path} has expired", facts.host.name);
        over.map(|file| Difference { code: "expired".to_owned(), what: what(&file.path) }).collect::<Vec<_>>()
    };
    seen.iter().flat_map(|facts| of(facts)).collect()
}

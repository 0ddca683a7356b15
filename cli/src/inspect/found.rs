//! What an inspection tells: a pure view of a survey beside its inventory.

use super::against::Comparison;
use super::differences::{self, Difference};
use super::stale::StalePods;
use crate::render::rfc3339;
use crate::survey::Survey;
use k0rotate_activities::activity::hold_cluster::LockedBy;
use k0rotate_activities::activity::host_facts::role_name;
use k0rotate_activities::facts::{HostFacts, TrustFile};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// See the file's sentence.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its name in the file.
    pub cluster: String,
    /// `https://host:port`, as the file says.
    pub api: String,
    /// When it was looked at.
    pub looked_at: String,
    /// Versions of k0s that were seen, one as a rule.
    pub versions: Vec<String>,
    /// Controllers of the file.
    pub controllers: usize,
    /// Workers of the file.
    pub workers: usize,
    /// UID of the namespace kube-system, if the API answered.
    pub uid: Option<String>,
    /// Nodes that are not ready.
    pub not_ready: Vec<String>,
    /// Who holds hosts.
    pub holders: Vec<Holder>,
    /// What is known here of earlier rotations.
    pub last_rotation: Option<Rotation>,
    /// Trust roots, one row for each way they are in use.
    pub roots: Vec<RootRow>,
    /// Days left by host.
    pub hosts: Vec<HostRow>,
    /// The certificate below a root that expires first.
    pub earliest_leaf: Option<Expiry>,
    /// All that expires within the time that was asked for.
    pub expiring: Option<Vec<Expiry>>,
    /// Where file and machines differ, and what a rotation would be refused for.
    pub differences: Vec<Difference>,
    /// How it compares with what an execution left.
    pub against: Option<Comparison>,
    /// Pods that may still hold a retired CA, if asked for.
    pub stale_pods: Option<StalePods>,
    /// Keys of the file without effect, if asked for.
    pub unused: Option<Vec<String>>,
}

/// Who holds hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// `user@machine`, or k0sctl.
    pub by: String,
    /// The execution.
    pub execution: Option<String>,
    /// `forward` or `back`.
    pub direction: String,
    /// Where it was when a mark was last written.
    pub phase: String,
    /// Which hosts.
    pub hosts: Vec<String>,
    /// Whether the execution has ended: these hosts were away then.
    pub ended: bool,
}

/// A rotation that this machine knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// Which.
    pub execution: String,
    /// Its state in a sentence.
    pub state: String,
    /// Since when.
    pub since: String,
    /// The cluster that it was about, by UID.
    pub uid: Option<String>,
}

/// One way in which a root is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootRow {
    /// Its name.
    pub root: String,
    /// Its fingerprints: several where each controller has its own.
    pub fingerprints: Vec<String>,
    /// The earliest end; none for keys.
    pub expires: Option<String>,
    /// Until then.
    pub days_left: Option<i64>,
    /// Hosts that have it.
    pub hosts: Vec<String>,
    /// How many of them are workers.
    pub kubelets: usize,
    /// What there is to say.
    pub note: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRow {
    /// Its name in the file.
    pub host: String,
    /// The role that it has.
    pub role: String,
    /// Its k0s.
    pub version: String,
    /// Days left of each root that lies here.
    pub days_left: BTreeMap<String, i64>,
    /// The certificate below a root that expires first here.
    pub earliest_leaf: Option<Expiry>,
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// Where.
    pub host: String,
    /// Its path there.
    pub path: String,
    /// The root that it is or was signed by.
    pub root: String,
    /// Whether it is the root itself.
    pub is_root: bool,
    /// When.
    pub expires: String,
    /// Until then; negative if it is over.
    pub days_left: i64,
    /// What to do about it.
    pub help: String,
}

const DAY: i64 = 86_400;

impl Inspection {
    /// Of a survey.
    pub fn of(inventory: &Inventory, survey: &Survey, last: Option<Rotation>, within: Option<Duration>) -> Self {
        let seen: Vec<&HostFacts> = survey.seen(inventory).collect();
        let now = survey.at;
        let versions: BTreeSet<String> = seen.iter().map(|facts| facts.host.version.clone()).collect();
        let (controllers, workers): (Vec<_>, Vec<_>) = inventory.hosts.iter().partition(|h| h.role.is_controller());
        let cluster = survey.cluster.as_ref().ok();
        let all = all_expiries(&seen, now);
        let limit = |within: Duration| i64::try_from(within.as_secs()).unwrap_or(i64::MAX).saturating_add(seconds(now));
        Self {
            cluster: inventory.name.clone(),
            api: format!("https://{}:{}", inventory.api_host, inventory.api_port),
            looked_at: rfc3339(now),
            versions: versions.into_iter().collect(),
            controllers: controllers.len(),
            workers: workers.len(),
            uid: cluster.map(|facts| facts.uid.clone()),
            not_ready: cluster.map(|facts| facts.not_ready.clone()).unwrap_or_default(),
            holders: holders(survey),
            differences: differences::of(inventory, survey, last.as_ref()),
            last_rotation: last,
            roots: ROOTS.into_iter().flat_map(|root| root_rows(root, &seen, now)).collect(),
            hosts: seen.iter().map(|facts| host_row(facts, now)).collect(),
            earliest_leaf: all.iter().filter(|(_, e)| !e.is_root).min_by_key(|(at, _)| *at).map(|(_, e)| e.clone()),
            expiring: within.map(|d| all.iter().filter(|(at, _)| *at <= limit(d)).map(|(_, e)| e.clone()).collect()),
            against: None,
            stale_pods: None,
            unused: None,
        }
    }

    /// Whether something is not as the file, the execution or the calendar want it.
    pub fn differs(&self) -> bool {
        let expiring = self.expiring.as_ref().is_some_and(|expiring| !expiring.is_empty());
        let stale = self.stale_pods.as_ref().is_some_and(StalePods::any);
        expiring || stale || !self.differences.is_empty() || self.against.as_ref().is_some_and(Comparison::differs)
    }
}

const ROOTS: [Root; 4] = [Root::KubernetesCa, Root::EtcdCa, Root::FrontProxyCa, Root::ServiceAccount];

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

pub(super) fn date(not_after: i64) -> String {
    rfc3339(Timestamp(u64::try_from(not_after).unwrap_or(0).saturating_mul(1000)))
}

/// Whole days; what ended a minute ago has -1.
fn days(not_after: i64, now: Timestamp) -> i64 {
    (not_after - seconds(now)).div_euclid(DAY)
}

/// All certificates by when they end, the first to end first.
fn all_expiries(seen: &[&HostFacts], now: Timestamp) -> Vec<(i64, Expiry)> {
    let of = |facts: &HostFacts| {
        let all = facts.trust.iter().filter_map(|file| Some((file.not_after?, expiry(facts, file, now)?)));
        all.collect::<Vec<_>>()
    };
    let mut all: Vec<(i64, Expiry)> = seen.iter().flat_map(|facts| of(facts)).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

fn expiry(facts: &HostFacts, file: &TrustFile, now: Timestamp) -> Option<Expiry> {
    let not_after = file.not_after?;
    Some(Expiry {
        host: facts.host.name.clone(),
        path: file.path.clone(),
        root: file.root.name().to_owned(),
        is_root: file.is_root,
        expires: date(not_after),
        days_left: days(not_after, now),
        help: help(facts, file),
    })
}

fn help(facts: &HostFacts, file: &TrustFile) -> String {
    let pki = format!("{}/pki/", facts.host.data_dir);
    if file.is_root {
        "k0rotate rotate replaces it".to_owned()
    } else if facts.user_certificates().any(|path| path == file.path) {
        "made by `k0s kubeconfig create`; nobody renews it".to_owned()
    } else if file.path.starts_with(&pki) {
        let (unit, host) = (&facts.host.unit, &facts.host.name);
        format!("k0s renews leafs only when it starts: restart {unit} on {host}")
    } else {
        "the kubelet renews it by itself, if its requests are approved".to_owned()
    }
}

fn earliest(facts: &HostFacts, now: Timestamp) -> Option<Expiry> {
    let leafs = facts.trust.iter().filter(|file| !file.is_root && file.not_after.is_some());
    leafs.min_by_key(|file| file.not_after).and_then(|file| expiry(facts, file, now))
}

fn host_row(facts: &HostFacts, now: Timestamp) -> HostRow {
    let roots = facts.trust.iter().filter(|file| file.is_root);
    let left = roots.filter_map(|file| Some((file.root.name().to_owned(), days(file.not_after?, now))));
    HostRow {
        host: facts.host.name.clone(),
        role: role_name(facts.host.role).to_owned(),
        version: facts.host.version.clone(),
        days_left: left.collect(),
        earliest_leaf: earliest(facts, now),
    }
}

/// Who has which root: one row for all where each controller has its own by design, else one a fingerprint.
fn root_rows(root: Root, seen: &[&HostFacts], now: Timestamp) -> Vec<RootRow> {
    let mut by_fingerprint: BTreeMap<&str, Vec<&HostFacts>> = BTreeMap::new();
    for facts in seen {
        if let Some(fingerprint) = facts.root(root) {
            by_fingerprint.entry(fingerprint).or_default().push(facts);
        }
    }
    let several = by_fingerprint.len() > 1;
    if root == Root::FrontProxyCa && several {
        let (fingerprints, hosts): (Vec<_>, Vec<_>) = by_fingerprint.into_iter().unzip();
        let hosts: Vec<&HostFacts> = seen.iter().copied().filter(|f| hosts.iter().flatten().any(|h| h == f)).collect();
        return vec![root_row(root, &fingerprints, &hosts, now, "one a controller, as k0s makes it".to_owned())];
    }
    let row = |(fingerprint, hosts): (&str, Vec<&HostFacts>)| {
        root_row(root, &[fingerprint], &hosts, now, note(root, &hosts, several))
    };
    let mut rows: Vec<RootRow> = by_fingerprint.into_iter().map(row).collect();
    // The one that most have stands first.
    rows.sort_by_key(|row| (std::cmp::Reverse(row.hosts.len()), row.hosts.clone()));
    rows
}

fn note(root: Root, hosts: &[&HostFacts], split: bool) -> String {
    let keys = |facts: &HostFacts| facts.trust.iter().filter(|file| file.is_root && file.root == root).count();
    let more = hosts.iter().map(|facts| keys(facts)).max().unwrap_or(1).saturating_sub(1);
    match (split, more) {
        (true, _) => "SPLIT: not the same everywhere".to_owned(),
        (false, 0) => "same everywhere".to_owned(),
        (false, more) => format!("same everywhere; {more} more accepted"),
    }
}

fn root_row(root: Root, fingerprints: &[&str], hosts: &[&HostFacts], now: Timestamp, note: String) -> RootRow {
    let ends = hosts.iter().flat_map(|facts| &facts.trust).filter(|file| file.is_root && file.root == root);
    let ends = ends.filter(|file| fingerprints.contains(&file.fingerprint.as_str()));
    let first = ends.filter_map(|file| file.not_after).min();
    RootRow {
        root: root.name().to_owned(),
        fingerprints: fingerprints.iter().map(|&fingerprint| fingerprint.to_owned()).collect(),
        expires: first.map(date),
        days_left: first.map(|at| days(at, now)),
        hosts: hosts.iter().map(|facts| facts.host.name.clone()).collect(),
        kubelets: hosts.iter().filter(|facts| !facts.host.role.is_controller()).count(),
        note,
    }
}

/// Marks by execution, then locks of k0sctl where no mark says the same.
fn holders(survey: &Survey) -> Vec<Holder> {
    let mut all: Vec<Holder> = Vec::new();
    let mut add = |new: Holder| match all.iter_mut().find(|h| h.execution == new.execution && h.by == new.by) {
        Some(known) => known.hosts.extend(new.hosts),
        None => all.push(new),
    };
    for (host, mark) in &survey.marks {
        add(Holder {
            by: mark.by.clone(),
            execution: Some(mark.execution.clone()),
            direction: mark.direction.clone(),
            phase: mark.phase.clone(),
            hosts: vec![host.clone()],
            ended: false,
        });
    }
    for (host, lock) in &survey.locks {
        let marked = survey.marks.get(host).map(|mark| &mark.execution);
        let (by, execution) = match lock {
            LockedBy::Execution(execution) if marked == Some(execution) => continue,
            LockedBy::Execution(execution) => ("k0rotate".to_owned(), Some(execution.clone())),
            LockedBy::K0sctl => ("k0sctl".to_owned(), None),
        };
        let (direction, phase, hosts) = (String::new(), String::new(), vec![host.clone()]);
        add(Holder { by, execution, direction, phase, hosts, ended: false });
    }
    all
}

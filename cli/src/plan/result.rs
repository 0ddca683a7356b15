//! What a plan says, whole: programs read it as it is, people as [`super::text`] puts it.

use super::affected::Affected;
use super::forecast::{Forecast, NoForecast};
use super::window::Window;
use crate::last::LastMoment;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::{Role, Root};
use k0rotate_activities::pki::read_one;
use k0rotate_activities::trust::OwnCa;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::failure::Failure;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// See the file's sentence.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The cluster's name here.
    pub cluster: String,
    /// UID of its kube-system; empty if its API could not be asked.
    pub uid: String,
    /// Where its API is.
    pub api: String,
    /// Roots that would be replaced.
    pub roots: Vec<Root>,
    /// CAs that are brought by the operator.
    pub own_cas: Vec<PlannedCa>,
    /// Hosts that would be worked on, in the order of the inventory.
    pub hosts: Vec<PlannedHost>,
    /// Hosts that would be left behind.
    pub left_behind: Vec<String>,
    /// The controllers are not stopped before this, milliseconds since the epoch.
    pub not_before: Option<Timestamp>,
    /// Both ways must have ended by then.
    pub not_after: Option<Timestamp>,
    /// What that end means for this rotation, if it is started now.
    pub window: Option<Window>,
    /// That somebody else has to approve, and who may; or that this is not waited for, and why.
    pub approval: Option<String>,
    /// What it does not cover, where the keys leaked.
    pub not_covered: &'static [&'static str],
    /// After how long without a control plane it rolls back by itself, seconds.
    pub max_outage_seconds: u64,
    /// What would keep a rotation from starting, the first reason first.
    pub refusals: Vec<Refusal>,
    /// What somebody should know before.
    pub warnings: Vec<String>,
    /// The last moment for a roll-back, by the old roots' end.
    pub last_moment: Option<LastMoment>,
    /// What it does and takes.
    pub forecast: Option<Forecast>,
    /// Why there is no forecast.
    pub no_forecast: Option<String>,
    /// Who is affected.
    pub affected: Affected,
    /// To whom keys and backups would be sealed.
    pub recipients: Vec<String>,
    /// What `rotate --plan` wants; none while it would be refused.
    pub digest: Option<String>,
    /// What the digest covers.
    pub covers: &'static str,
    /// The command that goes on; none while it would be refused.
    pub go_on: Option<String>,
}

/// A CA that the operator brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedCa {
    /// Which root it becomes.
    pub root: Root,
    /// Common name of its subject.
    pub common_name: String,
    /// SHA-256 of its DER, lower-case hex.
    pub fingerprint: String,
    /// Until when it is valid, milliseconds since the epoch.
    pub not_after: Timestamp,
}

/// A host that would be worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedHost {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its k0s; empty if it could not be looked at.
    pub version: String,
}

/// What would keep a rotation from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// A code of `docs/failures.md`.
    pub code: String,
    /// The same with its fields.
    pub what: String,
    /// Whether somebody else holds the cluster.
    pub held: bool,
}

impl From<&Failure> for Refusal {
    fn from(failure: &Failure) -> Self {
        let held = ["host-held", "k0sctl-runs"].contains(&failure.code.as_str());
        Self { code: failure.code.clone(), what: failure.to_string(), held }
    }
}

impl Plan {
    /// Puts a forecast in, or why there is none.
    pub fn expect(&mut self, forecast: Result<Forecast, NoForecast>) {
        match forecast {
            Ok(forecast) => self.forecast = Some(forecast),
            Err(none) => self.no_forecast = Some(none.to_string()),
        }
    }

    /// Adds a reason not to start, before all others.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusals.insert(0, refusal);
        self.digest = None;
    }

    /// How many hosts of a kind there are.
    pub fn count(&self, controllers: bool) -> usize {
        self.hosts.iter().filter(|host| host.role.is_controller() == controllers).count()
    }
}

/// How long leafs live that k0s issues (facts §1.1).
const LEAF_DAYS: u64 = 365;

/// A certificate of a root that runs out sooner than that may not outlive the wait for finalize and a roll-back after it.
const SOON_SECONDS: i64 = 30 * 86_400;

/// What somebody should know before, from what was seen.
pub fn warnings(facts: &[HostFacts], cluster: &ClusterFacts, rotate: &Rotate, now: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    let controllers = facts.iter().filter(|f| f.host.role.is_controller()).count();
    if controllers == 2 {
        all.push("two controllers: etcd needs both, so that neither may fail while the API comes up, and nothing goes back by itself while one is away".to_owned());
    } else if controllers > 2 && controllers % 2 == 0 {
        all.push(format!("{controllers} controllers survive no more failures than {} would", controllers - 1));
    }
    let versions: BTreeSet<&str> = facts.iter().map(|f| f.host.version.as_str()).collect();
    if versions.len() > 1 {
        all.push(format!("several versions of k0s: {}", versions.into_iter().collect::<Vec<_>>().join(" ")));
    }
    if !cluster.not_ready.is_empty() {
        all.push(format!("not ready now, and perhaps not afterwards: {}", cluster.not_ready.join(" ")));
    }
    if !cluster.blocking_webhooks.is_empty() {
        let hooks = cluster.blocking_webhooks.join(" ");
        all.push(format!("webhooks that keep pods from being made while they do not answer: {hooks}"));
    }
    if rotate.roots.contains(&Root::KubernetesCa) && !cluster.ca_bundles.is_empty() {
        all.push(format!("hold the old CA as caBundle, change them yourself: {}", cluster.ca_bundles.join(" ")));
    }
    all.extend(kept(facts, rotate));
    all.extend(running_out(facts, now));
    all.extend(own_cas(rotate).iter().flat_map(|own| own_ca_warnings(own, facts, now)));
    all
}

/// The CAs that are brought, as a plan shows them.
pub fn own_cas(rotate: &Rotate) -> Vec<PlannedCa> {
    let planned = |(root, own): (&Root, &OwnCa)| {
        let ca = read_one(own.certificate.as_bytes()).ok()?;
        let not_after = Timestamp(u64::try_from(ca.not_after).unwrap_or(0) * 1000);
        Some(PlannedCa { root: *root, common_name: ca.subject_cn, fingerprint: ca.fingerprint, not_after })
    };
    rotate.own_cas.iter().filter_map(planned).collect()
}

/// Leafs that k0s issues live for a year, whatever their CA does (lab §20), and k0s renews only those whose issuer's name it knows (facts §1.1).
fn own_ca_warnings(own: &PlannedCa, facts: &[HostFacts], now: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    let (name, days) = (own.root.name(), own.not_after.since(now).as_secs() / 86_400);
    if days < LEAF_DAYS {
        all.push(format!("your {name} ends in {days} d, and all that it has signed with it"));
    }
    let deaf = |version: &str| match own.root {
        Root::KubernetesCa => own.common_name != "kubernetes-ca" && minor(version) <= 34,
        _ => own.common_name != "etcd-ca" && minor(version) <= 36,
    };
    let controllers = facts.iter().filter(|f| f.host.role.is_controller());
    if let Some(version) = controllers.map(|f| f.host.version.as_str()).find(|version| deaf(version)) {
        all.push(format!(
            "k0s {version} does not renew what your {name} signs, for it knows only its own names and this one is {:?}: a year from now it ends, restarts notwithstanding",
            own.common_name
        ));
    }
    all
}

/// Of `v1.MINOR.PATCH`; 0 if it is no such version.
fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

/// Roots that lie on controllers and are not asked for: what they issued stays valid.
fn kept(facts: &[HostFacts], rotate: &Rotate) -> Option<String> {
    let controllers = facts.iter().filter(|found| found.host.role.is_controller());
    let lie = controllers.flat_map(|found| &found.trust).filter(|file| file.is_root).map(|file| file.root);
    let kept: BTreeSet<&str> = lie.filter(|root| !rotate.roots.contains(root)).map(Root::name).collect();
    let named = kept.iter().copied().collect::<Vec<_>>().join(" ");
    (!kept.is_empty())
        .then(|| format!("stay as they are, with all that they issued: {named} (--roots replaces others)"))
}

/// Old roots that a roll-back could not rely on for long.
fn running_out(facts: &[HostFacts], now: Timestamp) -> Vec<String> {
    let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let mut ends: BTreeMap<Root, i64> = BTreeMap::new();
    for file in facts.iter().flat_map(|f| &f.trust).filter(|file| file.is_root) {
        let Some(end) = file.not_after.filter(|end| end - now < SOON_SECONDS) else { continue };
        ends.entry(file.root).and_modify(|known| *known = end.min(*known)).or_insert(end);
    }
    let days = |end: i64| (end - now).div_euclid(86_400);
    let said = |(root, end): (Root, i64)| match days(end) {
        left if left < 0 => format!("the old {} has expired: no way back to it works", root.name()),
        left => format!("the old {} expires in {left} d: a way back works until then", root.name()),
    };
    ends.into_iter().map(said).collect()
}

//! Looks who is in the cluster today: a roll-back of last week's rotation must find those who came since, and miss none who left.

use super::check_host::CheckHost;
use super::common::{self, Seen, Step};
use super::unit;
use crate::facts::{HostFacts, K0sHost};
use crate::fleet::{Fleet, Member, Role};
use crate::k0s;
use crate::kube::Api;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In place when every Node and every controller of the cluster is a host of the inventory. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookAgain {
    /// The hosts as the execution found them.
    pub known: Vec<K0sHost>,
    /// Hosts that it was begun without: known to be dead then, so nobody waits for them now.
    pub left_behind: Vec<String>,
}

/// What has changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Hosts of the inventory that are in the cluster now and were not known.
    pub joined: Vec<HostFacts>,
    /// Names of hosts that were known and are no longer in the cluster.
    pub gone: Vec<String>,
}

/// The cluster as its API tells it.
pub struct Today {
    /// Whether each is ready.
    nodes: BTreeMap<String, bool>,
    /// By Lease, as a member of etcd, or as one that autopilot knows.
    controllers: BTreeSet<String>,
}

impl Check for LookAgain {
    const NAME: &'static str = "look-again";
    type Env = Fleet;
    type Output = Since;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        // With their pauses 75 s: longer than Kubernetes takes to call the Node of a dead host not ready.
        RetryPolicy { tries: 9, deadline: Duration::from_secs(180), ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<Since>, Failure> {
        let today = Today::of(&cx.env, &self.known).await?;
        let mut since = Since { joined: Vec::new(), gone: today.gone(&self.known) };
        none_runs_outside(&cx.env, &self.known, &since.gone).await?;
        for member in newcomers(&cx.env, &self.known) {
            let Member { name, role, address } = member.clone();
            let dead = self.left_behind.contains(&name);
            // k0s was upgraded together with the others, or may_roll_back has said no.
            match (CheckHost { name, role, address, allow: vec!["version".to_owned()] }).look(cx).await {
                Ok(Seen { facts, .. }) if today.has(&facts.host) => since.joined.push(facts),
                Err(failure) if !dead => return Err(failure),
                _ => {}
            }
        }
        let known: Vec<&K0sHost> = self.known.iter().chain(since.joined.iter().map(|facts| &facts.host)).collect();
        let strangers = today.strangers(&cx.env, &known, &self.left_behind);
        strangers.into_iter().next().map_or(Ok(Some(since)), Err)
    }
}

/// Hosts of the inventory that the execution did not know.
pub fn newcomers<'a>(fleet: &'a Fleet, known: &'a [K0sHost]) -> impl Iterator<Item = &'a Member> {
    fleet.members.iter().filter(move |member| !known.iter().any(|host| host.name == member.name))
}

/// Fails where one of these, which are in the cluster no more, answers and runs k0s all the same: it may be in the cluster again at any
/// time, and would be there with the trust that it has now.
pub async fn none_runs_outside(fleet: &Fleet, known: &[K0sHost], gone: &[String]) -> Result<(), Failure> {
    for host in known.iter().filter(|host| gone.contains(&host.name)) {
        let Some(reached) = fleet.hosts.get(&host.name) else { continue };
        // Who does not answer is away, as one that left is.
        let Ok(shown) = reached.exec(unit::to_show(host)).await else { continue };
        if !unit::read(&shown).is_some_and(|unit| unit.ended()) {
            return Err(Failure::new("host-not-in-cluster").with("host", &host.name));
        }
    }
    Ok(())
}

impl Today {
    /// Through the first of the known controllers that answers.
    pub async fn of(fleet: &Fleet, known: &[K0sHost]) -> Result<Self, Failure> {
        let mut last = Failure::new("no-controller-to-ask");
        for controller in known.iter().filter(|host| host.role.is_controller()) {
            match Self::through(fleet, controller).await {
                Ok(today) => return Ok(today),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn through(fleet: &Fleet, via: &K0sHost) -> Result<Self, Failure> {
        let missing = || Failure::refused("host-not-in-inventory").with("host", &via.name);
        let host = fleet.hosts.get(&via.name).cloned().ok_or_else(missing)?;
        let api = Api::through(host.clone(), via);
        let nodes = api.nodes().await?.into_iter().map(|node| (node.name, node.ready)).collect();
        // The one that answers is one of them, whatever else it keeps of itself: a single controller has no Lease.
        let mut controllers = BTreeSet::from([via.hostname.clone()]);
        if via.role != Role::Single {
            let held = api.node_leases().await?.into_iter().filter(|lease| !lease.holder.is_empty());
            controllers.extend(held.filter_map(|lease| lease.name.strip_prefix("k0s-ctrl-").map(str::to_owned)));
            controllers.extend(api.control_nodes().await?.into_iter().map(|node| node.name));
        }
        let members = host.exec(common::k0s(via, ["etcd", "member-list"])).await.map_err(common::of(&via.name))?;
        // Where k0s runs no etcd it has no such list.
        controllers.extend(k0s::etcd_members(&members.stdout).unwrap_or_default().into_keys());
        Ok(Self { nodes, controllers })
    }

    fn has(&self, host: &K0sHost) -> bool {
        let controls = host.role.is_controller() && self.controllers.contains(&host.hostname);
        controls || host.node.as_ref().is_some_and(|node| self.nodes.contains_key(node))
    }

    /// Of these, who is no longer in the cluster.
    pub fn gone(&self, known: &[K0sHost]) -> Vec<String> {
        known.iter().filter(|host| !self.has(host)).map(|host| host.name.clone()).collect()
    }

    /// Who is in the cluster and none of these, nor left behind. A Node of one that was left behind and is ready was let in again since, or
    /// its host has just died: Kubernetes calls a Node ready for 40 to 50 s after its last word (`--node-monitor-grace-period`). So it is asked
    /// again.
    pub fn strangers(&self, fleet: &Fleet, known: &[&K0sHost], left_behind: &[String]) -> Vec<Failure> {
        let named = |name: &String| {
            let found = known.iter().any(|host| host.hostname == *name || host.node.as_ref() == Some(name));
            found || (left_behind.contains(name) && self.nodes.get(name) != Some(&true))
        };
        let nodes = self.nodes.keys().filter(|name| !named(name)).map(|name| {
            let left = left_behind.contains(name) && fleet.members.iter().any(|member| member.name == *name);
            let failure =
                if left { Failure::new("left-node-ready") } else { Failure::refused("node-not-in-inventory") };
            failure.with("node", name)
        });
        let controllers = self.controllers.iter().filter(|name| !named(name) && !self.nodes.contains_key(*name));
        let controllers =
            controllers.map(|name| Failure::refused("controller-not-in-inventory").with("controller", name));
        nodes.chain(controllers).collect()
    }
}

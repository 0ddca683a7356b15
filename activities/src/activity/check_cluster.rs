//! Looks at the cluster as a whole, and whether the inventory knows all of it.

use super::cluster_facts;
use super::common::{self, Seen, Step};
use crate::facts::{ClusterFacts, HostFacts, K0sHost, Storage};
use crate::fleet::{Fleet, Root};
use crate::k0s;
use crate::kube::Api;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In place when all that the cluster knows stands in the inventory, trusts the same, and nobody changes it now. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCluster {
    /// The controllers, the one to ask first.
    pub controllers: Vec<Controller>,
    /// Nodes by the fingerprint of the CA that their kubelet trusts: name of the Node by name of the host.
    pub nodes: BTreeMap<String, BTreeMap<String, String>>,
    /// Nodes of hosts that are left behind.
    pub left_behind: Vec<String>,
    /// Those of them that are left for being dead: none may run as a controller.
    #[serde(default)]
    pub dead: Vec<String>,
    /// Whether the etcd CA stays: a dead controller that comes back would be let in with the old trust then.
    #[serde(default)]
    pub etcd_ca_stays: bool,
}

/// A controller as check-host found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Where k0s lives on it.
    pub host: K0sHost,
    /// Where it keeps its data.
    pub storage: Storage,
    /// Address that etcd peers use, without port.
    pub etcd_peer: Option<String>,
    /// Fingerprints of its roots.
    pub roots: BTreeMap<Root, String>,
}

/// A controller that lives has renewed its Lease in this time: it does so every 5 s (lab §15).
const RENEWED_WITHIN: Duration = Duration::from_secs(12);

/// Roots that all controllers must have in common.
const SHARED: [Root; 3] = [Root::KubernetesCa, Root::EtcdCa, Root::ServiceAccount];

impl CheckCluster {
    /// A use of it, from what check-host found.
    pub fn of(hosts: &[HostFacts], left_behind: Vec<String>) -> Self {
        let mut nodes: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for facts in hosts {
            if let Some(node) = &facts.host.node {
                let trusted = facts.root(Root::KubernetesCa).unwrap_or_default().to_owned();
                nodes.entry(trusted).or_default().insert(facts.host.name.clone(), node.clone());
            }
        }
        let roots = |facts: &HostFacts| {
            SHARED.into_iter().filter_map(|root| Some((root, facts.root(root)?.to_owned()))).collect::<BTreeMap<_, _>>()
        };
        let controllers = hosts.iter().filter_map(|facts| {
            let (host, etcd_peer) = (facts.host.clone(), facts.etcd_peer.clone());
            Some(Controller { host, storage: facts.storage?, etcd_peer, roots: roots(facts) })
        });
        let controllers = controllers.collect();
        Self { controllers, nodes, left_behind, dead: Vec::new(), etcd_ca_stays: false }
    }

    /// The same of a rotation that is to go on without these.
    #[must_use]
    pub fn without(self, dead: Vec<String>, etcd_ca_stays: bool) -> Self {
        Self { dead, etcd_ca_stays, ..self }
    }
}

impl Check for CheckCluster {
    const NAME: &'static str = "check-cluster";
    type Env = Fleet;
    type Output = ClusterFacts;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(180), ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<ClusterFacts>, Failure> {
        self.look(cx).await.judged()
    }
}

impl CheckCluster {
    /// What can be seen of the cluster, and all that speaks against working on it; `None` where no controller answers.
    pub async fn look(&self, cx: &Step) -> Seen<Option<ClusterFacts>> {
        let mut against = self.splits();
        let mut answers = None;
        for controller in &self.controllers {
            match common::is_ready(cx, &controller.host).await {
                Ok(()) => answers = answers.or(Some(controller)),
                Err(failure) => against.push(failure),
            }
        }
        let facts = match answers {
            Some(first) => self.through(cx, first, &mut against).await,
            None => Err(Failure::refused("no-controller-to-ask")),
        };
        Seen { facts: facts.map_err(|failure| against.push(failure)).ok(), against }
    }

    async fn through(
        &self,
        cx: &Step,
        first: &Controller,
        against: &mut Vec<Failure>,
    ) -> Result<ClusterFacts, Failure> {
        let api = Api::of(cx, &first.host)?;
        let Seen { mut facts, against: more } = cluster_facts::read(&api, &first.host).await?;
        against.extend(more);
        against.extend(self.nodes_that_differ(&facts));
        against.extend(self.controllers_that_differ(&api, &facts).await?);
        against.extend(self.dead_that_run(cx, &api, &facts).await?);
        if first.storage == Storage::Etcd {
            facts.etcd_members = self.etcd_members(cx, &api, against).await?;
        }
        facts.ca_bundles = cluster_facts::ca_bundles(&api, first.roots.get(&Root::KubernetesCa)).await?;
        Ok(facts)
    }

    /// Different trust on two hosts is a split cluster: which half would be right is not ours to say.
    fn splits(&self) -> Vec<Failure> {
        let split = |root: &str, one: &str, other: &str| {
            Failure::refused("split-trust").with("root", root).with("host", one).with("other", other)
        };
        let Some(first) = self.controllers.first() else { return Vec::new() };
        let mut found = Vec::new();
        for other in &self.controllers {
            let differ = SHARED.iter().filter(|root| first.roots.get(root) != other.roots.get(root));
            found.extend(differ.map(|root| split(root.name(), &first.host.name, &other.host.name)));
        }
        let trusted = first.roots.get(&Root::KubernetesCa);
        let strange = self.nodes.iter().filter(|(fingerprint, _)| Some(*fingerprint) != trusted);
        let hosts = strange.flat_map(|(_, hosts)| hosts.keys());
        let hosts = hosts.filter(|host| !self.controllers.iter().any(|c| c.host.name == **host));
        found.extend(hosts.map(|host| split("kubernetes-ca", &first.host.name, host)));
        found
    }

    fn nodes_that_differ(&self, facts: &ClusterFacts) -> Vec<Failure> {
        let known: BTreeSet<&String> =
            self.nodes.values().flat_map(BTreeMap::values).chain(&self.left_behind).collect();
        let strange = facts.nodes.iter().filter(|node| !known.contains(node));
        let strange = strange.map(|node| Failure::refused("node-not-in-inventory").with("node", node));
        let there: BTreeSet<&String> = facts.nodes.iter().collect();
        let missing = self.nodes.values().flatten().filter(|(_, node)| !there.contains(node));
        let missing =
            missing.map(|(host, node)| Failure::refused("node-missing").with("host", host).with("node", node));
        strange.chain(missing).collect()
    }

    /// Whoever holds a controller's Lease or is one to autopilot must be in the inventory, and no Plan may run.
    async fn controllers_that_differ(&self, api: &Api, facts: &ClusterFacts) -> Result<Vec<Failure>, Failure> {
        let control_nodes = api.control_nodes().await?.into_iter().map(|node| node.name);
        let known = |name: &String| {
            let left = self.left_behind.contains(name);
            left || self.controllers.iter().any(|c| c.host.hostname == *name || c.host.node.as_ref() == Some(name))
        };
        let all: BTreeSet<String> = facts.controller_leases.iter().cloned().chain(control_nodes).collect();
        let strange = all.into_iter().filter(|name| !known(name));
        let strange = strange.map(|name| Failure::refused("controller-not-in-inventory").with("controller", name));
        let plans = api.plans().await?.into_iter().filter(crate::kube::PlanState::runs);
        let plans = plans.map(|plan| Failure::refused("autopilot-plan-runs").with("plan", plan.name));
        Ok(strange.chain(plans).collect())
    }

    /// One that does not answer us and renews its Lease lives all the same: it would go on with the old trust, lead, and admit nobody.
    async fn dead_that_run(&self, cx: &Step, api: &Api, facts: &ClusterFacts) -> Result<Vec<Failure>, Failure> {
        let leased = |name: &&String| facts.controller_leases.contains(*name);
        let suspects: Vec<&String> = self.dead.iter().filter(leased).collect();
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        let mut before = Vec::new();
        for name in &suspects {
            before.push(api.controller_lease(name).await?.map(|lease| lease.resource_version));
        }
        cx.clock.sleep(RENEWED_WITHIN).await;
        let mut lives = Vec::new();
        for (name, before) in suspects.into_iter().zip(before) {
            if api.controller_lease(name).await?.map(|lease| lease.resource_version) != before {
                lives.push(Failure::refused("left-controller-runs").with("host", name));
            }
        }
        Ok(lives)
    }

    /// etcd's members as each controller sees them; all must answer, for a rotation needs every one of them to come back.
    async fn etcd_members(
        &self,
        cx: &Step,
        api: &Api,
        against: &mut Vec<Failure>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut seen = BTreeMap::new();
        for controller in &self.controllers {
            match common::etcd_members(cx, &controller.host).await {
                Ok(members) => seen = members,
                Err(failure) => against.push(failure),
            }
        }
        let joining = api.etcd_members().await?.into_iter().filter(|member| !member.joined);
        against.extend(joining.map(|member| Failure::refused("etcd-member-joins").with("member", member.name)));
        let members = seen.into_iter().map(|(name, url)| (name, k0s::host_of_url(&url).unwrap_or(url)));
        let members: BTreeMap<String, String> = members.collect();
        if !members.is_empty() {
            against.extend(self.members_that_differ(&members));
        }
        Ok(members)
    }

    /// A controller whose k0s does not run has not told its peer address: it is known by its hostname then, which k0s gives its member.
    fn members_that_differ(&self, members: &BTreeMap<String, String>) -> Vec<Failure> {
        let known: BTreeSet<&String> = self.controllers.iter().filter_map(|c| c.etcd_peer.as_ref()).collect();
        let untold = self.controllers.iter().filter(|c| c.etcd_peer.is_none());
        let untold: BTreeSet<&String> = untold.map(|c| &c.host.hostname).collect();
        let left = |named: &String| self.left_behind.contains(named);
        let strange = members
            .iter()
            .filter(|(name, peer)| !known.contains(peer) && !untold.contains(name) && !left(name) && !left(peer));
        let strange = strange.map(|(name, _)| Failure::refused("etcd-member-not-in-inventory").with("member", name));
        let peers: BTreeSet<&String> = members.values().collect();
        let absent = self.controllers.iter().filter(|c| match &c.etcd_peer {
            Some(peer) => !peers.contains(peer),
            None => !members.contains_key(&c.host.hostname),
        });
        let absent = absent.map(|c| Failure::refused("controller-not-a-member").with("host", &c.host.name));
        let back = self.dead.iter().filter(|name| self.etcd_ca_stays && members.contains_key(*name));
        let back = back.map(|name| Failure::refused("left-controller-is-member").with("host", name));
        strange.chain(absent).chain(back).collect()
    }
}

//! A cluster as its hosts were found, and what follows from that for the order of work; pure.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use k0rotate_activities::activity::credentials::Place;
use k0rotate_activities::activity::look_again::Since;
use k0rotate_activities::activity::rejoin_node::How;
use k0rotate_activities::activity::wipe::Placed;
use k0rotate_activities::facts::{HostFacts, K0sHost, Storage};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::pki::sha256_hex;
use k0rotate_activities::trust::{NewTrust, Pair};

/// As k0s makes its CAs.
const TEN_YEARS: i64 = 87_600 * 3600;

/// Steps that may be under way at the same time (docs/decisions/0010).
pub const AT_ONCE: usize = 64;

/// Controllers that a step about one node is told of: enough to find one that answers.
const ENOUGH_TO_ASK: usize = 3;

/// The hosts of a cluster as check-host found them, controllers first, the primary before all.
#[derive(Clone, Debug)]
pub struct Cluster {
    facts: Vec<HostFacts>,
}

impl Cluster {
    /// Orders what was found.
    pub fn new(mut facts: Vec<HostFacts>, primary: Option<&str>) -> Self {
        facts.sort_by_key(|f| (!f.host.role.is_controller(), primary != Some(f.host.name.as_str())));
        Self { facts }
    }

    /// The same without those who are gone, with those who joined.
    #[must_use]
    pub fn since(&self, since: &Since, primary: Option<&str>) -> Self {
        let stayed = self.facts.iter().filter(|f| !since.gone.contains(&f.host.name));
        Self::new(stayed.chain(&since.joined).cloned().collect(), primary)
    }

    /// Whether a controller that was found later has the trust that those found here have, as far as it is common to all and one of these roots.
    pub fn has_its_trust(&self, later: &HostFacts, roots: &[Root]) -> bool {
        let Some(first) = self.facts.first().filter(|_| later.host.role.is_controller()) else { return false };
        let mut common = roots.iter().filter(|root| **root != Root::FrontProxyCa && first.root(**root).is_some());
        common.all(|root| first.root(*root) == later.root(*root))
    }

    /// All hosts.
    pub fn hosts(&self) -> Vec<K0sHost> {
        self.facts.iter().map(|f| f.host.clone()).collect()
    }

    /// What was found on each.
    pub fn facts(&self) -> &[HostFacts] {
        &self.facts
    }

    /// Controllers, the primary first.
    pub fn controllers(&self) -> Vec<K0sHost> {
        self.hosts().into_iter().filter(|h| h.role.is_controller()).collect()
    }

    /// Hosts with a kubelet.
    pub fn nodes(&self) -> Vec<K0sHost> {
        self.hosts().into_iter().filter(|h| h.role.has_workloads()).collect()
    }

    /// Controllers that must run: a majority of etcd's members; one where the data lies elsewhere.
    pub fn quorum(&self) -> usize {
        match self.storage() {
            Storage::Etcd => self.controllers().len() / 2 + 1,
            _ => 1,
        }
    }

    /// Controllers that may be left.
    pub fn spare_controllers(&self) -> usize {
        self.controllers().len() - self.quorum()
    }

    /// Workers that may be left: one in ten, but at least one.
    pub fn spare_workers(&self) -> usize {
        let workers = self.facts.iter().filter(|f| !f.host.role.is_controller()).count();
        (workers / 10).max(1)
    }

    /// Where it keeps its data.
    pub fn storage(&self) -> Storage {
        self.facts.iter().find_map(|f| f.storage).unwrap_or(Storage::Etcd)
    }

    /// Whether controller-managers elect a leader.
    pub fn elects(&self) -> bool {
        self.facts.iter().any(|f| f.kcm_elects)
    }

    /// Whether nodes join by tokens: not where there is a single host that none can join.
    pub fn has_tokens(&self) -> bool {
        self.facts.iter().any(|f| f.join_api)
    }

    /// The name of a root's subject as it was found, else as k0s names it.
    pub fn common_name(&self, root: Root) -> String {
        let roots = self.facts.iter().flat_map(|f| &f.trust).filter(|t| t.is_root && t.root == root);
        let found = roots.map(|t| t.common_name.clone()).find(|name| !name.is_empty());
        found.unwrap_or_else(|| {
            String::from(match root {
                Root::KubernetesCa => "kubernetes-ca",
                Root::EtcdCa => "etcd-ca",
                Root::FrontProxyCa => "kubernetes-front-proxy-ca",
                Root::ServiceAccount => "",
            })
        })
    }

    /// How long a new root is valid, seconds: as the cluster's configuration says, else ten years as k0s makes them.
    pub fn lifetime(&self, root: Root) -> i64 {
        let told = self.facts.iter().find_map(|f| f.ca_lifetimes.get(&root));
        told.copied().unwrap_or(TEN_YEARS)
    }

    /// Controllers that a step about a node asks: the node itself last, if it is one.
    pub fn to_ask(&self, running: &[K0sHost], node: &K0sHost) -> Vec<K0sHost> {
        let (own, others): (Vec<_>, Vec<_>) = running.iter().cloned().partition(|c| c.name == node.name);
        others.into_iter().chain(own).take(ENOUGH_TO_ASK).collect()
    }

    /// Where credentials of a controller are taken from and shown to; a kubelet's from the first node that is none of these.
    pub fn place(&self, controller: &K0sHost, but: &[String], keep_token: &[String]) -> Place {
        let facts = self.facts.iter().find(|f| f.host.name == controller.name);
        Place {
            controller: controller.clone(),
            etcd_peer: facts.and_then(|f| f.etcd_peer.clone()),
            node: self.nodes().into_iter().find(|node| !but.contains(&node.name)),
            keep_token: keep_token.to_vec(),
        }
    }
}

/// The pairs of a controller as their files will be.
pub fn placed(trust: &NewTrust, host: &str) -> Vec<Placed> {
    trust.of(host).into_iter().map(|(root, pair)| placed_pair(root, pair)).collect()
}

/// The same of pairs that were picked out already.
pub fn placed_pairs(pairs: &[(Root, Pair)]) -> Vec<Placed> {
    pairs.iter().map(|(root, pair)| placed_pair(*root, pair)).collect()
}

fn placed_pair(root: Root, pair: &Pair) -> Placed {
    Placed { root, sha256: [pair.key_sha256.clone(), sha256_hex(pair.public.as_bytes())] }
}

/// How a node comes to the new trust; `None` if nothing on it depends on what changes.
pub fn way_in(node: &K0sHost, roots: &[Root]) -> Option<How> {
    let (ca, tokens) = (roots.contains(&Root::KubernetesCa), roots.contains(&Root::ServiceAccount));
    match (node.role.is_controller(), ca, tokens) {
        (_, false, false) => None,
        (true, ..) => Some(How::Itself),
        (false, true, _) => Some(How::Token),
        (false, false, true) => Some(How::Restart),
    }
}

/// The public part of a root in use: the new one where it was replaced.
pub fn public_of(root: Root, trust: &NewTrust, old: &BTreeMap<Root, String>) -> String {
    let new = trust.shared.get(&root).map(|pair| pair.public.clone());
    new.or_else(|| old.get(&root).cloned()).unwrap_or_default()
}

/// Names, for lists that people read.
pub fn names(hosts: &[K0sHost]) -> Vec<String> {
    hosts.iter().map(|h| h.name.clone()).collect()
}

//! The life of nodes and of the pods on them, as kube-controller-manager sees it.

use crate::rehearsal::k0s::leases::NODE_LEASES;
use crate::rehearsal::k0s::{pods, times};
use crate::rehearsal::machine::{Machine, Ms};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node whose Lease has not moved for so long is not ready any more.
const GRACE: Ms = 45_000;
/// Pods are evicted from a node that has not been ready for so long.
const EVICTION: Ms = 300_000;

/// When the Lease of each node last moved, by our own clock.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    moved: BTreeMap<String, (String, Ms)>,
    gone: BTreeMap<String, Ms>,
}

impl Watched {
    /// Looks at all Leases; marks nodes and evicts pods.
    pub fn watch(&mut self, m: &mut dyn Machine) {
        let (ms, now) = (m.ms(), times::second(m.now()));
        let Some(store) = m.store() else { return };
        for (path, node) in store.below("/api/v1/nodes/") {
            let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let lease = store.get(&format!("{NODE_LEASES}{name}"));
            let version = lease.map(|l| l["metadata"]["resourceVersion"].to_string()).unwrap_or_default();
            let seen = self.moved.entry(name.clone()).or_insert_with(|| (version.clone(), ms));
            if seen.0 != version {
                *seen = (version, ms);
            }
            let alive = ms < seen.1 + GRACE;
            if alive {
                self.gone.remove(&name);
                continue;
            }
            let since = *self.gone.entry(name.clone()).or_insert(ms);
            if pods::ready(&node) {
                store.put(&path, pods::with_ready(&node, "Unknown", "NodeStatusUnknown", &now));
            }
            if ms >= since + EVICTION {
                for (path, pod) in pods::on_node(store, &name) {
                    if pods::owner_kind(&pod) != Some("DaemonSet") {
                        store.delete(&path);
                    }
                }
            }
        }
    }
}

/// Makes pods that DaemonSets and ReplicaSets miss.
pub fn keep_pods(m: &mut dyn Machine) {
    let Some(store) = m.store() else { return };
    let nodes: Vec<Arc<Value>> = store.below("/api/v1/nodes/").into_iter().map(|(_, node)| node).collect();
    let ready: Vec<String> = nodes.iter().filter(|n| pods::ready(n)).filter_map(|n| pods::name(n)).collect();
    let all: Vec<String> = nodes.iter().filter_map(|n| pods::name(n)).collect();
    let existing = pods::all(store);
    let owners = store.below("/apis/apps/v1/namespaces/").into_iter().map(|(_, owner)| owner);
    let mut missing = Vec::new();
    for owner in owners {
        let own: Vec<&Arc<Value>> = existing
            .iter()
            .filter(|p| p["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"])
            .collect();
        if owner["kind"] == "DaemonSet" {
            let without = |node: &&String| !own.iter().any(|pod| pod["spec"]["nodeName"] == node.as_str());
            missing.extend(all.iter().filter(without).map(|node| (owner.clone(), node.clone())));
        } else if owner["kind"] == "ReplicaSet" && !ready.is_empty() {
            let wanted = usize::try_from(owner["spec"]["replicas"].as_u64().unwrap_or(0)).unwrap_or(0);
            let start = own.len();
            missing.extend((start..wanted).map(|i| (owner.clone(), ready[i % ready.len()].clone())));
        }
    }
    for (owner, node) in missing {
        let word = m.word(5);
        let stamp = times::second(m.now());
        let Some(store) = m.store() else { return };
        let pod = pods::new(&owner, &node, &word, &stamp);
        store.put(&pods::path(&pod), json!(pod));
    }
}

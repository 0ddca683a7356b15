//! Leader election and membership through Leases, as client-go does it.

use super::api::Store;
use super::times;
use crate::rehearsal::machine::Ms;
use k0rotate_engine::clock::Timestamp;
use serde_json::{Value, json};

/// Where kcm's is.
pub const KCM: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";
/// Where those of nodes and of k0s' controllers are.
pub const NODE_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/";

/// Somebody who wants to hold a Lease.
#[derive(Clone, Debug)]
pub struct Holder {
    path: String,
    identity: String,
    seconds: u64,
    /// The record that was last seen and when, by our own clock: others' clocks are not trusted.
    seen: Option<(String, Ms)>,
    /// Whether it is held.
    pub held: bool,
}

impl Holder {
    /// Nobody yet.
    pub fn new(path: &str, identity: &str, seconds: u64) -> Self {
        Self { path: path.to_owned(), identity: identity.to_owned(), seconds, seen: None, held: false }
    }

    /// Takes it if it is free or has not been renewed for its duration since it was first seen; renews it if it is held.
    pub fn tick(&mut self, store: &mut dyn Store, ms: Ms, now: Timestamp) {
        let old = store.get(&self.path);
        let spec = old.as_ref().map(|o| o["spec"].clone()).unwrap_or_default();
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        if holder != self.identity && !holder.is_empty() {
            let record = format!("{holder} {}", spec["renewTime"]);
            let since = match &self.seen {
                Some((last, since)) if *last == record => *since,
                _ => {
                    self.seen = Some((record, ms));
                    ms
                }
            };
            if ms < since + self.seconds * 1000 {
                self.held = false;
                return;
            }
        }
        let acquired = if holder == self.identity { spec["acquireTime"].clone() } else { json!(times::micro(now)) };
        let turns = spec["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(holder != self.identity);
        let (namespace, name) = parts(&self.path);
        let mut object = old.map_or_else(|| lease(namespace, name), |old| (*old).clone());
        object["spec"] = json!({
            "acquireTime": acquired, "holderIdentity": self.identity, "leaseDurationSeconds": self.seconds,
            "leaseTransitions": turns, "renewTime": times::micro(now),
        });
        store.put(&self.path, object);
        self.held = true;
    }

    /// Gives it back, so that the next one need not wait.
    pub fn release(&mut self, store: &mut dyn Store, now: Timestamp) {
        let Some(old) = store.get(&self.path).filter(|_| self.held) else { return };
        let mut object = (*old).clone();
        object["spec"]["holderIdentity"] = json!("");
        object["spec"]["leaseDurationSeconds"] = json!(1);
        object["spec"]["renewTime"] = json!(times::micro(now));
        store.put(&self.path, object);
        self.held = false;
    }
}

fn parts(path: &str) -> (&str, &str) {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    (parts.nth(1).unwrap_or_default(), name)
}

/// A Lease without a holder.
pub fn lease(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace}, "spec": {}})
}

/// Milliseconds since the epoch of the last renewal, if it is held.
pub fn renewed(lease: &Value) -> Option<u64> {
    let held = lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
    times::millis(lease["spec"]["renewTime"].as_str()?).filter(|_| held)
}

//! The reads of which check-cluster is made, and what they come to.

use super::common::Seen;
use super::overrides;
use crate::facts::{ClusterFacts, K0sHost};
use crate::fleet::Role;
use crate::kube::{self, Api, Pod, SecretHead};
use crate::pki;
use k0rotate_engine::failure::Failure;
use serde_json::Value;
use std::collections::BTreeMap;

/// A list in the facts is never longer: they must fit into an event.
const MOST: usize = 200;

const WEBHOOKS: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
];
const BUNDLES: [(&str, &str); 4] = [
    ("ValidatingWebhookConfiguration", WEBHOOKS[0]),
    ("MutatingWebhookConfiguration", WEBHOOKS[1]),
    ("APIService", "/apis/apiregistration.k8s.io/v1/apiservices"),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
];
const DYNAMIC: &str = "/apis/k0s.k0sproject.io/v1beta1/namespaces/kube-system/clusterconfigs/k0s";

/// All but etcd's members and the CA bundles.
pub async fn read(api: &Api, via: &K0sHost) -> Result<Seen<ClusterFacts>, Failure> {
    let config = api.get(DYNAMIC).await?;
    let against = config.as_ref().and_then(overridden).into_iter().collect();
    let nodes = api.nodes().await?;
    let tokens = api.secrets("bootstrap.kubernetes.io/token").await?;
    let ids = |controllers| {
        let meant = tokens.iter().filter(move |head| head.joins_controllers() == controllers);
        limited(meant.filter_map(SecretHead::token_id).map(str::to_owned))
    };
    let leases = if via.role == Role::Single { Vec::new() } else { api.node_leases().await? };
    let held = leases.iter().filter(|lease| !lease.holder.is_empty());
    let legacy = api.secrets("kubernetes.io/service-account-token").await?;
    let facts = ClusterFacts {
        uid: api.cluster_uid().await?,
        not_ready: nodes.iter().filter(|node| !node.ready).map(|node| node.name.clone()).collect(),
        windows: nodes.iter().filter(|node| node.os == "windows").map(|node| node.name.clone()).collect(),
        nodes: nodes.into_iter().map(|node| node.name).collect(),
        etcd_members: BTreeMap::new(),
        controller_leases: held.filter_map(|lease| lease.name.strip_prefix("k0s-ctrl-").map(str::to_owned)).collect(),
        dynamic_config: config.is_some(),
        controller_tokens: ids(true),
        worker_tokens: ids(false),
        legacy_secrets: limited(legacy.iter().map(|head| format!("{}/{}", head.namespace, head.name))),
        ca_bundles: Vec::new(),
        blocking_webhooks: blocking_webhooks(api).await?,
        token_pods: token_pods(&api.pods().await?),
    };
    Ok(Seen { facts, against })
}

/// Objects that hold the certificate with this fingerprint as a `caBundle`.
pub async fn ca_bundles(api: &Api, fingerprint: Option<&String>) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for (kind, path) in BUNDLES {
        for bundle in api.list(path, |object| kube::ca_bundles(kind, object)).await?.into_iter().flatten() {
            let held = pki::read_certificates(bundle.pem.as_bytes()).unwrap_or_default();
            if held.iter().any(|certificate| Some(&certificate.fingerprint) == fingerprint) {
                found.push(bundle.object);
            }
        }
    }
    found.dedup();
    Ok(limited(found.into_iter()))
}

/// Arguments in the dynamic configuration that override trust are refused like those in the file.
fn overridden(config: &Value) -> Option<Failure> {
    let found = overrides::in_config(config)?;
    let refused = Failure::refused("trust-path-overridden");
    Some(refused.with("component", found.component).with("argument", found.argument))
}

async fn blocking_webhooks(api: &Api) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for path in WEBHOOKS {
        let hooks = api.list(path, kube::webhooks).await?.into_iter().flatten();
        found.extend(hooks.filter(|hook| hook.blocks_pods).map(|hook| hook.name));
    }
    Ok(limited(found.into_iter()))
}

fn token_pods(pods: &[Pod]) -> BTreeMap<String, u32> {
    let mut owners = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.mounts_token && pod.phase == "Running") {
        let owner = if pod.owner.is_empty() { format!("Pod/{}", pod.name) } else { pod.owner.clone() };
        let owner = format!("{}/{owner}", pod.namespace);
        if owners.len() < MOST || owners.contains_key(&owner) {
            *owners.entry(owner).or_insert(0) += 1;
        }
    }
    owners
}

fn limited(items: impl Iterator<Item = String>) -> Vec<String> {
    items.take(MOST).collect()
}

//! Pod and Node objects.

use super::api::Store;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// A name out of metadata.
pub fn name(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// Whether a Node says that it is ready.
pub fn ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The node with another Ready condition.
pub fn with_ready(node: &Value, status: &str, reason: &str, now: &str) -> Value {
    let mut node = node.clone();
    node["status"]["conditions"] = json!([{
        "type": "Ready", "status": status, "reason": reason, "lastHeartbeatTime": now, "lastTransitionTime": now,
    }]);
    node
}

/// A Node that is ready.
pub fn node(name: &str, address: &str, version: &str, now: &str) -> Value {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}, "creationTimestamp": now},
        "spec": {},
        "status": {
            "addresses": [{"address": address, "type": "InternalIP"}, {"address": name, "type": "Hostname"}],
            "nodeInfo": {"kubeletVersion": version.split('+').next().unwrap_or(version), "operatingSystem": "linux"},
        },
    });
    with_ready(&node, "True", "KubeletReady", now)
}

/// All pods.
pub fn all(store: &dyn Store) -> Vec<Arc<Value>> {
    let objects = store.below("/api/v1/namespaces/").into_iter();
    objects.filter(|(path, _)| path.contains("/pods/")).map(|(_, pod)| pod).collect()
}

/// Pods on a node, by path.
pub fn on_node(store: &dyn Store, node: &str) -> Vec<(String, Arc<Value>)> {
    let objects = store.below("/api/v1/namespaces/").into_iter();
    objects.filter(|(path, pod)| path.contains("/pods/") && pod["spec"]["nodeName"] == node).collect()
}

/// Kind of the owner.
pub fn owner_kind(pod: &Value) -> Option<&str> {
    pod["metadata"]["ownerReferences"][0]["kind"].as_str()
}

/// Where a pod is kept.
pub fn path(pod: &Value) -> String {
    let meta = &pod["metadata"];
    let part = |field: &str| meta[field].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/pods/{}", part("namespace"), part("name"))
}

/// A pod of a DaemonSet or ReplicaSet on a node; `word` makes its name.
pub fn new(owner: &Value, node: &str, word: &str, now: &str) -> Value {
    let owner_name = owner["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = format!("{owner_name}-{word}");
    let template = &owner["spec"]["template"];
    let mut spec = template["spec"].clone();
    spec["nodeName"] = json!(node);
    let account = spec["serviceAccountName"].as_str().unwrap_or("default").to_owned();
    spec["serviceAccountName"] = json!(account);
    spec["volumes"] = json!([{ "name": format!("kube-api-access-{word}"), "projected": {"sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]}}]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "generateName": format!("{owner_name}-"), "namespace": namespace, "labels": template["metadata"]["labels"],
            "uid": hex_id(&format!("{name}/uid"), 32), "creationTimestamp": now,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner["kind"], "name": owner_name, "uid": owner["metadata"]["uid"], "controller": true}],
        },
        "spec": spec,
        "status": {"phase": "Pending"},
    })
}

/// Hex digits that follow from a text.
pub fn hex_id(text: &str, digits: usize) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(digits);
    hex
}

/// A DaemonSet or ReplicaSet with one container.
pub fn owner(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    let app = name.split("-rs").next().unwrap_or(name);
    let label = if namespace == "kube-system" { "k8s-app" } else { "app" };
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "uid": hex_id(&format!("{namespace}/{name}"), 32), "labels": {label: app}},
        "spec": {
            "replicas": spec["replicas"], "selector": {"matchLabels": {label: app}},
            "template": {"metadata": {"labels": {label: app}}, "spec": {
                "serviceAccountName": spec["account"], "containers": [{"name": app, "image": format!("model.local/{app}:1"), "args": spec["args"]}],
            }},
        },
    })
}

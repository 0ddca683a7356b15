//! Pods that hold the cluster's CA, the containers in them, and what a kubelet has laid out for them.

use super::common::{self, Step};
use super::files::Listing;
use crate::facts::K0sHost;
use crate::pki;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whose containers are restarted in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// konnectivity agents alone: without them no node can be reached, and they never recover by themselves (lab §5.2).
    None,
    /// All in kube-system that mounts the cluster's CA.
    #[default]
    System,
    /// All that mounts the cluster's CA.
    All,
}

/// A pod on a node that mounts the cluster's CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid, which is also the name of its folder on the node.
    pub uid: String,
    /// Whether it is a konnectivity agent.
    pub agent: bool,
    /// Whether all its containers are ready.
    pub ready: bool,
    /// Ids of its running containers.
    pub containers: Vec<String>,
}

const AGENT: &str = "konnectivity-agent";
const CONTAINERD: &str = "containerd://";

/// Holders on a node, agents first; `None` if the API does not answer.
pub async fn holders(cx: &Step, via: &[K0sHost], node: &str, refresh: Refresh) -> Result<Option<Vec<Holder>>, Failure> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let Some((_, list)) = common::ask(cx, via, &path).await? else { return Ok(None) };
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found: Vec<Holder> = items.iter().filter(|pod| mounts_ca(pod)).filter_map(holder).collect();
    found.retain(|pod| match refresh {
        Refresh::None => pod.agent,
        Refresh::System => pod.namespace == "kube-system",
        Refresh::All => true,
    });
    found.sort_by_key(|pod| (!pod.agent, pod.namespace != "kube-system", pod.name.clone()));
    Ok(Some(found))
}

/// Whether a projected volume of the pod holds kube-root-ca.crt.
fn mounts_ca(pod: &Value) -> bool {
    let lists = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let projected = lists(&pod["spec"]["volumes"]).into_iter().flat_map(|v| lists(&v["projected"]["sources"]));
    projected.into_iter().any(|source| source["configMap"]["name"] == "kube-root-ca.crt")
}

fn holder(pod: &Value) -> Option<Holder> {
    let field = |key: &str| pod["metadata"][key].as_str().map(str::to_owned);
    let statuses = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let running = statuses.iter().filter(|s| s["state"]["running"].is_object());
    let ids = running.filter_map(|s| s["containerID"].as_str()?.strip_prefix(CONTAINERD).map(str::to_owned));
    Some(Holder {
        namespace: field("namespace")?,
        name: field("name")?,
        uid: field("uid")?,
        agent: pod["metadata"]["labels"]["k8s-app"] == AGENT,
        ready: !statuses.is_empty() && statuses.iter().all(|s| s["ready"] == true),
        containers: ids.collect(),
    })
}

/// Whether the kubelet has laid this CA out for the pod. A process restarted earlier loads the old one and never recovers (lab §29).
pub async fn sees(cx: &Step, host: &K0sHost, pod: &Holder, ca: &str) -> Result<bool, Failure> {
    let volumes = format!("{}/pods/{}/volumes/kubernetes.io~projected", host.kubelet_root, pod.uid);
    let listing = Listing::of(cx, host, std::slice::from_ref(&volumes)).await?;
    let wanted = pki::sha256_hex(ca.as_bytes());
    let mut laid_out = listing.below(&volumes).filter(|(rest, _)| rest.ends_with("/ca.crt"));
    Ok(laid_out.any(|(_, file)| listing.sha256(&file.path) == Some(&wanted)))
}

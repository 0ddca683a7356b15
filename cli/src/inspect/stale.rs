//! Pods that may still hold a retired CA in memory: they mount it, and have run since before the last rotation changed it.

use crate::error::Error;
use crate::open::Hosts;
use crate::render::rfc3339;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::kube::{Api, Pod};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::collections::BTreeMap;

/// See the file's sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StalePods {
    /// The execution that changed the CA last; none if none did from here.
    pub execution: Option<String>,
    /// When the control plane was verified with the CA that is in use.
    pub since: Option<String>,
    /// Names of the pods, by `NAMESPACE/KIND/NAME` of their owner.
    pub pods: BTreeMap<String, Vec<String>>,
}

impl StalePods {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        !self.pods.is_empty()
    }

    /// Asks the API through the first controller that answers.
    pub async fn look(last: Option<&ExecutionView>, seen: &[&HostFacts], hosts: &Hosts) -> Result<Self, Error> {
        let Some((execution, since)) = last.and_then(changed) else {
            return Ok(Self { execution: None, since: None, pods: BTreeMap::new() });
        };
        let mut pods = Err(Failure::refused("no-controller-to-ask"));
        for controller in seen.iter().map(|facts| &facts.host).filter(|host| host.role.is_controller()) {
            if let (Err(_), Some(host)) = (&pods, hosts.get(&controller.name)) {
                pods = Api::through(host.clone(), controller).pods().await;
            }
        }
        let pods = pods.map_err(|failure| Error::Host(format!("its pods could not be listed: {failure}")))?;
        Ok(Self { pods: stale(&pods, &since), execution: Some(execution), since: Some(since) })
    }
}

/// The execution, and when it was verified, if it changed the Kubernetes CA; going back changes it once more.
fn changed(last: &ExecutionView) -> Option<(String, String)> {
    let rotate: Rotate = last.input.decode().ok()?;
    let verified = last.outages.iter().filter_map(|(_, until)| *until).max()?;
    let whose = rotate.roots.contains(&Root::KubernetesCa).then(|| last.execution.to_string())?;
    Some((whose, rfc3339(verified)))
}

/// Both times are RFC 3339 in UTC to the second, so that they compare as texts.
fn stale(pods: &[Pod], since: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let older = |pod: &&Pod| pod.mounts_token && pod.running_since.as_deref().is_some_and(|at| at < since);
    for pod in pods.iter().filter(older) {
        let owner = if pod.owner.is_empty() { format!("Pod/{}", pod.name) } else { pod.owner.clone() };
        found.entry(format!("{}/{owner}", pod.namespace)).or_default().push(pod.name.clone());
    }
    found
}

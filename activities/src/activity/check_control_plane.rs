//! Looks whether the control plane as a whole works with the trust that it should have.

use super::common::{self, Step};
use crate::facts::{K0sHost, Storage};
use crate::fleet::Fleet;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// In place when etcd answers with its quorum, a controller-manager that was started since renews its Lease,
/// and kube-root-ca.crt holds this CA in every Active namespace. Only waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckControlPlane {
    /// Controllers that run, the first to be asked first.
    pub controllers: Vec<K0sHost>,
    /// The Kubernetes CA that must be in use, PEM.
    pub ca: String,
    /// Where it keeps its data.
    pub storage: Storage,
    /// Whether controller-managers elect a leader (not on `single`).
    pub elects: bool,
    /// Whether any of them may lead, also one that is none of these: on the way back one that was left has the first trust too, or is shut out.
    #[serde(default)]
    pub whoever_leads: bool,
}

/// How long one of three tries waits. The Lease is taken 23 to 28 s after a start (lab §28), then kube-root-ca.crt follows.
const WITHIN: Duration = Duration::from_secs(60);
/// A leader renews every 2 s.
const RENEWED_WITHIN: Duration = Duration::from_millis(2500);
const KCM_LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";
const NAMESPACES: &str = "/api/v1/namespaces";
const ROOT_CAS: &str = "/api/v1/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt";

impl Check for CheckControlPlane {
    const NAME: &'static str = "check-control-plane";
    type Env = Fleet;
    type Output = ();

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        let deadline = WITHIN + Duration::from_secs(20);
        RetryPolicy {
            tries: 1,
            settle_for: WITHIN,
            deadline,
            probe_every: Duration::from_secs(1),
            ..RetryPolicy::default()
        }
    }

    async fn check(&self, cx: &Step) -> Result<Option<()>, Failure> {
        let whole = self.etcd_answers(cx).await?
            && root_cas_are(cx, &self.controllers, &self.ca).await?
            && (!self.elects || self.leader_lives(cx).await?);
        Ok(whole.then_some(()))
    }
}

impl CheckControlPlane {
    /// The member list is read with the quorum's consent; it needs no API server.
    async fn etcd_answers(&self, cx: &Step) -> Result<bool, Failure> {
        if self.storage != Storage::Etcd {
            return Ok(true); // The API server's readiness covers it.
        }
        for via in &self.controllers {
            let output = common::exec(cx, &via.name, common::k0s(via, ["etcd", "member-list"])).await;
            if output.is_ok_and(|o| o.ok()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A Lease that moves while we look is renewed by a process that lives now; all that lived before the stop were seen to end.
    async fn leader_lives(&self, cx: &Step) -> Result<bool, Failure> {
        let Some((via, first)) = common::ask(cx, &self.controllers, KCM_LEASE).await? else { return Ok(false) };
        let holder = first["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let ours = self.whoever_leads
            || self.controllers.iter().any(|c| holder.split('_').next() == Some(c.hostname.as_str()));
        if !ours {
            return Ok(false);
        }
        cx.clock.sleep(RENEWED_WITHIN).await;
        let Some(second) = common::get_json(cx, &via, KCM_LEASE).await? else { return Ok(false) };
        Ok(version(&first) != version(&second) && first["spec"]["holderIdentity"] == second["spec"]["holderIdentity"])
    }
}

/// An object's resourceVersion.
pub fn version(object: &Value) -> Option<&str> {
    object["metadata"]["resourceVersion"].as_str()
}

/// Whether kube-root-ca.crt holds this CA, and nothing else, in every Active namespace.
pub async fn root_cas_are(cx: &Step, via: &[K0sHost], ca: &str) -> Result<bool, Failure> {
    let Some((_, namespaces)) = common::ask(cx, via, NAMESPACES).await? else { return Ok(false) };
    let Some((_, maps)) = common::ask(cx, via, ROOT_CAS).await? else { return Ok(false) };
    let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
    let active = items(&namespaces).into_iter().filter(|n| n["status"]["phase"] == "Active");
    let held: Vec<Value> = items(&maps);
    let good = |name: &str| {
        let of_it = held.iter().find(|m| m["metadata"]["namespace"] == name);
        of_it.and_then(|m| m["data"]["ca.crt"].as_str()).is_some_and(|found| found.trim() == ca.trim())
    };
    let names: Vec<Value> = active.map(|n| n["metadata"]["name"].clone()).collect();
    Ok(!names.is_empty() && names.iter().all(|name| name.as_str().is_some_and(good)))
}

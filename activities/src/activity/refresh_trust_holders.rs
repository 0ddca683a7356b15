//! Restarts, in place, the containers of a node that hold the old trust in memory.

use super::common::{self, Step};
use super::pods::{self, Holder, Refresh};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// konnectivity agents first, through containerd: no admission webhook is asked, and SIGTERM would do nothing (lab §29).
/// In place when none of the containers that ran before runs, and those that run instead are ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshTrustHolders {
    /// Where.
    pub host: K0sHost,
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
    /// The CA that containers must load, PEM.
    pub ca: String,
    /// Whose.
    pub refresh: Refresh,
}

/// A kubelet lays ca.crt out anew up to a minute and a half after kube-root-ca.crt changed.
const LAID_OUT_WITHIN: Duration = Duration::from_secs(180);

impl Activity for RefreshTrustHolders {
    const NAME: &'static str = "refresh-trust-holders";
    type Env = Fleet;
    /// Ids of the containers that ran.
    type Before = Vec<String>;
    /// Namespace and name of the pods.
    type Output = Vec<String>;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        let settle_for = Duration::from_secs(180);
        let deadline = LAID_OUT_WITHIN + settle_for + Duration::from_secs(30);
        RetryPolicy { settle_for, deadline, probe_every: Duration::from_secs(1), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Vec<String>, Failure> {
        let holders = self.holders(cx).await?.ok_or_else(|| Failure::new("api-not-answering"))?;
        Ok(holders.into_iter().flat_map(|pod| pod.containers).collect())
    }

    async fn probe(&self, cx: &Step, before: &Vec<String>) -> Result<Option<Vec<String>>, Failure> {
        let Some(holders) = self.holders(cx).await? else { return Ok(None) };
        let fresh = |pod: &Holder| pod.ready && !pod.containers.iter().any(|id| before.contains(id));
        let names = || holders.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        Ok(holders.iter().all(fresh).then(names))
    }

    /// A restart can't be taken back; the way back restarts once more.
    async fn undo(&self, _cx: &Step, _before: &Vec<String>) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _before: &Vec<String>) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, _before: &Vec<String>) -> Result<(), Failure> {
        let holders = self.holders(cx).await?.unwrap_or_default();
        for pod in &holders {
            if !self.is_laid_out(cx, pod).await? {
                continue;
            }
            for id in &pod.containers {
                let args = ["ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", id];
                // One that ended by itself meanwhile can't be killed; the probe says what runs.
                let kill = Change::Run(Command::new(&self.host.k0s, args));
                common::change_or_refused(cx, &self.host.name, vec![kill]).await?;
            }
        }
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl RefreshTrustHolders {
    async fn holders(&self, cx: &Step) -> Result<Option<Vec<Holder>>, Failure> {
        let node = self.host.node.as_deref().unwrap_or(&self.host.hostname);
        pods::holders(cx, &self.via, node, self.refresh).await
    }

    /// Waits until the pod sees the CA. False if the pod is gone: k0s makes agents anew, by itself, when a controller comes or goes
    /// (lab §15), and the new one has the CA that is in use.
    async fn is_laid_out(&self, cx: &Step, pod: &Holder) -> Result<bool, Failure> {
        let begun = cx.clock.monotonic();
        while !pods::sees(cx, &self.host, pod, &self.ca).await? {
            if self.holders(cx).await?.is_some_and(|holders| holders.iter().all(|holder| holder.uid != pod.uid)) {
                return Ok(false);
            }
            if cx.clock.monotonic().saturating_sub(begun) > LAID_OUT_WITHIN {
                return Err(Failure::new("ca-not-laid-out").with("host", &self.host.name).with("pod", &pod.name));
            }
            cx.clock.sleep(Duration::from_secs(1)).await;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    //! Shows that a pod that goes away is not waited for.

    use super::*;
    use crate::activity::testing::{FakeHost, controller, marked, said, step};
    use k0rotate_engine::activity::Activity;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn agent(uid: &str) -> String {
        serde_json::json!({"items": [{
            "metadata": {"namespace": "kube-system", "name": uid, "uid": uid, "labels": {"k8s-app": "konnectivity-agent"}},
            "spec": {"volumes": [{"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]},
            "status": {"containerStatuses": [
                {"ready": true, "containerID": format!("containerd://{uid}"), "state": {"running": {}}}
            ]},
        }]})
        .to_string()
    }

    /// Goal: an agent that k0s replaces while its CA is waited for is left alone, and the new one counts; seen on a real k0s, where a
    /// controller came back while a worker was let in, and the old pod was waited for over 3 min.
    #[tokio::test]
    async fn a_pod_that_goes_away_is_not_waited_for() {
        let host = FakeHost::new("c1");
        marked(&host);
        let asked = AtomicUsize::new(0);
        host.script(move |command, _| {
            assert!(command.args.iter().any(|arg| arg == "--raw"), "nothing is killed: {:?}", command.args);
            said(agent(if asked.fetch_add(1, Ordering::Relaxed) < 3 { "before" } else { "since" }))
        });
        let place = controller("c1");
        let refresh = RefreshTrustHolders {
            via: vec![place.clone()],
            host: place,
            ca: "new".into(),
            refresh: pods::Refresh::None,
        };
        let cx = step(&[host]);
        let before = refresh.before(&cx).await.unwrap();
        assert_eq!(before, ["before"]);
        refresh.run(&cx, &before).await.unwrap();
        assert_eq!(refresh.probe(&cx, &before).await.unwrap(), Some(vec!["kube-system/since".to_owned()]));
    }
}

//! Looks whether a node can be reached by every controller under the trust that is in use.

use super::check_controller::serves;
use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when the kubelet serves a certificate of this CA and answers through the API server of each controller,
/// which is the way of logs, exec, webhooks and aggregated APIs. Only waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckNode {
    /// Which.
    pub host: K0sHost,
    /// Controllers through which it must answer.
    pub through: Vec<K0sHost>,
    /// The Kubernetes CA that it must be of, PEM.
    pub ca: String,
    /// Nodes in the cluster: k0s approves one serving certificate per 10 s.
    pub nodes: u32,
}

const KUBELET_PORT: u16 = 10250;

impl Check for CheckNode {
    const NAME: &'static str = "check-node";
    type Env = Fleet;
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    /// Two of the three tries cover the pace of approvals.
    fn retry(&self) -> RetryPolicy {
        let settle_for = (Duration::from_secs(90) + Duration::from_secs(10) * self.nodes) / 2;
        let deadline = settle_for + Duration::from_secs(30);
        RetryPolicy { settle_for, deadline, probe_every: Duration::from_secs(1), ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<()>, Failure> {
        if !serves(cx, &self.host, &self.ca, KUBELET_PORT).await? {
            return Ok(None);
        }
        let node = self.host.node.as_deref().unwrap_or(&self.host.hostname);
        let path = format!("/api/v1/nodes/{node}/proxy/healthz");
        for controller in self.through.iter().filter(|controller| !cx.left_behind.contains(&controller.name)) {
            if common::get(cx, controller, &path).await?.is_none_or(|body| body != b"ok") {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}

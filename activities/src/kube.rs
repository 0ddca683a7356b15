//! Reads the Kubernetes API through `k0s kubectl` on a controller, whose own API server answers as to its administrator.
//!
//! A client library would break exactly when its CA changes. Each answer is parsed into a small type; nothing that a Secret holds is kept.

mod objects;

pub use objects::{
    CaBundle, ControlNode, Csr, EtcdMember, Lease, Node, PlanState, Pod, SecretHead, Webhook, ca_bundles, lives_until,
    webhooks,
};

use crate::activity::common::{self, Step};
use crate::facts::K0sHost;
use crate::host::{Command, Host, Output};
use k0rotate_engine::failure::Failure;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroize;

/// How long one read may take: kubectl waits for ever for an API server that accepts and does not answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The API as one controller answers it.
pub struct Api {
    host: Arc<dyn Host>,
    name: String,
    k0s: String,
}

impl Api {
    /// Through this controller.
    pub fn of(cx: &Step, controller: &K0sHost) -> Result<Self, Failure> {
        Ok(Self::through(common::host(cx, &controller.name)?, controller))
    }

    /// Through this controller, outside of an attempt.
    pub fn through(host: Arc<dyn Host>, controller: &K0sHost) -> Self {
        Self { host, name: controller.name.clone(), k0s: controller.k0s.clone() }
    }

    /// GET of a path. `None` if there is no such object or kind; everything else that goes wrong may pass:
    /// 403 and 500 are usual right after a start (lab §4).
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let command = Command::new(&self.k0s, ["kubectl", "get", "--raw", path]).deadline(DEADLINE);
        let mut output = self.host.exec(command).await.map_err(common::of(&self.name))?;
        let answer = if output.ok() {
            serde_json::from_slice(&output.stdout).map(Some).map_err(|_| self.failure("api-answer-unreadable"))
        } else {
            self.refusal(&output)
        };
        output.stdout.zeroize();
        answer
    }

    /// The items of a list of a kind that every cluster has, each parsed. An answer that the kind is missing is no list: nothing may be taken
    /// for gone because of it.
    pub async fn list<T>(&self, path: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Failure> {
        let list = self.get(path).await?.ok_or_else(|| self.failure("api-answer-unreadable"))?;
        self.items(&list, read)
    }

    /// The same of a kind of k0s' own, which not every k0s defines; none then.
    async fn list_if_defined<T>(&self, path: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Failure> {
        self.get(path).await?.map_or_else(|| Ok(Vec::new()), |list| self.items(&list, read))
    }

    fn items<T>(&self, list: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Failure> {
        let items = list["items"].as_array().ok_or_else(|| self.failure("api-answer-unreadable"))?;
        items.iter().map(|item| read(item).ok_or_else(|| self.failure("api-answer-unreadable"))).collect()
    }

    /// Whether the API server calls itself ready.
    pub async fn ready(&self) -> Result<bool, Failure> {
        let command = Command::new(&self.k0s, ["kubectl", "get", "--raw", "/readyz"]).deadline(DEADLINE);
        let output = self.host.exec(command).await.map_err(common::of(&self.name))?;
        Ok(output.ok() && output.stdout == b"ok")
    }

    /// Fails unless it does.
    pub async fn must_be_ready(&self) -> Result<(), Failure> {
        if self.ready().await? { Ok(()) } else { Err(self.failure("api-not-ready")) }
    }

    /// The UID of kube-system: what a cluster is known by.
    pub async fn cluster_uid(&self) -> Result<String, Failure> {
        let namespace = self.get("/api/v1/namespaces/kube-system").await?;
        let uid = namespace.as_ref().and_then(|object| object["metadata"]["uid"].as_str());
        uid.map(str::to_owned).ok_or_else(|| self.failure("api-answer-unreadable"))
    }

    /// All Nodes.
    pub async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        self.list("/api/v1/nodes", Node::read).await
    }

    /// The Leases of nodes and of k0s' controllers.
    pub async fn node_leases(&self) -> Result<Vec<Lease>, Failure> {
        self.list("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", Lease::read).await
    }

    /// One Lease.
    pub async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, Failure> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}");
        Ok(self.get(&path).await?.as_ref().and_then(Lease::read))
    }

    /// The Lease of a controller, by its hostname (facts §7.6).
    pub async fn controller_lease(&self, hostname: &str) -> Result<Option<Lease>, Failure> {
        self.lease("kube-node-lease", &format!("k0s-ctrl-{hostname}")).await
    }

    /// The controllers that autopilot knows; none where it is disabled.
    pub async fn control_nodes(&self) -> Result<Vec<ControlNode>, Failure> {
        self.list_if_defined("/apis/autopilot.k0sproject.io/v1beta2/controlnodes", ControlNode::read).await
    }

    /// The states of autopilot's Plans.
    pub async fn plans(&self) -> Result<Vec<PlanState>, Failure> {
        self.list_if_defined("/apis/autopilot.k0sproject.io/v1beta2/plans", PlanState::read).await
    }

    /// The members of etcd as k0s keeps them (since 1.30).
    pub async fn etcd_members(&self) -> Result<Vec<EtcdMember>, Failure> {
        self.list_if_defined("/apis/etcd.k0sproject.io/v1beta1/etcdmembers", EtcdMember::read).await
    }

    /// Names of all Secrets of a type, for example `kubernetes.io/service-account-token`.
    pub async fn secrets(&self, kind: &str) -> Result<Vec<SecretHead>, Failure> {
        let kind = kind.replace('/', "%2F");
        self.list(&format!("/api/v1/secrets?fieldSelector=type%3D{kind}"), SecretHead::read).await
    }

    /// All certificate signing requests.
    pub async fn csrs(&self) -> Result<Vec<Csr>, Failure> {
        self.list("/apis/certificates.k8s.io/v1/certificatesigningrequests", Csr::read).await
    }

    /// All pods.
    pub async fn pods(&self) -> Result<Vec<Pod>, Failure> {
        self.list("/api/v1/pods", Pod::read).await
    }

    /// A value of a ConfigMap.
    pub async fn config_map(&self, namespace: &str, name: &str, key: &str) -> Result<Option<String>, Failure> {
        let map = self.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await?;
        Ok(map.and_then(|map| map["data"][key].as_str().map(str::to_owned)))
    }

    fn refusal(&self, output: &Output) -> Result<Option<Value>, Failure> {
        let text = output.err_text();
        let code = if text.contains("(NotFound)") {
            return Ok(None);
        } else if text.contains("x509:") {
            "api-not-trusted"
        } else if text.contains("Unauthorized") {
            "api-unauthorized"
        } else if text.contains("(Forbidden)") {
            "api-forbidden"
        } else {
            "api-not-answering"
        };
        Err(self.failure(code).with("status", output.status))
    }

    fn failure(&self, code: &'static str) -> Failure {
        Failure::new(code).with("host", &self.name)
    }
}

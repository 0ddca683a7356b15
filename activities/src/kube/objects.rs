//! What is read of the objects of the Kubernetes API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Addresses of all types.
    pub addresses: Vec<String>,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// `linux` or `windows`.
    pub os: String,
    /// For example `v1.36.3`.
    pub kubelet_version: String,
}

impl Node {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let status = &object["status"];
        let ready = list(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
        Some(Self {
            name: name(object)?,
            addresses: addresses(status),
            ready,
            os: text(&status["nodeInfo"]["operatingSystem"]),
            kubelet_version: text(&status["nodeInfo"]["kubeletVersion"]),
        })
    }
}

/// A Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Who holds it; empty after a clean stop.
    pub holder: String,
    /// Moves with each renewal; says more than renewTime, which depends on the host's clock.
    pub resource_version: String,
}

impl Lease {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        Some(Self {
            name: name(object)?,
            holder: text(&object["spec"]["holderIdentity"]),
            resource_version: object["metadata"]["resourceVersion"].as_str()?.to_owned(),
        })
    }
}

/// A controller as autopilot knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlNode {
    /// Its name: the host's.
    pub name: String,
    /// Addresses of all types.
    pub addresses: Vec<String>,
    /// The version of k0s.
    pub k0s_version: String,
}

impl ControlNode {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let status = &object["status"];
        Some(Self { name: name(object)?, addresses: addresses(status), k0s_version: text(&status["k0sVersion"]) })
    }
}

/// A Plan of autopilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanState {
    /// Its name.
    pub name: String,
    /// For example `Completed`, `Schedulable` or `SchedulableWait`; empty before it is looked at.
    pub state: String,
}

impl PlanState {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        Some(Self { name: name(object)?, state: text(&object["status"]["state"]) })
    }

    /// Whether it may still change hosts.
    pub fn runs(&self) -> bool {
        !matches!(
            self.state.as_str(),
            "Completed" | "IncompleteTargets" | "InconsistentTargets" | "Restricted" | "ApplyFailed"
        )
    }
}

/// A member of etcd as k0s keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdMember {
    /// Its name.
    pub name: String,
    /// Without port.
    pub peer_address: String,
    /// False while it joins or leaves.
    pub joined: bool,
}

impl EtcdMember {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let status = &object["status"];
        let mut joins = list(&status["conditions"]).filter(|c| c["type"] == "Joined");
        let peer_address = text(&status["peerAddress"]);
        // Up to 1.31 the address stood beside the status.
        let peer_address = if peer_address.is_empty() { text(&object["peerAddress"]) } else { peer_address };
        Some(Self { name: name(object)?, peer_address, joined: joins.next().is_none_or(|c| c["status"] == "True") })
    }
}

/// A Secret without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHead {
    /// Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of a bootstrap token: what it may be used for, for example `usage-bootstrap-controller-join`.
    pub usages: Vec<String>,
    /// Of a bootstrap token: when it ends, RFC 3339; empty for never.
    pub expires: String,
    /// Of a service-account token: whose.
    pub service_account: String,
}

impl SecretHead {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let data = object["data"].as_object();
        let usages =
            data.into_iter().flatten().map(|(key, _)| key).filter(|key| key.starts_with("usage-")).cloned().collect();
        let expires = object["data"]["expiration"].as_str().and_then(|data| STANDARD.decode(data).ok());
        Some(Self {
            namespace: namespace(object),
            name: name(object)?,
            usages,
            expires: expires.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default(),
            service_account: text(&object["metadata"]["annotations"]["kubernetes.io/service-account.name"]),
        })
    }

    /// The id of a bootstrap token.
    pub fn token_id(&self) -> Option<&str> {
        self.name.strip_prefix("bootstrap-token-").filter(|id| crate::token::is_id(id))
    }

    /// Whether a bootstrap token is still good at this time, milliseconds since the epoch.
    pub fn lives(&self, now: i64) -> bool {
        lives_until(&self.expires, now)
    }

    /// Whether it joins controllers rather than workers.
    pub fn joins_controllers(&self) -> bool {
        self.usages.iter().any(|usage| usage.ends_with("controller-join"))
    }
}

/// Whether something with this date of expiry is still good at this time, milliseconds since the epoch; what never runs out has none.
pub fn lives_until(expires: &str, now: i64) -> bool {
    expires.parse::<jiff::Timestamp>().map_or(true, |until| until.as_millisecond() > now)
}

/// A certificate signing request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// Its name.
    pub name: String,
    /// For example `kubernetes.io/kubelet-serving`.
    pub signer: String,
    /// Who asked.
    pub username: String,
    /// Whether it was approved.
    pub approved: bool,
    /// What was issued, PEM.
    pub certificate: Option<String>,
}

impl Csr {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let certificate = object["status"]["certificate"].as_str().and_then(|data| STANDARD.decode(data).ok());
        Some(Self {
            name: name(object)?,
            signer: text(&object["spec"]["signerName"]),
            username: text(&object["spec"]["username"]),
            approved: list(&object["status"]["conditions"]).any(|c| c["type"] == "Approved" && c["status"] == "True"),
            certificate: certificate.and_then(|bytes| String::from_utf8(bytes).ok()),
        })
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Node; empty while it is not scheduled.
    pub node: String,
    /// Who made it, `DaemonSet/konnectivity-agent`; empty for a pod of its own.
    pub owner: String,
    /// Whether it mounts a service-account token, and with it the cluster's CA.
    pub mounts_token: bool,
    /// For example `Running`.
    pub phase: String,
    /// `k8s-app` or `app.kubernetes.io/name`.
    pub app: String,
    /// When the container started that has run longest, RFC 3339; none if none runs.
    pub running_since: Option<String>,
}

impl Pod {
    /// Reads one.
    pub fn read(object: &Value) -> Option<Self> {
        let sources = list(&object["spec"]["volumes"]).flat_map(|volume| list(&volume["projected"]["sources"]));
        let mut tokens = sources.filter(|source| source["serviceAccountToken"].is_object());
        let mounts_token = tokens.next().is_some();
        let owner = list(&object["metadata"]["ownerReferences"]).find(|owner| owner["controller"] == true);
        let labels = &object["metadata"]["labels"];
        let app = [&labels["k8s-app"], &labels["app.kubernetes.io/name"]].into_iter().find_map(Value::as_str);
        Some(Self {
            namespace: namespace(object),
            name: name(object)?,
            node: text(&object["spec"]["nodeName"]),
            owner: owner.map(|owner| format!("{}/{}", text(&owner["kind"]), text(&owner["name"]))).unwrap_or_default(),
            mounts_token,
            phase: text(&object["status"]["phase"]),
            app: app.unwrap_or_default().to_owned(),
            running_since: list(&object["status"]["containerStatuses"])
                .filter_map(|status| status["state"]["running"]["startedAt"].as_str().map(str::to_owned))
                .min(),
        })
    }
}

/// One webhook of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `CONFIGURATION/WEBHOOK`.
    pub name: String,
    /// Whether pods are not made while it does not answer.
    pub blocks_pods: bool,
}

/// The webhooks of a ValidatingWebhookConfiguration or MutatingWebhookConfiguration.
pub fn webhooks(object: &Value) -> Option<Vec<Webhook>> {
    let configuration = name(object)?;
    let read = |hook: &Value| Webhook {
        name: format!("{configuration}/{}", text(&hook["name"])),
        blocks_pods: hook["failurePolicy"] != "Ignore" && list(&hook["rules"]).any(covers_new_pods),
    };
    Some(list(&object["webhooks"]).map(read).collect())
}

fn covers_new_pods(rule: &Value) -> bool {
    let one_of =
        |field: &str, wanted: &[&str]| list(&rule[field]).any(|v| v.as_str().is_some_and(|v| wanted.contains(&v)));
    one_of("apiGroups", &["", "*"])
        && one_of("resources", &["pods", "*", "*/*", "pods/*"])
        && one_of("operations", &["CREATE", "*"])
}

/// CAs that an object tells the API server to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    /// `KIND/NAME`.
    pub object: String,
    /// PEM.
    pub pem: String,
}

/// All values named `caBundle` in an object, at any depth.
pub fn ca_bundles(kind: &str, object: &Value) -> Option<Vec<CaBundle>> {
    let name = format!("{kind}/{}", name(object)?);
    let mut found = Vec::new();
    collect(object, &mut found);
    let decoded = found.into_iter().filter_map(|data| String::from_utf8(STANDARD.decode(data).ok()?).ok());
    Some(decoded.map(|pem| CaBundle { object: name.clone(), pem }).collect())
}

fn collect<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("caBundle").and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

fn name(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

fn namespace(object: &Value) -> String {
    text(&object["metadata"]["namespace"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn addresses(status: &Value) -> Vec<String> {
    list(&status["addresses"]).map(|address| text(&address["address"])).collect()
}

#[cfg(test)]
mod tests {
    //! Shows that what a real API server answered is read.

    use super::*;

    macro_rules! golden {
        ($name:literal) => {
            serde_json::from_str::<Value>(include_str!(concat!("../../../tests/goldens/v1.36.3+k0s.2/", $name)))
                .unwrap()
        };
    }

    /// Goal: each kind that a real k0s has.
    #[test]
    fn objects_of_a_real_cluster_are_read() {
        let node = Node::read(&golden!("kubectl-get-node-json.stdout.txt")).unwrap();
        assert_eq!(
            (node.name.as_str(), node.ready, node.os.as_str(), node.kubelet_version.as_str()),
            ("h4", true, "linux", "v1.36.3")
        );
        assert_eq!(node.addresses, ["10.77.0.14", "h4"]);
        let lease = Lease::read(&golden!("kubectl-get-lease-k0s-ctrl-json.stdout.txt")).unwrap();
        assert_eq!((lease.name.as_str(), lease.resource_version.as_str()), ("k0s-ctrl-h1", "10157"));
        let member = EtcdMember::read(&golden!("kubectl-get-etcdmembers-json.stdout.txt")).unwrap();
        assert_eq!((member.name.as_str(), member.peer_address.as_str(), member.joined), ("h2", "10.77.0.12", true));
        let csr = Csr::read(&golden!("kubectl-get-csr-client-json.stdout.txt")).unwrap();
        assert!(csr.approved && csr.certificate.is_some_and(|pem| crate::pki::read_one(pem.as_bytes()).is_ok()));
        let pods = golden!("pod-konnectivity-agent-json.stdout.txt");
        let pod = Pod::read(&pods["items"][0]).unwrap();
        assert_eq!(
            (pod.owner.as_str(), pod.mounts_token, pod.node.as_str()),
            ("DaemonSet/konnectivity-agent", true, "h4")
        );
    }

    /// Goal: join tokens by role, without a trace of what they hold.
    #[test]
    fn join_tokens_are_known_by_id_and_role() {
        let secrets = golden!("bootstrap-token-secrets.json");
        let heads: Vec<_> = secrets["items"].as_array().unwrap().iter().filter_map(SecretHead::read).collect();
        let roles: Vec<_> = heads.iter().map(|head| (head.token_id().unwrap(), head.joins_controllers())).collect();
        assert_eq!(roles, [("6l1r2d", true), ("ml76zo", true), ("mmvcxx", true)]);
        let worker = serde_json::json!({"metadata": {"name": "bootstrap-token-fsln4j", "namespace": "kube-system"},
            "data": {"usage-bootstrap-authentication": "dHJ1ZQ=="}});
        assert!(!SecretHead::read(&worker).unwrap().joins_controllers());
        assert!(heads.iter().all(|head| head.expires.starts_with("2026-11-24T")));
    }

    /// Goal: a webhook blocks pods only if it covers new pods and does not fail open.
    #[test]
    fn webhooks_that_block_pods_are_known() {
        let hook = |policy: &str, resource: &str| {
            let object = serde_json::json!({"metadata": {"name": "a"}, "webhooks": [{"name": "b", "failurePolicy": policy,
                "clientConfig": {"caBundle": STANDARD.encode("PEM")},
                "rules": [{"apiGroups": [""], "resources": [resource], "operations": ["CREATE"]}]}]});
            assert_eq!(
                ca_bundles("Webhook", &object).unwrap(),
                [CaBundle { object: "Webhook/a".into(), pem: "PEM".into() }]
            );
            webhooks(&object).unwrap().remove(0).blocks_pods
        };
        assert_eq!(
            (hook("Fail", "pods"), hook("Fail", "*"), hook("Ignore", "pods"), hook("Fail", "secrets")),
            (true, true, false, false)
        );
    }
}

//! Shows the looks at hosts and cluster on hosts of maps: what they find, and what they refuse.

use super::check_cluster::CheckCluster;
use super::check_host::CheckHost;
use super::testing::{FakeHost, NOW, PKI, failed, line, put_trust, said, step};
use crate::facts::{HostFacts, Storage};
use crate::fleet::{KeyKind, Role, Root};
use crate::host::{Command, Output};
use crate::pki::{self, Validity};
use k0rotate_engine::activity::Activity;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../tests/goldens/v1.36.3+k0s.2/", $name))
    };
}

/// A cluster whose objects the API serves by path.
type Objects = BTreeMap<String, Value>;

fn objects(nodes: &[&str], controllers: &[&str]) -> Objects {
    let node = |name: &&str| {
        json!({"metadata": {"name": name}, "status": {"nodeInfo": {"operatingSystem": "linux"},
        "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let lease = |name: &&str| {
        json!({"metadata": {"name": format!("k0s-ctrl-{name}"), "resourceVersion": "1"},
        "spec": {"holderIdentity": "x"}})
    };
    let list = |items: Vec<Value>| json!({"kind": "List", "items": items});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let mut all = Objects::from([
        ("/api/v1/namespaces/kube-system".to_owned(), json!({"metadata": {"uid": "the-cluster"}})),
        ("/api/v1/nodes".to_owned(), list(nodes.iter().map(node).collect())),
        (leases.to_owned(), list(controllers.iter().map(lease).collect())),
    ]);
    all.extend(controllers.iter().map(|name| (format!("{leases}/k0s-ctrl-{name}"), lease(name))));
    all
}

fn answer(command: &Command, objects: &Objects) -> Option<Output> {
    match line(command).as_str() {
        "k0s status -o json" => said(golden!("status-json-controller.stdout.txt")),
        "k0s version" => said("v1.36.3+k0s.2\n"),
        "k0s etcd member-list" => said(r#"{"members":{"h1":"https://10.77.0.11:2380"}}"#),
        "k0s kubectl get --raw /readyz" => said("ok"),
        text if text.starts_with("systemctl show") => said(golden!("systemctl-show-running-controller.stdout.txt")),
        text => match objects.get(text.strip_prefix("k0s kubectl get --raw ")?) {
            Some(object) => said(object.to_string()),
            None if is_list_of_any_cluster(text) => said(r#"{"items":[]}"#),
            None => failed("Error from server (NotFound): the server could not find the requested resource"),
        },
    }
}

/// Nodes are there or taken out by a test.
fn is_list_of_any_cluster(text: &str) -> bool {
    ["/namespaces/", "k0sproject.io", "/nodes"].iter().all(|other| !text.contains(other))
}

/// A running controller with real trust.
fn running(name: &str, objects: Objects) -> Arc<FakeHost> {
    let host = FakeHost::new(name);
    host.put(
        "/etc/systemd/system/k0scontroller.service",
        "[Service]\nExecStart=/usr/local/bin/k0s controller --config=/etc/k0s/k0s.yaml\n",
    );
    host.put("/proc/sys/kernel/hostname", format!("{name}\n"));
    host.put("/etc/machine-id", "b82d2d85\n");
    put_trust(&host);
    host.ports.lock().unwrap().insert("10.77.0.11:9443".into());
    host.script(move |command, _| answer(command, &objects));
    host
}

fn check(name: &str) -> CheckHost {
    CheckHost { name: name.into(), role: Role::Controller, address: "203.0.113.1".into(), allow: Vec::new() }
}

async fn facts_of(host: &Arc<FakeHost>) -> HostFacts {
    let cx = step(std::slice::from_ref(host));
    check(&host.name).probe(&cx, &()).await.unwrap().unwrap()
}

/// Goal: a controller's facts: place, ports, Lease, and each trust file with the root that signed it.
#[tokio::test]
async fn a_controller_is_looked_at() {
    let facts = facts_of(&running("h1", objects(&[], &["h1"]))).await;
    assert_eq!(
        (facts.host.k0s.as_str(), facts.host.address.as_str(), facts.host.hostname.as_str()),
        ("/usr/local/bin/k0s", "10.77.0.11", "h1")
    );
    assert_eq!((facts.storage, facts.etcd_peer.as_deref()), (Some(Storage::Etcd), Some("10.77.0.11")));
    assert_eq!(
        (facts.join_api, facts.konnectivity, facts.holds_ctrl_lease, facts.kcm_elects),
        (true, false, true, true)
    );
    let of = |root, is_root| facts.trust.iter().filter(|f| f.root == root && f.is_root == is_root).count();
    assert_eq!(
        [
            of(Root::KubernetesCa, true),
            of(Root::EtcdCa, true),
            of(Root::FrontProxyCa, true),
            of(Root::ServiceAccount, true)
        ],
        [1; 4]
    );
    assert_eq!([of(Root::KubernetesCa, false), of(Root::EtcdCa, false), of(Root::FrontProxyCa, false)], [2, 1, 1]);
    assert_eq!(facts.ca_lifetimes[&Root::EtcdCa], 87_600 * 3600);
    assert_eq!(facts.user_certificates().collect::<Vec<_>>(), [format!("{PKI}/alice.crt")]);
}

/// Goal: a worker's facts: the Node's name from its certificate, and the CA that its kubelet trusts, in whatever folder it keeps it.
#[tokio::test]
async fn a_worker_is_looked_at() {
    let host = FakeHost::new("w1");
    host.put("/etc/systemd/system/k0sworker.service", golden!("unit-k0sworker.stdout.txt"));
    host.put("/proc/sys/kernel/hostname", "h4\n");
    let validity = Validity::from_now(i64::try_from(NOW).unwrap(), 86_400);
    let ca = pki::make_ca("kubernetes-ca", KeyKind::P256, validity).unwrap();
    let wanted = pki::Leaf {
        common_name: "system:node:h4".into(),
        organization: Some("system:nodes".into()),
        sans: vec![],
        server: false,
        client: true,
        validity,
    };
    let leaf = pki::issue(&ca.certificate, &ca.key, &wanted, KeyKind::P256).unwrap();
    let current = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    host.put(current, format!("{}{}", leaf.certificate, String::from_utf8_lossy(leaf.key.expose())));
    let conf = crate::kubeconfig::kubelet("https://10.77.0.1:6443", &ca.certificate, current);
    host.put("/var/lib/k0s/kubelet.conf", conf.expose());
    let status = golden!("status-json-worker.stdout.txt").replace("/var/lib/k0s/kubelet\"", "/var/lib/kubelet\"");
    host.script(move |command, _| match line(command).as_str() {
        "k0s status -o json" => said(&status),
        "k0s version" => said("v1.36.3+k0s.2\n"),
        _ => said(golden!("systemctl-show-running-controller.stdout.txt")),
    });
    let check = CheckHost { role: Role::Worker, ..check("w1") };
    let facts = check.probe(&step(&[host]), &()).await.unwrap().unwrap();
    assert_eq!((facts.host.node.as_deref(), facts.host.address.as_str()), (Some("h4"), "203.0.113.1"));
    assert_eq!(
        (facts.host.kubelet_root.as_str(), facts.storage, facts.holds_ctrl_lease),
        ("/var/lib/kubelet", None, false)
    );
    assert_eq!(
        facts.trust.iter().map(|f| (f.path.as_str(), f.is_root)).collect::<Vec<_>>(),
        [("/var/lib/k0s/kubelet.conf", true), (current, false)]
    );
}

/// Goal: each reason not to work on a host has its own code.
#[tokio::test]
async fn hosts_that_differ_are_refused() {
    let host = running("h1", objects(&[], &["h1"]));
    let cx = step(std::slice::from_ref(&host));
    let code = async |check: &CheckHost| check.probe(&cx, &()).await.map_err(|failure| failure.code);
    let worker = CheckHost { role: Role::ControllerWorker, ..check("h1") };
    assert_eq!(code(&worker).await, Err("role-differs".into()));
    *host.clock.lock().unwrap() += 61_000;
    assert_eq!(code(&check("h1")).await, Err("clock-skew".into()));
    assert!(code(&CheckHost { allow: vec!["clock-skew".into()], ..check("h1") }).await.is_ok());
    host.put(
        "/etc/systemd/system/k0scontroller.service.d/10.conf",
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/k0s controller --kubelet-extra-args=--cert-dir=/x\n",
    );
    assert_eq!(code(&check("h1")).await, Err("trust-path-overridden".into()));
    host.script(
        |command, _| if command.args == ["version"] { said("v1.36.4+k0s.0") } else { answer(command, &Objects::new()) },
    );
    assert_eq!(code(&check("h1")).await, Err("k0s-version-differs".into()));
    host.script(|_, _| failed("Error: status: can't get \"status\""));
    assert_eq!(code(&check("h1")).await, Err("k0s-not-running".into()));
}

/// Goal: a cluster that the inventory knows whole is let in; what it does not know, and a split, is named.
#[tokio::test]
async fn the_cluster_is_compared_with_the_inventory() {
    let look = async |objects: Objects, change: fn(&mut CheckCluster)| {
        let host = running("h1", objects);
        let mut check = CheckCluster::of(&[facts_of(&host).await], Vec::new());
        change(&mut check);
        check.probe(&step(&[host]), &()).await.map_err(|failure| failure.code)
    };
    let found = look(objects(&[], &["h1"]), |_| ()).await.unwrap().unwrap();
    assert_eq!(
        (found.uid.as_str(), found.etcd_members["h1"].as_str(), found.controller_leases),
        ("the-cluster", "10.77.0.11", vec!["h1".to_owned()])
    );
    assert_eq!(look(objects(&["h9"], &["h1"]), |_| ()).await, Err("node-not-in-inventory".into()));
    assert!(look(objects(&["h9"], &["h1"]), |check| check.left_behind.push("h9".into())).await.is_ok());
    assert_eq!(look(objects(&[], &["h1", "h2"]), |_| ()).await, Err("controller-not-in-inventory".into()));
    assert_eq!(
        look(objects(&[], &["h1"]), |check| check.controllers[0].etcd_peer = Some("10.0.0.9".into())).await,
        Err("etcd-member-not-in-inventory".into())
    );
    // A controller that has not told its peer address is known by its hostname; one that could not be looked at, by its address.
    assert!(look(objects(&[], &["h1"]), |check| check.controllers[0].etcd_peer = None).await.is_ok());
    let unseen = |check: &mut CheckCluster| {
        check.controllers[0].etcd_peer = Some("10.0.0.9".into());
        check.left_behind.push("10.77.0.11".into());
    };
    assert_eq!(look(objects(&[], &["h1"]), unseen).await, Err("controller-not-a-member".into()));
    let split = |check: &mut CheckCluster| {
        let mut other = check.controllers[0].clone();
        other.roots.insert(Root::EtcdCa, "other".into());
        check.controllers.push(other);
    };
    assert_eq!(look(objects(&[], &["h1"]), split).await, Err("split-trust".into()));
    let strange = |check: &mut CheckCluster| {
        drop(check.nodes.insert("other".into(), BTreeMap::from([("w1".into(), "w1".into())])));
    };
    assert_eq!(look(objects(&[], &["h1"]), strange).await, Err("split-trust".into()));
    let mut planned = objects(&[], &["h1"]);
    let plan = json!({"items": [{"metadata": {"name": "autopilot"}, "status": {"state": "SchedulableWait"}}]});
    planned.insert("/apis/autopilot.k0sproject.io/v1beta2/plans".into(), plan);
    assert_eq!(look(planned, |_| ()).await, Err("autopilot-plan-runs".into()));
    // A kind that every cluster has, and that is answered to be missing: no Node is gone because of that.
    let mut halved = objects(&[], &["h1"]);
    halved.remove("/api/v1/nodes");
    assert_eq!(look(halved, |_| ()).await, Err("api-answer-unreadable".into()));
}

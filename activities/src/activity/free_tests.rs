//! Shows each activity of the Free zone doing, looking and undoing on a host of maps.

use super::back_up_cluster::BackUpCluster;
use super::check_cluster::CheckCluster;
use super::check_host::CheckHost;
use super::copy_keys::CopyKeys;
use super::hold_cluster::{self, HoldCluster};
use super::make_trust::{Given, MakeTrust, Wanted};
use super::revoke_join_tokens::RevokeJoinTokens;
use super::snapshot_host::SnapshotHost;
use super::testing::{FakeHost, Lies, NOW, controller, failed, line, marked, said, step};
use crate::archive::Kind;
use crate::facts::{HostFacts, Storage};
use crate::fleet::{KeyKind, Role, Root};
use crate::host::{Command, Output};
use crate::pki::{self, Validity};
use crate::secret::Secret;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::ids::{ExecutionId, Incarnation};
use k0rotate_engine::workflow::{HoldCx, HoldFailure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../tests/goldens/v1.36.3+k0s.2/", $name))
    };
}

const PKI: &str = "/var/lib/k0s/pki";

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
            None => failed("Error from server (NotFound): the server could not find the requested resource"),
        },
    }
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

fn put_trust(host: &FakeHost) {
    let validity = Validity::from_now(i64::try_from(NOW).unwrap(), 86_400);
    for (ca, leaf) in
        [("ca", "server"), ("etcd/ca", "etcd/peer"), ("front-proxy-ca", "front-proxy-client"), ("ca", "alice")]
    {
        let path = format!("{PKI}/{ca}.crt");
        if !host.files.lock().unwrap().contains_key(&path) {
            let made = pki::make_ca("kubernetes-ca", KeyKind::P256, validity).unwrap();
            host.put(&path, &made.certificate);
            host.put(&format!("{PKI}/{ca}.key"), made.key.expose());
        }
        let read = |path: &str| host.files.lock().unwrap()[path].bytes.clone();
        let certificate = String::from_utf8(read(&path)).unwrap();
        let key = Secret::new(read(&format!("{PKI}/{ca}.key")));
        let wanted = pki::Leaf {
            common_name: leaf.into(),
            organization: None,
            sans: vec![],
            server: true,
            client: true,
            validity,
        };
        host.put(
            &format!("{PKI}/{leaf}.crt"),
            pki::issue(&certificate, &key, &wanted, KeyKind::P256).unwrap().certificate,
        );
    }
    let pair = pki::make_service_account(KeyKind::P256).unwrap();
    host.put(&format!("{PKI}/sa.key"), pair.key.expose());
    host.put(&format!("{PKI}/sa.pub"), pair.certificate);
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
    let split = |check: &mut CheckCluster| {
        let mut other = check.controllers[0].clone();
        other.roots.insert(Root::EtcdCa, "other".into());
        check.controllers.push(other);
    };
    assert_eq!(look(objects(&[], &["h1"]), split).await, Err("split-trust".into()));
    let strange = |check: &mut CheckCluster| {
        drop(check.nodes.insert("other".into(), BTreeMap::from([("w1".into(), "w1".into())])))
    };
    assert_eq!(look(objects(&[], &["h1"]), strange).await, Err("split-trust".into()));
    let mut planned = objects(&[], &["h1"]);
    let plan = json!({"items": [{"metadata": {"name": "autopilot"}, "status": {"state": "SchedulableWait"}}]});
    planned.insert("/apis/autopilot.k0sproject.io/v1beta2/plans".into(), plan);
    assert_eq!(look(planned, |_| ()).await, Err("autopilot-plan-runs".into()));
}

fn lockable(name: &str, touched: u64) -> Arc<FakeHost> {
    let host = FakeHost::new(name);
    host.put("/run/lock/subsys", "");
    host.script(move |command, _| match command.program.as_str() {
        "stat" => said(format!("{touched}\n")),
        "touch" => said(""),
        _ => None,
    });
    host
}

/// Goal: marks and locks on all hosts, no sooner called done than both are there, and all gone after the undo.
#[tokio::test]
async fn a_cluster_is_held_and_released() {
    let hosts = [lockable("h1", 0), lockable("h2", 0)];
    let cx = step(&hosts);
    let hold = HoldCluster { hosts: vec!["h1".into(), "h2".into()] };
    assert_eq!(hold.probe(&cx, &()).await, Ok(None));
    *hosts[1].tear_after.lock().unwrap() = Some(2);
    assert!(hold.run(&cx, &()).await.is_err());
    assert_eq!(hold.probe(&cx, &()).await, Ok(None), "a mark without the lock is not held");
    *hosts[1].tear_after.lock().unwrap() = None;
    hold.run(&cx, &()).await.unwrap();
    assert_eq!(hold.probe(&cx, &()).await, Ok(Some(())));
    assert_eq!(hosts[1].files.lock().unwrap()["/run/lock/k0sctl"].bytes, b"k0rotate-x1\n");
    for _ in 0..2 {
        hold.undo(&cx, &()).await.unwrap();
        assert_eq!(hold.undone(&cx, &()).await, Ok(true));
    }
    assert!(hosts.iter().all(
        |host| host.mark.lock().unwrap().is_none() && !host.files.lock().unwrap().contains_key("/run/lock/k0sctl")
    ));
}

/// Goal: another execution's mark and a k0sctl that runs refuse; a lock that k0sctl left long ago does not.
#[tokio::test]
async fn what_others_hold_is_left_alone() {
    let hold = HoldCluster { hosts: vec!["h1".into()] };
    let host = lockable("h1", NOW - 10);
    let cx = step(std::slice::from_ref(&host));
    host.put("/run/lock/k0sctl", "laptop-4711");
    assert_eq!(hold.run(&cx, &()).await.map_err(|f| f.code), Err("k0sctl-runs".into()));
    hold.undo(&cx, &()).await.unwrap();
    assert_eq!(host.files.lock().unwrap()["/run/lock/k0sctl"].bytes, b"laptop-4711");
    marked(&host);
    host.mark.lock().unwrap().as_mut().unwrap().execution = "x0".into();
    let failure = hold.run(&cx, &()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.fields["by"].as_str(), failure.retry), ("host-held", "me@here", false));
    let stale = lockable("h1", NOW - 31);
    stale.put("/run/lock/k0sctl", "laptop-4711");
    hold.run(&step(std::slice::from_ref(&stale)), &()).await.unwrap();
    assert_eq!(stale.files.lock().unwrap()["/run/lock/k0sctl"].bytes, b"k0rotate-x1\n");
}

/// Goal: a later opening takes over the marks of a known predecessor and of nobody else.
#[tokio::test]
async fn marks_are_renewed_from_a_known_predecessor_only() {
    let host = lockable("h1", 0);
    let fleet = step(std::slice::from_ref(&host)).env;
    let by = |predecessors: &[&str]| HoldCx {
        execution: ExecutionId::new("x1"),
        incarnation: Incarnation::new("i2"),
        predecessors: predecessors.iter().map(|p| Incarnation::new(*p)).collect(),
        fence: 20,
        back: false,
        left: vec!["h8".into()],
    };
    let renew = async |by: HoldCx| hold_cluster::renew(&fleet, &["h1".into(), "h8".into()], &by).await;
    renew(by(&["i1"])).await.unwrap();
    assert!(host.mark.lock().unwrap().is_none(), "nothing is marked before hold-cluster");
    marked(&host);
    assert!(matches!(renew(by(&["i0"])).await, Err(HoldFailure::Foreign(_))));
    renew(by(&["i1", "i0"])).await.unwrap();
    let mark = host.mark.lock().unwrap().clone().unwrap();
    assert_eq!((mark.incarnation.as_str(), mark.fence), ("i2", 20));
    assert!(matches!(hold_cluster::renew(&fleet, &["h7".into()], &by(&[])).await, Err(HoldFailure::Lapsed(_))));
}

fn archive(with: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in with {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        (header.set_mode(0o600), header.set_uid(0), header.set_gid(0));
        builder.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

const WHOLE: [&str; 7] =
    ["etcd-snapshot.db", "pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/etcd/ca.crt", "pki/etcd/ca.key"];

/// Goal: a whole backup is sealed and listed; one without the datastore is not taken for one; the next controller is asked.
#[tokio::test]
async fn a_backup_is_more_than_a_file() {
    let hosts = [FakeHost::new("h1"), FakeHost::new("h2")];
    let cx = step(&hosts);
    let via = vec![controller("h1"), controller("h2")];
    hosts[0].script(|_, _| failed("Error: backup failed"));
    hosts[1].script(|_, _| said(archive(&WHOLE)));
    let take = BackUpCluster::new(via.clone(), Storage::Etcd, Vec::new());
    assert_eq!(take.probe(&cx, &()).await, Ok(None));
    take.run(&cx, &()).await.unwrap();
    let backup = take.probe(&cx, &()).await.unwrap().unwrap();
    assert_eq!(
        (backup.host.as_str(), backup.entries, backup.datastore.as_deref()),
        ("h2", 7, Some("etcd-snapshot.db"))
    );
    assert_eq!(
        BackUpCluster::new(via.clone(), Storage::Etcd, Vec::new()).probe(&cx, &()).await,
        Ok(None),
        "another life made none"
    );
    hosts[1].script(|_, _| said(archive(&WHOLE[1..])));
    let failure = BackUpCluster::new(via.clone(), Storage::Etcd, Vec::new()).run(&cx, &()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.fields["missing"].as_str()), ("backup-incomplete", "etcd-snapshot.db"));
    put_trust(&hosts[0]);
    let allowed = BackUpCluster::new(via, Storage::Etcd, vec!["backup".into()]);
    allowed.run(&cx, &()).await.unwrap();
    let files = allowed.probe(&cx, &()).await.unwrap().unwrap();
    assert_eq!((files.host.as_str(), files.datastore), ("h1", None));
}

/// Goal: links stay links in a host's copy, and its manifest names every file.
#[tokio::test]
async fn a_host_is_copied_as_it_lies() {
    let host = FakeHost::new("h1");
    let cx = step(std::slice::from_ref(&host));
    put_trust(&host);
    let link = Lies { bytes: Vec::new(), mode: 0o777, owner: (0, 0), link: Some("kubelet-client-1.pem".into()) };
    host.files.lock().unwrap().insert("/var/lib/k0s/kubelet/pki/kubelet-client-current.pem".into(), link);
    host.put("/var/lib/k0s/kubelet/pki/kubelet-client-1.pem", "PEM");
    host.put("/var/lib/k0s/etcd/member/wal", "no trust");
    let copy = SnapshotHost::new(controller("h1"));
    assert_eq!(copy.probe(&cx, &()).await, Ok(None));
    copy.run(&cx, &()).await.unwrap();
    let snapshot = copy.probe(&cx, &()).await.unwrap().unwrap();
    let manifest = cx.env.secrets.get(&snapshot.manifest).await.unwrap();
    let entries: Vec<crate::archive::Entry> = serde_json::from_slice(manifest.expose()).unwrap();
    assert_eq!((entries.len(), snapshot.entries), (14, 14));
    assert!(entries.iter().any(|e| e.kind == Kind::Link { target: "kubelet-client-1.pem".into() }));
    assert!(!entries.iter().any(|e| e.path.contains("wal")));
}

fn wanted(root: Root, name: &str) -> Wanted {
    Wanted { root, common_name: name.into(), seconds: 86_400 * 3650, given: None }
}

/// Goal: one shared pair a root and one front-proxy CA a controller, all keys sealed; staged with their hashes; gone after the undo.
#[tokio::test]
async fn trust_is_made_and_staged() {
    let hosts = [FakeHost::new("h1"), FakeHost::new("h2")];
    let cx = step(&hosts);
    let shared = vec![wanted(Root::KubernetesCa, "kubernetes-ca"), wanted(Root::ServiceAccount, "")];
    let front = (wanted(Root::FrontProxyCa, "kubernetes-front-proxy-ca"), vec!["h1".into(), "h2".into()]);
    let make = MakeTrust::new(shared, Some(front));
    make.run(&cx, &()).await.unwrap();
    let trust = make.probe(&cx, &()).await.unwrap().unwrap();
    assert_ne!(trust.front_proxy["h1"].fingerprint, trust.front_proxy["h2"].fingerprint);
    let recorded = serde_json::to_string(&trust).unwrap();
    assert!(!recorded.contains("PRIVATE"), "no key in the log");
    marked(&hosts[0]);
    let pairs = trust.of("h1").into_iter().map(|(root, pair)| (root, pair.clone())).collect();
    let copy = CopyKeys { host: controller("h1"), pairs };
    *hosts[0].tear_after.lock().unwrap() = Some(6);
    assert!(copy.run(&cx, &()).await.is_err());
    assert_eq!(copy.probe(&cx, &()).await, Ok(None));
    *hosts[0].tear_after.lock().unwrap() = None;
    copy.run(&cx, &()).await.unwrap();
    assert_eq!(copy.probe(&cx, &()).await, Ok(Some(())));
    hosts[0].files.lock().unwrap().get_mut("/var/lib/k0s/.k0rotate-x1/new/pki/ca.key").unwrap().mode = 0o644;
    assert_eq!(copy.probe(&cx, &()).await, Ok(None), "a readable key is not in place");
    copy.undo(&cx, &()).await.unwrap();
    assert_eq!((copy.undone(&cx, &()).await, hosts[0].files.lock().unwrap().len()), (Ok(true), 0));
}

/// Goal: an operator's CA is taken as it is, and one that k0s could not use is refused with its reason.
#[tokio::test]
async fn a_given_ca_is_checked_and_kept() {
    let cx = step(&[]);
    let now = i64::try_from(NOW).unwrap();
    let given = pki::make_ca("Acme Root", KeyKind::P256, Validity::from_now(now, 86_400)).unwrap();
    let key = cx.env.secrets.put(&given.key).await.unwrap();
    let brought = |certificate: &str| {
        let given = Some(Given { certificate: certificate.to_owned(), key: key.clone() });
        MakeTrust::new(vec![Wanted { given, ..wanted(Root::KubernetesCa, "Acme Root") }], None)
    };
    let make = brought(&given.certificate);
    make.run(&cx, &()).await.unwrap();
    assert_eq!(make.probe(&cx, &()).await.unwrap().unwrap().shared[&Root::KubernetesCa].public, given.certificate);
    let twice = brought(&given.certificate.repeat(2)).run(&cx, &()).await.unwrap_err();
    assert_eq!(
        (twice.code.as_str(), twice.fields["reason"].as_str()),
        ("ca-refused", "the file must hold one certificate, not 2")
    );
}

fn token(id: &str, expires: &str) -> Value {
    use base64::Engine;
    let expires = base64::engine::general_purpose::STANDARD.encode(expires);
    json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "data": {"token-secret": "c2VjcmV0", "expiration": expires, "usage-controller-join": "dHJ1ZQ=="},
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system", "uid": "u", "resourceVersion": "7"}})
}

/// A controller whose join tokens lie in a file of their own.
fn with_tokens(tokens: &[Value]) -> Arc<FakeHost> {
    let host = FakeHost::new("h1");
    host.put("tokens", serde_json::to_vec(tokens).unwrap());
    host.script(|command, files| {
        let lies = files.get_mut("tokens").unwrap();
        let mut tokens: Vec<Value> = serde_json::from_slice(&lies.bytes).unwrap();
        if command.args[0] == "token" {
            tokens.retain(|t| !command.args.iter().any(|id| t["metadata"]["name"].as_str().unwrap().ends_with(id)));
        } else if command.args[1] == "create" {
            let list: Value = serde_json::from_slice(command.stdin.expose()).unwrap();
            assert!(list["items"][0]["metadata"].get("resourceVersion").is_none());
            tokens.extend(list["items"].as_array().unwrap().iter().cloned());
        }
        lies.bytes = serde_json::to_vec(&tokens).unwrap();
        said(json!({"items": tokens}).to_string())
    });
    marked(&host);
    host
}

/// Goal: all tokens but the kept one go; the undo brings back those that are still valid, and only once.
#[tokio::test]
async fn join_tokens_are_revoked_and_restored() {
    let tokens =
        [token("aaaaaa", "2099-01-01T00:00:00Z"), token("bbbbbb", "2020-01-01T00:00:00Z"), token("cccccc", "")];
    let host = with_tokens(&tokens);
    let cx = step(std::slice::from_ref(&host));
    let revoke = RevokeJoinTokens { via: vec![controller("h1")], keep: vec!["cccccc".into()] };
    let before = revoke.before(&cx).await.unwrap();
    assert!(!serde_json::to_string(&before).unwrap().contains("c2VjcmV0"), "no secret in the log");
    assert_eq!(revoke.probe(&cx, &before).await, Ok(None));
    revoke.run(&cx, &before).await.unwrap();
    let left = || serde_json::from_slice::<Vec<Value>>(&host.files.lock().unwrap()["tokens"].bytes).unwrap().len();
    assert_eq!((revoke.probe(&cx, &before).await, left()), (Ok(Some(vec!["aaaaaa".into(), "bbbbbb".into()])), 1));
    assert_eq!(revoke.undone(&cx, &before).await, Ok(false));
    for _ in 0..2 {
        revoke.undo(&cx, &before).await.unwrap();
        assert_eq!((revoke.undone(&cx, &before).await, left()), (Ok(true), 2));
    }
}

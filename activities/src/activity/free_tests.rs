//! Shows each activity of the Free zone doing, looking and undoing on a host of maps.

use super::back_up_cluster::BackUpCluster;
use super::copy_keys::CopyKeys;
use super::hold_cluster::{self, HoldCluster};
use super::make_trust::{MakeTrust, Wanted};
use super::revoke_join_tokens::RevokeJoinTokens;
use super::snapshot_host::SnapshotHost;
use super::testing::{FakeHost, Lies, NOW, controller, failed, marked, put_trust, said, step};
use crate::archive::Kind;
use crate::facts::Storage;
use crate::fleet::{KeyKind, Root};
use crate::pki::{self, Validity};
use crate::trust::OwnCa;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::ids::{ExecutionId, Incarnation};
use k0rotate_engine::workflow::{Course, HoldCx, HoldFailure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

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
        course: Course { left: vec!["h8".into()], ..Course::default() },
        put_back: BTreeMap::new(),
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
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
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
    Wanted { root, common_name: name.into(), seconds: 86_400 * 3650, given: None, retired: Vec::new() }
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
    copy.run(&cx, &()).await.unwrap();
    hosts[0].files.lock().unwrap().get_mut("/var/lib/k0s/.k0rotate-x1/new/pki/sa.pub").unwrap().bytes.push(b'x');
    assert_eq!(copy.probe(&cx, &()).await, Ok(None), "nor is another key");
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
        let given = Some(OwnCa { certificate: certificate.to_owned(), key: Some(key.clone()) });
        Wanted { given, ..wanted(Root::KubernetesCa, "Acme Root") }
    };
    let making = |wanted: Wanted| MakeTrust::new(vec![wanted], None);
    let make = making(brought(&given.certificate));
    make.run(&cx, &()).await.unwrap();
    assert_eq!(make.probe(&cx, &()).await.unwrap().unwrap().shared[&Root::KubernetesCa].public, given.certificate);
    let twice = making(brought(&given.certificate.repeat(2))).run(&cx, &()).await.unwrap_err();
    assert_eq!(
        (twice.code.as_str(), twice.fields["reason"].as_str()),
        ("ca-refused", "the file must hold one certificate, not 2")
    );
    let retired = vec![pki::read_one(given.certificate.as_bytes()).unwrap().spki_sha256];
    let same = making(Wanted { retired, ..brought(&given.certificate) }).run(&cx, &()).await.unwrap_err();
    assert_eq!(same.code, "ca-not-new", "a new certificate of an old key would replace nothing");
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

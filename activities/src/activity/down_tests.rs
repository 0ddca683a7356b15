//! Shows that trust is put in place and back whole, wherever the change is torn.

use super::put_back::PutBack;
use super::start_controller::StartController;
use super::stop::Stop;
use super::testing::{FakeHost, Lies, NOW, controller, marked, said, step};
use super::wipe::{Placed, Wipe};
use crate::fleet::{KeyKind, Role, Root};
use crate::layout;
use crate::pki::{self, Issued, Leaf, Validity, sha256_hex};
use k0rotate_engine::activity::Activity;
use std::collections::BTreeMap;
use std::sync::Arc;

const PKI: &str = "/var/lib/k0s/pki";

fn ca(name: &str) -> Issued {
    pki::make_ca(name, KeyKind::P256, Validity::from_now(i64::try_from(NOW).unwrap(), 86_400)).unwrap()
}

fn leaf(of: &Issued, name: &str) -> Issued {
    let validity = Validity::from_now(i64::try_from(NOW).unwrap(), 3600);
    let sans = vec![];
    let wanted = Leaf { common_name: name.into(), organization: None, sans, server: true, client: true, validity };
    pki::issue(&of.certificate, &of.key, &wanted, KeyKind::P256).unwrap()
}

fn put_pair(host: &FakeHost, stem: &str, pair: &Issued) {
    host.put(&format!("{stem}.crt"), &pair.certificate);
    host.put(&format!("{stem}.key"), pair.key.expose());
}

/// A controller with workloads whose trust is to be swapped, and the step that does it. Its old Kubernetes CA has expired: leafs are
/// found all the same.
fn ready() -> (Arc<FakeHost>, Wipe, Vec<String>) {
    let host = FakeHost::new("c1");
    marked(&host);
    let place = crate::facts::K0sHost { role: Role::ControllerWorker, node: Some("c1".into()), ..controller("c1") };
    let past = Validity { not_before: 1_000_000_000, not_after: 1_100_000_000 };
    let old = pki::make_ca("kubernetes-ca", KeyKind::P256, past).unwrap();
    let other = ca("etcd-ca");
    put_pair(&host, &format!("{PKI}/ca"), &old);
    put_pair(&host, &format!("{PKI}/server"), &leaf(&old, "kubernetes"));
    put_pair(&host, &format!("{PKI}/alice"), &leaf(&old, "alice"));
    put_pair(&host, &format!("{PKI}/etcd/ca"), &other);
    put_pair(&host, &format!("{PKI}/etcd/peer"), &leaf(&other, "peer"));
    host.put(&format!("{PKI}/admin.conf"), "admin");
    host.put("/var/lib/k0s/kubelet.conf", "kubelet");
    host.put("/var/lib/k0s/kubelet/pki/kubelet-client-current.pem", "client");
    let new = ca("kubernetes-ca");
    for (path, bytes) in [("ca.key", new.key.expose()), ("ca.crt", new.certificate.as_bytes())] {
        host.put(&layout::staged(&place, "x1", &format!("{PKI}/{path}")), bytes);
    }
    let sha256 = [sha256_hex(new.key.expose()), sha256_hex(new.certificate.as_bytes())];
    let wipe = Wipe { host: place, pairs: vec![Placed { root: Root::KubernetesCa, sha256 }] };
    (host, wipe, vec![new.certificate])
}

/// All but what k0rotate keeps for itself.
fn world(host: &FakeHost) -> BTreeMap<String, Lies> {
    let files = host.files.lock().unwrap();
    files.iter().filter(|(path, _)| !path.contains("/.k0rotate-")).map(|(p, l)| (p.clone(), l.clone())).collect()
}

/// Goal: the new pair is in place, all that the old CA signed is gone with the kubelet's files, and what another CA signed stays.
#[tokio::test]
async fn the_new_trust_is_put_in_place() {
    let (host, wipe, _) = ready();
    let cx = step(std::slice::from_ref(&host));
    assert_eq!(wipe.probe(&cx, &()).await.unwrap(), None);
    wipe.run(&cx, &()).await.unwrap();
    assert_eq!(wipe.probe(&cx, &()).await.unwrap(), Some(()));
    let left: Vec<String> = world(&host).into_keys().collect();
    let wanted = ["ca.crt", "ca.key", "etcd/ca.crt", "etcd/ca.key", "etcd/peer.crt", "etcd/peer.key"];
    assert_eq!(left, wanted.map(|name| format!("{PKI}/{name}")));
}

fn kept(host: &FakeHost) -> Vec<String> {
    host.files.lock().unwrap().keys().filter(|path| path.contains("/old/")).cloned().collect()
}

/// Goal: wherever the swap is torn, a CA file is never missing, and doing it again completes it and has kept as much as a whole one.
#[tokio::test]
async fn a_torn_swap_is_completed() {
    let (whole, wipe, _) = ready();
    wipe.run(&step(std::slice::from_ref(&whole)), &()).await.unwrap();
    for changes in 0.. {
        let (host, wipe, _) = ready();
        let cx = step(std::slice::from_ref(&host));
        *host.tear_after.lock().unwrap() = Some(changes);
        let torn = wipe.run(&cx, &()).await.is_err();
        *host.tear_after.lock().unwrap() = None;
        let files = world(&host);
        assert!(files.contains_key(&format!("{PKI}/ca.crt")) && files.contains_key(&format!("{PKI}/ca.key")));
        assert_eq!(wipe.probe(&cx, &()).await.unwrap().is_none(), torn);
        wipe.run(&cx, &()).await.unwrap();
        assert_eq!(wipe.probe(&cx, &()).await.unwrap(), Some(()));
        assert_eq!(kept(&host), kept(&whole), "torn at {changes}");
        if !torn {
            assert!(changes > 10, "only {changes} changes were torn");
            break;
        }
    }
}

/// Goal: wherever the swap and then its way back are torn, the first files lie where they lay, byte for byte, and nothing else does.
#[tokio::test]
async fn the_old_trust_is_put_back_from_anywhere() {
    for torn_at in 0..20 {
        for torn_back_at in [None, Some(0), Some(1), Some(5)] {
            let (host, wipe, abandoned) = ready();
            let first = world(&host);
            let cx = step(std::slice::from_ref(&host));
            *host.tear_after.lock().unwrap() = Some(torn_at);
            let _ = wipe.run(&cx, &()).await;
            *host.tear_after.lock().unwrap() = torn_back_at;
            let back = PutBack { host: wipe.host.clone(), abandoned, staged: Vec::new() };
            let _ = back.run(&cx, &()).await;
            *host.tear_after.lock().unwrap() = None;
            back.run(&cx, &()).await.unwrap();
            assert_eq!(back.probe(&cx, &()).await.unwrap(), Some(()));
            assert_eq!(world(&host), first, "torn at {torn_at}, back at {torn_back_at:?}");
        }
    }
}

/// Goal: what the abandoned CA has signed since goes, and is found missing by the probe before.
#[tokio::test]
async fn leafs_of_the_abandoned_ca_go() {
    let (host, wipe, abandoned) = ready();
    let first = world(&host);
    let cx = step(std::slice::from_ref(&host));
    wipe.run(&cx, &()).await.unwrap();
    let read = |path: &str| host.files.lock().unwrap()[path].bytes.clone();
    let key = crate::secret::Secret::new(read(&format!("{PKI}/ca.key")));
    let new = Issued { certificate: abandoned[0].clone(), key };
    for name in ["server", "bob"] {
        put_pair(&host, &format!("{PKI}/{name}"), &leaf(&new, name));
    }
    let back = PutBack { host: wipe.host.clone(), abandoned, staged: Vec::new() };
    assert_eq!(back.probe(&cx, &()).await.unwrap(), None);
    back.run(&cx, &()).await.unwrap();
    assert_eq!(back.probe(&cx, &()).await.unwrap(), Some(()));
    assert_eq!(world(&host), first);
}

/// Goal: a controller that was held but never stopped, its stop having been cut off, is in place once it is no longer held.
#[tokio::test]
async fn what_was_held_but_ran_on_only_has_to_be_let_go() {
    let host = FakeHost::new("c1");
    marked(&host);
    host.script(|command, _| {
        let shown = "ActiveState=active\nMainPID=7\nExecMainStartTimestampMonotonic=5\n";
        said(if command.args[0] == "show" { shown } else { "" })
    });
    host.put(layout::HELD, "execution x1\n");
    let cx = step(std::slice::from_ref(&host));
    let start = StartController { host: controller("c1") };
    let was = start.before(&cx).await.unwrap();
    assert_eq!(start.probe(&cx, &was).await.unwrap(), None);
    start.run(&cx, &was).await.unwrap();
    assert!(start.probe(&cx, &was).await.unwrap().is_some());
}

/// Goal: the undo of a stop leaves a unit held, and starts nothing, where another execution had held it before.
#[tokio::test]
async fn what_was_held_before_is_held_again() {
    let host = FakeHost::new("c1");
    marked(&host);
    host.script(|command, _| (command.args == ["daemon-reload"]).then(|| said("")).flatten());
    host.put(layout::HELD, "execution x0\nit rests\n");
    let (cx, stop) = (step(std::slice::from_ref(&host)), Stop { host: controller("c1") });
    let was = stop.before(&cx).await.unwrap();
    host.put(layout::HELD, "execution x1\nit works\n");
    for _ in 0..2 {
        stop.undo(&cx, &was).await.unwrap();
        assert_eq!(host.files.lock().unwrap()[layout::HELD].bytes, b"execution x0\nit rests\n");
    }
}

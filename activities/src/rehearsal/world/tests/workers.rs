//! Workers with trust that is not the cluster's, and how they come back.

use super::*;
use crate::kubeconfig::{self, Kubeconfig};

const CONF: &str = "/var/lib/k0s/kubelet.conf";
const BOOTSTRAP: &str = "/var/lib/k0s/kubelet-bootstrap.conf";

fn wipe(world: &mut World, host: &str) {
    remove(world, host, CONF);
    remove(world, host, "/var/lib/k0s/kubelet/pki");
}

fn bootstrap_file(world: &mut World, host: &str, via: &str) {
    let token = ok(world, via, "k0s token create --role worker --expiry 1h");
    let config = crate::token::decode(&Secret::new(token.into_bytes())).unwrap();
    write(world, host, BOOTSTRAP, config.expose());
}

/// Goal: a kubelet.conf with another CA: active, no restart, no line, no socket for 256 s; then the golden text, and again (lab §16, §21, §25).
#[test]
fn stale_trust_is_silent() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    ok(&mut world, "h2", "systemctl stop k0sworker");
    let old = Kubeconfig::read(&Secret::new(world.read("h2", CONF).unwrap())).unwrap();
    let foreign = new_ca("kubernetes-ca", &world).certificate;
    let conf = kubeconfig::kubelet(&old.server, &foreign, "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem");
    write(&mut world, "h2", CONF, conf.expose());
    ok(&mut world, "h2", "systemctl start k0sworker");
    pass(&mut world, 250.0);
    assert_eq!(
        ok(&mut world, "h2", "systemctl show -p ActiveState,NRestarts k0sworker"),
        "ActiveState=active\nNRestarts=0\n"
    );
    assert!(!run(&mut world, "h2", "k0s status").ok());
    assert!(!journal(&mut world, "h2", "k0sworker").contains("Error"));
    pass(&mut world, 9.0);
    let text = "worker-config-default-1.36\": tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(journal(&mut world, "h2", "k0sworker").contains(text));
    assert!(!left(&world, "h2").contains(&"kubelet".to_owned()));
    assert!(world.processes("h2").iter().any(|p| p.comm == "containerd-shim"), "pods run on");
}

/// Goal: a client certificate of another CA: the same silence, another text (lab §25).
#[test]
fn a_stale_client_certificate_is_silent() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    ok(&mut world, "h2", "systemctl stop k0sworker");
    let ca = new_ca("kubernetes-ca", &world);
    let validity = crate::pki::Validity::from_now(i64::try_from(world.now().0 / 1000).unwrap(), 100_000);
    let leaf = crate::pki::Leaf {
        common_name: "system:node:h2".to_owned(),
        organization: Some("system:nodes".to_owned()),
        sans: Vec::new(),
        server: false,
        client: true,
        validity,
    };
    let issued = crate::pki::issue(&ca.certificate, &ca.key, &leaf, crate::fleet::KeyKind::P256).unwrap();
    let both = [issued.certificate.as_bytes(), issued.key.expose()].concat();
    write(&mut world, "h2", "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem", &both);
    ok(&mut world, "h2", "systemctl start k0sworker");
    pass(&mut world, 259.0);
    let text = "Error: the k0s worker node credentials are invalid, the node needs to be rejoined into the cluster with a fresh bootstrap token: Unauthorized";
    assert!(journal(&mut world, "h2", "k0sworker").contains(text));
}

/// Goal: with a fresh bootstrap file a wiped worker is back: kubelet.conf in about a second, serving certificate at the next 10 s (lab §4, §31).
#[test]
fn a_wiped_worker_comes_back() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    ok(&mut world, "h2", "systemctl stop k0sworker");
    wipe(&mut world, "h2");
    bootstrap_file(&mut world, "h2", "h1");
    ok(&mut world, "h2", "systemctl start k0sworker");
    let conf = until(&mut world, 10, |w| w.read("h2", CONF).is_some());
    assert!(conf < Duration::from_secs(3), "{conf:?}");
    let served =
        until(&mut world, 30, |w| w.read("h2", "/var/lib/k0s/kubelet/pki/kubelet-server-current.pem").is_some());
    assert!(served < Duration::from_secs(20), "{served:?}");
    until(&mut world, 20, |w| run(w, "h1", "k0s kubectl get --raw /api/v1/nodes/h2/proxy/healthz").ok());
    assert!(world.read("h2", BOOTSTRAP).is_some(), "k0s leaves the file");
}

/// Goal: without any source it ends at once; a bootstrap file placed while it tries with the old token is not seen before a restart (lab §32).
#[test]
fn the_source_is_chosen_at_the_start() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    ok(&mut world, "h2", "systemctl stop k0sworker");
    wipe(&mut world, "h2");
    remove(&mut world, "h2", "/etc/k0s/k0stoken");
    ok(&mut world, "h2", "systemctl start k0sworker");
    pass(&mut world, 2.0);
    assert!(journal(&mut world, "h2", "k0sworker").contains("not found: obtain a new token"));
    // Another token of a CA that is not the cluster's.
    ok(&mut world, "h2", "systemctl stop k0sworker");
    let foreign = kubeconfig::bootstrap(
        "https://10.77.0.11:6443",
        &new_ca("kubernetes-ca", &world).certificate,
        "kubelet-bootstrap",
        &Secret::new(b"abcdef.0123456789abcdef".to_vec()),
    );
    write(&mut world, "h2", "/etc/k0s/k0stoken", crate::token::encode(&foreign).expose());
    ok(&mut world, "h2", "systemctl start k0sworker");
    pass(&mut world, 5.0);
    assert!(journal(&mut world, "h2", "k0sworker").contains("Failed to connect to apiserver"));
    bootstrap_file(&mut world, "h2", "h1");
    pass(&mut world, 20.0);
    assert!(world.read("h2", CONF).is_none(), "the file is not seen");
    ok(&mut world, "h2", "systemctl restart k0sworker");
    until(&mut world, 10, |w| w.read("h2", CONF).is_some());
}

/// Goal: with the kubelet's old key left, the old request is used again together with its old certificate (facts §2.2).
#[test]
fn a_key_left_behind_brings_the_old_certificate_back() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    ok(&mut world, "h2", "systemctl stop k0sworker");
    let client = "/var/lib/k0s/kubelet/pki/kubelet-client-current.pem";
    let before = crate::pki::read_certificates(&world.read("h2", client).unwrap()).unwrap().remove(0).fingerprint;
    remove(&mut world, "h2", CONF);
    bootstrap_file(&mut world, "h2", "h1");
    ok(&mut world, "h2", "systemctl start k0sworker");
    until(&mut world, 10, |w| w.read("h2", CONF).is_some());
    let after = crate::pki::read_certificates(&world.read("h2", client).unwrap()).unwrap().remove(0).fingerprint;
    assert_eq!(before, after);
}

/// Goal: up to 1.32 a worker's own pki/ca.crt is the kubelet's trust and is never overwritten (facts §1.3).
#[test]
fn the_workers_own_ca_up_to_1_32() {
    let mut plan = FleetPlan::sized(1, 1);
    plan.version = "v1.32.9+k0s.0".to_owned();
    let mut world = World::new(&plan);
    let path = format!("{PKI}/ca.crt");
    assert_eq!(text(&world, "h2", &path), text(&world, "h1", &path));
    let foreign = new_ca("kubernetes-ca", &world).certificate;
    write(&mut world, "h2", &path, foreign.as_bytes());
    ok(&mut world, "h2", "systemctl restart k0sworker");
    pass(&mut world, 30.0);
    assert_eq!(text(&world, "h2", &path), foreign);
    let output = run(&mut world, "h1", "k0s kubectl get --raw /api/v1/nodes/h2/proxy/healthz");
    assert!(output.err_text().contains("asked for the client to provide credentials") || !output.ok());
}

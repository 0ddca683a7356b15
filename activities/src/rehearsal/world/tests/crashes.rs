//! Power cuts, killed processes, units that are held, hosts that were away.

use super::*;

fn hold(world: &mut World, host: &str) {
    let drop_in = "/etc/systemd/system/k0scontroller.service.d/50-held.conf";
    write(world, host, drop_in, b"[Unit]\nConditionPathExists=!/var/lib/held\n");
    ok(world, host, "systemctl daemon-reload");
    write(world, host, "/var/lib/held", b"x");
}

/// Goal: a held unit: start returns 0 and it stays inactive, over a reboot too; once the file is gone it starts (lab §36).
#[test]
fn a_held_unit() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    hold(&mut world, "h1");
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    ok(&mut world, "h1", "systemctl start k0scontroller");
    assert_eq!(run(&mut world, "h1", "systemctl is-active k0scontroller").text(), "inactive\n");
    let boot = world.boot_id("h1");
    world.reboot("h1");
    pass(&mut world, 10.0);
    assert_ne!(boot, world.boot_id("h1"));
    assert_eq!(run(&mut world, "h1", "systemctl is-active k0scontroller").text(), "inactive\n");
    remove(&mut world, "h1", "/var/lib/held");
    ok(&mut world, "h1", "systemctl start k0scontroller");
    until(&mut world, 10, |w| ready(w, "h1"));
}

/// Goal: without daemon-reload a drop-in means nothing.
#[test]
fn a_drop_in_that_was_not_loaded() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    write(
        &mut world,
        "h1",
        "/etc/systemd/system/k0scontroller.service.d/50-held.conf",
        b"[Unit]\nConditionPathExists=!/var/lib/held\n",
    );
    write(&mut world, "h1", "/var/lib/held", b"x");
    ok(&mut world, "h1", "systemctl restart k0scontroller");
    assert_eq!(ok(&mut world, "h1", "systemctl is-active k0scontroller"), "active\n");
}

/// Goal: a power cut at any moment of a start is harmless (lab §32).
#[test]
fn a_power_cut_during_a_start() {
    for after in [0.1, 0.3, 0.6, 1.0, 2.5, 5.0] {
        let mut world = World::new(&FleetPlan::sized(1, 0));
        ok(&mut world, "h1", "systemctl restart k0scontroller");
        pass(&mut world, after);
        world.power_off("h1");
        pass(&mut world, 5.0);
        assert!(!world.api_up_anywhere());
        world.power_on("h1");
        until(&mut world, 20, |w| w.has_power("h1") && ready(w, "h1"));
    }
}

/// Goal: k0s SIGKILLed: its components run on and are ready; systemd starts it again after 10 s; a stop before that leaves them all (lab §22).
#[test]
fn the_main_process_killed() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let kill = |world: &mut World| {
        let main = world.processes("h1").into_iter().find(|p| p.comm == "k0s").unwrap();
        world.apply("h1", &Change::Signal { process: main, signal: 9 }).unwrap();
    };
    kill(&mut world);
    pass(&mut world, 0.6);
    assert!(ready(&mut world, "h1"));
    let golden = include_str!("../../../../../tests/goldens/v1.36.3+k0s.2/crashed-main-status.stderr.txt");
    assert_eq!(run(&mut world, "h1", "k0s status").err_text(), golden);
    let shown = ok(&mut world, "h1", "systemctl show -p Result,NRestarts,ActiveState,SubState k0scontroller");
    assert_eq!(shown, "Result=signal\nNRestarts=0\nActiveState=activating\nSubState=auto-restart\n");
    pass(&mut world, 18.0);
    assert!(ready(&mut world, "h1"));
    assert!(run(&mut world, "h1", "k0s status").ok());
    kill(&mut world);
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    assert_eq!(run(&mut world, "h1", "systemctl is-active k0scontroller").text(), "inactive\n");
    assert!(left(&world, "h1").contains(&"etcd".to_owned()) && ready(&mut world, "h1"));
    ok(&mut world, "h1", "systemctl start k0scontroller");
    pass(&mut world, 10.0);
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    assert!(left(&world, "h1").is_empty());
}

/// Goal: one of three back on other trust with the etcd CA kept: invisible from itself, visible in a cross-check and in its proxy path (lab §6.1).
#[test]
fn a_split_cluster() {
    let mut world = World::new(&FleetPlan::sized(3, 2));
    ok(&mut world, "h2", "systemctl stop k0scontroller");
    let ca = new_ca("kubernetes-ca", &world);
    write(&mut world, "h2", &format!("{PKI}/ca.key"), ca.key.expose());
    write(&mut world, "h2", &format!("{PKI}/ca.crt"), ca.certificate.as_bytes());
    ok(&mut world, "h2", "systemctl start k0scontroller");
    pass(&mut world, 60.0);
    assert!(ready(&mut world, "h2"));
    assert!(run(&mut world, "h2", "k0s status").ok());
    assert!(ok(&mut world, "h2", "k0s etcd member-list").contains("h3"));
    assert!(ok(&mut world, "h2", "k0s kubectl get nodes -o json").contains("KubeletReady"));
    let output = run(&mut world, "h2", "k0s kubectl get --raw /api/v1/nodes/h4/proxy/healthz");
    assert!(output.err_text().contains("No agent available"), "{}", output.err_text());
    let admin =
        crate::kubeconfig::Kubeconfig::read(&Secret::new(world.read("h2", &format!("{PKI}/admin.conf")).unwrap()))
            .unwrap();
    let crate::kubeconfig::Credentials::Certificate { certificate, key } = admin.credentials else {
        panic!("a certificate")
    };
    for (host, address, status) in [("h1", "10.77.0.11", 401), ("h2", "10.77.0.12", 200), ("h3", "10.77.0.13", 401)] {
        let identity = Some(crate::host::ClientIdentity { certificate: certificate.clone(), key: key.clone() });
        let request = TlsRequest {
            address: format!("{address}:6443"),
            path: "/api".to_owned(),
            identity,
            ..TlsRequest::default()
        };
        assert!(matches!(world.tls(host, &request).end, TlsEnd::Answer(found, _) if found == status), "{host}");
    }
}

/// Goal: a controller back with the old etcd CA is refused by its peers and serves nothing; the others stay well (lab §31).
#[test]
fn a_straggler_is_fenced_by_the_etcd_ca() {
    let mut world = World::new(&FleetPlan::sized(3, 0));
    world.power_off("h3");
    all(&mut world, &["h1", "h2"], "systemctl stop k0scontroller");
    let ca = new_ca("etcd-ca", &world);
    for host in ["h1", "h2"] {
        write(&mut world, host, &format!("{PKI}/etcd/ca.key"), ca.key.expose());
        write(&mut world, host, &format!("{PKI}/etcd/ca.crt"), ca.certificate.as_bytes());
    }
    all(&mut world, &["h1", "h2"], "systemctl start k0scontroller");
    until(&mut world, 20, |w| ready(w, "h1") && ready(w, "h2"));
    world.power_on("h3");
    pass(&mut world, 100.0);
    assert!(ready(&mut world, "h1") && ready(&mut world, "h2"));
    let request = TlsRequest { address: "10.77.0.13:6443".to_owned(), ..TlsRequest::default() };
    assert_eq!(world.tls("h3", &request).end, TlsEnd::Refused);
    pass(&mut world, 30.0);
    assert!(journal(&mut world, "h3", "k0scontroller").contains("Etcd health-check timed out"));
}

/// Goal: a full disk refuses writes with a short code, and what is there stays.
#[test]
fn a_full_disk() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    world.fill_disk("h1", true);
    let change =
        Change::Write { path: "/root/x".to_owned(), bytes: Secret::new(b"x".to_vec()), mode: 0o600, owner: ROOT };
    assert_eq!(world.apply("h1", &change), Err("no-space".to_owned()));
    assert!(world.read("h1", "/root/x").is_none());
    world.fill_disk("h1", false);
    world.apply("h1", &change).unwrap();
}

//! A healthy cluster, and what it does while nobody touches it.

use super::*;
use crate::fleet::Role;

/// Goal: a fleet of every shape begins healthy: API ready, nodes Ready, proxy path open (lab §3, §17, §18).
#[test]
fn a_fleet_begins_healthy() {
    let shapes: [&[(&str, Role)]; 4] = [
        &[
            ("h1", Role::Controller),
            ("h2", Role::Controller),
            ("h3", Role::Controller),
            ("h4", Role::Worker),
            ("h5", Role::Worker),
        ],
        &[("h6", Role::ControllerWorker)],
        &[("h7", Role::Single)],
        &[("h1", Role::ControllerWorker), ("h2", Role::ControllerWorker), ("h3", Role::ControllerWorker)],
    ];
    for shape in shapes {
        let mut world = World::new(&FleetPlan::of(shape));
        assert!(world.api_up_anywhere());
        let nodes: Vec<&str> = shape.iter().filter(|(_, role)| role.has_workloads()).map(|(name, _)| *name).collect();
        for (host, _) in shape.iter().filter(|(_, role)| role.is_controller()) {
            assert!(ready(&mut world, host), "{host}");
            for node in &nodes {
                let path = format!("k0s kubectl get --raw /api/v1/nodes/{node}/proxy/healthz");
                assert_eq!(ok(&mut world, host, &path), "ok", "{host} to {node}");
            }
        }
    }
}

/// Goal: Leases of nodes are renewed every 10 s, those of controllers are held, and nothing else happens in five minutes.
#[test]
fn an_idle_cluster_renews_its_leases() {
    let mut world = World::new(&FleetPlan::sized(3, 2));
    let lease = |world: &mut World, name: &str| {
        ok(world, "h1", &format!("k0s kubectl -n kube-node-lease get lease {name} -o json"))
    };
    let before = lease(&mut world, "h4");
    pass(&mut world, 11.0);
    assert_ne!(before, lease(&mut world, "h4"));
    assert!(!lease(&mut world, "k0s-ctrl-h2").contains("\"holderIdentity\": \"\""));
    let trust = world.trust_files();
    pass(&mut world, 300.0);
    assert_eq!(trust, world.trust_files());
    assert_eq!(world.api_gap(), Duration::ZERO);
}

/// Goal: a start has the order and the times of lab §21, and a stop leaves nothing running (lab §16, §30).
#[test]
fn stop_and_start_take_the_measured_times() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let begun = world.now();
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    let took = world.now().since(begun);
    assert!((Duration::from_millis(1000)..Duration::from_millis(2500)).contains(&took), "{took:?}");
    assert_eq!(left(&world, "h1"), Vec::<String>::new());
    assert_eq!(run(&mut world, "h1", "systemctl is-active k0scontroller").text(), "inactive\n");
    ok(&mut world, "h1", "systemctl start k0scontroller");
    let socket = until(&mut world, 20, |w| run(w, "h1", "k0s status").ok());
    assert!((Duration::from_millis(4700)..Duration::from_millis(6000)).contains(&socket), "status.sock {socket:?}");
    let rest = until(&mut world, 20, |w| ready(w, "h1"));
    let all = socket + rest;
    assert!((Duration::from_millis(6500)..Duration::from_millis(8000)).contains(&all), "readyz {all:?}");
}

/// Goal: stopping three controllers in the same moment takes about 1.5 s; with the leader last and alone etcd is left over (lab §5.1, §30).
#[test]
fn how_three_controllers_stop() {
    let hosts = ["h1", "h2", "h3"];
    let mut world = World::new(&FleetPlan::sized(3, 0));
    let begun = world.now();
    all(&mut world, &hosts, "systemctl stop k0scontroller");
    let took = world.now().since(begun);
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert!(hosts.iter().all(|host| left(&world, host).is_empty()));

    let mut plan = FleetPlan::sized(3, 0);
    plan.stop_race = true;
    let mut world = World::new(&plan);
    all(&mut world, &hosts, "systemctl stop k0scontroller");
    let orphans: Vec<String> = hosts.iter().flat_map(|host| left(&world, host)).collect();
    assert_eq!(orphans, ["etcd"]);

    plan.version = "v1.34.10+k0s.0".to_owned();
    let mut world = World::new(&plan);
    let begun = world.now();
    all(&mut world, &hosts, "systemctl stop k0scontroller");
    let took = world.now().since(begun);
    assert!((Duration::from_secs(7)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(hosts.iter().all(|host| left(&world, host).is_empty()));
}

/// Goal: the first of three controllers alone never gets healthy: exit after two minutes, restart after 10 s (facts §1.4, lab §5.1).
#[test]
fn one_of_three_alone_never_gets_healthy() {
    let mut world = World::new(&FleetPlan::sized(3, 0));
    all(&mut world, &["h1", "h2", "h3"], "systemctl stop k0scontroller");
    ok(&mut world, "h1", "systemctl start k0scontroller");
    pass(&mut world, 60.0);
    assert_eq!(ok(&mut world, "h1", "systemctl is-active k0scontroller"), "active\n");
    assert!(!run(&mut world, "h1", "k0s status").ok());
    let output = run_command(&mut world, "h1", "k0s etcd member-list", Vec::new(), Duration::from_secs(10));
    assert_eq!(output.status, 124, "it hangs");
    pass(&mut world, 65.0);
    assert!(
        journal(&mut world, "h1", "k0scontroller")
            .contains("Error: failed to start controller node components: Etcd health-check timed out")
    );
    all(&mut world, &["h2", "h3"], "systemctl start k0scontroller");
    until(&mut world, 60, |w| ["h1", "h2", "h3"].iter().all(|host| ready(w, host)));
}

/// Goal: kcm takes its Lease 16-17 s after its start, which is 23-28 s after k0s' (lab §5.2, §28); on `single` there is none (lab §18).
#[test]
fn kcm_waits_for_its_lease() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let holder = |w: &mut World| ok(w, "h1", "k0s kubectl -n kube-system get lease kube-controller-manager -o json");
    let name = |text: &str| text.lines().find(|line| line.contains("holderIdentity")).map(str::to_owned);
    let before = name(&holder(&mut world));
    ok(&mut world, "h1", "systemctl restart k0scontroller");
    let begun = world.now();
    until(&mut world, 20, |w| ready(w, "h1"));
    until(&mut world, 60, |w| name(&holder(w)) != before);
    let took = world.now().since(begun);
    assert!((Duration::from_secs(20)..Duration::from_secs(28)).contains(&took), "{took:?}");
}

/// Goal: `k0s-ctrl-<host>` is held again 5-8 s after a clean restart, and 60-75 s after a power cut (lab §15).
#[test]
fn the_controllers_own_lease() {
    let mut world = World::new(&FleetPlan::sized(3, 0));
    let held = |w: &mut World| {
        let text = ok(w, "h1", "k0s kubectl -n kube-node-lease get lease k0s-ctrl-h3 -o json");
        text.lines().filter(|l| l.contains("holderIdentity") || l.contains("acquireTime")).collect::<String>()
    };
    let before = held(&mut world);
    ok(&mut world, "h3", "systemctl restart k0scontroller");
    let clean = until(&mut world, 90, |w| held(w) != before && !held(w).contains("\"\""));
    assert!(clean < Duration::from_secs(9), "{clean:?}");
    let before = held(&mut world);
    world.reboot("h3");
    let unclean = until(&mut world, 120, |w| held(w) != before);
    assert!((Duration::from_secs(60)..Duration::from_secs(80)).contains(&unclean), "{unclean:?}");
}

/// Goal: a node whose kubelet is gone stays Ready for 40-50 s, and its pods are evicted five minutes later (facts §2.3).
#[test]
fn a_node_without_a_kubelet() {
    let mut world = World::new(&FleetPlan::sized(1, 2));
    ok(&mut world, "h3", "systemctl stop k0sworker");
    let nodes = |w: &mut World| ok(w, "h1", "k0s kubectl get node h3 -o json");
    let took = until(&mut world, 90, |w| nodes(w).contains("NodeStatusUnknown"));
    assert!((Duration::from_secs(38)..Duration::from_secs(56)).contains(&took), "{took:?}");
    let on = |w: &mut World| {
        ok(w, "h1", "k0s kubectl get pods -A --field-selector spec.nodeName=h3 -o json")
            .matches("\"kind\": \"ReplicaSet\"")
            .count()
    };
    assert!(on(&mut world) > 0);
    until(&mut world, 330, |w| on(w) == 0);
    assert!(!world.processes("h3").is_empty(), "the containers run on");
}

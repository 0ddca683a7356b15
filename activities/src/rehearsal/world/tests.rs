//! Shows that the model behaves as a real k0s was measured to.

use super::*;
use std::time::{Duration, Instant};

fn run(world: &mut World, host: &str, line: &str) -> Output {
    let mut words = line.split(' ').map(str::to_owned);
    let program = words.next().unwrap();
    let ticket = world.begin(host, &Command::new(&program, words));
    loop {
        if let Some(output) = world.take(ticket) {
            return output;
        }
        let due = world.next_due().expect("a command is due");
        world.advance_to(due);
    }
}

fn pass(world: &mut World, seconds: u64) {
    let to = world.now().plus(Duration::from_secs(seconds));
    world.advance_to(to);
}

#[test]
fn explore() {
    let t = Instant::now();
    let mut world = World::new(&FleetPlan::sized(3, 2));
    eprintln!("new {:?}", t.elapsed());
    for host in ["h1", "h2", "h4"] {
        for line in [
            "systemctl is-active k0scontroller",
            "k0s status",
            "k0s status -o json",
            "k0s etcd member-list",
            "k0s kubectl get --raw /readyz",
            "k0s kubectl get --raw /api/v1/nodes/h4/proxy/healthz",
            "k0s token list --role worker",
            "journalctl -u k0scontroller -n 50",
            "journalctl -u k0sworker -n 50",
            "k0s ctr -n k8s.io tasks ls",
        ] {
            let out = run(&mut world, host, line);
            let text: String = out.text().chars().take(1500).collect();
            eprintln!("{host} $ {line} -> {} {} | {}", out.status, text, out.err_text());
        }
        for p in world.processes(host) {
            eprintln!("{p:?}");
        }
    }
    for (path, object) in crate::rehearsal::k0s::api::Store::below(&world.objects, "/") {
        eprintln!("{path} {}", object["metadata"]["resourceVersion"]);
    }
    let t = Instant::now();
    pass(&mut world, 300);
    eprintln!("300 s idle {:?}; gap {:?}", t.elapsed(), world.api_gap());
    let t = Instant::now();
    let _c = world.clone();
    eprintln!("clone {:?}", t.elapsed());
}

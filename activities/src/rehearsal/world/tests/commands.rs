//! Command lines, with the texts that a real k0s printed.

use super::*;
use crate::fleet::Role;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/goldens/v1.36.3+k0s.2/", $name, ".txt"))
    };
}

fn fails(world: &mut World, host: &str, line: &str, golden: &str) {
    let output = run(world, host, line);
    assert_eq!(output.status, 1, "{line}");
    assert_eq!(output.err_text(), golden.lines().next().unwrap().to_owned() + "\n", "{line}");
}

/// Goal: a stopped controller answers each command with the golden text.
#[test]
fn of_a_stopped_controller() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    for (line, golden) in [
        ("k0s status", golden!("stopped-status.stderr")),
        ("k0s backup --save-path -", golden!("stopped-backup.stderr")),
        ("k0s token create --role worker --expiry 1h", golden!("stopped-token-create.stderr")),
        ("k0s token list --role worker", golden!("stopped-token-list.stderr")),
        ("k0s token invalidate abcdef", golden!("stopped-token-invalidate.stderr")),
        ("k0s kubectl get --raw /readyz", golden!("stopped-kubectl-readyz.stderr")),
    ] {
        fails(&mut world, "h1", line, golden);
    }
    assert_eq!(ok(&mut world, "h1", "k0s version"), golden!("version-controller.stdout"));
}

/// Goal: a worker and a single node refuse what is not theirs with the golden texts.
#[test]
fn of_workers_and_single_nodes() {
    let mut world = World::new(&FleetPlan::sized(1, 1));
    for (line, golden) in [
        ("k0s kubectl get --raw /readyz", golden!("kubectl-on-worker.stderr")),
        ("k0s token create --role worker --expiry 1h", golden!("token-create-on-worker.stderr")),
        ("k0s backup --save-path -", golden!("backup-on-worker.stderr")),
        ("k0s etcd member-list", golden!("etcd-member-list-on-worker.stderr")),
    ] {
        fails(&mut world, "h2", line, golden);
    }
    let mut older = World::new(&FleetPlan { version: "v1.32.13+k0s.0".to_owned(), ..FleetPlan::sized(1, 1) });
    let golden = include_str!("../../../../../tests/goldens/v1.32.13+k0s.0/token-create-on-worker.stderr.txt");
    fails(&mut older, "h2", "k0s token create --role worker --expiry 1h", golden);
    fails(&mut world, "h1", "k0s token list", golden!("token-list-no-role.stderr"));
    fails(&mut world, "h1", "k0s kubectl get node nosuch -o json", golden!("kubectl-get-not-found.stderr"));
    let mut world = World::new(&FleetPlan::of(&[("h7", Role::Single)]));
    fails(&mut world, "h7", "k0s token create --role worker", golden!("single-token-create-worker.stderr"));
    fails(&mut world, "h7", "k0s etcd member-list", golden!("single-etcd-member-list.stderr"));
    assert_eq!(ok(&mut world, "h7", "k0s token list --role worker"), "No k0s join tokens found\n");
}

/// Goal: tokens are real: made, listed, accepted by their secret, invalidated, and an unknown id is deleted too (facts §3.2).
#[test]
fn tokens() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let token = ok(&mut world, "h1", "k0s token create --role worker --expiry 1h");
    let id = crate::token::id_of_join_token(&Secret::new(token.clone().into_bytes())).unwrap();
    assert!(ok(&mut world, "h1", "k0s token list --role worker").contains(&id));
    assert_eq!(ok(&mut world, "h1", "k0s token list --role controller"), "No k0s join tokens found\n");
    let config = crate::token::decode(&Secret::new(token.into_bytes())).unwrap();
    let crate::kubeconfig::Credentials::Token(bearer) =
        crate::kubeconfig::Kubeconfig::read(&config).unwrap().credentials
    else {
        panic!("a token")
    };
    let status = |w: &mut World, bearer: &Secret| {
        let request = TlsRequest {
            address: "10.77.0.11:6443".to_owned(),
            path: "/api".to_owned(),
            bearer: Some(bearer.clone()),
            ..TlsRequest::default()
        };
        let TlsEnd::Answer(status, _) = w.tls("h1", &request).end else { panic!("an answer") };
        status
    };
    assert_eq!(status(&mut world, &bearer), 200);
    assert_eq!(status(&mut world, &Secret::new(format!("{id}.wrongwrongwrong1").into_bytes())), 401);
    ok(&mut world, "h1", &format!("k0s token invalidate {id}"));
    assert_eq!(status(&mut world, &bearer), 401);
    assert_eq!(ok(&mut world, "h1", "k0s token invalidate abcdef"), golden!("token-invalidate-unknown-id.stdout"));
    let secret = crate::rehearsal::k0s::cli::bootstrap_secret("controller", "abc123", "0123456789abcdef", None);
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [secret]}).to_string();
    let output = run_command(&mut world, "h1", "k0s kubectl create -f -", list.into_bytes(), Duration::from_secs(30));
    assert_eq!(output.text(), "secret/bootstrap-token-abc123 created\n");
    assert!(ok(&mut world, "h1", "k0s token list --role controller").contains("abc123   controller"));
}

/// Goal: kubectl with a foreign CA of the same name, with one of another name and with a bad token says what the goldens say.
#[test]
fn kubectl_without_trust() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let admin =
        crate::kubeconfig::Kubeconfig::read(&Secret::new(world.read("h1", &format!("{PKI}/admin.conf")).unwrap()))
            .unwrap();
    let bad = Secret::new(b"abcdef.0123456789abcdef".to_vec());
    for (ca, golden) in [
        (new_ca("kubernetes-ca", &world).certificate, golden!("kubectl-readyz-bad-samesubj.stderr")),
        (new_ca("other", &world).certificate, golden!("kubectl-readyz-bad-wrongca.stderr")),
        (admin.ca.clone(), golden!("kubectl-readyz-bad-tok.stderr")),
    ] {
        let config = crate::kubeconfig::bootstrap("https://localhost:6443", &ca, "x", &bad);
        write(&mut world, "h1", "/root/conf", config.expose());
        fails(&mut world, "h1", "k0s kubectl --kubeconfig /root/conf get --raw /readyz", golden);
    }
}

/// Goal: the backup lists as the golden does (lab §16), and needs the configuration file (facts §4.1).
#[test]
fn a_backup() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let output = run(&mut world, "h1", "k0s backup --save-path -");
    assert!(output.ok() && output.stderr.is_empty());
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(output.stdout.as_slice()));
    let names: Vec<String> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    for name in ["etcd-snapshot.db", "pki/ca.key", "pki/etcd/ca.crt", "k0s.yaml"] {
        assert!(names.iter().any(|own| own == name), "{name} in {names:?}");
    }
    remove(&mut world, "h1", "/etc/k0s/k0s.yaml");
    assert!(run(&mut world, "h1", "k0s backup --save-path -").err_text().contains("no such file or directory"));
}

/// Goal: what the model does not know is loud.
#[test]
fn an_unknown_command() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let ticket = world.begin("h1", &Command::new("k0s", ["reset"]));
    pass(&mut world, 1.0);
    let output = world.take(ticket).unwrap();
    assert_eq!((output.status, output.err_text().as_str()), (127, "model: unknown command: k0s reset\n"));
}

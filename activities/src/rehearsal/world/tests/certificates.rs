//! Rows of facts §1.4 and lab §9, §19: what a controller does with the trust that it finds.

use super::*;

fn one() -> World {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    world
}

fn of_version(version: &str) -> World {
    let mut plan = FleetPlan::sized(1, 0);
    plan.version = version.to_owned();
    let mut world = World::new(&plan);
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    world
}

fn start(world: &mut World) {
    ok(world, "h1", "systemctl start k0scontroller");
    pass(world, 8.0);
}

fn put_ca(world: &mut World, file: &str, ca: &crate::pki::Issued) {
    write(world, "h1", &format!("{PKI}/{file}.key"), ca.key.expose());
    write(world, "h1", &format!("{PKI}/{file}.crt"), ca.certificate.as_bytes());
}

fn issuer(world: &World, leaf: &str) -> String {
    crate::pki::read_one(&world.read("h1", &format!("{PKI}/{leaf}")).unwrap()).unwrap().issuer_cn
}

const LEAFS: [&str; 7] = ["admin", "ccm", "scheduler", "konnectivity", "apiserver-kubelet-client", "server", "k0s-api"];

fn remove_leafs(world: &mut World) {
    for leaf in LEAFS {
        remove(world, "h1", &format!("{PKI}/{leaf}.crt"));
        remove(world, "h1", &format!("{PKI}/{leaf}.key"));
    }
}

/// Goal: CA replaced under the same name, leafs stale: all leafs are re-issued and it starts, on every version.
#[test]
fn replaced_ca_of_the_same_name() {
    for version in ["v1.30.4+k0s.0", "v1.34.10+k0s.0", "v1.36.3+k0s.2"] {
        let mut world = of_version(version);
        let ca = new_ca("kubernetes-ca", &world);
        put_ca(&mut world, "ca", &ca);
        start(&mut world);
        assert!(ready(&mut world, "h1"), "{version}");
        let ca = crate::pki::read_one(ca.certificate.as_bytes()).unwrap();
        for leaf in LEAFS {
            let leaf = crate::pki::read_one(&world.read("h1", &format!("{PKI}/{leaf}.crt")).unwrap()).unwrap();
            assert!(crate::pki::signed_by(&leaf, &ca), "{version}");
        }
    }
}

/// Goal: custom name to custom name with the leafs kept: never ready, ends after two minutes; with the leafs removed it is well (lab §19).
#[test]
fn replaced_ca_of_another_custom_name() {
    let mut world = one();
    let first = new_ca("Acme Root", &world);
    put_ca(&mut world, "ca", &first);
    start(&mut world);
    assert!(ready(&mut world, "h1"), "leafs of kubernetes-ca are re-issued");
    assert_eq!(issuer(&world, "admin.crt"), "Acme Root");
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    let second = new_ca("Acme Root G2", &world);
    put_ca(&mut world, "ca", &second);
    start(&mut world);
    assert!(!ready(&mut world, "h1"));
    assert_eq!(issuer(&world, "admin.crt"), "Acme Root", "kept in silence");
    pass(&mut world, 125.0);
    assert!(journal(&mut world, "h1", "k0scontroller").contains("APIServer health-check timed out"));
    ok(&mut world, "h1", "systemctl stop k0scontroller");
    remove_leafs(&mut world);
    start(&mut world);
    assert!(ready(&mut world, "h1"));
}

/// Goal: a custom name's leafs are renewed at a restart from 1.35 on, and never again on 1.34.
#[test]
fn leafs_of_a_custom_name_at_a_restart() {
    for (version, renewed) in [("v1.34.10+k0s.0", false), ("v1.36.3+k0s.2", true)] {
        let mut world = of_version(version);
        let ca = new_ca("Acme Root", &world);
        put_ca(&mut world, "ca", &ca);
        start(&mut world);
        let before = text(&world, "h1", &format!("{PKI}/admin.crt"));
        ok(&mut world, "h1", "systemctl restart k0scontroller");
        pass(&mut world, 8.0);
        assert_eq!(text(&world, "h1", &format!("{PKI}/admin.crt")) != before, renewed, "{version}");
    }
}

/// Goal: a missing file of a pair makes a new pair in silence: CA, service-account key, etcd CA (lab §9).
#[test]
fn half_a_pair_is_replaced_whole() {
    for (gone, other) in [
        ("ca.key", "ca.crt"),
        ("ca.crt", "ca.key"),
        ("sa.key", "sa.pub"),
        ("sa.pub", "sa.key"),
        ("etcd/ca.key", "etcd/ca.crt"),
    ] {
        let mut world = one();
        let before = text(&world, "h1", &format!("{PKI}/{other}"));
        remove(&mut world, "h1", &format!("{PKI}/{gone}"));
        start(&mut world);
        assert_ne!(text(&world, "h1", &format!("{PKI}/{other}")), before, "{gone}");
        assert!(ready(&mut world, "h1"), "{gone}");
    }
}

/// Goal: a bundle, an empty and a garbled ca.crt keep it from starting, with the golden texts, in a loop of 10 s.
#[test]
fn ca_files_that_do_not_parse() {
    let other = new_ca("kubernetes-ca", &one()).certificate;
    let unreadable =
        "Error: unable to parse ca certificate: {\"code\":1002,\"message\":\"Failed to decode certificate\"}";
    let bundle = "Error: unable to parse ca certificate: {\"code\":1003,\"message\":\"the PEM file should contain only one object\"}";
    for (content, error) in
        [(String::new(), unreadable), ("garbage".to_owned(), unreadable), (other.clone() + &other, bundle)]
    {
        let mut world = one();
        write(&mut world, "h1", &format!("{PKI}/ca.crt"), content.as_bytes());
        start(&mut world);
        assert!(journal(&mut world, "h1", "k0scontroller").contains(error), "{error}");
        assert_eq!(run(&mut world, "h1", "systemctl is-active k0scontroller").text(), "activating\n");
        pass(&mut world, 10.0);
        assert_eq!(ok(&mut world, "h1", "systemctl show -p NRestarts k0scontroller"), "NRestarts=1\n");
    }
}

/// Goal: new ca.key with the old ca.crt refuses to start with the golden text; undoing the rename heals it without systemctl (lab §9, §32).
#[test]
fn new_key_with_the_old_certificate() {
    let mut world = one();
    let old = world.read("h1", &format!("{PKI}/ca.key")).unwrap();
    let new = new_ca("kubernetes-ca", &world);
    write(&mut world, "h1", &format!("{PKI}/ca.key"), new.key.expose());
    start(&mut world);
    let text = "Error: {\"code\":1000,\"message\":\"x509: provided PrivateKey doesn't match parent's PublicKey\"}";
    assert!(journal(&mut world, "h1", "k0scontroller").contains(text));
    write(&mut world, "h1", &format!("{PKI}/ca.key"), &old);
    until(&mut world, 22, |w| ready(w, "h1"));
}

/// Goal: an empty sa.key does not end k0s; the API server never gets ready and two minutes pass (lab §16).
#[test]
fn an_empty_service_account_key() {
    let mut world = one();
    write(&mut world, "h1", &format!("{PKI}/sa.key"), b"");
    start(&mut world);
    assert_eq!(ok(&mut world, "h1", "systemctl is-active k0scontroller"), "active\n");
    assert!(!ready(&mut world, "h1"));
    pass(&mut world, 125.0);
    assert!(journal(&mut world, "h1", "k0scontroller").contains("health-check timed out"));
}

/// Goal: new sa.key with the old sa.pub starts and is ready; every token minted there is refused, also by itself (lab §9).
#[test]
fn a_service_account_key_of_another_pair() {
    let mut world = one();
    let pair = crate::pki::make_service_account(crate::fleet::KeyKind::P256).unwrap();
    write(&mut world, "h1", &format!("{PKI}/sa.key"), pair.key.expose());
    start(&mut world);
    assert!(ready(&mut world, "h1"));
    let token = ok(&mut world, "h1", "k0s kubectl -n kube-system create token default");
    let bearer = Some(Secret::new(token.trim().as_bytes().to_vec()));
    let request =
        TlsRequest { address: "10.77.0.11:6443".to_owned(), path: "/api".to_owned(), bearer, ..TlsRequest::default() };
    assert!(matches!(world.tls("h1", &request).end, TlsEnd::Answer(401, _)));
}

/// Goal: a bundle in etcd/ca.crt fails while etcd's leafs are signed (facts §1.4).
#[test]
fn a_bundle_for_etcd() {
    let mut world = one();
    let two = text(&world, "h1", &format!("{PKI}/etcd/ca.crt")) + &new_ca("etcd-ca", &world).certificate;
    write(&mut world, "h1", &format!("{PKI}/etcd/ca.crt"), two.as_bytes());
    start(&mut world);
    assert!(journal(&mut world, "h1", "k0scontroller").contains("failed to create etcd certs"));
}

/// Goal: files have the modes and owners of the golden listing after a start.
#[test]
fn modes_and_owners() {
    let world = World::new(&FleetPlan::sized(1, 0));
    let golden = include_str!("../../../../../tests/goldens/v1.36.3+k0s.2/listing-var-lib-k0s-controller.stdout.txt");
    let found = world.files("h1", &[PKI.to_owned()]);
    let mut compared = 0;
    for line in golden.lines().filter(|line| line.contains(" ./pki")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let path = words[4].replacen('.', "/var/lib/k0s", 1);
        let own = found.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(
            (format!("{:o}", own.mode), format!("{}:{}", own.owner.uid, own.owner.gid)),
            (words[1].to_owned(), words[2].to_owned()),
            "{path}"
        );
        compared += 1;
    }
    assert!(compared > 30);
}

/// Goal: an expired CA: clients are refused both ways, tokens and backups still work; after a restart it is never ready (lab §20).
#[test]
fn an_expired_ca() {
    let mut world = one();
    let now = i64::try_from(world.now().0 / 1000).unwrap();
    let validity = crate::pki::Validity { not_before: now - 3600, not_after: now + 600 };
    let ca = crate::pki::make_ca("kubernetes-ca", crate::fleet::KeyKind::P256, validity).unwrap();
    put_ca(&mut world, "ca", &ca);
    start(&mut world);
    assert!(ready(&mut world, "h1"), "it is accepted without a word");
    let token = ok(&mut world, "h1", "k0s kubectl -n kube-system create token default --duration=24h");
    pass(&mut world, 700.0);
    assert!(run(&mut world, "h1", "k0s status").ok());
    let text = run(&mut world, "h1", "k0s kubectl get --raw /readyz").err_text();
    assert!(text.contains("x509: certificate has expired or is not yet valid"), "{text}");
    assert!(run(&mut world, "h1", "k0s backup --save-path -").ok());
    let bearer = Some(Secret::new(token.trim().as_bytes().to_vec()));
    let (address, path) = ("10.77.0.11:6443".to_owned(), "/api".to_owned());
    let request = TlsRequest { address, path, bearer, ..TlsRequest::default() };
    assert!(matches!(world.tls("h1", &request).end, TlsEnd::Answer(200, _)));
    ok(&mut world, "h1", "systemctl restart k0scontroller");
    pass(&mut world, 130.0);
    assert!(!run(&mut world, "h1", "k0s backup --save-path -").ok());
    assert!(journal(&mut world, "h1", "k0scontroller").contains("APIServer health-check timed out"));
}

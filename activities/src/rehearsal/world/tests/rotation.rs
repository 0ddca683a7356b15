//! A whole offline rotation and the way back, by hand (lab §5.2, §6.2, §29).

use super::*;
use crate::host::ClientIdentity;
use crate::pki::Issued;

const CONTROLLERS: [&str; 3] = ["h1", "h2", "h3"];
/// Contents by path.
type Placed = Vec<(String, Vec<u8>)>;

const ROOTS: [(&str, &str); 3] = [("ca", "crt"), ("etcd/ca", "crt"), ("sa", "pub")];

fn new_roots(world: &World) -> [Issued; 3] {
    let account = crate::pki::make_service_account(crate::fleet::KeyKind::P256).unwrap();
    [new_ca("kubernetes-ca", world), new_ca("etcd-ca", world), account]
}

/// Stops all, puts the pairs of all controllers in place without leafs, starts all; the API's gap.
fn swap(world: &mut World, of: impl Fn(&str) -> Vec<(String, Vec<u8>)>) -> Duration {
    let gap = world.api_gap();
    all(world, &CONTROLLERS, "systemctl stop k0scontroller");
    for host in CONTROLLERS {
        for file in world.files(host, &[PKI.to_owned()]) {
            let root = ROOTS.iter().any(|(name, public)| {
                file.path == format!("{PKI}/{name}.key") || file.path == format!("{PKI}/{name}.{public}")
            });
            let kept = root
                || file.path.contains("front-proxy-ca")
                || file.path.contains("jwt")
                || file.kind == crate::host::FileKind::Dir;
            if !kept {
                remove(world, host, &file.path);
            }
        }
        for (path, bytes) in of(host) {
            write(world, host, &path, &bytes);
        }
    }
    all(world, &CONTROLLERS, "systemctl start k0scontroller");
    until(world, 30, |w| CONTROLLERS.iter().all(|host| ready(w, host)));
    world.api_gap().saturating_sub(gap)
}

fn admin(world: &World) -> ClientIdentity {
    let text = Secret::new(world.read("h1", &format!("{PKI}/admin.conf")).unwrap());
    let crate::kubeconfig::Credentials::Certificate { certificate, key } =
        crate::kubeconfig::Kubeconfig::read(&text).unwrap().credentials
    else {
        panic!("a certificate")
    };
    ClientIdentity { certificate, key }
}

fn asked(world: &mut World, request: &TlsRequest) -> TlsEnd {
    world.tls("h1", request).end
}

fn api(path: &str) -> TlsRequest {
    TlsRequest { address: "10.77.0.12:6443".to_owned(), path: path.to_owned(), ..TlsRequest::default() }
}

fn root_ca(world: &mut World) -> String {
    let text = ok(world, "h1", "k0s kubectl -n shop get cm kube-root-ca.crt -o json");
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    object["data"]["ca.crt"].as_str().unwrap().to_owned()
}

fn rejoin(world: &mut World, host: &str) {
    ok(world, host, "systemctl stop k0sworker");
    remove(world, host, "/var/lib/k0s/kubelet.conf");
    remove(world, host, "/var/lib/k0s/kubelet/pki");
    let token = ok(world, "h1", "k0s token create --role worker --expiry 1h");
    let config = crate::token::decode(&Secret::new(token.into_bytes())).unwrap();
    write(world, host, "/var/lib/k0s/kubelet-bootstrap.conf", config.expose());
    ok(world, host, "systemctl start k0sworker");
}

/// Ids of the agents' containers on a node, and the CA that its pod sees.
fn agent(world: &mut World, host: &str) -> (String, String) {
    let list = ok(
        world,
        "h1",
        &format!(
            "k0s kubectl -n kube-system get pods --field-selector spec.nodeName={host} -l k8s-app=konnectivity-agent -o json"
        ),
    );
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let pod = &list["items"][0];
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap()
        .trim_start_matches("containerd://")
        .to_owned();
    let (uid, volume) = (pod["metadata"]["uid"].as_str().unwrap(), pod["spec"]["volumes"][0]["name"].as_str().unwrap());
    let path = format!("/var/lib/k0s/kubelet/pods/{uid}/volumes/kubernetes.io~projected/{volume}/ca.crt");
    (id, text(world, host, &path))
}

fn proxied(world: &mut World) -> bool {
    CONTROLLERS.iter().all(|via| {
        ["h4", "h5"]
            .iter()
            .all(|node| run(world, via, &format!("k0s kubectl get --raw /api/v1/nodes/{node}/proxy/healthz")).ok())
    })
}

/// Goal: the whole way forward: old credentials 401, new ones 200, nodes back, agents only after SIGKILL; then the files put back undo it.
#[test]
fn forward_and_back() {
    let mut world = World::new(&FleetPlan::sized(3, 2));
    let before: Vec<(String, Placed)> = CONTROLLERS.map(|host| (host.to_owned(), pairs(&world, host))).to_vec();
    let old_admin = admin(&world);
    let old_token = ok(&mut world, "h1", "k0s kubectl -n kube-system create token default --duration=24h");
    let legacy = legacy_token(&mut world);
    let roots = new_roots(&world);
    let gap = swap(&mut world, |_| files_of(&roots));
    assert!((Duration::from_secs(7)..Duration::from_secs(11)).contains(&gap), "{gap:?}");
    refused(&mut world, &old_admin, &[&old_token, &legacy]);
    let new_admin = admin(&world);
    assert!(matches!(
        asked(&mut world, &TlsRequest { identity: Some(new_admin), ..api("/api") }),
        TlsEnd::Answer(200, _)
    ));

    until(&mut world, 40, |w| root_ca(w) == roots[0].certificate);
    rejoin(&mut world, "h4");
    rejoin(&mut world, "h5");
    until(&mut world, 90, |w| {
        ["h4", "h5"].iter().all(|h| w.read(h, "/var/lib/k0s/kubelet/pki/kubelet-server-current.pem").is_some())
    });
    pass(&mut world, 120.0);
    assert!(!proxied(&mut world), "agents never recover by themselves");
    for host in ["h4", "h5"] {
        let (id, seen) = agent(&mut world, host);
        assert_eq!(seen, roots[0].certificate);
        ok(&mut world, host, &format!("k0s ctr -n k8s.io task kill -s SIGTERM {id}"));
    }
    pass(&mut world, 20.0);
    assert!(!proxied(&mut world), "SIGTERM does nothing");
    for host in ["h4", "h5"] {
        let (id, _) = agent(&mut world, host);
        ok(&mut world, host, &format!("k0s ctr -n k8s.io task kill -s SIGKILL {id}"));
    }
    let took = until(&mut world, 30, proxied);
    assert!(took < Duration::from_secs(10), "{took:?}");
    hygiene(&mut world, &roots);

    let back = swap(&mut world, |host| before.iter().find(|(name, _)| name == host).unwrap().1.clone());
    assert!(back < Duration::from_secs(15), "{back:?}");
    assert!(matches!(
        asked(&mut world, &TlsRequest { identity: Some(old_admin), ..api("/api") }),
        TlsEnd::Answer(200, _)
    ));
}

fn pairs(world: &World, host: &str) -> Vec<(String, Vec<u8>)> {
    let paths = ROOTS.iter().flat_map(|(name, public)| [format!("{PKI}/{name}.key"), format!("{PKI}/{name}.{public}")]);
    paths.map(|path| (path.clone(), world.read(host, &path).unwrap())).collect()
}

fn files_of(roots: &[Issued; 3]) -> Vec<(String, Vec<u8>)> {
    let pair = |((name, public), root): (&(&str, &str), &Issued)| {
        [
            (format!("{PKI}/{name}.key"), root.key.expose().to_vec()),
            (format!("{PKI}/{name}.{public}"), root.certificate.clone().into_bytes()),
        ]
    };
    ROOTS.iter().zip(roots).flat_map(pair).collect()
}

fn refused(world: &mut World, admin: &ClientIdentity, tokens: &[&str]) {
    let identity = Some(admin.clone());
    assert!(matches!(asked(world, &TlsRequest { identity, ..api("/api") }), TlsEnd::Answer(401, _)));
    for token in tokens {
        let bearer = Some(Secret::new(token.trim().as_bytes().to_vec()));
        assert!(matches!(asked(world, &TlsRequest { bearer, ..api("/api") }), TlsEnd::Answer(401, _)));
    }
}

fn legacy_token(world: &mut World) -> String {
    use base64::Engine;
    let text = ok(world, "h1", "k0s kubectl -n shop get secret ci-1-token -o json");
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    let token = base64::engine::general_purpose::STANDARD.decode(object["data"]["token"].as_str().unwrap()).unwrap();
    String::from_utf8(token).unwrap()
}

/// Legacy Secrets keep their token until it is patched away; extension-apiserver-authentication keeps old CAs until it is deleted (facts §4.4).
fn hygiene(world: &mut World, roots: &[Issued; 3]) {
    let dead = legacy_token(world);
    ok(
        world,
        "h1",
        "k0s kubectl -n shop patch secret ci-1-token --type=json -p [{\"op\":\"remove\",\"path\":\"/data/token\"}]",
    );
    until(world, 5, |w| {
        let text = ok(w, "h1", "k0s kubectl -n shop get secret ci-1-token -o json");
        text.contains("\"token\"")
    });
    let bearer = |token: &str| TlsRequest { bearer: Some(Secret::new(token.as_bytes().to_vec())), ..api("/api") };
    assert!(matches!(asked(world, &bearer(&dead)), TlsEnd::Answer(401, _)));
    let alive = legacy_token(world);
    assert!(matches!(asked(world, &bearer(&alive)), TlsEnd::Answer(200, _)));
    let client_cas = |w: &mut World| {
        let text = ok(w, "h1", "k0s kubectl -n kube-system get cm extension-apiserver-authentication -o json");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        object["data"]["client-ca-file"].as_str().unwrap().to_owned()
    };
    assert_eq!(client_cas(world).matches("BEGIN").count(), 2);
    ok(world, "h1", "k0s kubectl -n kube-system delete cm extension-apiserver-authentication");
    assert_eq!(client_cas(world), roots[0].certificate);
}

/// Goal: each controller accepts its own front proxy alone, with X-Remote-User (lab §29).
#[test]
fn front_proxies() {
    let mut world = World::new(&FleetPlan::sized(2, 0));
    for (of, at, status) in [("h1", "10.77.0.11", 200), ("h1", "10.77.0.12", 401), ("h2", "10.77.0.12", 200)] {
        let identity = ClientIdentity {
            certificate: text(&world, of, &format!("{PKI}/front-proxy-client.crt")),
            key: Secret::new(world.read(of, &format!("{PKI}/front-proxy-client.key")).unwrap()),
        };
        let headers = vec![
            ("X-Remote-User".to_owned(), "kubernetes-admin".to_owned()),
            ("X-Remote-Group".to_owned(), "system:masters".to_owned()),
        ];
        let request = TlsRequest {
            address: format!("{at}:6443"),
            path: "/api".to_owned(),
            identity: Some(identity),
            headers,
            ..TlsRequest::default()
        };
        assert!(matches!(asked(&mut world, &request), TlsEnd::Answer(found, _) if found == status), "{of} at {at}");
    }
}

/// Goal: etcd refuses a client without a certificate of its CA in the handshake, and answers one with (facts §6).
#[test]
fn etcds_clients() {
    let mut world = World::new(&FleetPlan::sized(1, 0));
    let pair = |world: &World, stem: &str| ClientIdentity {
        certificate: text(world, "h1", &format!("{PKI}/{stem}.crt")),
        key: Secret::new(world.read("h1", &format!("{PKI}/{stem}.key")).unwrap()),
    };
    for (address, stem, accepted) in [
        ("127.0.0.1:2379", "apiserver-etcd-client", true),
        ("127.0.0.1:2379", "admin", false),
        ("10.77.0.11:2380", "etcd/peer", true),
        ("10.77.0.11:2380", "server", false),
    ] {
        let identity = Some(pair(&world, stem));
        let request =
            TlsRequest { address: address.to_owned(), path: "/version".to_owned(), identity, ..TlsRequest::default() };
        let end = asked(&mut world, &request);
        assert_eq!(matches!(end, TlsEnd::Answer(200, _)), accepted, "{stem}: {end:?}");
        assert_eq!(end == TlsEnd::NotAccepted, !accepted, "{stem}");
    }
}

/// Goal: controllers with workloads and single nodes need no token: without kubelet files they come back from admin.conf (lab §17, §18).
#[test]
fn nodes_that_need_no_token() {
    use crate::fleet::Role;
    for role in [Role::ControllerWorker, Role::Single] {
        let mut world = World::new(&FleetPlan::of(&[("h6", role)]));
        ok(&mut world, "h6", "systemctl stop k0scontroller");
        let ca = new_ca("kubernetes-ca", &world);
        write(&mut world, "h6", &format!("{PKI}/ca.key"), ca.key.expose());
        write(&mut world, "h6", &format!("{PKI}/ca.crt"), ca.certificate.as_bytes());
        remove(&mut world, "h6", "/var/lib/k0s/kubelet.conf");
        remove(&mut world, "h6", "/var/lib/k0s/kubelet/pki");
        ok(&mut world, "h6", "systemctl start k0scontroller");
        let conf = until(&mut world, 60, |w| w.read("h6", "/var/lib/k0s/kubelet.conf").is_some());
        let waits = if role == Role::Single { 5..14 } else { 18..32 };
        assert!(waits.contains(&conf.as_secs()), "{role:?} {conf:?}");
        let served =
            until(&mut world, 40, |w| w.read("h6", "/var/lib/k0s/kubelet/pki/kubelet-server-current.pem").is_some());
        assert!(served.as_secs() < 20, "{served:?}");
        let proxy = "k0s kubectl get --raw /api/v1/nodes/h6/proxy/healthz";
        if role == Role::Single {
            until(&mut world, 20, |w| run(w, "h6", proxy).ok());
        } else {
            pass(&mut world, 60.0);
            assert!(!run(&mut world, "h6", proxy).ok(), "its agent holds the old CA");
        }
    }
}

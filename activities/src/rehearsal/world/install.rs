//! Installs a fleet as `k0s install` and joins would, and lets it run until it is healthy.

use super::files::Kind;
use super::{FleetPlan, PlannedHost, ROOT, World};
use crate::fleet::{KeyKind, Role};
use crate::pki::{self, Leaf, Validity};
use crate::rehearsal::k0s::api::Store;
use crate::rehearsal::k0s::cli::bootstrap_secret;
use crate::rehearsal::k0s::{pods, times};
use crate::secret::Secret;
use crate::{kubeconfig, token};
use k0rotate_engine::clock::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How long before the start of the plan the machines were switched on: time for all certificates, Leases and agents.
const BEFORE_MS: u64 = 150_000;
const DECADE: i64 = 87_600 * 3600;
/// Id and secret of the token that the workers joined with.
const JOINED_WITH: (&str, &str) = ("jo1ned", "0123456789abcdef");

impl World {
    pub(super) fn install(&mut self) {
        let plan = self.plan.clone();
        self.now = Timestamp(plan.start.0 - BEFORE_MS);
        let now = i64::try_from(self.now.0 / 1000).unwrap_or(0);
        let roots = shared_roots(now);
        for host in 0..self.hosts.len() {
            self.hosts[host].files.now = self.now;
            self.install_host(host, &plan.hosts[host], &roots);
        }
        let server = self.api_server();
        let server = server.trim_start_matches("https://").trim_end_matches(":6443").to_owned();
        seed_objects(&mut self.objects, &plan, &server, &times::second(self.now));
        for host in 0..self.hosts.len() {
            let boot_id = self.uuid();
            self.hosts[host].boot_id = boot_id;
            self.hosts[host].up_from = Some(self.now);
        }
        self.advance_to(plan.start);
        self.leave_user_certificates(&plan, &roots, now);
        self.leave_join_tokens(&plan);
        self.gap = super::report::Gap::default();
    }

    fn install_host(&mut self, host: usize, planned: &PlannedHost, roots: &Roots) {
        let plan = self.plan.clone();
        let uuid = self.uuid().replace('-', "");
        let sim = &mut self.hosts[host];
        let mut put =
            |path: &str, text: &str, mode: u32| sim.files.replace(path, Kind::File(text.as_bytes().into()), mode, ROOT);
        let args = arguments(&plan, planned);
        put(&format!("/etc/systemd/system/{}.service", sim.unit.name), &unit_file(&args), 0o644);
        put("/usr/local/bin/k0s", &format!("k0s {}\n", sim.version), 0o755);
        put("/etc/machine-id", &format!("{uuid}\n"), 0o444);
        put("/proc/sys/kernel/hostname", &format!("{}\n", planned.name), 0o444);
        let data = &plan.data_dir;
        for dir in [
            data.clone(),
            format!("{data}/bin"),
            format!("{data}/manifests"),
            format!("{data}/images"),
            "/run/lock".to_owned(),
            "/tmp".to_owned(),
        ] {
            sim.files.make_dir(&dir, 0o755, None);
        }
        if planned.role.is_controller() {
            let config =
                config_file(planned, &self.balancer, plan.hosts.iter().filter(|h| h.role.is_controller()).count());
            let files = &mut sim.files;
            files.replace("/etc/k0s/k0s.yaml", Kind::File(config.as_bytes().into()), 0o600, ROOT);
            let shared = [
                ("ca", &roots.kubernetes, "crt"),
                ("sa", &roots.service_account, "pub"),
                ("etcd/ca", &roots.etcd, "crt"),
            ];
            for (name, pair, public) in
                shared.into_iter().filter(|(name, ..)| planned.role != Role::Single || !name.starts_with("etcd"))
            {
                let path = format!("{data}/pki/{name}");
                files.replace(&format!("{path}.key"), Kind::File(pair.key.expose().into()), 0o640, ROOT);
                files.replace(&format!("{path}.{public}"), Kind::File(pair.certificate.as_bytes().into()), 0o644, ROOT);
            }
        } else {
            let server = self.api_server();
            let bearer = Secret::new(format!("{}.{}", JOINED_WITH.0, JOINED_WITH.1).into_bytes());
            let config = kubeconfig::bootstrap(&server, &roots.kubernetes.certificate, "kubelet-bootstrap", &bearer);
            let bytes = token::encode(&config).expose().into();
            self.hosts[host].files.replace("/etc/k0s/k0stoken", Kind::File(bytes), 0o600, ROOT);
        }
    }

    fn api_server(&self) -> String {
        let controllers: Vec<&PlannedHost> = self.plan.hosts.iter().filter(|h| h.role.is_controller()).collect();
        let address = if controllers.len() > 1 {
            self.balancer.clone()
        } else {
            controllers.first().map(|c| c.address.clone()).unwrap_or_default()
        };
        format!("https://{address}:6443")
    }

    /// As `k0s token create` leaves them: with no `--expiry` they never run out.
    fn leave_join_tokens(&mut self, plan: &FleetPlan) {
        for (role, count) in [("worker", plan.worker_tokens), ("controller", plan.controller_tokens)] {
            for i in 1..=count {
                let word = |of: &str, length| pods::hex_id(&format!("{of}/{role}/{i}/{}", plan.seed), length);
                let (id, secret) = (word("token-id", 6), word("token-secret", 16));
                let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
                self.objects.put(&path, bootstrap_secret(role, &id, &secret, None));
            }
        }
    }

    /// `k0s kubeconfig create USER` leaves the pair in `pki/` (facts §1.2). k0sctl overwrites the token after the join.
    fn leave_user_certificates(&mut self, plan: &FleetPlan, roots: &Roots, now: i64) {
        for sim in &mut self.hosts {
            if sim.role == Role::Worker {
                sim.files.replace(
                    "/etc/k0s/k0stoken",
                    Kind::File(b"# overwritten by k0sctl after join\n"[..].into()),
                    0o600,
                    ROOT,
                );
            }
        }
        self.objects.delete(&format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{}", JOINED_WITH.0));
        let Some(first) = self.hosts.iter_mut().find(|host| host.role.is_controller()) else { return };
        for user in &plan.user_certs {
            let validity = Validity { not_before: now, not_after: now + 8760 * 3600 };
            let leaf = Leaf {
                common_name: user.clone(),
                organization: None,
                sans: Vec::new(),
                server: true,
                client: true,
                validity,
            };
            let CaPair { certificate, key } = &roots.kubernetes;
            let issued = pki::issue(certificate, key, &leaf, KeyKind::P256).expect("the CA was made here");
            let path = format!("{}/pki/{user}", plan.data_dir);
            first.files.replace(&format!("{path}.key"), Kind::File(issued.key.expose().into()), 0o640, ROOT);
            first.files.replace(&format!("{path}.crt"), Kind::File(issued.certificate.as_bytes().into()), 0o644, ROOT);
        }
    }
}

type CaPair = pki::Issued;

/// What a first controller made and the others fetched.
struct Roots {
    kubernetes: CaPair,
    etcd: CaPair,
    service_account: CaPair,
}

fn shared_roots(now: i64) -> Roots {
    let ca = |name| {
        let validity = Validity { not_before: now - 300, not_after: now + DECADE };
        pki::make_ca(name, KeyKind::P256, validity).expect("the names are usable")
    };
    Roots {
        kubernetes: ca("kubernetes-ca"),
        etcd: ca("etcd-ca"),
        service_account: pki::make_service_account(KeyKind::P256).expect("keys can be made"),
    }
}

fn arguments(plan: &FleetPlan, host: &PlannedHost) -> String {
    let mut args = match host.role {
        Role::Worker => "worker --token-file=/etc/k0s/k0stoken".to_owned(),
        Role::Controller => "controller --config=/etc/k0s/k0s.yaml".to_owned(),
        Role::ControllerWorker => {
            "controller --config=/etc/k0s/k0s.yaml --enable-worker=true --no-taints=true".to_owned()
        }
        Role::Single => "controller --config=/etc/k0s/k0s.yaml --single=true".to_owned(),
    };
    if plan.dynamic_config && host.role.is_controller() {
        args += " --enable-dynamic-config=true";
    }
    if plan.data_dir != "/var/lib/k0s" {
        let _ = write!(args, " --data-dir={}", plan.data_dir);
    }
    if let Some(root) = plan.kubelet_root.as_ref().filter(|_| host.role.has_workloads()) {
        let _ = write!(args, " --kubelet-root-dir={root}");
    }
    args
}

/// As `k0s install` writes it.
fn unit_file(args: &str) -> String {
    format!(
        "[Unit]\nDescription=k0s - Zero Friction Kubernetes\nDocumentation=https://docs.k0sproject.io\nConditionFileIsExecutable=/usr/local/bin/k0s\n\n\
         After=network-online.target \nWants=network-online.target \n\n[Service]\nStartLimitInterval=5\nStartLimitBurst=10\n\
         ExecStart=/usr/local/bin/k0s {args}\n\nRestartSec=10\nDelegate=yes\nKillMode=process\nLimitCORE=infinity\nTasksMax=infinity\n\
         TimeoutStartSec=0\nLimitNOFILE=999999\nRestart=always\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

fn config_file(host: &PlannedHost, balancer: &str, controllers: usize) -> String {
    let (mut external, mut sans) = (String::new(), format!("[{}]", host.address));
    if controllers > 1 {
        external = format!("    externalAddress: {balancer}\n");
        sans = format!("[{balancer}, {}]", host.address);
    }
    format!(
        "apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nmetadata:\n  name: k0s\nspec:\n  api:\n    address: {}\n{external}    sans: {sans}\n",
        host.address
    )
}

fn seed_objects(store: &mut dyn Store, plan: &FleetPlan, server: &str, now: &str) {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease", "k0s-autopilot", "shop"] {
        let uid = pods::hex_id(&format!("{}/{name}/{}", plan.seed, plan.hosts.len()), 32);
        let meta = json!({"name": name, "uid": uid, "creationTimestamp": now});
        store.put(
            &format!("/api/v1/namespaces/{name}"),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "status": {"phase": "Active"}}),
        );
        account(store, name, "default");
    }
    let minors: std::collections::BTreeSet<String> =
        plan.hosts.iter().map(|h| minor(h.version.as_ref().unwrap_or(&plan.version))).collect();
    for minor in minors {
        let name = format!("worker-config-default-1.{minor}");
        store.put(
            &format!("/api/v1/namespaces/kube-system/configmaps/{name}"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": {}}),
        );
    }
    let (id, secret) = JOINED_WITH;
    let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
    store.put(&path, bootstrap_secret("worker", id, secret, None));
    seed_controllers(store, plan, now);
    seed_workloads(store, plan, server);
}

fn minor(version: &str) -> String {
    version.split('.').nth(1).unwrap_or_default().to_owned()
}

fn account(store: &mut dyn Store, namespace: &str, name: &str) {
    let meta =
        json!({"name": name, "namespace": namespace, "uid": pods::hex_id(&format!("sa/{namespace}/{name}"), 32)});
    store.put(
        &format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}"),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
    );
}

fn seed_controllers(store: &mut dyn Store, plan: &FleetPlan, now: &str) {
    for host in plan.hosts.iter().filter(|host| host.role.is_controller()) {
        let name = &host.name;
        let addresses = json!([{"address": host.address, "type": "InternalIP"}, {"address": name, "type": "Hostname"}]);
        store.put(
            &format!("/apis/autopilot.k0sproject.io/v1beta2/controlnodes/{name}"),
            json!({
                "apiVersion": "autopilot.k0sproject.io/v1beta2", "kind": "ControlNode", "metadata": {"name": name, "creationTimestamp": now},
                "status": {"addresses": addresses, "k0sVersion": host.version.as_ref().unwrap_or(&plan.version)},
            }),
        );
        if host.role == Role::Single {
            continue;
        }
        store.put(
            &format!("/apis/etcd.k0sproject.io/v1beta1/etcdmembers/{name}"),
            json!({
                "apiVersion": "etcd.k0sproject.io/v1beta1", "kind": "EtcdMember", "metadata": {"name": name}, "spec": {},
                "status": {"conditions": [{"message": "Member joined", "status": "True", "type": "Joined"}], "memberID": pods::hex_id(name, 16), "peerAddress": host.address},
            }),
        );
    }
    if plan.dynamic_config {
        store.put(
            "/apis/k0s.k0sproject.io/v1beta1/namespaces/kube-system/clusterconfigs/k0s",
            json!({"apiVersion": "k0s.k0sproject.io/v1beta1", "kind": "ClusterConfig", "metadata": {"name": "k0s", "namespace": "kube-system"}, "spec": {}}),
        );
    }
}

fn seed_workloads(store: &mut dyn Store, plan: &FleetPlan, server: &str) {
    let nodes = plan.hosts.iter().filter(|host| host.role.has_workloads()).count();
    let single = plan.hosts.iter().any(|host| host.role == Role::Single);
    let mut add = |kind: &str, namespace: &str, name: &str, replicas: usize| {
        let account_name =
            if namespace == "kube-system" { name.split("-rs").next().unwrap_or(name) } else { "default" };
        account(store, namespace, account_name);
        // As k0s writes them into the DaemonSet, the CA's path first.
        let agent = [
            "--ca-cert=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".to_owned(),
            format!("--proxy-server-host={server}"),
        ];
        let args = if name == "konnectivity-agent" { json!(agent) } else { Value::Null };
        let owner =
            pods::owner(kind, namespace, name, &json!({"replicas": replicas, "account": account_name, "args": args}));
        let plural = if kind == "DaemonSet" { "daemonsets" } else { "replicasets" };
        store.put(&format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}"), owner);
    };
    if nodes > 0 {
        if !single {
            add("DaemonSet", "kube-system", "konnectivity-agent", 0);
        }
        add("DaemonSet", "kube-system", "kube-proxy", 0);
        add("DaemonSet", "kube-system", "kube-router", 0);
        add("ReplicaSet", "kube-system", "coredns-rs", 1);
        add("ReplicaSet", "kube-system", "metrics-server-rs", 1);
        if plan.pods_per_node > 0 {
            add("DaemonSet", "shop", "logger", 0);
            add("ReplicaSet", "shop", "web-rs", nodes * (plan.pods_per_node - 1));
        }
    }
    for i in 1..=plan.legacy_secrets {
        let name = format!("ci-{i}");
        account(store, "shop", &name);
        store.put(&format!("/api/v1/namespaces/shop/secrets/{name}-token"), legacy_secret(&name));
    }
}

fn legacy_secret(account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": {},
        "metadata": {"name": format!("{account}-token"), "namespace": "shop", "uid": pods::hex_id(account, 32), "annotations": {"kubernetes.io/service-account.name": account}},
    })
}

//! Facts about a k0s that runs; nothing of it is changed but join tokens.

use super::{DATA, Ground, Told, ends, wants};
use k0rotate_activities::archive;
use k0rotate_activities::host::{FileInfo, FileKind, Host, TlsRequest};
use k0rotate_activities::k0s::{self, Status};
use k0rotate_activities::kubeconfig::Kubeconfig;
use k0rotate_activities::pki;
use k0rotate_activities::secret::Secret;
use k0rotate_activities::token;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn all(g: &Ground) -> Vec<Told> {
    vec![
        ("status-of-a-controller", status_of_a_controller(g).await),
        ("status-of-a-worker", status_of_a_worker(g).await),
        ("version-in-one-line", version(g).await),
        ("members-of-etcd", members_of_etcd(g).await),
        ("no-members-on-a-worker", no_members_on_a_worker(g).await),
        ("token-made-listed-invalidated", token_made_listed_invalidated(g).await),
        ("token-list-wants-a-role", token_list_wants_a_role(g).await),
        ("unknown-token-invalidated", unknown_token_invalidated(g).await),
        ("no-token-on-a-worker", no_token_on_a_worker(g).await),
        ("not-found-by-kubectl", not_found_by_kubectl(g).await),
        ("no-kubectl-on-a-worker", no_kubectl_on_a_worker(g).await),
        ("lease-of-a-controller", lease_of_a_controller(g).await),
        ("backup-to-stdout", backup_to_stdout(g).await),
        ("no-backup-on-a-worker", no_backup_on_a_worker(g).await),
        ("files-of-a-controller", files_of_a_controller(g).await),
        ("files-of-a-worker", files_of_a_worker(g).await),
        ("unit-of-k0s", unit_of_k0s(g).await),
        ("managed-processes", managed_processes(g).await),
        ("api-of-its-ca", api_of_its_ca(g).await),
    ]
}

async fn status_of_a_controller(g: &Ground) -> Result<(), String> {
    let output = g.k0s(&["status", "-o", "json"]).await?;
    let status = Status::read(&output.stdout).map_err(|e| e.to_string())?;
    wants(output.ok() && status.role == "controller" && !status.workloads, "it is no controller without workloads")?;
    wants(status.vars.data_dir == DATA, status.vars.data_dir.clone())?;
    let main = g.unit("MainPID").await?;
    wants(status.pid.to_string() == main, format!("Pid is {}, and the unit's main process {main}", status.pid))
}

async fn status_of_a_worker(g: &Ground) -> Result<(), String> {
    let output = g.k0s_of_worker(&["status", "-o", "json"]).await?;
    let status = Status::read(&output.stdout).map_err(|e| e.to_string())?;
    wants(output.ok() && status.role == "worker" && status.workloads, "it is no worker")
}

async fn version(g: &Ground) -> Result<(), String> {
    let (output, status) = (g.k0s(&["version"]).await?, g.k0s(&["status", "-o", "json"]).await?);
    let status = Status::read(&status.stdout).map_err(|e| e.to_string())?;
    wants(output.ok() && output.text() == format!("{}\n", status.version), output.text())
}

async fn members_of_etcd(g: &Ground) -> Result<(), String> {
    let output = g.k0s(&["etcd", "member-list"]).await?;
    let members = k0s::etcd_members(&output.stdout).map_err(|e| e.to_string())?;
    let peers: Vec<&String> = members.values().collect();
    wants(
        output.ok() && peers.len() == 1 && peers[0].starts_with("https://") && peers[0].ends_with(":2380"),
        "no peers",
    )
}

async fn no_members_on_a_worker(g: &Ground) -> Result<(), String> {
    ends(&g.k0s_of_worker(&["etcd", "member-list"]).await?, 1, "Error: can't list etcd cluster members")
}

async fn token_made_listed_invalidated(g: &Ground) -> Result<(), String> {
    let made = g.k0s(&["token", "create", "--role", "worker", "--expiry", "1h"]).await?;
    let made = Secret::new(made.stdout);
    let config = token::decode(&made).and_then(|plain| Kubeconfig::read(&plain)).map_err(|e| e.to_string())?;
    wants(config.user == "kubelet-bootstrap" && config.ca == g.read("pki/ca.crt").await?, "not of this cluster's CA")?;
    let id = token::id_of_join_token(&made).map_err(|e| e.to_string())?;
    let listed = async || Ok::<_, String>(k0s::token_ids(&g.k0s(&["token", "list", "--role", "worker"]).await?.text()));
    wants(listed().await?.contains(&id), "it is not listed")?;
    ends(&g.k0s(&["token", "invalidate", &id]).await?, 0, &format!("token {id} deleted successfully"))?;
    wants(!listed().await?.contains(&id), "it is listed still")
}

async fn token_list_wants_a_role(g: &Ground) -> Result<(), String> {
    ends(&g.k0s(&["token", "list"]).await?, 1, "Error: unsupported role \"\"")
}

async fn unknown_token_invalidated(g: &Ground) -> Result<(), String> {
    ends(&g.k0s(&["token", "invalidate", "abcdef"]).await?, 0, "token abcdef deleted successfully")
}

async fn no_token_on_a_worker(g: &Ground) -> Result<(), String> {
    let output = g.k0s_of_worker(&["token", "create", "--role", "worker", "--expiry", "1h"]).await?;
    // Of the CA, or up to 1.32, whose workers have it, of admin.conf.
    ends(&output, 1, "no such file or directory")
}

async fn not_found_by_kubectl(g: &Ground) -> Result<(), String> {
    let output = g.k0s(&["kubectl", "get", "--raw", "/api/v1/nodes/nosuch"]).await?;
    ends(&output, 1, "Error from server (NotFound)")
}

async fn no_kubectl_on_a_worker(g: &Ground) -> Result<(), String> {
    let output = g.k0s_of_worker(&["kubectl", "get", "--raw", "/readyz"]).await?;
    ends(&output, 1, "Error: cannot stat k0s kubeconfig, is the server running?")
}

async fn lease_of_a_controller(g: &Ground) -> Result<(), String> {
    let leases = g.k0s(&["kubectl", "get", "--raw", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"]);
    ends(&leases.await?, 0, "\"k0s-ctrl-")
}

async fn backup_to_stdout(g: &Ground) -> Result<(), String> {
    let output = g.k0s(&["backup", "--save-path", "-"]).await?;
    wants(output.ok(), format!("status {}", output.status))?;
    let entries = archive::list(&*g.clock, &Secret::new(output.stdout)).await.map_err(|e| e.to_string())?;
    let has = |name: &str| entries.iter().any(|entry| entry.path.ends_with(name));
    let missing = ["pki/ca.key", "pki/sa.key", "pki/etcd/ca.key", "etcd-snapshot.db", "k0s.yaml"];
    let missing: Vec<&str> = missing.into_iter().filter(|name| !has(name)).collect();
    wants(missing.is_empty(), format!("{missing:?} are not in it"))
}

async fn no_backup_on_a_worker(g: &Ground) -> Result<(), String> {
    let output = g.k0s_of_worker(&["backup", "--save-path", "-"]).await?;
    ends(&output, 1, "Error: backup command must be run on the controller node, have `worker`")
}

/// Mode of each of these files, and what kind it is.
async fn modes(host: &Arc<dyn Host>, wanted: &[(&str, u32)]) -> Result<BTreeMap<String, FileInfo>, String> {
    let roots: Vec<String> = wanted.iter().map(|(path, _)| format!("{DATA}/{path}")).collect();
    let found = host.files(&roots).await.map_err(|e| e.to_string())?;
    let found: BTreeMap<String, FileInfo> = found.into_iter().map(|file| (file.path.clone(), file)).collect();
    for (path, mode) in wanted {
        let file = found.get(&format!("{DATA}/{path}")).ok_or_else(|| format!("{path} is not there"))?;
        wants(file.mode == *mode, format!("{path} has mode {:o}", file.mode))?;
    }
    Ok(found)
}

async fn files_of_a_controller(g: &Ground) -> Result<(), String> {
    let wanted = [
        ("pki", 0o751),
        ("pki/ca.crt", 0o644),
        ("pki/ca.key", 0o640),
        ("pki/etcd", 0o711),
        ("pki/etcd/ca.crt", 0o644),
        ("pki/etcd/ca.key", 0o640),
        ("pki/front-proxy-ca.crt", 0o644),
        ("pki/front-proxy-ca.key", 0o640),
        ("pki/sa.key", 0o640),
        ("pki/sa.pub", 0o644),
        ("pki/admin.conf", 0o600),
        ("pki/server.crt", 0o644),
        ("pki/server.key", 0o640),
    ];
    modes(&g.controller, &wanted).await.map(drop)
}

async fn files_of_a_worker(g: &Ground) -> Result<(), String> {
    let current = "kubelet/pki/kubelet-client-current.pem";
    let found = modes(&g.worker, &[("kubelet.conf", 0o600), (current, 0o777)]).await?;
    let link = &found[&format!("{DATA}/{current}")];
    let target = match &link.kind {
        FileKind::Link { target } => target.clone(),
        other => return Err(format!("{current} is {other:?}")),
    };
    wants(target.starts_with(&format!("{DATA}/kubelet/pki/kubelet-client-2")), target)
}

async fn unit_of_k0s(g: &Ground) -> Result<(), String> {
    for (property, wanted) in [("KillMode", "process"), ("ActiveState", "active"), ("UnitFileState", "enabled")] {
        let value = g.unit(property).await?;
        wants(value == wanted, format!("{property} is {value}"))?;
    }
    Ok(())
}

async fn managed_processes(g: &Ground) -> Result<(), String> {
    let processes = g.controller.processes().await.map_err(|e| e.to_string())?;
    let missing = ["k0s", "etcd", "kube-apiserver", "kube-controller", "kube-scheduler", "konnectivity-se"];
    let missing: Vec<&str> = missing.into_iter().filter(|comm| !processes.iter().any(|p| p.comm == *comm)).collect();
    wants(missing.is_empty(), format!("{missing:?} do not run"))
}

async fn api_of_its_ca(g: &Ground) -> Result<(), String> {
    let ca = g.certificate("pki/ca.crt").await?;
    let request = TlsRequest { address: "127.0.0.1:6443".into(), ..TlsRequest::default() };
    let seen = g.controller.tls(request).await.map_err(|e| e.to_string())?;
    let leaf = seen.chain.first().ok_or("nothing is served")?;
    let leaf = pki::read_der(leaf).map_err(|e| e.to_string())?;
    wants(pki::signed_by(&leaf, &ca), "it serves a certificate of another CA")
}

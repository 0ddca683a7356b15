//! `k0s status`.

use super::{Outcome, error, indented, main_pid, no_socket, printed};
use crate::host::Output;
use crate::rehearsal::k0s::api::merge;
use crate::rehearsal::k0s::client::Client;
use crate::rehearsal::k0s::setup::{RUN, Setup};
use crate::rehearsal::k0s::worker::reason;
use crate::rehearsal::machine::{End, Machine, Verb};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Exit status 0 also when the API probe fails (lab §16).
pub(super) fn status(m: &mut dyn Machine, setup: &Setup, args: &[&str]) -> Outcome {
    if let Some(why) = no_socket(m, "status") {
        return error(&why);
    }
    let pid = main_pid(m).unwrap_or_default();
    let probe = if setup.workloads { probe(m, setup) } else { Err(String::new()) };
    let role = if setup.controller { "controller" } else { "worker" };
    match args {
        ["-o" | "--out", "json"] | ["-o=json" | "--out=json"] => {
            let value = json(m, setup, (pid, role), &probe);
            printed(indented(&value, b"   "))
        }
        [] | ["-o" | "--out", _] => {
            let mut text = format!(
                "Version: {}\nProcess ID: {pid}\nRole: {role}\nWorkloads: {}\nSingleNode: {}\n",
                setup.version, setup.workloads, setup.single
            );
            if setup.workloads {
                let why = probe.as_ref().err().cloned().unwrap_or_default();
                let _ = writeln!(
                    text,
                    "Kube-api probing successful: {}\nKube-api probing last error:  {why}",
                    probe.is_ok()
                );
            }
            printed(text)
        }
        _ => Outcome::Unknown,
    }
}

/// With the kubelet's credentials.
fn probe(m: &mut dyn Machine, setup: &Setup) -> Result<(), String> {
    let client =
        Client::load(m, &format!("{}/kubelet.conf", setup.data)).ok_or_else(|| "no kubelet.conf".to_owned())?;
    match client.call(m, Verb::Get, "/version", Vec::new()).end {
        End::Answer(200, _) => Ok(()),
        end => Err(reason(&client, "/version", &end)),
    }
}

fn json(m: &dyn Machine, setup: &Setup, (pid, role): (u32, &str), probe: &Result<(), String>) -> Value {
    let data = &setup.data;
    let config = if setup.controller { cluster_config(m, setup) } else { Value::Null };
    json!({
        "Version": setup.version, "Pid": pid, "PPid": 0, "Role": role, "SysInit": "", "StubFile": "", "Output": "",
        "Workloads": setup.workloads, "SingleNode": setup.single, "Args": setup.args,
        "WorkerToAPIConnectionStatus": {"Message": probe.as_ref().err().cloned().unwrap_or_default(), "Success": probe.is_ok()},
        "ClusterConfig": config,
        "K0sVars": {
            "AdminKubeConfigPath": setup.pki("admin.conf"), "BinDir": format!("{data}/bin"), "CertRootDir": format!("{data}/pki"),
            "DataDir": data, "KubeletRootDir": setup.kubelet_root, "EtcdCertDir": setup.pki("etcd"), "EtcdDataDir": format!("{data}/etcd"),
            "KubeletAuthConfigPath": format!("{data}/kubelet.conf"), "ManifestsDir": format!("{data}/manifests"), "RunDir": RUN,
            "DefaultStorageType": if setup.single { "kine" } else { "etcd" },
            "RuntimeConfigPath": format!("{RUN}/k0s.yaml"), "StatusSocketPath": format!("{RUN}/status.sock"),
            "StartupConfigPath": crate::k0s::flag(&setup.args, "config").unwrap_or("/etc/k0s/k0s.yaml"),
        },
    })
}

/// The node's configuration with its defaults.
fn cluster_config(m: &dyn Machine, setup: &Setup) -> Value {
    let life = json!({"expiresAfter": "87600h0m0s", "certificatesExpireAfter": "8760h0m0s"});
    let storage = if setup.single {
        json!({"type": "kine", "kine": {"dataSource": format!("sqlite://file:{}/db/state.db?mode=rwc&_journal=WAL", setup.data)}})
    } else {
        json!({"type": "etcd", "etcd": {"peerAddress": m.address(), "ca": life.clone()}})
    };
    let mut config = json!({
        "kind": "ClusterConfig", "apiVersion": "k0s.k0sproject.io/v1beta1",
        "metadata": {"name": "k0s", "namespace": "kube-system"},
        "spec": {
            "api": {"address": m.address(), "k0sApiPort": 9443, "port": 6443, "ca": life},
            "controllerManager": {}, "scheduler": {}, "storage": storage,
            "konnectivity": {"agentPort": 8132, "adminPort": 8133},
            "network": {"provider": "kuberouter", "podCIDR": "10.244.0.0/16", "serviceCIDR": "10.96.0.0/12", "clusterDomain": "cluster.local"},
        },
    });
    merge(&mut config["spec"], &setup.config["spec"]);
    config
}

/// Always YAML on standard output and a notice on standard error.
pub(super) fn components(m: &dyn Machine) -> Outcome {
    let notice = "!!! per component status is not yet finally ready, information here might be not full yet\n";
    let (status, stdout, why) = match no_socket(m, "components?maxCount=1") {
        Some(why) => (1, Vec::new(), format!("Error: {why}\n")),
        None => (0, b"events: {}\nhealthProbes: {}\n\n".to_vec(), String::new()),
    };
    Outcome::Done(Output { status, stdout, stderr: format!("{notice}{why}").into_bytes() })
}

//! What the kubelet does for its pods: volumes, containers, restarts.

use crate::rehearsal::k0s::client::Client;
use crate::rehearsal::k0s::container::{TASKS, Task};
use crate::rehearsal::k0s::setup::Setup;
use crate::rehearsal::k0s::{Program, pods, times};
use crate::rehearsal::machine::{Machine, Ms, Verb};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Between refreshes of a pod's volume (lab §11: 7 and 15 s; §29: up to 37 s after the controllers are ready).
const REFRESH_EVERY: Ms = 20_000;
/// Between refreshes of a token: 80 % of its hour.
const TOKEN_EVERY: Ms = 2_880_000;

/// Pods of the node, by uid.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    known: BTreeMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    pod: Value,
    next_refresh: Ms,
    next_token: Ms,
    restarts: u64,
}

/// A container's folder of containerd.
#[derive(Clone, Debug)]
struct Container {
    id: String,
    pod: String,
    task: u32,
    shim: u32,
}

impl Pods {
    /// Asks which pods are to run here. Without an answer those that are known stay.
    pub fn list(&mut self, m: &mut dyn Machine, setup: &Setup, client: &Client) {
        let query = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", m.hostname());
        let Some(answer) = client.get(m, &query) else { return };
        let Some(items) = answer["items"].as_array() else { return };
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let wanted: BTreeSet<String> = items.iter().map(uid).collect();
        for container in containers(m).into_iter().filter(|c| !wanted.contains(&c.pod)) {
            m.signal(container.task, 9);
            m.signal(container.shim, 9);
            m.remove(&format!("{TASKS}/{}", container.id));
            m.remove(&format!("{}/pods/{}", setup.kubelet_root, container.pod));
        }
        self.known.retain(|uid, _| wanted.contains(uid));
        for pod in items {
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
            let new = Known { pod: pod.clone(), next_refresh: 0, next_token: 0, restarts };
            self.known.entry(uid(pod)).or_insert(new).pod = pod.clone();
        }
    }

    /// Refreshes volumes that are due, and starts what does not run.
    pub fn look(&mut self, m: &mut dyn Machine, setup: &Setup, client: &Client) {
        let running = containers(m);
        let mut roots: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (uid, known) in &mut self.known {
            if m.ms() >= known.next_refresh {
                let spread = u64::from(uid.bytes().map(u32::from).sum::<u32>() % 7) * 1000;
                known.next_refresh = m.ms() + REFRESH_EVERY + spread;
                refresh(m, setup, client, uid, known, &mut roots);
            }
            let own: Vec<&Container> = running.iter().filter(|c| c.pod == *uid).collect();
            if let Some(container) = own.iter().find(|c| m.alive(c.task)) {
                tell(m, client, &container.id, known);
                continue;
            }
            if !m.exists(&format!("{}/ca.crt", volume(setup, uid, &known.pod))) {
                continue;
            }
            // A container that was there before has been restarted; after a boot it is only known from its status.
            let before = !own.is_empty() || known.pod["status"]["containerStatuses"][0]["containerID"].is_string();
            known.restarts += u64::from(before);
            let shim = own.iter().map(|c| c.shim).find(|shim| m.alive(*shim));
            for container in &own {
                m.remove(&format!("{TASKS}/{}", container.id));
            }
            start(m, setup, client, uid, known, shim);
        }
    }
}

/// The folder that a pod sees as `/var/run/secrets/kubernetes.io/serviceaccount`.
fn volume(setup: &Setup, uid: &str, pod: &Value) -> String {
    let name = pod["spec"]["volumes"][0]["name"].as_str().unwrap_or("kube-api-access");
    format!("{}/pods/{uid}/volumes/kubernetes.io~projected/{name}", setup.kubelet_root)
}

/// Brings `ca.crt` and the token of a pod up to date, by a new folder and a link, as the kubelet's atomic writer does.
fn refresh(
    m: &mut dyn Machine,
    setup: &Setup,
    client: &Client,
    uid: &str,
    known: &mut Known,
    roots: &mut BTreeMap<String, Option<String>>,
) {
    let part = |pointer: &str| known.pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (namespace, name, account) =
        (part("/metadata/namespace"), part("/metadata/name"), part("/spec/serviceAccountName"));
    let root = roots.entry(namespace.clone()).or_insert_with(|| {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        client.get(m, &path).and_then(|cm| cm["data"]["ca.crt"].as_str().map(str::to_owned))
    });
    let Some(ca) = root.clone() else { return };
    let folder = volume(setup, uid, &known.pod);
    let old_ca = m.read(&format!("{folder}/ca.crt"));
    let mut token = m.read(&format!("{folder}/token"));
    if token.is_none() || m.ms() >= known.next_token {
        let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3607, "boundObjectRef": bound}});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let Some(answer) = client.send(m, Verb::Post, &path, &body) else { return };
        let Some(new) = answer["status"]["token"].as_str() else { return };
        token = Some(new.as_bytes().into());
        known.next_token = m.ms() + TOKEN_EVERY;
    } else if old_ca.is_some_and(|old| *old == *ca.as_bytes()) {
        return;
    }
    let Some(token) = token else { return };
    let dated = format!("..{}.{}", times::dashed(m.now()).replace('-', "_"), m.word(9));
    let old: Vec<String> = m.list(&folder).into_iter().filter(|n| n.starts_with("..2")).collect();
    let written = [("ca.crt", ca.as_bytes()), ("namespace", namespace.as_bytes()), ("token", &token[..])]
        .into_iter()
        .all(|(file, bytes)| m.write(&format!("{folder}/{dated}/{file}"), bytes, 0o644, 0).is_ok());
    if !written {
        return;
    }
    m.link(&format!("{folder}/..data"), &dated);
    for file in ["ca.crt", "namespace", "token"] {
        m.link(&format!("{folder}/{file}"), &format!("..data/{file}"));
    }
    for name in old {
        m.remove(&format!("{folder}/{name}"));
    }
}

/// Starts the container of a pod and says so in its status.
fn start(m: &mut dyn Machine, setup: &Setup, client: &Client, uid: &str, known: &mut Known, shim: Option<u32>) {
    let pod = &known.pod;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, namespace, container) =
        (text("/metadata/name"), text("/metadata/namespace"), text("/spec/containers/0/name"));
    let id = pods::hex_id(&format!("{uid}/{}/{}", known.restarts, m.word(8)), 64);
    let task = if container == "konnectivity-agent" {
        let host = text("/spec/containers/0/args/1");
        Task::agent(m.hostname(), host.trim_start_matches("--proxy-server-host="), &volume(setup, uid, pod))
    } else {
        Task::other()
    };
    let shim = shim.unwrap_or_else(|| m.spawn(Program::Shim));
    let task = m.spawn(Program::Task(task));
    let config = json!({
        "shim": shim, "image": text("/spec/containers/0/image"),
        "annotations": {
            "io.kubernetes.cri.container-type": "container", "io.kubernetes.container.name": container,
            "io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid,
        },
    });
    let _ = m.write(&format!("{TASKS}/{id}/config.json"), config.to_string().as_bytes(), 0o644, 0);
    let _ = m.write(&format!("{TASKS}/{id}/init.pid"), task.to_string().as_bytes(), 0o644, 0);
    tell(m, client, &id, known);
}

/// Says in the status of a pod which container runs; said again at each look until the API has taken it.
fn tell(m: &mut dyn Machine, client: &Client, id: &str, known: &mut Known) {
    let id = format!("containerd://{id}");
    if known.pod["status"]["containerStatuses"][0]["containerID"] == *id {
        return;
    }
    let now = times::second(m.now());
    let status = json!({"phase": "Running", "hostIP": m.address(), "startTime": now, "containerStatuses": [{
        "name": known.pod["spec"]["containers"][0]["name"], "ready": true, "restartCount": known.restarts,
        "containerID": id, "state": {"running": {"startedAt": now}},
    }]});
    if client.send(m, Verb::Patch, &pods::path(&known.pod), &json!({"status": status})).is_some() {
        known.pod["status"] = status;
    }
}

/// What containerd knows of.
fn containers(m: &dyn Machine) -> Vec<Container> {
    let read = |id: String| {
        let config: Value = serde_json::from_slice(&m.read(&format!("{TASKS}/{id}/config.json"))?).ok()?;
        let task = String::from_utf8_lossy(&m.read(&format!("{TASKS}/{id}/init.pid"))?).parse().ok()?;
        let pod = config["annotations"]["io.kubernetes.pod.uid"].as_str()?.to_owned();
        let shim = u32::try_from(config["shim"].as_u64()?).ok()?;
        Some(Container { id, pod, task, shim })
    };
    m.list(TASKS).into_iter().filter_map(read).collect()
}

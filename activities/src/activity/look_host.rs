//! Sees what a host is, and all that speaks against working on it; judging is check-host's.

use super::check_host::CheckHost;
use super::common::{self, Seen, Step};
use super::{host_facts, overrides, unit};
use crate::facts::{HostFacts, K0sHost};
use crate::fleet::Role;
use crate::k0s::{self, Status, Vars};
use k0rotate_engine::failure::Failure;

/// k0s dates its leafs 5 min back, and CAs are dated 1 h back.
const LARGEST_SKEW_MS: i64 = 60_000;

/// What can be seen of a host. Fails only where it could not be asked, or no k0s is installed; a k0s that does not run is a reason against
/// working there, and its trust is found by what its unit says.
pub(super) async fn look(check: &CheckHost, cx: &Step) -> Result<Seen<HostFacts>, Failure> {
    let mut against = Vec::new();
    let unit_args = command_line(check, cx).await?;
    let status = status(check, cx, &unit_args, &mut against).await?;
    against.extend(role_differs(check, &status));
    against.extend(overridden(check, &status, &unit_args));
    let host = place(check, cx, &unit_args[0], &status, &mut against).await?;
    if status.runs() {
        match unit::show(cx, &host).await {
            Ok(unit) if unit.runs() => {}
            Ok(_) => against.push(not_running(check)),
            Err(failure) => against.push(failure),
        }
    }
    let trust = match host_facts::trust(cx, &host).await {
        Err(failure) if failure.code == "kubelet-conf-unreadable" => {
            against.push(failure);
            Vec::new()
        }
        trust => trust?,
    };
    let facts = host_facts::complete(cx, host, &status, unit_args, trust, &mut against).await?;
    if facts.clock_skew_ms.abs() > LARGEST_SKEW_MS && !check.allows("clock-skew") {
        against.push(check.refused("clock-skew").with("milliseconds", facts.clock_skew_ms));
    }
    Ok(Seen { facts, against })
}

/// Of the unit of its role, else of the other one: who runs in another role than the inventory says is seen as what it is.
async fn command_line(check: &CheckHost, cx: &Step) -> Result<Vec<String>, Failure> {
    let other = if check.role.is_controller() { Role::Worker } else { Role::Controller };
    match host_facts::command_line(cx, &check.name, check.role).await {
        Err(failure) if failure.code == "unit-not-found" => {
            host_facts::command_line(cx, &check.name, other).await.map_err(|_| failure)
        }
        found => found,
    }
}

/// What the running k0s says of itself; it must be the one on the disk, for a restart starts that. If none runs, what its unit says.
async fn status(
    check: &CheckHost,
    cx: &Step,
    unit_args: &[String],
    against: &mut Vec<Failure>,
) -> Result<Status, Failure> {
    let k0s = &unit_args[0];
    let output = common::exec(cx, &check.name, common::command(k0s, ["status", "-o", "json"])).await?;
    let on_disk = common::exec(cx, &check.name, common::command(k0s, ["version"])).await?.text();
    let Some(status) = Status::read(&output.stdout).ok().filter(|_| output.ok()) else {
        against.push(not_running(check));
        return Ok(of_unit(unit_args, on_disk.trim()));
    };
    if on_disk.trim() != status.version {
        against.push(check.refused("k0s-version-differs").with("running", &status.version));
    }
    if !known_version(&status.version) && !check.allows("version") {
        against.push(check.refused("version-unknown").with("version", &status.version));
    }
    Ok(status)
}

fn of_unit(unit_args: &[String], version: &str) -> Status {
    let told = |name: &str| k0s::flag(unit_args, name).unwrap_or_default().to_owned();
    let data_dir = k0s::flag(unit_args, "data-dir").unwrap_or("/var/lib/k0s").to_owned();
    Status {
        version: version.to_owned(),
        pid: 0,
        role: unit_args.get(1).cloned().unwrap_or_default(),
        workloads: k0s::switch(unit_args, "enable-worker"),
        single_node: k0s::switch(unit_args, "single"),
        args: Vec::new(),
        cluster_config: None,
        vars: Vars { data_dir, kubelet_root_dir: told("kubelet-root-dir"), startup_config_path: told("config") },
    }
}

fn role(status: &Status) -> Role {
    match (status.role.as_str(), status.single_node, status.workloads) {
        ("worker", ..) => Role::Worker,
        (_, true, _) => Role::Single,
        (_, false, true) => Role::ControllerWorker,
        (_, false, false) => Role::Controller,
    }
}

fn role_differs(check: &CheckHost, status: &Status) -> Option<Failure> {
    let found = role(status);
    (found != check.role).then(|| check.refused("role-differs").with("found", host_facts::role_name(found)))
}

fn overridden(check: &CheckHost, status: &Status, unit_args: &[String]) -> Option<Failure> {
    let kubelet = k0s::flag(unit_args, "kubelet-extra-args").and_then(overrides::in_kubelet);
    let found = kubelet.or_else(|| status.cluster_config.as_ref().and_then(overrides::in_config))?;
    let refused = check.refused("trust-path-overridden");
    Some(refused.with("component", found.component).with("argument", found.argument))
}

async fn place(
    check: &CheckHost,
    cx: &Step,
    k0s: &str,
    status: &Status,
    against: &mut Vec<Failure>,
) -> Result<K0sHost, Failure> {
    let (role, kubelet_root) = (role(status), status.kubelet_root());
    let node = if role.has_workloads() { node(check, cx, &kubelet_root).await? } else { None };
    if role.has_workloads() && node.is_none() {
        against.push(Failure::new("kubelet-certificate-missing").with("host", &check.name));
    }
    let port = status.config("/spec/api/port").and_then(serde_json::Value::as_u64);
    Ok(K0sHost {
        name: check.name.clone(),
        role,
        unit: host_facts::unit(role).to_owned(),
        k0s: k0s.to_owned(),
        version: status.version.clone(),
        data_dir: status.vars.data_dir.clone(),
        kubelet_root,
        node,
        hostname: host_facts::hostname(cx, &check.name).await?,
        address: status.config_text("/spec/api/address").unwrap_or(&check.address).to_owned(),
        api_port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(6443),
    })
}

/// The name that the cluster knows this kubelet by, from its client certificate: a hostname changed since would make a new Node.
async fn node(check: &CheckHost, cx: &Step, kubelet_root: &str) -> Result<Option<String>, Failure> {
    let path = format!("{kubelet_root}/pki/kubelet-client-current.pem");
    let certificate = host_facts::first_certificate(cx, &check.name, &path).await?;
    Ok(certificate.and_then(|c| Some(c.subject_cn.strip_prefix("system:node:")?.to_owned())))
}

fn not_running(check: &CheckHost) -> Failure {
    Failure::new("k0s-not-running").with("host", &check.name)
}

/// Minors that this was measured against or read for (facts §1.1); 1.35.1+k0s.0 decodes a token that it does not need and crash-loops.
fn known_version(version: &str) -> bool {
    let minor = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    minor.is_some_and(|minor| (30..=36).contains(&minor)) && version != "v1.35.1+k0s.0"
}

#[cfg(test)]
mod tests {
    //! Shows which versions are let in.

    use super::known_version;

    /// Goal: the known minors, and neither what came before or after nor the one that crash-loops.
    #[test]
    fn versions_that_are_known() {
        assert!(["v1.30.0+k0s.0", "v1.36.3+k0s.2", "v1.35.1+k0s.1"].into_iter().all(known_version));
        assert!(!["v1.29.9+k0s.0", "v1.37.0+k0s.0", "v1.35.1+k0s.0", "1.36", ""].into_iter().any(known_version));
    }
}

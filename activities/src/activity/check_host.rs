//! Looks at a host: where k0s lives on it, what trust it holds, and whether this tool can work there.

use super::common::{self, Step};
use super::{host_facts, overrides, unit};
use crate::facts::{HostFacts, K0sHost};
use crate::fleet::{Fleet, Role};
use crate::k0s::{self, Status};
use crate::pki::CertInfo;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when k0s runs as the inventory says, with trust that this tool can replace. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckHost {
    /// Its name in the inventory.
    pub name: String,
    /// Its role in the inventory.
    pub role: Role,
    /// Its address in the inventory, for a worker is asked there.
    pub address: String,
    /// Names of checks whose refusal the operator accepts: `version`, `clock-skew`.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// k0s dates its leafs 5 min back, and CAs are dated 1 h back.
const LARGEST_SKEW_MS: i64 = 60_000;

impl Activity for CheckHost {
    const NAME: &'static str = "check-host";
    type Env = Fleet;
    type Before = ();
    type Output = HostFacts;

    fn target(&self) -> String {
        self.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(120), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<HostFacts>, Failure> {
        let unit_args = host_facts::command_line(cx, &self.name, self.role).await?;
        let status = self.status(cx, &unit_args[0]).await?;
        self.check_overrides(&status, &unit_args)?;
        let host = self.place(cx, &unit_args[0], &status).await?;
        if !unit::show(cx, &host).await?.runs() {
            return Err(Failure::new("k0s-not-running").with("host", &self.name));
        }
        let trust = host_facts::trust(cx, &host).await?;
        let facts = host_facts::complete(cx, host, &status, unit_args, trust).await?;
        if facts.clock_skew_ms.abs() > LARGEST_SKEW_MS && !self.allows("clock-skew") {
            return Err(self.refused("clock-skew").with("milliseconds", facts.clock_skew_ms));
        }
        Ok(Some(facts))
    }

    /// Nothing was done.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    /// There is nothing to do but to look.
    async fn run(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

impl CheckHost {
    /// What the running k0s says of itself; it must be the one on the disk, for a restart starts that.
    async fn status(&self, cx: &Step, k0s: &str) -> Result<Status, Failure> {
        let output = common::exec(cx, &self.name, common::command(k0s, ["status", "-o", "json"])).await?;
        let status = Status::read(&output.stdout).ok().filter(|_| output.ok());
        let status = status.ok_or_else(|| Failure::new("k0s-not-running").with("host", &self.name))?;
        let on_disk = common::exec(cx, &self.name, common::command(k0s, ["version"])).await?.text();
        if on_disk.trim() != status.version {
            return Err(self.refused("k0s-version-differs").with("running", &status.version));
        }
        if !known_version(&status.version) && !self.allows("version") {
            return Err(self.refused("version-unknown").with("version", &status.version));
        }
        let role = match (status.role.as_str(), status.single_node, status.workloads) {
            ("worker", ..) => Role::Worker,
            (_, true, _) => Role::Single,
            (_, false, true) => Role::ControllerWorker,
            (_, false, false) => Role::Controller,
        };
        if role != self.role {
            return Err(self.refused("role-differs").with("found", host_facts::role_name(role)));
        }
        Ok(status)
    }

    fn check_overrides(&self, status: &Status, unit_args: &[String]) -> Result<(), Failure> {
        let kubelet = k0s::flag(unit_args, "kubelet-extra-args").and_then(overrides::in_kubelet);
        match kubelet.or_else(|| status.cluster_config.as_ref().and_then(overrides::in_config)) {
            Some(found) => Err(self
                .refused("trust-path-overridden")
                .with("component", found.component)
                .with("argument", found.argument)),
            None => Ok(()),
        }
    }

    async fn place(&self, cx: &Step, k0s: &str, status: &Status) -> Result<K0sHost, Failure> {
        let kubelet_root = status.kubelet_root();
        let node = if self.role.has_workloads() { Some(self.node(cx, &kubelet_root).await?) } else { None };
        let port = status.config("/spec/api/port").and_then(serde_json::Value::as_u64);
        Ok(K0sHost {
            name: self.name.clone(),
            role: self.role,
            unit: host_facts::unit(self.role).to_owned(),
            k0s: k0s.to_owned(),
            version: status.version.clone(),
            data_dir: status.vars.data_dir.clone(),
            kubelet_root,
            node,
            hostname: host_facts::hostname(cx, &self.name).await?,
            address: status.config_text("/spec/api/address").unwrap_or(&self.address).to_owned(),
            api_port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(6443),
        })
    }

    /// The name that the cluster knows this kubelet by, from its client certificate: a hostname changed since would make a new Node.
    async fn node(&self, cx: &Step, kubelet_root: &str) -> Result<String, Failure> {
        let path = format!("{kubelet_root}/pki/kubelet-client-current.pem");
        let certificate: Option<CertInfo> = host_facts::first_certificate(cx, &self.name, &path).await?;
        let name = certificate.and_then(|c| Some(c.subject_cn.strip_prefix("system:node:")?.to_owned()));
        name.ok_or_else(|| Failure::new("kubelet-certificate-missing").with("host", &self.name))
    }

    fn allows(&self, check: &str) -> bool {
        self.allow.iter().any(|allowed| allowed == check)
    }

    fn refused(&self, code: &'static str) -> Failure {
        Failure::refused(code).with("host", &self.name)
    }
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

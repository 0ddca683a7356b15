//! Reboots a node, which restarts all that holds the old trust in memory.

use super::common::{self, Step};
use super::{node, unit};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when the boot id is another, k0s runs, and the node's Lease moved twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootHost {
    /// Which.
    pub host: K0sHost,
    /// Controllers to ask, itself last.
    pub via: Vec<K0sHost>,
}

/// How long a machine may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(600);

impl Activity for RebootHost {
    const NAME: &'static str = "reboot-host";
    type Env = Fleet;
    /// The boot id.
    type Before = String;
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        let deadline = BACK_WITHIN + Duration::from_secs(60);
        RetryPolicy {
            tries: 1,
            settle_for: BACK_WITHIN,
            deadline,
            probe_every: Duration::from_secs(5),
            ..RetryPolicy::default()
        }
    }

    async fn before(&self, cx: &Step) -> Result<String, Failure> {
        common::host(cx, &self.host.name)?.boot_id().await.map_err(common::of(&self.host.name))
    }

    async fn probe(&self, cx: &Step, before: &String) -> Result<Option<()>, Failure> {
        let boot = common::host(cx, &self.host.name)?.boot_id().await.map_err(common::of(&self.host.name))?;
        if boot == *before || !unit::show(cx, &self.host).await?.runs() {
            return Ok(None);
        }
        match &self.host.node {
            Some(node) => Ok(node::lives(cx, &self.via, node).await?.then_some(())),
            None => Ok(Some(())),
        }
    }

    /// A reboot can't be taken back.
    async fn undo(&self, _cx: &Step, _before: &String) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _before: &String) -> Result<bool, Failure> {
        Ok(true)
    }

    /// The connection may end with the machine; the boot id says whether it came to it.
    async fn run(&self, cx: &Step, _before: &String) -> Result<(), Failure> {
        let reboot = Change::Run(Command::new("systemctl", ["reboot"]));
        match common::change_or_refused(cx, &self.host.name, vec![reboot]).await {
            Err(failure) if failure.code != "link-lost" => Err(failure),
            _ => Ok(()),
        }
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

//! Looks at a host: where k0s lives on it, what trust it holds, and whether this tool can work there.

use super::common::{Seen, Step};
use super::look_host;
use crate::facts::HostFacts;
use crate::fleet::{Fleet, Role};
use k0rotate_engine::activity::{Check, RetryPolicy};
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

impl Check for CheckHost {
    const NAME: &'static str = "check-host";
    type Env = Fleet;
    type Output = HostFacts;

    fn target(&self) -> String {
        self.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(120), ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<HostFacts>, Failure> {
        self.look(cx).await?.judged().map(Some)
    }
}

/// Checks whose refusal an operator may accept, by name (`--allow`).
pub const ALLOWED: [&str; 3] = ["backup", "clock-skew", "version"];

impl CheckHost {
    /// What can be seen of the host, and all that speaks against working on it. Fails only where nothing can be seen.
    pub async fn look(&self, cx: &Step) -> Result<Seen<HostFacts>, Failure> {
        look_host::look(self, cx).await
    }

    /// Whether the operator accepts the refusal of a check.
    pub(super) fn allows(&self, check: &str) -> bool {
        self.allow.iter().any(|allowed| allowed == check)
    }

    pub(super) fn refused(&self, code: &'static str) -> Failure {
        Failure::refused(code).with("host", &self.name)
    }
}

//! Counts lines in k0s' journal that tell of refused trust; copies none of them.

use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Command;
use k0rotate_engine::activity::Check;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A look alone: its counts go into the report, and never fail the rotation, for a line may be older than its cure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLogs {
    /// Where.
    pub host: K0sHost,
    /// From when on, seconds since the epoch.
    pub since: u64,
}

/// What is looked for, and what the report calls it.
const KNOWN: [(&str, &str); 5] = [
    ("certificate signed by unknown authority", "unknown-authority"),
    ("doesn't match parent's PublicKey", "key-mismatch"),
    ("invalid signature, no keys found", "token-of-other-key"),
    ("certificate has expired", "expired"),
    ("tls: bad certificate", "bad-certificate"),
];

impl Check for CheckLogs {
    const NAME: &'static str = "check-logs";
    type Env = Fleet;
    /// How often each was met; empty where there is no journal.
    type Output = BTreeMap<String, u32>;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    async fn check(&self, cx: &Step) -> Result<Option<Self::Output>, Failure> {
        let since = format!("@{}", self.since);
        let args = ["-u", &self.host.unit, "--since", &since, "-o", "cat", "--no-pager"];
        let output = common::exec(cx, &self.host.name, Command::new("journalctl", args)).await?;
        let text = if output.ok() { output.text() } else { String::new() };
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            for (_, name) in KNOWN.iter().filter(|(known, _)| line.contains(known)) {
                *counts.entry((*name).to_owned()).or_insert(0) += 1;
            }
        }
        Ok(Some(counts))
    }
}

//! What can be typed after `plan`, `rotate`, `rollback` and the words about an execution.

use super::{OwnCaArg, RefreshArg, RootArg};
use clap::Args;
use serde::{Deserialize, Serialize};

/// What a rotation can be asked for.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
pub struct Options {
    /// Roots to replace.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROOT")]
    pub roots: Vec<RootArg>,
    /// A CA of your own instead of a new one, for kubernetes-ca or etcd-ca: PATH.crt (one self-signed certificate) and PATH.key.
    #[arg(long, value_name = "ROOT=PATH")]
    pub own_ca: Vec<OwnCaArg>,
    /// The controller that is started and asked first.
    #[arg(long, value_name = "HOST")]
    pub primary: Option<String>,
    /// Whose containers are restarted.
    #[arg(long, value_enum, default_value_t = RefreshArg::System)]
    pub refresh: RefreshArg,
    /// Reboot the nodes instead of restarting containers.
    #[arg(long)]
    pub reboot: bool,
    /// So many workers are rebooted at the same time.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "reboot", value_parser = clap::value_parser!(u32).range(1..))]
    pub reboot_at_once: u32,
    /// The controllers are not stopped before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<String>,
    /// The way forward and back must have room before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub not_after: Option<String>,
    /// After how long without a control plane it rolls back by itself [default: 5m].
    #[arg(long, value_name = "DURATION")]
    pub max_outage: Option<String>,
    /// Hosts that are known to be dead.
    #[arg(long, value_name = "HOST")]
    pub leave_behind: Vec<String>,
    /// Join tokens that are not revoked, by id.
    #[arg(long, value_name = "ID")]
    pub keep_token: Vec<String>,
    /// Accept the refusal of one check, by name; recorded.
    #[arg(long, value_name = "CHECK")]
    pub allow: Vec<String>,
    /// The keys of the cluster leaked: replace all roots now. No window and no approval is waited for, all join tokens are revoked, and a
    /// roll-back asks twice.
    #[arg(long)]
    #[serde(default)]
    pub compromised: bool,
}

impl Options {
    /// What is asked for where no flag is given.
    pub fn plain() -> Self {
        Self {
            roots: Vec::new(),
            own_ca: Vec::new(),
            primary: None,
            refresh: RefreshArg::System,
            reboot: false,
            reboot_at_once: 1,
            not_before: None,
            not_after: None,
            max_outage: None,
            leave_behind: Vec::new(),
            keep_token: Vec::new(),
            allow: Vec::new(),
            compromised: false,
        }
    }
}

/// Of `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The cluster, by its name in the inventory or the configuration; needed where there are several.
    pub cluster: Option<String>,
    /// What the rotation would be asked for.
    #[command(flatten)]
    pub options: Options,
    /// Plan the way back of an execution instead.
    #[arg(long, value_name = "RUN")]
    pub rollback: Option<String>,
    /// Record host keys that are not known yet.
    #[arg(long)]
    pub accept_new_host_keys: bool,
}

/// Of `rotate`.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// The cluster, by its name in the inventory or the configuration; needed where there are several.
    pub cluster: Option<String>,
    /// What it is asked for.
    #[command(flatten)]
    pub options: Options,
    /// Refuse unless the plan's digest begins so.
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// How it is confirmed.
    #[command(flatten)]
    pub sure: Sure,
}

/// How a change is confirmed and explained.
#[derive(Args, Clone, Debug)]
pub struct Sure {
    /// Do not ask.
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Why; becomes part of the record.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
}

/// An execution, and a word about it.
#[derive(Args, Debug)]
pub struct WordArgs {
    /// An id or a unique part of its beginning; by default the open execution of the inventory's cluster.
    pub run: Option<String>,
    /// How it is confirmed.
    #[command(flatten)]
    pub sure: Sure,
}

/// Of `rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Which, and a word about it.
    #[command(flatten)]
    pub word: WordArgs,
    /// Refuse unless the digest of `plan --rollback` begins so.
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// The second word for the way back of a rotation that was begun with --compromised: who has the leaked keys is let in again.
    #[arg(long)]
    pub bring_back_the_leaked_trust: bool,
}

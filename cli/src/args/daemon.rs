//! What can be typed after `daemon`, `config` and `approve`.

use super::WordArgs;
use clap::{Args, Subcommand};

/// Of `daemon`.
#[derive(Args, Clone, Debug)]
pub struct DaemonArgs {
    /// How long after SIGTERM it drives on at the most where the API is down.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub max_outage: String,
}

/// Of `config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigVerb {
    /// Each value that holds, and where it comes from.
    Show,
    /// All that is wrong, with file and line; nothing is looked at but files.
    Check,
}

/// Of `approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// Which, and a word about it.
    #[command(flatten)]
    pub word: WordArgs,
    /// Refuse unless the digest of its plan begins so.
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Of a fleet: this wave of it.
    #[arg(long, value_name = "N")]
    pub wave: Option<usize>,
}

/// Of `decline`.
#[derive(Args, Debug)]
pub struct DeclineArgs {
    /// Which, and a word about it.
    #[command(flatten)]
    pub word: WordArgs,
    /// Of a fleet: neither this wave of it nor those after it.
    #[arg(long, value_name = "N")]
    pub wave: Option<usize>,
}

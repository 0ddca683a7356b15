//! Tells persons what they should know by a command of theirs. It delays nothing: histories are read by a thread beside each cluster, and
//! what is in none of them waits in a short queue.
//!
//! Modules in reading order.

pub mod notice;

pub mod command;

pub mod histories;

pub mod bell;

use crate::config::{Settings, keys};
use std::path::{Path, PathBuf};

/// The command that is told what happens to a cluster, if there is one.
pub fn command_of(settings: &Settings, cluster: &str) -> Option<PathBuf> {
    settings.path(Some(cluster), keys::NOTIFY_COMMAND).map(Path::to_owned)
}

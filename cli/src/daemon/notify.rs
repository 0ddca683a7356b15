//! Tells persons what they should know by a command of theirs. It delays nothing: histories are read by a thread beside each cluster, and
//! what is in none of them waits in a short queue.
//!
//! Modules in reading order.

pub mod notice;

pub mod command;

pub mod histories;

pub mod bell;

use crate::config::{Settings, keys};
use crate::telemetry::courier::Courier;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::log::EventLog;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Begins to tell what the histories of the store in this folder say, if there is somebody to tell.
pub fn of_histories(
    settings: &Settings,
    cluster: &str,
    dir: &Path,
    log: &Arc<dyn EventLog>,
    now: Timestamp,
) -> Option<Courier> {
    let command = command_of(settings, cluster)?;
    histories::begin((&command, settings.texts(Some(cluster), keys::WHO_APPROVE)), dir, log, now)
}

/// The command that is told what happens to a cluster, if there is one.
pub fn command_of(settings: &Settings, cluster: &str) -> Option<PathBuf> {
    settings.path(Some(cluster), keys::NOTIFY_COMMAND).map(Path::to_owned)
}

//! Whoever has a store open serves what it knows, and takes words, on a Unix socket: the same routes for one cluster or many.
//!
//! Modules in reading order.

pub mod serve;

pub mod routes;

pub mod client;

use crate::error::Error;
use crate::open;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::{audit, get, history, post, stored};
pub use serve::{Peer, Serving, serve};

/// An answer may be this large.
const MOST_BYTES: usize = 64 << 20;
/// Events are answered in pages: one ends with the event that brings it here, so that it stays far below [`MOST_BYTES`].
const PAGE: usize = 1 << 20;
/// How long an answer to a question may take; a process that lives gives it at once, whatever it is doing.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a process that was told a word is asked whether it still lives.
const ALIVE: Duration = Duration::from_secs(5);

/// The socket of a cluster's folder.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("api.sock")
}

/// Where a cluster is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The socket.
    pub socket: PathBuf,
    /// The cluster's name, as that of a folder.
    pub folder: String,
    /// Whether the daemon serves it; else a process that has just this store open.
    pub daemon: bool,
}

impl Address {
    /// Of a process that has the store in this folder open.
    pub fn beside(dir: &Path) -> Self {
        let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { socket: path(dir), folder, daemon: false }
    }

    /// Of a cluster of the daemon.
    pub fn of_daemon(socket: &Path, cluster: &str) -> Self {
        Self { socket: socket.to_owned(), folder: open::folder_of(cluster), daemon: true }
    }

    /// The path of a request about this cluster.
    pub fn about(&self, what: &str) -> String {
        format!("/clusters/{}{what}", self.folder)
    }

    /// That nobody answers there.
    pub fn lost(&self, why: &str) -> Error {
        let told = format!("{}: {why}", self.socket.display());
        if self.daemon { Error::NoDaemon(told) } else { Error::Held(told) }
    }
}

/// Who says a word, and why.
#[derive(Debug, Deserialize, Serialize)]
pub struct Said {
    /// Who. The daemon does not believe it: it knows its peer.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The second word for a way back to a trust that leaked.
    #[serde(default)]
    pub leaked: bool,
}

//! The audit: one line of JSON an event, each bound to the line before it by a hash. docs/audit.md says what that proves.
//!
//! Modules in reading order.

pub mod entries;
mod trust;

pub mod parts;

pub mod file;

pub mod check;
pub mod verify;

use k0rotate_engine::ids::{ExecutionId, Seq};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Its name in the folder of the store, and in an exported one.
pub const FILE: &str = "audit.jsonl";
/// What the first line follows: nothing.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The daemon says so, which names the user whom the kernel names at the other end of its socket, or itself.
pub const BY_THE_DAEMON: &str = "daemon";

/// Fingerprints by root; where each controller has its own, by root and host.
pub type Fingerprints = BTreeMap<String, String>;

/// What an event says to an auditor. A projection: the same event of the same history gives the same entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, UTC.
    pub time: String,
    /// Of which cluster.
    pub cluster: String,
    /// Of which execution.
    pub execution: ExecutionId,
    /// Of which workflow.
    pub workflow: String,
    /// The event's place in the history.
    pub event: Seq,
    /// What happened: the event's name.
    pub what: String,
    /// On whose word, `user@machine`; of an event that is a word, who said it.
    pub who: String,
    /// How that is known: [`BY_THE_DAEMON`]. Not there where only the environment of a verb says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<String>,
    /// Why, as they said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The phase, zone or wait that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The host, or what else a step acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The attempt that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What it failed for: a code and fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The plan's digest, once the rotation has seen what a plan sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Trust that was found, or was there before.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    pub before: Fingerprints,
    /// Trust that was made, or is there since.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    pub after: Fingerprints,
    /// Joins it with the trace.
    pub trace_id: String,
    /// Which opening of the store wrote the event.
    pub incarnation: String,
    /// The hash that the history ends with after this event.
    pub head: String,
}

/// An entry in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// From 1.
    pub line: u64,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash of the line before it.
    pub previous: String,
    /// SHA-256 of this line without this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

impl Line {
    /// The line that follows.
    pub fn after(line: u64, previous: &str, entry: Entry) -> Self {
        let open = Self { line: line + 1, entry, previous: previous.to_owned(), hash: String::new() };
        Self { hash: open.hashed(), ..open }
    }

    /// What its hash must be.
    pub fn hashed(&self) -> String {
        let open = Self { hash: String::new(), ..self.clone() };
        let mut hex = String::new();
        for byte in Sha256::digest(open.text()) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// As it stands in the file, without the line feed.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a line has no keys that are not text")
    }
}

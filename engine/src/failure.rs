//! What can go wrong in the world, as it is written into the log: a code and fields, never copied output.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A failure of the world, seen by an activity.
///
/// It is recorded and read by people and later processes, so it holds a stable code with an entry in
/// `docs/failures.md` and fields that the activity chose one by one; it must never hold what a machine printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code in kebab-case, for example `host-unreachable`.
    pub code: String,
    /// Typed details, already safe to show.
    pub fields: BTreeMap<String, String>,
    /// Whether another try could end otherwise.
    pub retry: bool,
}

impl Failure {
    /// A failure that a later try may not meet again.
    pub fn new(code: &'static str) -> Self {
        Self { code: code.to_owned(), fields: BTreeMap::new(), retry: true }
    }

    /// A failure that no further try can mend, for example a check that says no.
    pub fn refused(code: &'static str) -> Self {
        Self { retry: false, ..Self::new(code) }
    }

    /// Adds a detail. Never pass text that a machine printed.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.fields.insert(key.to_owned(), value.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        for (key, value) in &self.fields {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// What is known of the effect of a step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The last look said that the effect is not, or only half, in place; or nothing was ever begun.
    Absent,
    /// The last look failed, and `run` was or may have been called.
    Unknown,
}

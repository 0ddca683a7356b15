//! The names by which histories, openings and steps are known.

use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use ulid::Ulid;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// One run of a workflow: a ULID in Crockford's base32, so that ids sort by age.
    ExecutionId
}
text_id! {
    /// One opening of a store: 128 random bits in hex, after what the kind of process that opened it is called. Hosts refuse changes of an incarnation that was followed by another.
    Incarnation
}
text_id! {
    /// One use of an activity in a leg, `phase/activity@target`; unique within its leg.
    StepId
}

impl ExecutionId {
    /// Of the execution that a step of another begins: the same for the same step and time, so that whoever asks again means the same.
    #[must_use]
    pub fn child(parent: &Self, step: &StepId, at: Timestamp) -> Self {
        let digest: [u8; 32] = Sha256::digest(format!("k0rotate child\n{parent}\n{step}")).into();
        let mut random = [0; 16];
        random[..10].copy_from_slice(&digest[..10]);
        Self(Ulid::from_parts(at.0, u128::from_le_bytes(random)).to_string())
    }
}

impl StepId {
    /// Composes the name of a step.
    pub fn of(phase: &str, activity: &str, target: &str) -> Self {
        Self(format!("{phase}/{activity}@{target}"))
    }

    /// What the steps on all targets have in common: `phase/activity`.
    pub fn without_target(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(common, _)| common)
    }
}

/// The place of an event in its history, from 0.
pub type Seq = u64;

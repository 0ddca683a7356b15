//! The events of version 1: what a history is made of. Frozen; variants and fields are only ever appended.

use crate::clock::Timestamp;
use crate::failure::{Effect, Failure};
use crate::ids::{ExecutionId, Incarnation, Seq, StepId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// JSON text: inputs and outputs of activities, so that a history can be read without their types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub String);

impl Json {
    /// Encodes a value.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self)
    }

    /// Decodes it again.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

/// What a failure means from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zone {
    /// Nothing is down; an absent effect rolls back by itself.
    Free,
    /// The control plane is down: nobody is waited for.
    Down {
        /// After this long the execution rolls back by itself.
        max_outage: Duration,
        /// How many members of the control plane must be looked at before the rest may be left.
        quorum: u32,
    },
    /// The control plane is verified; a failure waits for an operator.
    Held,
    /// The way back is being destroyed; forward only.
    Final,
}

impl Zone {
    /// Zones only go up within a leg.
    pub fn rank(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Down { .. } => 1,
            Self::Held => 2,
            Self::Final => 3,
        }
    }
}

/// How an attempt ended that is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptEnd {
    /// The engine ended in between; uses up no try.
    Interrupted,
    /// It failed.
    Failed(Failure),
    /// It took longer than its deadline and was dropped.
    Deadline,
    /// Its code panicked.
    Panicked,
}

/// Why a step was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftWhy {
    /// It failed for good.
    Failure {
        /// How.
        failure: Failure,
        /// What is known of its effect.
        effect: Effect,
    },
    /// An earlier step of the same target was left.
    Earlier(StepId),
}

/// Why an execution waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StuckCause {
    /// A step failed.
    Failure(StepId),
    /// A guard says no.
    Guard {
        /// The guard's name.
        name: String,
        /// What it said.
        failure: Failure,
    },
    /// A hold could not be renewed.
    Hold(Failure),
    /// Somebody asked for it.
    Paused {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Why the way back was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollBackCause {
    /// A step failed where a failure rolls back by itself.
    Failure(StepId),
    /// The outage took longer than it may.
    MaxOutage,
    /// The window closed before anything was stopped.
    WindowPassed,
    /// The history could not be followed by the code, with the control plane down.
    Parked,
    /// An operator asked for it.
    Asked {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What ended a wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitEnd {
    /// An operator.
    Operator {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Its time came.
    Time,
}

/// One thing that happened to an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are described in docs/events.md, which a test compares")]
pub enum Event {
    ExecutionStarted {
        workflow: String,
        version: u32,
        subject: String,
        input: Json,
        by: String,
        reason: String,
        trace_id: String,
    },
    PhaseStarted {
        slug: String,
        title: String,
    },
    ZoneEntered {
        zone: Zone,
        reason: String,
    },
    StepStarted {
        step: StepId,
        activity: String,
        target: String,
        input: Json,
        before: Json,
        group: Option<String>,
        undo: bool,
    },
    StepRetried {
        step: StepId,
        attempt: u32,
        ended: AttemptEnd,
        not_before: Timestamp,
    },
    StepSucceeded {
        step: StepId,
        output: Json,
    },
    StepFailed {
        step: StepId,
        failure: Failure,
        effect: Effect,
    },
    StepLeft {
        step: StepId,
        target: String,
        why: LeftWhy,
    },
    WaitStarted {
        name: String,
        until: Option<Timestamp>,
    },
    WaitEnded {
        name: String,
        end: WaitEnd,
    },
    Stuck {
        cause: StuckCause,
    },
    Resumed {
        by: String,
        reason: String,
    },
    RollBackStarted {
        cause: RollBackCause,
    },
    RolledBack {
        left: Vec<String>,
    },
    LeftBehind {
        hosts: Vec<String>,
        by: String,
        reason: String,
    },
    Adopted {
        by: String,
        reason: String,
        incarnation: Incarnation,
        predecessor: Incarnation,
    },
    Completed {
        output: Json,
        left: Vec<String>,
    },
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose history.
    pub execution: ExecutionId,
    /// Its place in it.
    pub seq: Seq,
    /// Never before the record before it.
    pub time: Timestamp,
    /// Which opening of the store wrote it.
    pub incarnation: Incarnation,
    /// What happened.
    pub event: Event,
}

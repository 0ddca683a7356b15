//! How a drive ends.

use crate::book::Unfit;
use crate::clock::Timestamp;
use crate::event::{Json, StuckCause};
use crate::execution::{Illegal, Side};
use crate::failure::Failure;
use crate::log::{LogError, Owner};
use std::fmt;

use super::words::Refused;

/// How a drive ended.
#[derive(Debug)]
pub enum Rest {
    /// The way forward has ended.
    Completed {
        /// What the workflow ended with.
        output: Json,
        /// Targets that were left on the way.
        left: Vec<String>,
    },
    /// The way back has ended.
    RolledBack {
        /// Targets that were left on the way back.
        left: Vec<String>,
    },
    /// An operator must end a wait.
    Waiting {
        /// The wait.
        name: String,
        /// When it ends by itself; never reached in this drive.
        until: Option<Timestamp>,
    },
    /// An operator must decide.
    Stuck {
        /// On which way.
        side: Side,
        /// Why.
        cause: StuckCause,
    },
    /// History and code do not match. Nothing says so in the log.
    Parked {
        /// What does not.
        why: Parked,
        /// The control plane is down, and no registered code leads back.
        down: bool,
    },
    /// Somebody else holds what the workflow must hold.
    Foreign(Failure),
    /// The world is not the one in which the execution began: nothing was recorded and nothing was changed.
    Elsewhere(Failure),
    /// The word was not accepted; nothing was recorded and nothing was driven.
    Refused(Refused),
    /// The engine ended, not the execution: it goes on with the next drive.
    Interrupted {
        /// Why.
        why: Interruption,
        /// The control plane is down meanwhile.
        down: bool,
    },
}

/// Why history and code do not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// This name and version are not registered.
    NoWorkflow(String, u32),
    /// The recorded input cannot be read by today's type.
    Input(String),
    /// A recorded output cannot be read by today's type.
    Output(String),
    /// The history holds one thing where the code asks for another.
    Difference {
        /// In the history.
        recorded: String,
        /// In the code.
        asked: String,
    },
    /// The same name twice in one pass.
    UsedTwice(String),
    /// A step before any phase.
    NoPhase,
    /// The activity is not in `Workflow::activities`.
    NotListed(String),
    /// A step that must succeed on a target that was left.
    OnLeft(String),
    /// What the code asks for is illegal here.
    Illegal(Illegal),
    /// The code went on after it was stopped.
    WentOn,
    /// The way back ended without its verification as the last step.
    NotVerified,
    /// The code panicked.
    Panicked,
}

impl From<Unfit> for Parked {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::UsedTwice(name) => Self::UsedTwice(name),
            Unfit::Other { recorded, asked } => Self::Difference { recorded, asked },
        }
    }
}

impl fmt::Display for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkflow(name, version) => write!(f, "this program has no code for {name} version {version}"),
            Self::Input(what) => write!(f, "a recorded input cannot be read: {what}"),
            Self::Output(what) => write!(f, "a recorded output cannot be read: {what}"),
            Self::Difference { recorded, asked } => {
                write!(f, "the history has {recorded} where the code asks for {asked}")
            }
            Self::UsedTwice(name) => write!(f, "the code uses {name} twice"),
            Self::NoPhase => f.write_str("the code starts a step before any phase"),
            Self::NotListed(name) => write!(f, "activity {name} is not listed by its workflow"),
            Self::OnLeft(target) => write!(f, "the code needs a step on {target}, which was left"),
            Self::Illegal(illegal) => write!(f, "the code asks for what is not allowed: {illegal}"),
            Self::WentOn => f.write_str("the code went on after it was stopped"),
            Self::NotVerified => f.write_str("the way back ended without its verification"),
            Self::Panicked => f.write_str("the workflow's code panicked"),
        }
    }
}

/// Why the engine stopped driving.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// It was asked to.
    #[error("interrupted")]
    Asked,
    /// An append failed: nothing further was started.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Somebody else writes this history now.
    #[error("the history is owned by incarnation {}", .0.incarnation)]
    Fenced(Owner),
    /// The history has another length than this drive knows.
    #[error("the history has {actual} events where {known} were known")]
    Conflict {
        /// Its length.
        actual: u64,
        /// As known.
        known: u64,
    },
    /// The history is illegal, or its next event would be.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It is driven already in this process.
    #[error("it is being driven already")]
    Driven,
}

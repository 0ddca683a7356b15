//! An operator's words and the answers to them.

use crate::event::{Event, RollBackCause, WaitEnd};
use crate::execution::Illegal;
use crate::failure::Failure;
use crate::ids::Incarnation;
use crate::log::{LogError, Owner};

/// What an operator can say of an execution. Accepted only where the state table allows it now, and acknowledged when durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`by` is who, `reason` is why")]
pub enum Word {
    /// Go on; failed steps are opened again. On an execution that is driven by nobody: just go on.
    Resume { by: String, reason: String },
    /// Rest where the control plane is up.
    Pause { by: String, reason: String },
    /// Go back to the first state of things.
    RollBack { by: String, reason: String },
    /// End the wait of this name.
    EndWait { name: String, by: String, reason: String },
    /// The run may end without these hosts.
    LeaveBehind { hosts: Vec<String>, by: String, reason: String },
    /// Take over a history that another store wrote.
    Adopt { by: String, reason: String, predecessor: Incarnation },
}

impl Word {
    /// The event by which it is recorded of an execution that rests. A pause has none: what rests is not paused.
    pub(crate) fn event(&self, incarnation: &Incarnation) -> Option<Event> {
        let event = match self.clone() {
            Self::Resume { by, reason } => Event::Resumed { by, reason },
            Self::RollBack { by, reason } => Event::RollBackStarted { cause: RollBackCause::Asked { by, reason } },
            Self::EndWait { name, by, reason } => Event::WaitEnded { name, end: WaitEnd::Operator { by, reason } },
            Self::LeaveBehind { hosts, by, reason } => Event::LeftBehind { hosts, by, reason },
            Self::Adopt { by, reason, predecessor } => {
                Event::Adopted { by, reason, incarnation: incarnation.clone(), predecessor }
            }
            Self::Pause { .. } => return None,
        };
        Some(event)
    }
}

/// Why a word was not accepted; nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The state table forbids it now.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The workflow looked, and it may not be rolled back from here.
    #[error("{0}")]
    Looked(Failure),
    /// It is being driven, and this word is for one that rests.
    #[error("it is being driven; pause it first")]
    Driven,
    /// It is driven by nobody; drive it with this word.
    #[error("nobody drives it")]
    NotDriven,
    /// The drive ended before the word could be taken.
    #[error("the drive ended before that")]
    Ended,
    /// Somebody else writes this history.
    #[error("it is owned by incarnation {}", .0.incarnation)]
    Fenced(Owner),
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] LogError),
}

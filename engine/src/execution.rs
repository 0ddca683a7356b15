//! The state machine of an execution: one pure `match`, used before each append and on reading back.
//!
//! An illegal history can be neither written nor believed.

mod legal;
mod state;

pub use state::{LegState, Side, State, Status, StepState, StepStatus};

/// An event that must not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is illegal in {status}: {why}")]
pub struct Illegal {
    /// Where the execution is.
    pub status: &'static str,
    /// The event.
    pub event: &'static str,
    /// Which rule forbids it.
    pub why: String,
}

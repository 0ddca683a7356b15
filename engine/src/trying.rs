//! Which attempt the code that runs now belongs to, for whoever tells what is asked of the world while it is asked.

use crate::ids::{ExecutionId, Seq, StepId};
use std::future::Future;

/// An attempt whose intent is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trying {
    /// Of which execution.
    pub execution: ExecutionId,
    /// Its trace, as the first event names it.
    pub trace_id: String,
    /// Of which step.
    pub step: StepId,
    /// The place of the event that is its intent.
    pub began: Seq,
}

tokio::task_local! {
    static NOW: Trying;
}

impl Trying {
    /// The attempt in which this is asked; none outside of one.
    pub fn now() -> Option<Self> {
        NOW.try_with(Self::clone).ok()
    }

    /// All that this future does belongs to the attempt.
    pub(crate) async fn within<F: Future>(self, work: F) -> F::Output {
        NOW.scope(self, work).await
    }
}

//! Whether each failure that a history tells of comes of what the execution was hurt by.

use crate::made::Wounds;
use k0rotate_engine::event::{AttemptEnd, Event, LeftWhy, Record, RollBackCause, StuckCause};
use k0rotate_engine::failure::Failure;

/// Differences that are told.
const TOLD: usize = 8;

/// What a record says went wrong, and with which step.
fn told(event: &Event) -> Option<(String, Option<&Failure>)> {
    match event {
        Event::StepRetried { step, ended: AttemptEnd::Failed(failure), .. }
        | Event::StepFailed { step, failure, .. }
        | Event::StepLeft { step, why: LeftWhy::Failure { failure, .. }, .. } => {
            Some((step.to_string(), Some(failure)))
        }
        Event::StepRetried { step, ended: AttemptEnd::Deadline | AttemptEnd::Panicked, .. }
        | Event::Stuck { cause: StuckCause::Failure(step) }
        | Event::RollBackStarted { cause: RollBackCause::Failure(step) } => Some((step.to_string(), None)),
        Event::Stuck { cause: StuckCause::Guard { failure, .. } | StuckCause::Hold(failure) } => {
            Some((String::new(), Some(failure)))
        }
        Event::RollBackStarted { cause } if !matches!(cause, RollBackCause::Asked { .. }) => {
            Some((String::new(), None))
        }
        _ => None,
    }
}

/// Every failure is of a step that was hurt, and of the kind and host that it was hurt by; nothing else stands in the history.
pub fn hold(history: &[Record], wounds: &Wounds) -> Result<(), String> {
    let untrue = |record: &Record| {
        let (step, failure) = told(&record.event).filter(|(step, failure)| !wounds.explain(step, *failure))?;
        let why = failure.map_or_else(|| format!("{:?}", record.event), ToString::to_string);
        Some(format!("{} {step}: {why}", record.seq))
    };
    let mut wrong: Vec<String> = history.iter().filter_map(untrue).collect();
    wrong.truncate(TOLD);
    if wrong.is_empty() { Ok(()) } else { Err(format!("it was not hurt so:\n    {}", wrong.join("\n    "))) }
}

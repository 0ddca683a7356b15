//! The verb `history`: all events of an execution, with what each is about and why it happened.

use crate::args::{Global, RunArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::render::live::{cause_of, why_back};
use crate::render::rfc3339;
use crate::which::which;
use k0rotate_engine::event::{AttemptEnd, Event, LeftWhy, Record, StuckCause, WaitEnd, Zone};
use std::path::Path;

/// See the file's sentence. As JSON or YAML the events are whole.
pub async fn history(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let history = which(global, state, args.run.as_deref()).await?.history;
    let value = serde_json::to_value(&history).unwrap_or_default();
    print(global.output, &value, || history.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn line(record: &Record) -> String {
    let (kind, what) = told(&record.event);
    format!("{:>5}  {}  {kind:<18} {what}", record.seq, rfc3339(record.time))
}

/// Its name, and what it is about.
fn told(event: &Event) -> (&'static str, String) {
    match event {
        Event::ExecutionStarted { workflow, subject, by, reason, .. } => {
            ("ExecutionStarted", format!("{workflow} of {subject}, {}", said(by, reason)))
        }
        Event::PhaseStarted { slug, title } => ("PhaseStarted", format!("{slug}: {title}")),
        Event::ZoneEntered { zone, reason } => ("ZoneEntered", format!("{}: {reason}", name(*zone))),
        Event::StepStarted { step, undo, .. } => {
            ("StepStarted", format!("{step}{}", if *undo { ", undo" } else { "" }))
        }
        Event::StepRetried { step, attempt, ended, .. } => {
            ("StepRetried", format!("{step}, attempt {attempt}: the one before {}", how(ended)))
        }
        Event::StepSucceeded { step, .. } => ("StepSucceeded", step.to_string()),
        Event::StepFailed { step, failure, .. } => ("StepFailed", format!("{step}: {failure}")),
        Event::StepLeft { step, why: LeftWhy::Failure { failure, .. }, .. } => {
            ("StepLeft", format!("{step}: {failure}"))
        }
        Event::StepLeft { step, why: LeftWhy::Earlier(earlier), .. } => {
            ("StepLeft", format!("{step}, as {earlier} was"))
        }
        Event::WaitStarted { name, until } => {
            ("WaitStarted", until.map_or_else(|| name.clone(), |until| format!("{name} until {}", rfc3339(until))))
        }
        Event::WaitEnded { name, end: WaitEnd::Operator { by, reason } } => {
            ("WaitEnded", format!("{name}, {}", said(by, reason)))
        }
        Event::WaitEnded { name, end: WaitEnd::Time } => ("WaitEnded", format!("{name}: its time came")),
        Event::Stuck { cause: StuckCause::Paused { by, reason } } => ("Stuck", format!("paused {}", said(by, reason))),
        Event::Stuck { cause } => ("Stuck", cause_of(cause)),
        Event::Resumed { by, reason } => ("Resumed", said(by, reason)),
        Event::RollBackStarted { cause } => ("RollBackStarted", why_back(cause)),
        Event::RolledBack { left } => ("RolledBack", without(left)),
        Event::LeftBehind { hosts, by, reason } => ("LeftBehind", format!("{}, {}", hosts.join(" "), said(by, reason))),
        Event::Adopted { by, reason, .. } => ("Adopted", said(by, reason)),
        Event::Completed { left, .. } => ("Completed", without(left)),
    }
}

fn said(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") }
}

fn without(left: &[String]) -> String {
    if left.is_empty() { String::new() } else { format!("without {}", left.join(" ")) }
}

fn name(zone: Zone) -> &'static str {
    match zone {
        Zone::Free => "free",
        Zone::Down { .. } => "down",
        Zone::Held => "held",
        Zone::Final => "final",
    }
}

fn how(ended: &AttemptEnd) -> String {
    match ended {
        AttemptEnd::Interrupted => "was interrupted".to_owned(),
        AttemptEnd::Failed(failure) => format!("failed: {failure}"),
        AttemptEnd::Deadline => "passed its deadline".to_owned(),
        AttemptEnd::Panicked => "panicked".to_owned(),
    }
}

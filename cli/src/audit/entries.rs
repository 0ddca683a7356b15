//! A history as entries of the audit: one an event. Pure.

use super::trust::{self, Trust};
use super::{BY_THE_DAEMON, Entry};
use crate::break_glass;
use crate::open::BY_DAEMON;
use crate::render::live::{cause_of, why_back};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{AttemptEnd, Event, LeftWhy, Record, RollBackCause, StuckCause, WaitEnd, Zone};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::StepId;
use k0rotate_engine::log::envelope::{self, Chain, EnvelopeError, Opened};
use std::collections::BTreeMap;

/// The entries of a history, given as it is stored.
pub fn entries(stored: &[Vec<u8>]) -> Result<Vec<Entry>, EnvelopeError> {
    let (mut chain, mut entries, mut reading) = (Chain::default(), Vec::new(), None);
    for bytes in stored {
        let opened = envelope::open_after(bytes, chain)?;
        chain = opened.chain;
        let reading = reading.get_or_insert_with(|| Reading::begin(&opened.record));
        entries.push(reading.entry(&opened));
    }
    Ok(entries)
}

/// What is known before an event.
struct Reading {
    cluster: String,
    workflow: String,
    trace_id: String,
    who: String,
    /// Whether the kernel said so.
    authenticated: Option<String>,
    /// Attempts so far.
    attempts: BTreeMap<StepId, u32>,
    activities: BTreeMap<StepId, (String, String)>,
    trust: Trust,
}

impl Reading {
    fn begin(first: &Record) -> Self {
        let (cluster, workflow, trace_id, who, trust) = match &first.event {
            Event::ExecutionStarted { subject, workflow, trace_id, by, input, .. } => {
                (subject.clone(), workflow.clone(), trace_id.clone(), by.clone(), Trust::of(input))
            }
            _ => Default::default(),
        };
        let (attempts, activities) = (BTreeMap::new(), BTreeMap::new());
        let authenticated = authenticated(first.incarnation.as_str());
        Self { cluster, workflow, trace_id, who, authenticated, attempts, activities, trust }
    }

    fn entry(&mut self, opened: &Opened) -> Entry {
        let record = &opened.record;
        let mut entry = Entry {
            time: time(record.time),
            cluster: self.cluster.clone(),
            execution: record.execution.clone(),
            workflow: self.workflow.clone(),
            event: record.seq,
            what: kebab(record.event.name()),
            who: String::new(),
            authenticated: None,
            why: None,
            about: None,
            host: None,
            step: None,
            attempt: None,
            outcome: None,
            failure: None,
            plan: None,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            trace_id: self.trace_id.clone(),
            incarnation: record.incarnation.to_string(),
            head: opened.chain.to_string(),
        };
        self.whole(&record.event, &mut entry);
        self.break_glass(&record.event, &mut entry);
        self.step(&record.event, &mut entry);
        entry.who.clone_from(&self.who);
        entry.authenticated.clone_from(&self.authenticated);
        entry.plan = self.trust.plan().map(str::to_owned);
        entry
    }

    /// Of events about all of it.
    fn whole(&mut self, event: &Event, entry: &mut Entry) {
        match event {
            Event::ExecutionStarted { by, reason, .. }
            | Event::Resumed { by, reason }
            | Event::Adopted { by, reason, .. } => self.said(entry, by, reason),
            Event::PhaseStarted { slug, .. } => entry.about = Some(slug.clone()),
            Event::ZoneEntered { zone, reason } => {
                (entry.about, entry.why) = (Some(zone_name(*zone).to_owned()), Some(reason.clone()));
            }
            Event::WaitStarted { name, .. } => entry.about = Some(name.clone()),
            Event::WaitEnded { name, end } => {
                entry.about = Some(name.clone());
                match end {
                    WaitEnd::Operator { by, reason } => self.said(entry, by, reason),
                    WaitEnd::Time => entry.why = Some("its time came".to_owned()),
                }
            }
            Event::Stuck { cause } => {
                if let StuckCause::Paused { by, reason } = cause {
                    self.said(entry, by, reason);
                }
                (entry.outcome, entry.failure) = (Some("stuck".to_owned()), Some(cause_of(cause)));
            }
            Event::RollBackStarted { cause } => match cause {
                RollBackCause::Asked { by, reason } => self.said(entry, by, reason),
                cause => entry.why = Some(why_back(cause)),
            },
            Event::LeftBehind { hosts, by, reason } => {
                self.said(entry, by, reason);
                entry.host = Some(hosts.join(" "));
            }
            Event::Completed { output, left } => {
                entry.after = trust::completed(output);
                (entry.outcome, entry.host) = (Some("completed".to_owned()), without(left));
            }
            Event::RolledBack { left } => {
                (entry.outcome, entry.host) = (Some("rolled-back".to_owned()), without(left));
            }
            _ => {}
        }
    }

    /// That the first trust leaked, where it begins, goes back and is back.
    fn break_glass(&self, event: &Event, entry: &mut Entry) {
        let Some(skipped) = self.trust.break_glass() else { return };
        match event {
            Event::ExecutionStarted { .. } => entry.outcome = break_glass::recorded(skipped),
            Event::RollBackStarted { .. } | Event::RolledBack { .. } => {}
            _ => return,
        }
        entry.about = Some(break_glass::ABOUT.to_owned());
    }

    /// Of events about a step.
    fn step(&mut self, event: &Event, entry: &mut Entry) {
        let (step, outcome, failure) = match event {
            Event::StepStarted { step, activity, target, .. } => {
                self.activities.insert(step.clone(), (activity.clone(), target.clone()));
                self.attempts.insert(step.clone(), 1);
                (step, "begun", None)
            }
            Event::StepRetried { step, attempt, ended, .. } => {
                let (ended, failure) = end(ended);
                self.attempts.insert(step.clone(), *attempt);
                (step, ended, failure)
            }
            Event::StepSucceeded { step, output } => {
                if let Some((activity, target)) = self.activities.get(step) {
                    self.trust.succeeded(activity, target, output, entry);
                }
                (step, "done", None)
            }
            Event::StepFailed { step, failure, .. } => (step, "failed", Some(failure)),
            Event::StepLeft { step, target, why } => {
                let known = self.activities.entry(step.clone());
                known.or_insert_with(|| (String::new(), target.clone()));
                let failure = match why {
                    LeftWhy::Failure { failure, .. } => Some(failure),
                    LeftWhy::Earlier(_) => None,
                };
                (step, "left", failure)
            }
            Event::RollBackStarted { .. } => return self.trust.turned_back(),
            _ => return,
        };
        entry.step = Some(step.to_string());
        entry.host = self.activities.get(step).map(|(_, target)| target.clone());
        entry.attempt = self.attempts.get(step).copied();
        entry.outcome = Some(outcome.to_owned());
        entry.failure = failure.map(ToString::to_string);
    }

    fn said(&mut self, entry: &mut Entry, by: &str, reason: &str) {
        by.clone_into(&mut self.who);
        self.authenticated = authenticated(&entry.incarnation);
        entry.why = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    }
}

/// How it is known who said a word that this opening of the store wrote.
fn authenticated(incarnation: &str) -> Option<String> {
    incarnation.starts_with(BY_DAEMON).then(|| BY_THE_DAEMON.to_owned())
}

/// How the attempt before ended, and for what.
fn end(ended: &AttemptEnd) -> (&'static str, Option<&Failure>) {
    match ended {
        AttemptEnd::Interrupted => ("interrupted", None),
        AttemptEnd::Failed(failure) => ("retried", Some(failure)),
        AttemptEnd::Deadline => ("deadline", None),
        AttemptEnd::Panicked => ("panicked", None),
    }
}

fn without(left: &[String]) -> Option<String> {
    (!left.is_empty()).then(|| format!("without {}", left.join(" ")))
}

fn zone_name(zone: Zone) -> &'static str {
    match zone {
        Zone::Free => "free",
        Zone::Down { .. } => "down",
        Zone::Held => "held",
        Zone::Final => "final",
    }
}

fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |at| at.to_string())
}

/// `StepStarted` as `step-started`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

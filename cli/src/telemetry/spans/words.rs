//! What spans say of events, in words that few spans differ in.

use super::short;
use crate::telemetry::names;
use k0rotate_engine::event::{AttemptEnd, WaitEnd, Zone};
use k0rotate_engine::failure::{Effect, Failure};
use k0rotate_engine::ids::StepId;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use std::collections::BTreeMap;

/// How a step, or an attempt, ended.
pub struct End<'a> {
    /// In a word.
    pub outcome: &'static str,
    /// What was wrong with the world.
    pub failure: Option<&'a Failure>,
    /// What was wrong with the attempt.
    pub code: Option<&'static str>,
}

impl<'a> End<'a> {
    /// Its effect is in place.
    pub const DONE: Self = Self { outcome: "done", failure: None, code: None };

    /// It failed, or its target was left for that.
    pub fn failed(outcome: &'static str, failure: &'a Failure) -> Self {
        Self { outcome, failure: Some(failure), code: None }
    }

    /// How an attempt ended that is followed by another.
    pub fn of(ended: &'a AttemptEnd) -> Self {
        let by = |code| Self { outcome: code, failure: None, code: Some(code) };
        match ended {
            AttemptEnd::Interrupted => by("interrupted"),
            AttemptEnd::Failed(failure) => Self::failed("failed", failure),
            AttemptEnd::Deadline => by("deadline"),
            AttemptEnd::Panicked => by("panicked"),
        }
    }

    /// A stable code.
    pub fn code(&self) -> Option<String> {
        self.failure.map(|failure| failure.code.clone()).or_else(|| self.code.map(str::to_owned))
    }

    /// The same for people.
    pub fn error(&self) -> Option<String> {
        self.failure.map(|failure| short(&failure.to_string())).or_else(|| self.code.map(str::to_owned))
    }
}

/// An attribute.
pub fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, short(value))
}

/// An attribute of several texts.
pub fn texts(name: &'static str, values: &[String]) -> KeyValue {
    let values: Vec<StringValue> = values.iter().map(|value| short(value).into()).collect();
    KeyValue::new(name, Value::Array(Array::String(values)))
}

/// Who ended a wait.
pub fn said(end: &WaitEnd) -> Vec<KeyValue> {
    match end {
        WaitEnd::Operator { by, reason } => vec![text(names::BY, by), text(names::REASON, reason)],
        WaitEnd::Time => Vec::new(),
    }
}

/// A zone's name.
pub fn zone_name(zone: Zone) -> &'static str {
    match zone {
        Zone::Free => "free",
        Zone::Down { .. } => "down",
        Zone::Held => "held",
        Zone::Final => "final",
    }
}

/// What is known of an effect.
pub fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Absent => "absent",
        Effect::Unknown => "unknown",
    }
}

/// `activity` of `phase/activity@target`.
pub fn activity_of(step: &StepId) -> &str {
    let name = step.as_str();
    let activity = name.split_once('/').map_or(name, |(_, rest)| rest);
    activity.split_once('@').map_or(activity, |(activity, _)| activity)
}

/// Addresses of hosts by name, wherever in the input of a workflow they stand.
pub fn addresses(input: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(input) = serde_json::from_str(input) {
        find(&input, &mut found);
    }
    found
}

fn find(value: &serde_json::Value, found: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => {
            if let (Some(name), Some(address)) = (fields.get("name"), fields.get("address"))
                && let (Some(name), Some(address)) = (name.as_str(), address.as_str())
            {
                found.insert(name.to_owned(), address.to_owned());
            }
            fields.values().for_each(|value| find(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| find(value, found)),
        _ => {}
    }
}

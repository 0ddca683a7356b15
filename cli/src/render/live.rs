//! The live view as plain lines: one for each phase when it ends, one for each thing that a person should know.

use super::{clock_of, seconds};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, LeftWhy, Record, RollBackCause, StuckCause, Zone};
use k0rotate_workflows::phases::{BACK, FORWARD};
use std::collections::BTreeMap;

/// Turns records into lines as they come.
#[derive(Default)]
pub struct Live {
    phase: Option<Open>,
    down_since: Option<Timestamp>,
    back: bool,
    targets: BTreeMap<String, String>,
    wall: bool,
    /// Its phases have no numbers of the runbook of `rotate`.
    small: bool,
}

struct Open {
    label: String,
    since: Timestamp,
    done: Vec<String>,
    left: Vec<String>,
    failed: Vec<String>,
}

/// Width of a phase's label, of its hosts.
const LABEL: usize = 47;
const HOSTS: usize = 34;
/// More hosts than this are counted, not named.
const NAMED: usize = 8;

impl Live {
    /// With the time of day at the start of each line.
    pub fn with_wall_clock() -> Self {
        Self { wall: true, ..Self::default() }
    }

    /// The lines that a record adds.
    pub fn add(&mut self, record: &Record) -> Vec<String> {
        let now = record.time;
        match &record.event {
            Event::PhaseStarted { slug, title } => {
                let ended = self.end_phase(now);
                let label = if self.small { title.clone() } else { format!("{} {title}", number(slug)) };
                let (done, left, failed) = (Vec::new(), Vec::new(), Vec::new());
                self.phase = Some(Open { label, since: now, done, left, failed });
                ended
            }
            Event::ExecutionStarted { workflow, .. } => {
                self.small = workflow != "rotate";
                Vec::new()
            }
            Event::ZoneEntered { zone, .. } => self.zone(*zone, now),
            Event::StepStarted { step, target, .. } => {
                self.targets.insert(step.to_string(), target.clone());
                Vec::new()
            }
            Event::StepSucceeded { step, .. } => {
                let target = self.targets.remove(step.as_str()).unwrap_or_default();
                self.note(|open| &mut open.done, target);
                Vec::new()
            }
            Event::StepLeft { step, target, why, .. } => {
                self.targets.remove(step.as_str());
                self.left(target, why, now)
            }
            Event::StepFailed { step, failure, .. } => {
                let target = self.targets.remove(step.as_str()).unwrap_or_default();
                self.note(|open| &mut open.failed, target);
                vec![self.line(now, &format!("{step} failed: {failure}"))]
            }
            other => self.word(other, now),
        }
    }

    /// What is under way, for a line that moves; empty between phases.
    pub fn under_way(&self) -> String {
        let Some(open) = &self.phase else { return String::new() };
        let mut parts = vec![open.label.clone()];
        let busy: Vec<String> = self.targets.values().filter(|target| !open.done.contains(target)).cloned().collect();
        for (hosts, what) in [(&open.done, "done"), (&open.left, "left"), (&busy, "under way")] {
            if !hosts.is_empty() {
                parts.push(format!("{what}: {}", names(hosts)));
            }
        }
        parts.extend(self.down_since.map(|since| format!("API DOWN since {}", clock_of(since))));
        parts.join(" · ")
    }

    fn word(&mut self, event: &Event, now: Timestamp) -> Vec<String> {
        let said = match event {
            Event::WaitStarted { name, .. } => format!("waits for {name}"),
            Event::Stuck { cause } => format!("stuck: {}", cause_of(cause)),
            Event::Resumed { by, .. } => format!("resumed by {by}"),
            Event::RollBackStarted { cause } => {
                self.back = true;
                format!("── the way back: {} ──", why_back(cause))
            }
            Event::LeftBehind { hosts, by, .. } => format!("{by} leaves {} behind", hosts.join(" ")),
            Event::Adopted { by, .. } => format!("taken over by {by}"),
            Event::WaitEnded { .. } | Event::Completed { .. } | Event::RolledBack { .. } => return self.end_phase(now),
            _ => return Vec::new(),
        };
        let mut lines = self.end_phase(now);
        lines.push(self.line(now, &said));
        lines
    }

    fn zone(&mut self, zone: Zone, now: Timestamp) -> Vec<String> {
        let mut lines = self.end_phase(now);
        match zone {
            Zone::Down { max_outage, .. } => {
                self.down_since = Some(now);
                let limit = if self.back { String::new() } else { format!(" (limit {})", seconds(max_outage)) };
                lines.push(self.line(now, &format!("── from here the API is down{limit} ──")));
            }
            Zone::Held if self.down_since.is_some() => {
                let gone = self.down_since.take().map_or_else(String::new, |since| seconds(now.since(since)));
                lines.push(
                    self.line(now, &format!("── API is up; the control plane was away and checked within {gone} ──")),
                );
            }
            Zone::Final => lines.push(self.line(now, "── from here there is no way back ──")),
            Zone::Free | Zone::Held => {}
        }
        lines
    }

    fn left(&mut self, target: &str, why: &LeftWhy, now: Timestamp) -> Vec<String> {
        self.note(|open| &mut open.left, target.to_owned());
        match why {
            LeftWhy::Failure { failure, .. } => {
                vec![self.line(now, &format!("{target} is left; the rest goes on without it: {failure}"))]
            }
            LeftWhy::Earlier(_) => Vec::new(),
        }
    }

    fn note(&mut self, list: impl FnOnce(&mut Open) -> &mut Vec<String>, target: String) {
        let Some(open) = &mut self.phase else { return };
        let list = list(open);
        if !target.is_empty() && !list.contains(&target) {
            list.push(target);
        }
    }

    /// The line of the phase that ends now.
    pub fn end_phase(&mut self, now: Timestamp) -> Vec<String> {
        let Some(open) = self.phase.take() else { return Vec::new() };
        // A drive may end in the middle of a phase.
        let mark = match (open.failed.is_empty(), open.left.is_empty(), self.targets.is_empty()) {
            (false, ..) => "FAILED",
            (true, _, false) => "open",
            (true, false, true) => "left",
            (true, true, true) => "ok",
        };
        let took = seconds(now.since(open.since));
        let hosts = names(&open.done);
        vec![self.line(now, format!("{:<LABEL$} {hosts:<HOSTS$} {mark:<6} {took:>7}", open.label).trim_end())]
    }

    fn line(&self, now: Timestamp, text: &str) -> String {
        if self.wall { format!("· {} {text}", clock_of(now)) } else { format!("· {text}") }
    }
}

/// The number of a phase in its runbook.
fn number(slug: &str) -> String {
    let at = FORWARD.iter().chain(BACK.iter()).position(|(known, _)| *known == slug);
    match at {
        Some(at) if at < FORWARD.len() => format!("{:02}", at + 1),
        Some(at) => format!("B{}", at - FORWARD.len() + 1),
        None => "  ".to_owned(),
    }
}

fn names(hosts: &[String]) -> String {
    if hosts.len() > NAMED { format!("{} hosts", hosts.len()) } else { hosts.join(" ") }
}

/// Why an execution is stuck, in a few words.
pub fn cause_of(cause: &StuckCause) -> String {
    match cause {
        StuckCause::Failure(step) => format!("{step} failed"),
        StuckCause::Guard { name, failure } => format!("{name} says no: {failure}"),
        StuckCause::Hold(failure) => format!("the hold could not be renewed: {failure}"),
        StuckCause::Paused { by, reason } if reason.is_empty() => format!("paused by {by}"),
        StuckCause::Paused { by, reason } => format!("paused by {by}: {reason}"),
    }
}

/// Why the way back was taken, in a few words.
pub fn why_back(cause: &RollBackCause) -> String {
    match cause {
        RollBackCause::Failure(step) => format!("{step} failed"),
        RollBackCause::MaxOutage => "the outage took longer than it may".to_owned(),
        RollBackCause::WindowPassed => "the window has passed".to_owned(),
        RollBackCause::Parked => "history and code do not match".to_owned(),
        RollBackCause::Asked { by, reason } if reason.is_empty() => format!("asked for by {by}"),
        RollBackCause::Asked { by, reason } => format!("asked for by {by}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    //! Shows what the moving line says.

    use super::Live;
    use k0rotate_engine::clock::Timestamp;
    use k0rotate_engine::event::{AttemptEnd, Event, Json, Record, Zone};
    use k0rotate_engine::ids::{ExecutionId, Incarnation, StepId};
    use std::time::Duration;

    fn record(seq: u64, event: Event) -> Record {
        let (execution, incarnation) = (ExecutionId::new("x"), Incarnation::new("i"));
        Record { execution, seq, time: Timestamp(seq * 1000), incarnation, event }
    }

    fn started(host: &str) -> Event {
        let (step, nothing) = (StepId::of("stop", "stop", host), || Json("null".to_owned()));
        let (activity, target) = ("stop".to_owned(), host.to_owned());
        Event::StepStarted { step, activity, target, input: nothing(), before: nothing(), group: None, undo: false }
    }

    /// Goal: who is done and who is not stands there, and that the API is down.
    #[test]
    fn the_line_says_who_is_done_and_who_is_not() {
        let mut live = Live::default();
        let down = Zone::Down { max_outage: Duration::from_secs(300), quorum: 2 };
        let done = Event::StepSucceeded { step: StepId::of("stop", "stop", "c1"), output: Json("null".to_owned()) };
        let events = [
            Event::ZoneEntered { zone: down, reason: "the controllers are stopped".to_owned() },
            Event::PhaseStarted { slug: "stop".to_owned(), title: "Stop the controllers".to_owned() },
            started("c1"),
            started("c2"),
            done,
        ];
        (0..).zip(events).for_each(|(seq, event)| drop(live.add(&record(seq, event))));
        let said = live.under_way();
        assert!(said.contains("done: c1 · under way: c2 · API DOWN since"), "{said}");
        let step = StepId::of("stop", "stop", "c2");
        let (ended, not_before) = (AttemptEnd::Interrupted, Timestamp(6000));
        drop(live.add(&record(6, Event::StepRetried { step, attempt: 2, ended, not_before })));
        assert_eq!(live.under_way(), said, "another try is no end of the phase");
        let left = live.end_phase(Timestamp(9000)).join("");
        assert!(left.contains("c1") && left.contains(" open "), "who left before its end did not see it done: {left}");
    }
}

//! The live view: plain lines, one for each phase when it ends and for each thing that a person should know; and what is under way.

use super::{clock_of, seconds};
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, LeftWhy, Record, RollBackCause, StuckCause, Zone};
use k0rotate_workflows::phases::{BACK, FORWARD};
use std::collections::BTreeMap;
use std::time::Duration;

/// Turns records into lines as they come.
#[derive(Default)]
pub struct Live {
    phase: Option<Open>,
    down: Option<Down>,
    /// How long the control plane is expected to be away.
    expected: Option<Duration>,
    back: bool,
    targets: BTreeMap<String, String>,
    /// The try of each step under way that needed more than one.
    tries: BTreeMap<String, u32>,
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
    /// In the order in which they had their first step of this phase.
    hosts: Vec<String>,
    cut: bool,
}

struct Down {
    since: Timestamp,
    limit: Option<Duration>,
}

/// Width of a phase's label, of its hosts.
const LABEL: usize = 52;
const HOSTS: usize = 34;
/// More hosts than this are counted, not named.
const NAMED: usize = 8;
/// Of more hosts than this none has a line of its own while it is under way.
const LINES: usize = 16;

impl Live {
    /// With the time of day at the start of each line.
    pub fn with_wall_clock() -> Self {
        Self { wall: true, ..Self::default() }
    }

    /// That the control plane is expected to be away for so long.
    #[must_use]
    pub fn expecting(self, outage: Option<Duration>) -> Self {
        Self { expected: outage, ..self }
    }

    /// The lines that a record adds.
    pub fn add(&mut self, record: &Record) -> Vec<String> {
        let now = record.time;
        match &record.event {
            Event::PhaseStarted { slug, title } => {
                let ended = self.end_phase(now);
                let label = if self.small { title.clone() } else { format!("{} {title}", number(slug)) };
                let (done, left, failed, hosts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                self.phase = Some(Open { label, since: now, done, left, failed, hosts, cut: false });
                ended
            }
            Event::ExecutionStarted { workflow, .. } => {
                self.small = workflow != "rotate";
                Vec::new()
            }
            Event::ZoneEntered { zone, .. } => self.zone(*zone, now),
            Event::StepStarted { step, target, .. } => {
                self.targets.insert(step.to_string(), target.clone());
                self.note(|open| &mut open.hosts, target.clone());
                Vec::new()
            }
            Event::StepRetried { step, attempt, .. } => {
                self.tries.insert(step.to_string(), *attempt);
                Vec::new()
            }
            Event::StepSucceeded { step, .. } => {
                let target = self.ended(step.as_str());
                self.note(|open| &mut open.done, target);
                Vec::new()
            }
            Event::StepLeft { step, target, why, .. } => {
                self.ended(step.as_str());
                self.left(target, why, now)
            }
            Event::StepFailed { step, failure, .. } => {
                let target = self.ended(step.as_str());
                self.note(|open| &mut open.failed, target);
                vec![self.line(now, &format!("{step} failed: {failure}"))]
            }
            other => self.word(other, now),
        }
    }

    fn ended(&mut self, step: &str) -> String {
        self.tries.remove(step);
        self.targets.remove(step).unwrap_or_default()
    }

    /// What is under way, for lines that move: the phase, and below it a line a host; none between phases.
    pub fn under_way(&self) -> Vec<String> {
        let Some(open) = &self.phase else { return Vec::new() };
        let mut head = vec![open.label.clone()];
        let (mut lines, mut counts) = (Vec::new(), BTreeMap::<&str, usize>::new());
        let width = open.hosts.iter().map(String::len).max().unwrap_or_default();
        for host in &open.hosts {
            let (state, tried) = self.state_of(open, host);
            *counts.entry(state).or_default() += 1;
            lines.push(format!("  {host:<width$}  {state}{tried}"));
        }
        if lines.len() > LINES {
            head.extend(counts.into_iter().map(|(state, hosts)| format!("{state}: {hosts}")));
            lines.clear();
        }
        head.extend(self.down.as_ref().map(|down| self.until(down)));
        lines.insert(0, head.join(" · "));
        lines
    }

    /// How a host stands in a phase, and which try it is.
    fn state_of(&self, open: &Open, host: &String) -> (&'static str, String) {
        if let Some((step, _)) = self.targets.iter().find(|(_, target)| *target == host) {
            return ("under way", self.tries.get(step).map_or_else(String::new, |tried| format!(", try {tried}")));
        }
        let state = match (open.failed.contains(host), open.left.contains(host)) {
            (true, _) => "failed",
            (false, true) => "left",
            (false, false) => "done",
        };
        (state, String::new())
    }

    fn until(&self, down: &Down) -> String {
        let at = |what: &str, d: Duration| format!(", {what} {}", clock_of(down.since.plus(d)));
        let expected = self.expected.filter(|_| !self.back).map(|d| at("expected until", d)).unwrap_or_default();
        let limit = down.limit.map(|d| at("at most until", d)).unwrap_or_default();
        format!("API DOWN since {}{expected}{limit}", clock_of(down.since))
    }

    fn word(&mut self, event: &Event, now: Timestamp) -> Vec<String> {
        let said = match event {
            Event::WaitStarted { name, .. } => format!("waits for {name}"),
            Event::Stuck { cause } => format!("stuck: {}", cause_of(cause)),
            Event::Resumed { by, .. } => format!("resumed by {by}"),
            Event::RollBackStarted { cause } => {
                self.back = true;
                // What was under way is not whole, even if none of its steps had begun.
                if let Some(open) = &mut self.phase {
                    open.cut = true;
                }
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
                let limit = Some(max_outage).filter(|_| !self.back);
                self.down = Some(Down { since: now, limit });
                let known = [self.expected.map(|d| ("expected", d)), limit.map(|d| ("limit", d))];
                let known = known.into_iter().flatten().filter(|_| !self.back);
                let known: Vec<String> = known.map(|(what, d)| format!("{what} {}", seconds(d))).collect();
                let told = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
                lines.push(self.line(now, &format!("── from here the API is down{told} ──")));
            }
            Zone::Held if self.down.is_some() => {
                let gone = self.down.take().map_or_else(String::new, |down| seconds(now.since(down.since)));
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
        let whole = self.targets.is_empty() && !open.cut;
        let mark = match (open.failed.is_empty(), open.left.is_empty(), whole) {
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

    use super::{LINES, Live};
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

    /// Goal: who is done and who is not stands there, and that the API is down until about when.
    #[test]
    fn the_lines_say_who_is_done_and_who_is_not() {
        let mut live = Live::default().expecting(Some(Duration::from_secs(14)));
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
        let head = "07 Stop the controllers · API DOWN since 00:00:00, expected until 00:00:14, at most until 00:05:00";
        assert_eq!(live.under_way(), [head, "  c1  done", "  c2  under way"]);
        let step = StepId::of("stop", "stop", "c2");
        let (ended, not_before) = (AttemptEnd::Interrupted, Timestamp(6000));
        drop(live.add(&record(6, Event::StepRetried { step, attempt: 2, ended, not_before })));
        assert_eq!(live.under_way()[2], "  c2  under way, try 2", "another try is no end of the phase");
        let left = live.end_phase(Timestamp(9000)).join("");
        assert!(left.contains("c1") && left.contains(" open "), "who left before its end did not see it done: {left}");
    }

    /// Goal: of a large fleet the lines do not push all else off the screen.
    #[test]
    fn many_hosts_are_counted() {
        let mut live = Live::default();
        drop(live.add(&record(0, Event::PhaseStarted { slug: "stop".to_owned(), title: "Stop".to_owned() })));
        let hosts = (0..=LINES as u64).map(|n| format!("w{n}"));
        hosts.zip(1..).for_each(|(host, seq)| drop(live.add(&record(seq, started(&host)))));
        assert_eq!(live.under_way(), ["07 Stop · under way: 17"]);
    }
}

//! What a history says, for people and programs that look on: a pure projection of its records.

use crate::clock::Timestamp;
use crate::event::{AttemptEnd, Event, Json, LeftWhy, Record, RollBackCause, StuckCause, WaitEnd, Zone};
use crate::execution::{Illegal, Side, State, Status, StepStatus};
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use serde::Serialize;
use std::time::Duration;

/// An execution as its history tells it.
#[derive(Clone, Debug)]
pub struct ExecutionView {
    /// Which.
    pub execution: ExecutionId,
    /// Of which workflow.
    pub workflow: String,
    /// Its version.
    pub version: u32,
    /// What it is about.
    pub subject: String,
    /// What it was started with.
    pub input: Json,
    /// Who started it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Joins it with traces.
    pub trace_id: String,
    /// The state machine after the last event.
    pub state: State,
    /// When it started.
    pub started: Timestamp,
    /// When the last event was recorded.
    pub last: Timestamp,
    /// When it came to where it is: to its rest, its end, or to running again.
    pub since: Timestamp,
    /// How many events there are.
    pub events: u64,
    /// Every phase, with its steps, in order; those of the way back come last.
    pub phases: Vec<PhaseView>,
    /// When the current zone was entered.
    pub zone_since: Timestamp,
    /// Every time that the control plane was down: from, and until when if it is over.
    pub outages: Vec<(Timestamp, Option<Timestamp>)>,
    /// Why and when the way back was taken.
    pub roll_back: Option<(RollBackCause, Timestamp)>,
    /// What ended each wait.
    pub waits: Vec<(String, WaitEnd, Timestamp)>,
    /// Targets that an operator left behind, and when.
    pub given_up: Vec<(Vec<String>, Timestamp)>,
    /// Words of operators: what was said, by whom, why, and when.
    pub words: Vec<Said>,
    /// Every time that it was stuck.
    pub stuck: Vec<(StuckCause, Timestamp)>,
    /// What it ended with.
    pub output: Option<Json>,
}

/// What an operator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The word, with what it is about.
    pub word: String,
    /// Who.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Said {
    fn of(record: &Record) -> Option<Self> {
        let (word, by, reason) = match &record.event {
            Event::WaitEnded { name, end: WaitEnd::Operator { by, reason } } => (name.clone(), by, reason),
            Event::LeftBehind { hosts, by, reason } => (format!("leave-behind {}", hosts.join(" ")), by, reason),
            Event::Resumed { by, reason } => ("resume".to_owned(), by, reason),
            Event::RollBackStarted { cause: RollBackCause::Asked { by, reason } } => {
                ("rollback".to_owned(), by, reason)
            }
            Event::Stuck { cause: StuckCause::Paused { by, reason } } => ("pause".to_owned(), by, reason),
            _ => return None,
        };
        Some(Self { word, by: by.clone(), reason: reason.clone(), at: record.time })
    }
}

/// A phase of one way.
#[derive(Clone, Debug)]
pub struct PhaseView {
    /// Of which way.
    pub side: Side,
    /// Its frozen name.
    pub slug: String,
    /// Its free title.
    pub title: String,
    /// When it started.
    pub started: Timestamp,
    /// Its steps in the order in which they started.
    pub steps: Vec<StepView>,
}

/// A step.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    /// Its name.
    pub step: StepId,
    /// Of which activity; empty if its target had been left before.
    pub activity: String,
    /// What it acts on.
    pub target: String,
    /// Takes a step of the way forward back.
    pub undo: bool,
    /// Where it is.
    #[serde(skip)]
    pub status: StepStatus,
    /// The last attempt, from 1.
    pub attempt: u32,
    /// When its first attempt was recorded.
    pub started: Timestamp,
    /// When its end was.
    pub ended: Option<Timestamp>,
    /// Its last failure, also of an attempt that was followed by another.
    pub failure: Option<Failure>,
    /// What its probe found.
    pub output: Option<Json>,
}

impl ExecutionView {
    /// Reads a history. `None` if it is empty.
    pub fn of(history: &[Record]) -> Result<Option<Self>, Illegal> {
        let Some(first) = history.first() else { return Ok(None) };
        let mut state = State::default();
        let mut view: Option<Self> = None;
        for record in history {
            state = state.apply(&record.event)?;
            match &mut view {
                None => view = Self::begin(first, &state),
                Some(view) => view.add(record, &state),
            }
        }
        Ok(view.map(|view| Self { state, ..view }))
    }

    fn begin(first: &Record, state: &State) -> Option<Self> {
        let Event::ExecutionStarted { workflow, version, subject, input, by, reason, trace_id } = first.event.clone()
        else {
            return None;
        };
        Some(Self {
            execution: first.execution.clone(),
            workflow,
            version,
            subject,
            input,
            by,
            reason,
            trace_id,
            state: state.clone(),
            started: first.time,
            last: first.time,
            since: first.time,
            events: 1,
            phases: Vec::new(),
            zone_since: first.time,
            outages: Vec::new(),
            roll_back: None,
            waits: Vec::new(),
            given_up: Vec::new(),
            words: Vec::new(),
            stuck: Vec::new(),
            output: None,
        })
    }

    fn add(&mut self, record: &Record, state: &State) {
        let time = record.time;
        self.last = time;
        self.events = record.seq + 1;
        self.words.extend(Said::of(record));
        match &record.event {
            Event::PhaseStarted { slug, title } => self.phase(state.side(), slug, title, time),
            Event::ZoneEntered { zone, .. } => self.enter(*zone, time),
            Event::WaitEnded { name, end } => {
                self.waits.push((name.clone(), end.clone(), time));
                self.since = time;
            }
            Event::LeftBehind { hosts, .. } => self.given_up.push((hosts.clone(), time)),
            Event::Stuck { cause } => {
                self.stuck.push((cause.clone(), time));
                self.since = time;
            }
            Event::RollBackStarted { cause } => {
                self.roll_back = Some((cause.clone(), time));
                self.since = time;
                self.zone_since = time;
            }
            Event::Completed { output, .. } => {
                self.output = Some(output.clone());
                self.since = time;
            }
            Event::Resumed { .. } => {
                self.since = time;
                self.reopen(state.side());
            }
            Event::WaitStarted { .. } | Event::RolledBack { .. } => self.since = time,
            event => self.step(event, state.side(), time),
        }
    }

    fn reopen(&mut self, side: Side) {
        let phases = self.phases.iter_mut().filter(|phase| phase.side == side);
        let failed = |step: &&mut StepView| matches!(step.status, StepStatus::Failed(_));
        for step in phases.flat_map(|phase| &mut phase.steps).filter(failed) {
            step.status = StepStatus::Open;
            step.ended = None;
        }
    }

    fn phase(&mut self, side: Side, slug: &str, title: &str, started: Timestamp) {
        let (slug, title) = (slug.to_owned(), title.to_owned());
        self.phases.push(PhaseView { side, slug, title, started, steps: Vec::new() });
    }

    fn enter(&mut self, zone: Zone, time: Timestamp) {
        self.zone_since = time;
        let open = self.outages.last_mut().filter(|outage| outage.1.is_none());
        match (zone, open) {
            (Zone::Down { .. }, None) => self.outages.push((time, None)),
            (Zone::Held | Zone::Final, Some(outage)) => outage.1 = Some(time),
            _ => {}
        }
    }

    fn step(&mut self, event: &Event, side: Side, time: Timestamp) {
        match event {
            Event::StepStarted { step, activity, target, undo, .. } => {
                let open = StepView::new(step, activity, target, StepStatus::Open, time);
                self.steps_of(side, time).push(StepView { undo: *undo, ..open });
            }
            Event::StepLeft { step, target, why: LeftWhy::Earlier(_) } => {
                let left = StepView::new(step, "", target, StepStatus::Left, time);
                self.steps_of(side, time).push(StepView { ended: Some(time), ..left });
            }
            Event::StepRetried { step, attempt, ended, .. } => self.change(side, step, |view| {
                view.attempt = *attempt;
                view.status = StepStatus::Open;
                view.ended = None;
                view.failure = match ended {
                    AttemptEnd::Failed(failure) => Some(failure.clone()),
                    AttemptEnd::Deadline => Some(Failure::new("deadline")),
                    AttemptEnd::Panicked => Some(Failure::new("panicked")),
                    AttemptEnd::Interrupted => view.failure.take(),
                };
            }),
            Event::StepSucceeded { step, output } => self.change(side, step, |view| {
                view.end(StepStatus::Done, time);
                view.output = Some(output.clone());
            }),
            Event::StepFailed { step, failure, effect } => self.change(side, step, |view| {
                view.end(StepStatus::Failed(*effect), time);
                view.failure = Some(failure.clone());
            }),
            Event::StepLeft { step, why: LeftWhy::Failure { failure, .. }, .. } => self.change(side, step, |view| {
                view.end(StepStatus::Left, time);
                view.failure = Some(failure.clone());
            }),
            _ => {}
        }
    }

    /// Where a step that starts now belongs. Undos that no phase heads get one.
    fn steps_of(&mut self, side: Side, time: Timestamp) -> &mut Vec<StepView> {
        if self.phases.last().is_none_or(|phase| phase.side != side) {
            self.phase(side, "undo", "Take back what was begun", time);
        }
        let last = self.phases.len() - 1;
        &mut self.phases[last].steps
    }

    fn change(&mut self, side: Side, step: &StepId, change: impl FnOnce(&mut StepView)) {
        let phases = self.phases.iter_mut().rev().filter(|phase| phase.side == side);
        if let Some(view) = phases.flat_map(|phase| &mut phase.steps).find(|view| view.step == *step) {
            change(view);
        }
    }

    /// Every step, in the order in which they started.
    pub fn steps(&self) -> impl Iterator<Item = &StepView> {
        self.phases.iter().flat_map(|phase| &phase.steps)
    }

    /// Steps of the current way in one state.
    pub fn steps_in(&self, wanted: impl Fn(StepStatus) -> bool) -> impl Iterator<Item = &StepView> {
        let side = self.state.side();
        let phases = self.phases.iter().filter(move |phase| phase.side == side);
        phases.flat_map(|phase| &phase.steps).filter(move |step| wanted(step.status))
    }

    /// The phase that it is in.
    pub fn current_phase(&self) -> Option<&PhaseView> {
        self.phases.last()
    }

    /// Since when the control plane is down, if it is.
    pub fn down_since(&self) -> Option<Timestamp> {
        self.outages.last().filter(|outage| outage.1.is_none()).map(|outage| outage.0)
    }

    /// How long the control plane was down in all, up to `now`.
    pub fn down_for(&self, now: Timestamp) -> Duration {
        self.outages.iter().map(|(from, until)| until.unwrap_or(now).since(*from)).sum()
    }

    /// Whether it waits for somebody, or has ended.
    pub fn rests(&self) -> bool {
        !matches!(self.state.status, Status::New | Status::Running | Status::RollingBack)
    }
}

impl StepView {
    fn new(step: &StepId, activity: &str, target: &str, status: StepStatus, started: Timestamp) -> Self {
        Self {
            step: step.clone(),
            activity: activity.to_owned(),
            target: target.to_owned(),
            undo: false,
            status,
            attempt: 1,
            started,
            ended: None,
            failure: None,
            output: None,
        }
    }

    fn end(&mut self, status: StepStatus, time: Timestamp) {
        self.status = status;
        self.ended = Some(time);
    }
}

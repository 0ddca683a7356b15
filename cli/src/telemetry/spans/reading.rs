//! Reads a history event by event and keeps what is open.

use super::words::{End, activity_of, addresses, effect_name, said, text, texts, zone_name};
use super::{About, Moment, Span, short, span_id, trace_of};
use crate::render::live::{cause_of, why_back};
use crate::telemetry::names;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, LeftWhy, Record, RollBackCause, StuckCause};
use k0rotate_engine::failure::Effect;
use k0rotate_engine::ids::{ExecutionId, Incarnation, Seq, StepId};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, TraceId};
use std::collections::BTreeMap;
use std::mem;

/// See the file's sentence.
pub(super) struct Reading {
    execution: ExecutionId,
    trace: TraceId,
    /// Those that have ended.
    pub spans: Vec<Span>,
    root: Open,
    phase: Option<Open>,
    rest: Option<Open>,
    steps: BTreeMap<StepId, Step>,
    /// Steps of this leg that failed: a resume opens them again.
    failed: BTreeMap<StepId, Of>,
    addresses: BTreeMap<String, String>,
    back: Option<RollBackCause>,
    last: Incarnation,
    /// The code of the last failure of a step.
    code: Option<String>,
}

/// A span whose end is not recorded yet.
struct Open {
    about: About,
    id: SpanId,
    parent: SpanId,
    name: String,
    from: Timestamp,
    began: Seq,
    attributes: Vec<KeyValue>,
    moments: Vec<Moment>,
}

struct Step {
    span: Open,
    attempt: Option<Open>,
    of: Of,
}

/// What a step is, whatever span it is in.
#[derive(Clone)]
struct Of {
    activity: String,
    target: String,
    /// The last attempt, from 1; 0 where nothing was begun.
    attempt: u32,
}

impl Reading {
    /// At the first event; none if it is no first event.
    pub fn begin(first: &Record) -> Option<Self> {
        let Event::ExecutionStarted { workflow, version, subject, input, by, reason, .. } = &first.event else {
            return None;
        };
        let execution = first.execution.clone();
        let attributes = vec![
            text(names::PIPELINE, workflow),
            text(names::PIPELINE_ACTION, "RUN"),
            text(names::RUN, execution.as_str()),
            text(names::CLUSTER, subject),
            KeyValue::new(names::VERSION, i64::from(*version)),
            text(names::BY, by),
            text(names::REASON, reason),
        ];
        let root = Open {
            about: About::Execution,
            id: span_id(&execution, About::Execution, first.seq, ""),
            parent: SpanId::INVALID,
            name: format!("RUN {}", short(workflow)),
            from: first.time,
            began: first.seq,
            attributes,
            moments: Vec::new(),
        };
        let mut reading = Self {
            trace: trace_of(first),
            execution,
            spans: Vec::new(),
            root,
            phase: None,
            rest: None,
            steps: BTreeMap::new(),
            failed: BTreeMap::new(),
            addresses: addresses(&input.0),
            back: None,
            last: first.incarnation.clone(),
            code: None,
        };
        reading.opened(first);
        Some(reading)
    }

    /// The next event.
    pub fn add(&mut self, record: &Record) {
        if record.incarnation != self.last {
            self.last = record.incarnation.clone();
            self.opened(record);
        }
        match &record.event {
            Event::ExecutionStarted { .. } => {}
            Event::PhaseStarted { slug, title } => {
                self.end_phase(record);
                self.begin_phase(record, slug, title);
            }
            Event::ZoneEntered { zone, reason } => {
                let about = vec![text(names::ZONE, zone_name(*zone)), text(names::REASON, reason)];
                self.moment(record, names::ZONE_ENTERED, about);
            }
            Event::WaitStarted { name, .. } => {
                self.end_phase(record);
                let mut rest = self.open(record, About::Rest, "", &format!("wait for {name}"), self.root.id);
                rest.attributes.push(text(names::REST, name));
                self.rest = Some(rest);
            }
            Event::WaitEnded { end, .. } => self.end_rest(record, said(end)),
            Event::Stuck { cause } => self.stuck(record, cause),
            Event::Resumed { by, reason } => self.resumed(record, by, reason),
            Event::RollBackStarted { cause } => self.turn(record, cause),
            Event::LeftBehind { hosts, by, reason } => {
                let about = vec![texts(names::LEFT, hosts), text(names::BY, by), text(names::REASON, reason)];
                self.moment(record, names::LEFT_BEHIND, about);
            }
            Event::Adopted { by, reason, .. } => {
                self.moment(record, names::ADOPTED, vec![text(names::BY, by), text(names::REASON, reason)]);
            }
            Event::Completed { left, .. } => self.end(record, left, "success", None),
            Event::RolledBack { left } => {
                let (result, code) = self.rolled_back();
                self.end(record, left, result, code);
            }
            step => self.step(record, step),
        }
    }

    fn step(&mut self, record: &Record, event: &Event) {
        match event {
            Event::StepStarted { step, activity, target, group, undo, .. } => {
                let of = Of { activity: activity.clone(), target: target.clone(), attempt: 1 };
                let mut begun = self.begin_step(record, step, of);
                begun.span.attributes.push(KeyValue::new(names::UNDO, *undo));
                begun.span.attributes.extend(group.as_deref().map(|group| text(names::GROUP, group)));
                begun.attempt = Some(self.attempt(record, &begun, step, record.time));
                self.steps.insert(step.clone(), begun);
            }
            Event::StepRetried { step, attempt, ended, not_before } => {
                let Some(mut open) = self.steps.remove(step) else { return };
                self.end_attempt(record, &mut open, &End::of(ended));
                open.of.attempt = *attempt;
                open.attempt = Some(self.attempt(record, &open, step, record.time.max(*not_before)));
                self.steps.insert(step.clone(), open);
            }
            Event::StepSucceeded { step, .. } => self.end_step(record, step, &End::DONE, None),
            Event::StepFailed { step, failure, effect } => {
                self.end_step(record, step, &End::failed("failed", failure), Some(*effect));
            }
            Event::StepLeft { step, why: LeftWhy::Failure { failure, effect }, .. } => {
                self.end_step(record, step, &End::failed("left", failure), Some(*effect));
            }
            // Nothing was begun, nor looked at.
            Event::StepLeft { step, target, why: LeftWhy::Earlier(_) } => {
                let of = Of { activity: activity_of(step).to_owned(), target: target.clone(), attempt: 0 };
                let left = self.begin_step(record, step, of);
                self.steps.insert(step.clone(), left);
                self.end_step(record, step, &End { outcome: "left", failure: None, code: None }, None);
            }
            _ => {}
        }
    }

    fn leg(&self) -> &'static str {
        if self.back.is_some() { "back" } else { "forward" }
    }

    fn open(&self, record: &Record, about: About, which: &str, name: &str, parent: SpanId) -> Open {
        Open {
            about,
            id: span_id(&self.execution, about, record.seq, which),
            parent,
            name: short(name),
            from: record.time,
            began: record.seq,
            attributes: vec![text(names::LEG, self.leg()), text(names::INCARNATION, record.incarnation.as_str())],
            moments: Vec::new(),
        }
    }

    fn close(&mut self, open: Open, record: &Record, error: Option<String>) {
        let Open { about, id, parent, name, from, began, attributes, moments } = open;
        let (trace, until, ended) = (self.trace, record.time, record.seq);
        let from = from.min(until);
        self.spans.push(Span { about, trace, id, parent, name, from, until, began, ended, attributes, moments, error });
    }

    fn moment(&mut self, record: &Record, name: &'static str, attributes: Vec<KeyValue>) {
        self.root.moments.push(Moment { name, at: record.time, attributes });
    }

    fn opened(&mut self, record: &Record) {
        self.moment(record, names::OPENED, vec![text(names::INCARNATION, record.incarnation.as_str())]);
    }

    fn begin_phase(&mut self, record: &Record, slug: &str, title: &str) {
        let mut phase = self.open(record, About::Phase, "", title, self.root.id);
        phase.attributes.push(text(names::PHASE, slug));
        self.phase = Some(phase);
    }

    fn end_phase(&mut self, record: &Record) {
        if let Some(phase) = self.phase.take() {
            self.close(phase, record, None);
        }
    }

    fn begin_step(&mut self, record: &Record, step: &StepId, of: Of) -> Step {
        if self.phase.is_none() && self.back.is_some() {
            // Undos that no phase heads.
            self.begin_phase(record, "undo", "Take back what was begun");
        }
        let parent = self.phase.as_ref().map_or(self.root.id, |phase| phase.id);
        let mut span = self.open(record, About::Step, step.as_str(), &of.activity, parent);
        span.attributes.extend([
            text(names::TASK, &of.activity),
            text(names::TASK_RUN, &format!("{step}#{}", record.seq)),
            text(names::STEP, step.as_str()),
        ]);
        span.attributes.extend(self.place(&of.target));
        Step { span, attempt: None, of }
    }

    fn place(&self, target: &str) -> Vec<KeyValue> {
        let address = self.addresses.get(target).map(|address| text(names::ADDRESS, address));
        [Some(text(names::TARGET, target)), address].into_iter().flatten().collect()
    }

    fn attempt(&self, record: &Record, step: &Step, id: &StepId, from: Timestamp) -> Open {
        let name = format!("{} attempt", step.of.activity);
        let mut attempt = self.open(record, About::Attempt, id.as_str(), &name, step.span.id);
        attempt.from = from;
        let number = KeyValue::new(names::ATTEMPT, i64::from(step.of.attempt));
        attempt.attributes.extend([number, text(names::STEP, id.as_str())]);
        attempt.attributes.extend(self.place(&step.of.target));
        attempt
    }

    fn end_attempt(&mut self, record: &Record, step: &mut Step, end: &End<'_>) {
        let Some(mut attempt) = step.attempt.take() else { return };
        attempt.attributes.push(text(names::ATTEMPT_OUTCOME, end.outcome));
        attempt.attributes.extend(end.code().map(|code| text(names::ERROR, &code)));
        self.close(attempt, record, end.error());
    }

    fn end_step(&mut self, record: &Record, id: &StepId, end: &End<'_>, effect: Option<Effect>) {
        let Some(mut step) = self.steps.remove(id) else { return };
        self.end_attempt(record, &mut step, end);
        let result = match end.outcome {
            "done" => "success",
            "left" => "skip",
            _ => "failure",
        };
        let mut span = step.span;
        span.attributes.extend([
            text(names::TASK_RESULT, result),
            text(names::STEP_OUTCOME, end.outcome),
            KeyValue::new(names::ATTEMPTS, i64::from(step.of.attempt)),
        ]);
        span.attributes.extend(effect.map(|effect| text(names::EFFECT, effect_name(effect))));
        span.attributes.extend(end.code().map(|code| text(names::ERROR, &code)));
        self.close(span, record, end.error());
        if result == "failure" {
            self.code = end.code();
            self.failed.insert(id.clone(), step.of);
        }
    }

    fn stuck(&mut self, record: &Record, cause: &StuckCause) {
        let mut rest = self.open(record, About::Rest, "", "stuck", self.root.id);
        rest.attributes.extend([text(names::REST, "stuck"), text(names::CAUSE, &cause_of(cause))]);
        rest.attributes.extend(match cause {
            StuckCause::Failure(_) => self.code.as_deref().map(|code| text(names::ERROR, code)),
            StuckCause::Guard { failure, .. } | StuckCause::Hold(failure) => Some(text(names::ERROR, &failure.code)),
            StuckCause::Paused { by, .. } => Some(text(names::BY, by)),
        });
        self.rest = Some(rest);
    }

    fn resumed(&mut self, record: &Record, by: &str, reason: &str) {
        let said = vec![text(names::BY, by), text(names::REASON, reason)];
        self.moment(record, names::RESUMED, said.clone());
        self.end_rest(record, said);
        for (step, of) in mem::take(&mut self.failed) {
            let again = self.begin_step(record, &step, of);
            self.steps.insert(step, again);
        }
    }

    fn end_rest(&mut self, record: &Record, said: Vec<KeyValue>) {
        let Some(mut rest) = self.rest.take() else { return };
        rest.attributes.extend(said);
        let error = rest.attributes.iter().any(|known| known.key.as_str() == names::ERROR);
        self.close(rest, record, error.then(|| "stuck".to_owned()));
    }

    fn turn(&mut self, record: &Record, cause: &RollBackCause) {
        self.end_phase(record);
        let said = match cause {
            RollBackCause::Asked { by, reason } => vec![text(names::BY, by), text(names::REASON, reason)],
            _ => Vec::new(),
        };
        self.end_rest(record, said);
        self.failed.clear();
        self.back = Some(cause.clone());
        self.moment(record, names::TURNED_BACK, vec![text(names::CAUSE, &why_back(cause))]);
    }

    /// What an execution that went back came to, and why.
    fn rolled_back(&self) -> (&'static str, Option<String>) {
        let code = match &self.back {
            Some(RollBackCause::Asked { .. }) | None => return ("cancellation", None),
            Some(RollBackCause::Failure(_)) => self.code.clone().unwrap_or_else(|| "_OTHER".to_owned()),
            Some(RollBackCause::MaxOutage) => "outage-too-long".to_owned(),
            Some(RollBackCause::WindowPassed) => "window-passed".to_owned(),
            Some(RollBackCause::Parked) => "parked".to_owned(),
        };
        ("failure", Some(code))
    }

    fn end(&mut self, record: &Record, left: &[String], result: &'static str, code: Option<String>) {
        self.end_phase(record);
        self.end_rest(record, Vec::new());
        let error = self.back.as_ref().filter(|_| code.is_some()).map(|cause| short(&why_back(cause)));
        let nothing = Open { name: String::new(), attributes: Vec::new(), moments: Vec::new(), ..self.root };
        let mut root = mem::replace(&mut self.root, nothing);
        root.attributes.extend([text(names::RUN_RESULT, result), texts(names::LEFT, left)]);
        root.attributes.extend(code.map(|code| text(names::ERROR, &code)));
        self.close(root, record, error);
    }
}

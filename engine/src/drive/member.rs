//! A member of a group: one step on its way from its place in the history to its end.

use super::attempt::{Outcome, Try};
use super::decide::{Missed, Next, next};
use crate::cx::Cx;
use crate::erased::DynActivity;
use crate::event::{AttemptEnd, Event, Json, LeftWhy, Zone};
use crate::execution::{Side, StepStatus};
use crate::failure::{Effect, Failure};
use crate::ids::StepId;
use crate::trying::Trying;
use std::sync::Arc;
use std::time::Duration;

/// What the history holds of a member when its group is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    New,
    /// Started in an earlier life, or opened again.
    Open,
    Done(Json),
    Left,
}

/// How a member ended in this drive.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Done(Json),
    /// For good; `begun` is false if not even the look before the intent answered.
    Failed {
        missed: Missed,
        begun: bool,
    },
}

/// See the file's sentence.
pub(crate) struct Member<E> {
    pub(crate) id: StepId,
    pub(crate) activity: Arc<dyn DynActivity<E>>,
    pub(crate) target: String,
    pub(crate) input: Json,
    pub(crate) before: Json,
    pub(crate) undo: bool,
    pub(crate) place: Place,
    pub(crate) attempt: u32,
    pub(crate) used: u32,
    pub(crate) looks: u32,
    /// Only looks are taken, since none has answered.
    pub(crate) looking: bool,
    /// Whether `run` was or may have been called.
    pub(crate) ran: bool,
    /// How the last attempt ended, if only looks followed.
    pub(crate) last: Option<Missed>,
    pub(crate) verdict: Option<Verdict>,
}

/// `before` where it could not be seen: nothing was begun.
pub(crate) fn never_seen() -> Json {
    Json("null".to_owned())
}

impl<E: Send + Sync + 'static> Member<E> {
    pub(crate) fn new(id: StepId, activity: Arc<dyn DynActivity<E>>, input: Json) -> Self {
        let target = activity.target();
        Self {
            id,
            activity,
            target,
            input,
            before: never_seen(),
            undo: false,
            place: Place::New,
            attempt: 1,
            used: 0,
            looks: 0,
            looking: false,
            ran: false,
            last: None,
            verdict: None,
        }
    }

    /// The output, if its effect is in place.
    pub(crate) fn output(&self) -> Option<&Json> {
        match (&self.place, &self.verdict) {
            (Place::Done(output), _) | (_, Some(Verdict::Done(output))) => Some(output),
            _ => None,
        }
    }

    /// Whether its intent is durable and its end is not known.
    pub(crate) fn is_open(&self) -> bool {
        self.verdict.is_none() && self.place == Place::Open
    }

    /// An open step of an earlier life: it may have been tried, and nothing is known of the end.
    pub(crate) fn recover(&mut self, attempt: u32, used: u32) {
        self.place = Place::Open;
        self.attempt = attempt;
        self.used = used;
        self.last = Some(Missed {
            end: AttemptEnd::Interrupted,
            failure: Failure::new("interrupted"),
            effect: Effect::Unknown,
            ran: true,
        });
        self.ran = true;
    }

    pub(crate) fn started(&self, group: Option<&String>) -> Event {
        Event::StepStarted {
            step: self.id.clone(),
            activity: self.activity.name().to_owned(),
            target: self.target.clone(),
            input: self.input.clone(),
            before: self.before.clone(),
            group: group.cloned(),
            undo: self.undo,
        }
    }

    pub(crate) fn left(&self, missed: &Missed) -> Event {
        let why = LeftWhy::Failure { failure: missed.failure.clone(), effect: missed.effect };
        Event::StepLeft { step: self.id.clone(), target: self.target.clone(), why }
    }

    pub(crate) fn failed(&self, missed: &Missed) -> Event {
        Event::StepFailed { step: self.id.clone(), failure: missed.failure.clone(), effect: missed.effect }
    }

    /// Takes the end of an attempt or a look and says what follows; `None` once there is a verdict.
    pub(crate) fn take(&mut self, outcome: Outcome, zone: Zone) -> Option<Next> {
        let missed = match outcome {
            Ok(output) => {
                self.verdict = Some(Verdict::Done(output));
                return None;
            }
            Err(missed) => self.combined(missed, zone),
        };

        let next = next(&self.activity.retry(), self.used, self.looks, &missed, zone);
        match next {
            Next::Fail => {
                self.verdict = Some(Verdict::Failed { missed, begun: true });
                return None;
            }
            Next::LookAgain(_) => {
                self.looks += 1;
                self.looking = true;
                self.last = Some(missed);
            }
            Next::Retry(_) => {
                self.looks = 0;
                self.looking = false;
                self.last = None;
                self.attempt += 1;
                self.used += u32::from(missed.end != AttemptEnd::Interrupted);
                self.last = Some(missed);
            }
        }
        Some(next)
    }

    /// A look says what became of the effect; how the attempt before it ended is known from that attempt.
    fn combined(&mut self, latest: Missed, zone: Zone) -> Missed {
        let down = matches!(zone, Zone::Down { .. });
        self.ran |= latest.ran;
        // Where one can wait, a step that was never begun is absent, seen or not; in Down nothing is taken for granted.
        let latest = if down || self.ran { latest } else { Missed { effect: Effect::Absent, ..latest } };
        match self.last.take() {
            Some(last) if latest.effect == Effect::Absent => Missed { effect: Effect::Absent, ..last },
            Some(last) if down => last,
            _ => latest,
        }
    }
}

impl<E: Send + Sync + 'static> Cx<E> {
    /// What an attempt or a look at a member needs.
    pub(crate) fn attempt_of(&self, member: &Member<E>) -> Try<E> {
        let leg = self.journal.book.leg(self.pass.side);
        let seq = leg.steps.get(&member.id).map_or(0, |step| step.attempt_seq);
        Try {
            activity: member.activity.clone(),
            before: member.before.clone(),
            undo: member.undo,
            may_have_run: member.ran,
            patient: member.looking,
            env: self.env.clone(),
            clock: self.journal.clock.clone(),
            fences: self.journal.fences.clone(),
            execution: self.journal.execution.clone(),
            incarnation: self.journal.incarnation().clone(),
            step: member.id.clone(),
            attempt: member.attempt,
            fence: super::fences::Fences::attempt(seq),
            back: self.pass.side == Side::Back,
            phase: self.pass.phase.clone().unwrap_or_default(),
            left_behind: self.journal.state.left_behind.clone(),
            trying: Trying {
                execution: self.journal.execution.clone(),
                trace_id: self.journal.trace_id().to_owned(),
                step: member.id.clone(),
                began: seq,
            },
        }
    }

    /// The intent of another attempt.
    pub(crate) fn retried(&self, member: &Member<E>, after: Duration) -> Event {
        Event::StepRetried {
            step: member.id.clone(),
            attempt: member.attempt,
            ended: member.last.as_ref().map_or(AttemptEnd::Interrupted, |missed| missed.end.clone()),
            not_before: self.journal.clock.now().plus(after),
        }
    }

    /// Sets what the history holds of a member that was visited.
    pub(crate) fn find_place(&self, member: &mut Member<E>) -> Result<(), super::rest::Parked> {
        use super::rest::Parked;
        let Some(record) = self.journal.book.leg(self.pass.side).steps.get(&member.id) else { return Ok(()) };
        let state = self.step_state(&member.id);
        let Some((input, before)) = &record.use_ else {
            member.place = Place::Left;
            return Ok(());
        };
        let recorded = self.activities.decode(&record.activity, input).map_err(Parked::Input)?;
        let again = recorded.input().map_err(|e| Parked::Input(e.to_string()))?;
        if again != member.input || record.activity != member.activity.name() {
            let (recorded, asked) = (format!("step {} with {}", member.id, again.0), member.input.0.clone());
            return Err(Parked::Difference { recorded, asked });
        }
        member.activity = recorded;
        member.input = input.clone();
        member.before = before.clone();
        match (state.map(|s| s.status), &record.output) {
            (Some(StepStatus::Done), Some(output)) => member.place = Place::Done(output.clone()),
            (Some(StepStatus::Left), _) => member.place = Place::Left,
            _ => {
                let (attempt, used) = state.map_or((1, 0), |s| (s.attempt, s.used));
                member.recover(attempt, used);
            }
        }
        Ok(())
    }

    fn step_state(&self, id: &StepId) -> Option<&crate::execution::StepState> {
        self.journal.state.leg().steps.get(id)
    }
}

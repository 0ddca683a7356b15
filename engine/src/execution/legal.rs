//! Which event may follow in which state, and what it makes of it.

use super::Illegal;
use super::state::{LegState, Side, State, Status, StepState, StepStatus};
use crate::event::{AttemptEnd, Event, LeftWhy, RollBackCause, StuckCause, WaitEnd, Zone};
use crate::failure::Effect;
use crate::ids::StepId;

type Rule = Result<(), String>;

fn rule(holds: bool, why: &str) -> Rule {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

impl Event {
    /// Its name in `docs/events.md`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ExecutionStarted { .. } => "ExecutionStarted",
            Self::PhaseStarted { .. } => "PhaseStarted",
            Self::ZoneEntered { .. } => "ZoneEntered",
            Self::StepStarted { .. } => "StepStarted",
            Self::StepRetried { .. } => "StepRetried",
            Self::StepSucceeded { .. } => "StepSucceeded",
            Self::StepFailed { .. } => "StepFailed",
            Self::StepLeft { .. } => "StepLeft",
            Self::WaitStarted { .. } => "WaitStarted",
            Self::WaitEnded { .. } => "WaitEnded",
            Self::Stuck { .. } => "Stuck",
            Self::Resumed { .. } => "Resumed",
            Self::RollBackStarted { .. } => "RollBackStarted",
            Self::RolledBack { .. } => "RolledBack",
            Self::LeftBehind { .. } => "LeftBehind",
            Self::Adopted { .. } => "Adopted",
            Self::Completed { .. } => "Completed",
        }
    }
}

impl State {
    /// The state after the event, or the rule that forbids it.
    pub fn apply(mut self, event: &Event) -> Result<Self, Illegal> {
        let status = self.status.name();
        match self.follow(event) {
            Ok(()) => Ok(self),
            Err(why) => Err(Illegal { status, event: event.name(), why }),
        }
    }

    /// The state after a whole history.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, Illegal> {
        events.into_iter().try_fold(Self::default(), State::apply)
    }

    /// The table of `docs/events.md`.
    fn follow(&mut self, event: &Event) -> Rule {
        use Event as E;
        use Status as S;
        match (&self.status, event) {
            (S::New, E::ExecutionStarted { .. }) => self.go(S::Running),
            (S::Running | S::RollingBack, E::PhaseStarted { slug, .. }) => {
                self.leg_mut().phase = Some(slug.clone());
                Ok(())
            }
            (S::Running | S::RollingBack, E::ZoneEntered { zone, .. }) => self.enter(*zone),
            (S::Running | S::RollingBack, step) if is_step(step) => self.step(step),
            (S::Running, E::WaitStarted { name, until }) => {
                self.nothing_open_or_failed()?;
                self.not_down()?;
                self.go(S::Waiting { name: name.clone(), until: *until })
            }
            (S::Waiting { name: waiting, until }, E::WaitEnded { name, end }) => {
                rule(waiting == name, "another wait is on")?;
                rule(*end != WaitEnd::Time || until.is_some(), "the time does not end this wait")?;
                self.go(S::Running)
            }
            (S::Running | S::RollingBack, E::Stuck { cause }) => self.stick(cause),
            (S::Waiting { name, until: until @ Some(_) }, E::Stuck { cause: cause @ StuckCause::Paused { .. } }) => {
                self.paused_wait = Some((name.clone(), *until));
                self.go(S::Stuck { side: Side::Forward, cause: cause.clone() })
            }
            (S::Stuck { side, .. }, E::Resumed { .. }) => {
                let back = *side == Side::Back;
                self.leg_mut().reopen();
                match self.paused_wait.take() {
                    Some((name, until)) => self.go(S::Waiting { name, until }),
                    None => self.go(if back { S::RollingBack } else { S::Running }),
                }
            }
            (S::Running, E::RollBackStarted { cause }) => {
                self.cause_holds(cause)?;
                self.turn()
            }
            (
                S::Waiting { .. } | S::Stuck { side: Side::Forward, .. },
                E::RollBackStarted { cause: RollBackCause::Asked { .. } },
            ) => self.turn(),
            (S::Waiting { .. } | S::Stuck { .. }, E::LeftBehind { hosts, .. }) => {
                let may = self.back.as_ref().is_none_or(|back| back.zone == Zone::Free);
                rule(may, "once the way back has stopped something, its steps say who is left")?;
                self.left_behind.extend(hosts.iter().cloned());
                Ok(())
            }
            (S::Running, E::Completed { .. }) => {
                self.nothing_open_or_failed()?;
                self.not_down()?;
                self.go(S::Completed)
            }
            (S::RollingBack, E::RolledBack { .. }) => {
                self.nothing_open_or_failed()?;
                self.not_down()?;
                self.go(S::RolledBack)
            }
            (
                S::Running | S::Waiting { .. } | S::Stuck { .. } | S::RollingBack,
                E::Adopted { incarnation, predecessor, .. },
            ) => rule(incarnation != predecessor, "adopted from itself"),
            _ => Err("the table has no such row".to_owned()),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the rows of the table end with it")]
    fn go(&mut self, status: Status) -> Rule {
        self.status = status;
        Ok(())
    }

    fn nothing_open(&self) -> Rule {
        rule(self.leg().open == 0, "a step is open")
    }

    fn nothing_open_or_failed(&self) -> Rule {
        self.nothing_open()?;
        rule(self.leg().failed == 0, "a step is failed")
    }

    fn not_down(&self) -> Rule {
        rule(!self.is_down(), "nothing rests in Down")
    }

    fn enter(&mut self, zone: Zone) -> Rule {
        rule(zone.rank() > self.zone().rank(), "zones only go up")?;
        self.leg_mut().zone = zone;
        Ok(())
    }

    fn stick(&mut self, cause: &StuckCause) -> Rule {
        self.nothing_open()?;
        self.not_down()?;
        if let StuckCause::Failure(step) = cause {
            rule(self.leg().is_failed(step), "the step that it names is not failed")?;
        }
        self.status = Status::Stuck { side: self.side(), cause: cause.clone() };
        Ok(())
    }

    /// Whether a running execution may turn back for this cause.
    fn cause_holds(&self, cause: &RollBackCause) -> Rule {
        self.nothing_open()?;
        let (free, down) = (self.zone() == Zone::Free, self.is_down());
        match cause {
            RollBackCause::Failure(step) => {
                rule(free || down, "a failure rolls back by itself in Free and Down only")?;
                rule(self.leg().is_failed(step), "the step that it names is not failed")?;
                let unknown = self.leg().steps.values().any(|s| s.status == StepStatus::Failed(Effect::Unknown));
                rule(!unknown, "an unknown never rolls back by itself")
            }
            RollBackCause::MaxOutage | RollBackCause::Parked => rule(down, "only in Down"),
            RollBackCause::WindowPassed => rule(free, "only in Free"),
            RollBackCause::Asked { .. } => Ok(()),
        }
    }

    fn turn(&mut self) -> Rule {
        rule(self.zone() != Zone::Final, "there is no way back from Final")?;
        let zone = if self.is_down() { self.zone() } else { Zone::Free };
        self.back = Some(LegState::from_zone(zone));
        self.paused_wait = None;
        self.go(Status::RollingBack)
    }

    fn step(&mut self, event: &Event) -> Rule {
        let back = self.side() == Side::Back;
        if let Event::StepFailed { effect: Effect::Unknown, .. } = event {
            rule(!self.is_down(), "in Down an unknown is looked at again, or left")?;
        }
        let leg = self.leg_mut();
        match event {
            Event::StepStarted { step, target, undo, .. } => {
                rule(back || !undo, "an undo is a step of the way back")?;
                leg.add(step, target, StepStatus::Open, *undo)
            }
            Event::StepLeft { step, target, why: LeftWhy::Earlier(earlier) } => {
                let of = leg.steps.get(earlier).ok_or("the earlier step is unknown")?;
                rule(of.status == StepStatus::Left && of.target == *target, "its target was not left")?;
                leg.add(step, target, StepStatus::Left, false)
            }
            Event::StepRetried { step, attempt, ended, .. } => leg.retry(step, *attempt, ended),
            Event::StepSucceeded { step, .. } => leg.end(step, StepStatus::Done),
            Event::StepFailed { step, effect, .. } => leg.end(step, StepStatus::Failed(*effect)),
            Event::StepLeft { step, why: LeftWhy::Failure { .. }, .. } => leg.end(step, StepStatus::Left),
            _ => Err("not an event of a step".to_owned()),
        }
    }
}

fn is_step(event: &Event) -> bool {
    matches!(
        event,
        Event::StepStarted { .. }
            | Event::StepRetried { .. }
            | Event::StepSucceeded { .. }
            | Event::StepFailed { .. }
            | Event::StepLeft { .. }
    )
}

impl LegState {
    fn is_failed(&self, step: &StepId) -> bool {
        self.steps.get(step).is_some_and(|s| matches!(s.status, StepStatus::Failed(_)))
    }

    fn add(&mut self, id: &StepId, target: &str, status: StepStatus, undo: bool) -> Rule {
        rule(self.failed == 0, "nothing starts while a step is failed")?;
        rule(!self.steps.contains_key(id), "the step has been there")?;
        match status {
            StepStatus::Left => self.leave(target),
            _ => self.open += 1,
        }
        let step = StepState { target: target.to_owned(), status, attempt: 1, used: 0, reopened: false, undo };
        self.steps.insert(id.clone(), step);
        Ok(())
    }

    fn retry(&mut self, id: &StepId, attempt: u32, ended: &AttemptEnd) -> Rule {
        rule(self.failed == 0, "nothing is tried while a step is failed")?;
        let step = self.open_step(id)?;
        rule(attempt == step.attempt + 1, "attempts are counted one by one")?;
        if !step.reopened && *ended != AttemptEnd::Interrupted {
            step.used += 1;
        }
        step.reopened = false;
        step.attempt = attempt;
        Ok(())
    }

    fn end(&mut self, id: &StepId, status: StepStatus) -> Rule {
        let step = self.open_step(id)?;
        step.status = status;
        let target = step.target.clone();
        self.open -= 1;
        match status {
            StepStatus::Failed(_) => self.failed += 1,
            StepStatus::Left => self.leave(&target),
            _ => {}
        }
        Ok(())
    }

    fn open_step(&mut self, id: &StepId) -> Result<&mut StepState, String> {
        let step = self.steps.get_mut(id).ok_or("there is no such step")?;
        rule(step.status == StepStatus::Open, "the step is not open")?;
        Ok(step)
    }

    fn leave(&mut self, target: &str) {
        if !self.left.iter().any(|t| t == target) {
            self.left.push(target.to_owned());
        }
    }

    fn reopen(&mut self) {
        for step in self.steps.values_mut().filter(|s| matches!(s.status, StepStatus::Failed(_))) {
            step.status = StepStatus::Open;
            step.used = 0;
            step.reopened = true;
        }
        self.open += self.failed;
        self.failed = 0;
    }
}

//! How the code of a workflow is led along what the history holds, and stopped where it must not go on.

use super::Cx;
use crate::book::Entry;
use crate::drive::journal::Halted;
use crate::drive::member::{Member, Place};
use crate::drive::rest::Parked;
use crate::event::{Event, LeftWhy, Zone};
use crate::execution::{Side, StepStatus};
use crate::ids::StepId;
use crate::workflow::{Course, Halt};
use std::collections::BTreeSet;

impl<E: Send + Sync + 'static> Cx<E> {
    /// After the first halt every call halts.
    pub(super) fn go_on(&self) -> Result<(), Halt> {
        if self.halted.is_some() { Err(Halt(())) } else { Ok(()) }
    }

    pub(super) fn halt(&mut self, halted: Halted) -> Halt {
        self.halted.get_or_insert(halted);
        Halt(())
    }

    pub(super) fn park(&mut self, why: Parked) -> Halt {
        self.halt(Halted::Parked(why))
    }

    /// True if the entry is new.
    pub(super) fn visit(&mut self, entry: &Entry) -> Result<bool, Halt> {
        self.go_on()?;
        let named = match entry {
            Entry::Zone(_) => Ok(()),
            _ => self.pass.use_name(entry.to_string()),
        };
        let visited = named.and_then(|()| self.pass.visit(&self.journal.book, entry));
        match visited {
            Ok(recorded) => Ok(!recorded),
            Err(unfit) => Err(self.park(unfit.into())),
        }
    }

    pub(super) fn ride(&mut self, event: Event) -> Result<(), Halt> {
        self.must_be_legal(&event)?;
        let ridden = self.journal.ride(event);
        self.pass.skip_to_end(&self.journal.book);
        ridden.map_err(|halted| self.halt(halted))
    }

    pub(super) fn must_be_legal(&mut self, event: &Event) -> Result<(), Halt> {
        self.journal.allows(event).map_err(|illegal| self.park(Parked::Illegal(illegal)))
    }

    /// Where something new would begin.
    pub(super) async fn stop_here(&mut self) -> Result<(), Halt> {
        self.checkpoint().await.map_err(|halted| self.halt(halted))
    }

    pub(super) async fn stop_here_unless_open(&mut self, members: &[Member<E>]) -> Result<(), Halt> {
        if members.iter().any(|m| m.place == Place::Open) { Ok(()) } else { self.stop_here().await }
    }

    /// Finds what the history holds of the members of a group.
    pub(super) fn place(&mut self, members: &mut [Member<E>]) -> Result<(), Halt> {
        self.go_on()?;
        let mut ids = BTreeSet::new();
        for member in members.iter() {
            self.pass.use_name(format!("step {}", member.id)).map_err(|unfit| self.park(unfit.into()))?;
            ids.insert(member.id.clone());
        }
        let visited = self.pass.visit_group(&self.journal.book, &ids).map_err(|unfit| self.park(unfit.into()))?;
        for member in members.iter_mut().filter(|m| visited.contains(&m.id)) {
            self.find_place(member).map_err(|why| self.park(why))?;
        }
        Ok(())
    }

    /// Steps of a target that was left are recorded as left, without a look.
    pub(super) fn leave_whose_target_was_left(&mut self, members: &mut [Member<E>]) -> Result<(), Halt> {
        for member in members.iter_mut().filter(|m| m.place == Place::New) {
            let Some(earlier) = self.earlier_left(&member.target) else { continue };
            member.place = Place::Left;
            let (step, target) = (member.id.clone(), member.target.clone());
            self.ride(Event::StepLeft { step, target, why: LeftWhy::Earlier(earlier) })?;
        }
        Ok(())
    }

    fn earlier_left(&self, target: &str) -> Option<StepId> {
        if !self.pass.left.iter().any(|left| left == target) {
            return None;
        }
        let book = self.journal.book.leg(self.pass.side);
        let mut steps = book.in_order().map(|(_, step)| step);
        steps.find(|step| step.target == target && self.is_left(&step.id)).map(|step| step.id.clone())
    }

    fn is_left(&self, id: &StepId) -> bool {
        self.journal.state.leg().steps.get(id).is_some_and(|step| step.status == StepStatus::Left)
    }

    /// A group was passed: who was left, and when it started, is known to the code from here on.
    pub(super) fn passed_group(&mut self, members: &[Member<E>]) {
        for member in members {
            if self.is_left(&member.id) && !self.pass.left.contains(&member.target) {
                self.pass.left.push(member.target.clone());
            }
            if let Some(step) = self.journal.book.leg(self.pass.side).steps.get(&member.id) {
                self.pass.time = self.pass.time.max(step.started);
            }
        }
        if self.pass.at_end(&self.journal.book) {
            self.tell_hold(&[]);
        }
    }

    /// Tells the hold how far the drive has come; these members are about to begin.
    pub(crate) fn tell_hold(&self, about: &[Member<E>]) {
        let state = &self.journal.state;
        let (phase, left) = (state.leg().phase.clone(), state.not_held());
        let (hold, release) = (self.workflow.holds(), self.workflow.lets_go());
        let (mut taken, mut let_go) = (Vec::new(), Vec::new());
        let mut see = |activity: &str, undo: bool, done: bool, target: &String| {
            let (of_hold, of_end) = (Some(activity) == hold, Some(activity) == release);
            if of_hold && done && !undo {
                taken.push(target.clone());
            }
            if of_end || (of_hold && undo) {
                let_go.push(target.clone());
            }
        };
        for (leg, side) in [(Some(&state.forward), Side::Forward), (state.back.as_ref(), Side::Back)] {
            let Some(leg) = leg else { continue };
            for record in self.journal.book.leg(side).steps.values() {
                let Some(step) = leg.steps.get(&record.id) else { continue };
                see(&record.activity, step.undo, step.status == StepStatus::Done, &record.target);
            }
        }
        for member in about.iter().filter(|member| !matches!(member.place, Place::Done(_) | Place::Left)) {
            see(member.activity.name(), member.undo, false, &member.target);
        }
        let may_be_silent = matches!(state.zone(), Zone::Down { .. } | Zone::Held);
        self.desk.set_course(Course { phase, left, taken, let_go, may_be_silent });
    }
}

/// Whether anything of a group is not known to have ended.
pub(super) fn needs_driving<E>(members: &[Member<E>]) -> bool {
    members.iter().any(|m| matches!(m.place, Place::New | Place::Open))
}

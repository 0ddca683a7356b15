//! What keeps a drive from starting anything new, and what it turns to then.

use super::decide::LONGEST_LOOK_PAUSE;
use super::desk::Asked;
use super::journal::{Halted, Turn};
use super::rest::Interruption;
use super::words::Refused;
use crate::book::Pass;
use crate::cx::Cx;
use crate::event::{Event, RollBackCause, StuckCause, Zone};
use crate::execution::Side;
use crate::failure::Failure;
use std::time::Duration;

/// Why nothing new may start.
pub(crate) enum StopFor {
    RollBack(Asked),
    MaxOutage,
    Hold(Failure),
    Pause(Asked),
    /// The engine is to end where the control plane is up; nothing is recorded of it.
    Leave,
}

impl<E: Send + Sync + 'static> Cx<E> {
    /// Whether nothing new may start. In Down neither a pause nor a hold counts: nobody is waited for.
    pub(crate) fn must_stop(&self) -> bool {
        let rests = self.desk.leave_asked() || self.desk.pause_asked() || self.lapsed().is_some();
        self.outage_over() || self.may_turn_back() && self.desk.roll_back_asked() || !self.is_down() && rests
    }

    /// Whether the control plane is down.
    pub fn is_down(&self) -> bool {
        self.journal.state.is_down()
    }

    fn may_turn_back(&self) -> bool {
        self.journal.state.side() == Side::Forward && self.journal.state.zone() != Zone::Final
    }

    /// Why the hold could not be renewed, if it was ever taken.
    fn lapsed(&self) -> Option<Failure> {
        let begun = |name: &str| self.journal.book.leg(Side::Forward).steps.values().any(|step| step.activity == name);
        self.desk.lapsed().filter(|_| self.workflow.holds().is_none_or(begun))
    }

    fn outage_over(&self) -> bool {
        self.journal.outage_left().is_some_and(|left| left.is_zero())
    }

    /// Takes the first reason off the desk; requests that cannot be are refused.
    pub(crate) async fn take_stop(&mut self) -> Option<StopFor> {
        if let Some(asked) = self.desk.take_roll_back() {
            let word = Event::RollBackStarted {
                cause: RollBackCause::Asked { by: asked.by.clone(), reason: asked.reason.clone() },
            };
            let looked = match (self.may_turn_back(), self.is_down()) {
                (false, _) => self.journal.allows(&word).map_err(Refused::Illegal),
                (true, true) => Ok(()),
                (true, false) => self.may_roll_back().await.map_err(Refused::Looked),
            };
            match looked {
                Ok(()) => return Some(StopFor::RollBack(asked)),
                Err(refused) => {
                    if let Some(Err(refused)) = asked.answer(Err(refused)) {
                        self.desk.refuse(refused);
                        return Some(StopFor::Leave);
                    }
                }
            }
        }
        if self.outage_over() {
            return Some(StopFor::MaxOutage);
        }
        if self.is_down() {
            return None;
        }
        if self.desk.leave_asked() {
            return Some(StopFor::Leave);
        }
        let lapsed = self.lapsed().map(StopFor::Hold);
        lapsed.or_else(|| self.desk.take_pause().map(StopFor::Pause))
    }

    /// Asks the workflow, which is shown all that is recorded, however much of it this pass has visited.
    async fn may_roll_back(&mut self) -> Result<(), Failure> {
        let mut all = Pass::new(self.pass.side, Zone::Free, self.journal.book.started());
        all.skip_to_end(&self.journal.book);
        let visited = std::mem::replace(&mut self.pass, all);
        let looked = self.workflow.may_roll_back(&self.env, self).await;
        self.pass = visited;
        looked
    }

    /// Records the turn, with the events before it, and tells whoever asked.
    pub(crate) async fn turn_for(&mut self, events: Vec<Event>, stop: StopFor) -> Halted {
        let (turn, asked) = match stop {
            StopFor::Leave => {
                let left = Halted::Interrupted(Interruption::Asked);
                return self.journal.flush().await.err().unwrap_or(left);
            }
            StopFor::MaxOutage => (Turn::Back(RollBackCause::MaxOutage), None),
            StopFor::Hold(failure) => (Turn::Stuck(StuckCause::Hold(failure)), None),
            StopFor::RollBack(asked) => {
                let cause = RollBackCause::Asked { by: asked.by.clone(), reason: asked.reason.clone() };
                (Turn::Back(cause), Some(asked))
            }
            StopFor::Pause(asked) => {
                let cause = StuckCause::Paused { by: asked.by.clone(), reason: asked.reason.clone() };
                (Turn::Stuck(cause), Some(asked))
            }
        };
        let halted = self.journal.turn(events, turn).await;
        if let (Halted::Turned, Some(asked)) = (&halted, asked) {
            asked.answer(Ok(()));
        }
        halted
    }

    /// Nothing new starts if something stops it.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), Halted> {
        if !self.must_stop() && !self.desk.roll_back_asked() {
            return Ok(());
        }
        match self.take_stop().await {
            Some(stop) => Err(self.turn_for(Vec::new(), stop).await),
            None => Ok(()),
        }
    }

    /// Open steps of an earlier life are settled first where driving would not go on with them.
    pub(crate) async fn settle_if_it_must_stop(&mut self) -> Result<(), Halted> {
        if self.journal.state.leg().open == 0 || !self.must_stop() {
            return Ok(());
        }
        let Some(stop) = self.take_stop().await else { return Ok(()) };
        if matches!(stop, StopFor::Leave) {
            return Err(Halted::Interrupted(Interruption::Asked));
        }
        let events = self.settle().await?;
        Err(self.turn_for(events, stop).await)
    }

    /// A guard said no: in Down it is asked again, elsewhere an operator is waited for.
    pub(crate) async fn guard_said_no(
        &mut self,
        name: &str,
        rolls_back: bool,
        failure: Failure,
        asked: u32,
    ) -> Result<(), Halted> {
        if self.is_down() {
            self.journal.flush().await?;
            let pause = Duration::from_secs(1).saturating_mul(1 << asked.min(4)).min(LONGEST_LOOK_PAUSE);
            let pause = self.journal.outage_left().map_or(pause, |left| pause.min(left));
            self.journal.clock.sleep(pause).await;
            return Ok(());
        }
        let free = self.journal.state.side() == Side::Forward && self.journal.state.zone() == Zone::Free;
        let turn = if rolls_back && free {
            Turn::Back(RollBackCause::WindowPassed)
        } else {
            Turn::Stuck(StuckCause::Guard { name: name.to_owned(), failure })
        };
        Err(self.journal.turn(Vec::new(), turn).await)
    }
}

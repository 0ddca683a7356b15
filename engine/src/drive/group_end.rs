//! How a group ends: who failed is left, or the group fails, in one commit with what follows.

use super::decide::{Consequence, GroupEnd, consequence};
use super::group::Group;
use super::journal::{Halted, Turn};
use super::member::{Member, Place, Verdict};
use crate::event::{RollBackCause, StuckCause};
use crate::failure::Effect;
use crate::ids::StepId;

impl<E: Send + Sync + 'static> Group<'_, E> {
    /// Records the ends, and returns the members if the code may go on.
    pub(crate) async fn finish(mut self, end: GroupEnd) -> Result<Vec<Member<E>>, Halted> {
        self.drop_running();
        if matches!(end, GroupEnd::Fail | GroupEnd::TryAgain) {
            return Err(self.fail().await);
        }
        self.leave_who_failed().await?;
        let unstarted = self.members.iter().any(|m| m.verdict.is_none() && m.place == Place::New);
        if end == GroupEnd::GoOn && !unstarted {
            return Ok(self.members);
        }
        match self.cx.take_stop().await {
            Some(stop) => Err(self.cx.turn_for(Vec::new(), stop).await),
            // What held it back is gone meanwhile: the code runs again from the top.
            None => Err(self.cx.journal.flush().await.err().unwrap_or(Halted::Turned)),
        }
    }

    /// Every member that failed is left, and so is every one without an answer.
    async fn leave_who_failed(&mut self) -> Result<(), Halted> {
        let mut never_begun = Vec::new();
        for member in &self.members {
            match &member.verdict {
                Some(Verdict::Failed { missed, begun: false }) => {
                    never_begun.push(member.started(None));
                    never_begun.push(member.left(missed));
                }
                Some(Verdict::Failed { missed, .. }) => self.cx.journal.ride(member.left(missed))?,
                None => {
                    if let Some(missed) = member.last.as_ref().filter(|_| member.is_open()) {
                        self.cx.journal.ride(member.left(missed))?;
                    }
                }
                Some(Verdict::Done(_)) => {}
            }
        }
        if !never_begun.is_empty() {
            self.cx.journal.intend(never_begun).await?;
        }
        self.cx.pass.skip_to_end(&self.cx.journal.book);
        Ok(())
    }

    /// The group failed: the failure of each, and the consequence, in one commit.
    async fn fail(&mut self) -> Halted {
        let (side, zone) = (self.cx.journal.state.side(), self.cx.journal.state.zone());
        let unknown = self.failures().find(|(_, effect, begun)| *begun && *effect == Effect::Unknown);
        let any_unknown = unknown.is_some();
        let what_follows = consequence(side, zone, any_unknown);
        let mut events = Vec::new();
        if what_follows == Consequence::RollBack {
            events.extend(self.never_begun().map(|m| m.started(None)));
        }
        for member in &self.members {
            match &member.verdict {
                Some(Verdict::Failed { begun: false, .. }) if what_follows == Consequence::Stuck => {}
                Some(Verdict::Failed { missed, .. }) => events.push(member.failed(missed)),
                None => events.extend(member.last.iter().filter(|_| member.is_open()).map(|m| member.left(m))),
                Some(Verdict::Done(_)) => {}
            }
        }
        let turn = match what_follows {
            Consequence::RollBack => Turn::Back(RollBackCause::Failure(self.first_failed())),
            Consequence::Stuck => Turn::Stuck(self.stuck_cause()),
        };
        self.cx.journal.turn(events, turn).await
    }

    fn failures(&self) -> impl Iterator<Item = (&Member<E>, Effect, bool)> {
        self.members.iter().filter_map(|m| match &m.verdict {
            Some(Verdict::Failed { missed, begun }) => Some((m, missed.effect, *begun)),
            _ => None,
        })
    }

    fn never_begun(&self) -> impl Iterator<Item = &Member<E>> {
        self.failures().filter(|(_, _, begun)| !begun).map(|(m, _, _)| m)
    }

    fn first_failed(&self) -> StepId {
        let (member, _, _) = self.failures().next().expect("a group fails by the failure of a member");
        member.id.clone()
    }

    /// The failure that an operator must see first: an unknown one, else any that is recorded, else a look that said no.
    fn stuck_cause(&self) -> StuckCause {
        let begun = || self.failures().filter(|(_, _, begun)| *begun);
        let unknown = begun().find(|(_, effect, _)| *effect == Effect::Unknown);
        if let Some((member, _, _)) = unknown.or_else(|| begun().next()) {
            return StuckCause::Failure(member.id.clone());
        }
        let mut looked = self.members.iter().filter_map(|m| match &m.verdict {
            Some(Verdict::Failed { missed, .. }) => Some((m, missed)),
            _ => None,
        });
        let (member, missed) = looked.next().expect("a group fails by the failure of a member");
        StuckCause::Guard { name: format!("before {}", member.id), failure: missed.failure.clone() }
    }

    /// The outage became too long: attempts are dropped, fenced and looked at, and the way back follows.
    pub(crate) async fn at_the_limit(&mut self) -> Halted {
        self.drop_running();
        let mut known = Vec::new();
        let mut open = Vec::new();
        for member in &self.members {
            match &member.verdict {
                Some(Verdict::Failed { missed, begun: true }) => known.push(member.failed(missed)),
                None if member.is_open() => open.push(member.id.clone()),
                _ => {}
            }
        }
        match self.cx.close(&open, true).await {
            Ok(closed) => {
                known.extend(closed);
                self.cx.journal.turn(known, Turn::Back(RollBackCause::MaxOutage)).await
            }
            Err(halted) => halted,
        }
    }
}

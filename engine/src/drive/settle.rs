//! Settles: brings open steps to a known end without starting anything.

use super::attempt::Outcome;
use super::decide::{LONGEST_LOOK_PAUSE, Missed, enough};
use super::journal::Halted;
use super::member::Member;
use super::rest::Parked;
use crate::cx::Cx;
use crate::event::Event;
use crate::execution::StepStatus;
use crate::failure::Effect;
use crate::ids::StepId;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

impl<E: Send + Sync + 'static> Cx<E> {
    /// Fences and looks at every open step of the leg once (in Down again and again, until enough answer) and says how each ended.
    pub(crate) async fn settle(&mut self) -> Result<Vec<Event>, Halted> {
        let order = self.journal.book.leg(self.pass.side).in_order();
        let open: Vec<StepId> =
            order.map(|(_, step)| step.id.clone()).filter(|id| self.status_of(id) == Some(StepStatus::Open)).collect();
        self.close(&open, false).await
    }

    fn status_of(&self, id: &StepId) -> Option<StepStatus> {
        self.journal.state.leg().steps.get(id).map(|step| step.status)
    }

    /// The same for these steps. With `drop_attempts` they were running a moment ago.
    pub(crate) async fn close(&mut self, open: &[StepId], drop_attempts: bool) -> Result<Vec<Event>, Halted> {
        let mut members = open.iter().map(|id| self.member_of(id)).collect::<Result<Vec<_>, _>>()?;
        let mut ends: Vec<Option<Outcome>> = members.iter().map(|_| None).collect();
        let mut pause = Duration::ZERO;
        loop {
            let waiting: Vec<usize> = (0..members.len()).filter(|i| !is_known(ends[*i].as_ref())).collect();
            let looks = join_all(waiting.iter().map(|i| self.attempt_of(&members[*i]).look(Duration::ZERO))).await;
            for (index, outcome) in waiting.into_iter().zip(looks) {
                ends[index] = Some(outcome);
            }
            if self.enough_answer(&members, &ends) {
                break;
            }
            self.journal.flush().await?;
            pause = (pause * 2).clamp(Duration::from_secs(1), LONGEST_LOOK_PAUSE);
            self.journal.clock.sleep(pause).await;
        }
        let end_of = |member: &mut Member<E>, end: Option<Outcome>| self.closed(member, end, drop_attempts);
        Ok(members.iter_mut().zip(ends).filter_map(|(member, end)| end_of(member, end)).collect())
    }

    /// Out of Down every end is taken as it is. In Down unknown ones are looked at again until enough of all on which the same is done answer.
    fn enough_answer(&self, members: &[Member<E>], ends: &[Option<Outcome>]) -> bool {
        let zone = self.journal.state.zone();
        let known = ends.iter().filter(|end| is_known(end.as_ref())).count();
        let done = self.done_before(members);
        enough(zone, done + known, done + members.len())
    }

    /// Targets but those of the members on which the same is done in this phase.
    pub(crate) fn done_before(&self, members: &[Member<E>]) -> usize {
        let Some(first) = members.first() else { return 0 };
        let of_members: BTreeSet<&StepId> = members.iter().map(|member| &member.id).collect();
        let same = |id: &&StepId| id.without_target() == first.id.without_target() && !of_members.contains(id);
        let leg = self.journal.book.leg(self.pass.side);
        leg.steps.keys().filter(same).filter(|id| self.status_of(id) == Some(StepStatus::Done)).count()
    }

    fn closed(&self, member: &mut Member<E>, end: Option<Outcome>, dropped: bool) -> Option<Event> {
        let event = match end? {
            Ok(output) => Event::StepSucceeded { step: member.id.clone(), output },
            Err(missed) if missed.effect == Effect::Unknown && self.journal.state.is_down() => member.left(&missed),
            Err(missed) if dropped => {
                let failure = crate::failure::Failure::new("outage-too-long");
                member.failed(&Missed { failure, ..missed })
            }
            Err(missed) => member.failed(&missed),
        };
        Some(event)
    }

    /// A step as it is recorded, by the name of its activity.
    fn member_of(&self, id: &StepId) -> Result<Member<E>, Halted> {
        let record = self.journal.book.leg(self.pass.side).steps.get(id);
        let (record, (input, before)) = record
            .and_then(|record| Some((record, record.use_.clone()?)))
            .ok_or_else(|| Halted::Parked(Parked::Input(id.to_string())))?;
        let activity = self.activities.decode(&record.activity, &input);
        let activity = activity.map_err(|why| Halted::Parked(Parked::Input(why)))?;
        let mut member = Member::new(id.clone(), activity, input);
        let state = self.journal.state.leg().steps.get(id);
        member.before = before;
        member.undo = state.is_some_and(|s| s.undo);
        let (attempt, used) = state.map_or((1, 0), |s| (s.attempt, s.used));
        member.recover(attempt, used);
        Ok(member)
    }
}

fn is_known(end: Option<&Outcome>) -> bool {
    match end {
        Some(Ok(_)) => true,
        Some(Err(missed)) => missed.effect == Effect::Absent,
        None => false,
    }
}

//! What a workflow can know of its forward leg, and how it takes steps of it back.

use super::{Cx, Recorded};
use crate::activity::Activity;
use crate::book::StepRecord;
use crate::drive::group::Rule;
use crate::drive::member::Member;
use crate::drive::rest::Parked;
use crate::event::Json;
use crate::execution::{Illegal, Side, StepStatus};
use crate::ids::StepId;
use crate::workflow::Halt;
use serde::de::DeserializeOwned;

/// How many undos of one group run at once.
const UNDO_AT_ONCE: usize = 30;

impl<E: Send + Sync + 'static> Cx<E> {
    /// Takes one step of the forward leg back (back leg only): its undo, then a look that its effect is gone.
    /// Nothing happens if it never started.
    pub async fn undo<A: Activity<Env = E>>(&mut self, phase: &str, target: &str) -> Result<(), Halt> {
        self.only_back()?;
        let id = StepId::of(phase, A::NAME, target);
        let record = self.journal.book.leg(Side::Forward).steps.get(&id).cloned();
        let members = self.undo_of(record.as_slice())?;
        self.undo_group(members).await
    }

    /// Takes every started step of the forward leg back, last first, groups reversed (back leg only). Targets that were left on
    /// the way forward, or left behind before the way back, may be left on the way back, too.
    pub async fn undo_started(&mut self) -> Result<(), Halt> {
        self.undo_started_but(&[]).await
    }

    /// The same but for steps of these activities.
    pub async fn undo_started_but(&mut self, activities: &[&str]) -> Result<(), Halt> {
        self.only_back()?;
        let steps = self.journal.book.leg(Side::Forward).in_order().rev().map(|(_, step)| step.clone());
        let steps: Vec<StepRecord> = steps.filter(|step| !activities.contains(&step.activity.as_str())).collect();
        for group in steps.chunk_by(|a, b| a.group.is_some() && a.group == b.group) {
            let members = self.undo_of(group)?;
            self.undo_group(members).await?;
        }
        Ok(())
    }

    fn only_back(&mut self) -> Result<(), Halt> {
        if self.side() == Side::Back {
            return Ok(());
        }
        let why = "an undo is a step of the way back".to_owned();
        Err(self.park(Parked::Illegal(Illegal { status: "Running", event: "StepStarted", why })))
    }

    /// Undos of those that were begun.
    fn undo_of(&mut self, steps: &[StepRecord]) -> Result<Vec<Member<E>>, Halt> {
        let mut members = Vec::new();
        for step in steps {
            let Some((input, before)) = &step.use_ else { continue };
            let activity = match self.activities.decode(&step.activity, input) {
                Ok(activity) => activity,
                Err(why) => return Err(self.park(Parked::Input(why))),
            };
            let input = activity.input().map_err(|error| self.park(Parked::Input(error.to_string())))?;
            if !activity.was_begun(before) {
                continue;
            }
            let mut member = Member::new(StepId::new(format!("undo/{}", step.id)), activity, input);
            member.before = before.clone();
            member.undo = true;
            members.push(member);
        }
        Ok(members)
    }

    async fn undo_group(&mut self, members: Vec<Member<E>>) -> Result<(), Halt> {
        // The way back hears of nobody who is left behind, so this is the same in each of its passes.
        let (left, behind) = (&self.journal.state.forward.left, &self.journal.state.left_behind);
        let may_be_left = |m: &Member<E>| left.contains(&m.target) || behind.contains(&m.target);
        let (left, others): (Vec<_>, Vec<_>) = members.into_iter().partition(may_be_left);
        let strict = Rule { at_once: UNDO_AT_ONCE, most_left: None, first_three: false, by_word: false };
        if !others.is_empty() {
            self.bring_about(others, strict).await?;
        }
        if !left.is_empty() {
            let rule = Rule { most_left: Some(left.len()), ..strict };
            self.bring_about(left, rule).await?;
        }
        Ok(())
    }

    /// A step of the forward leg as recorded; `None` if it never started. On the way forward only what was visited counts.
    pub fn recorded<A: Activity<Env = E>>(&self, phase: &str, target: &str) -> Option<Recorded<A>> {
        let id = StepId::of(phase, A::NAME, target);
        let mut steps = self.visible();
        steps.find(|step| step.id == id).and_then(|step| read(step))
    }

    /// All steps of this activity in a phase of the forward leg, in the order they were started.
    pub fn recorded_all<A: Activity<Env = E>>(&self, phase: &str) -> Vec<Recorded<A>> {
        let prefix = format!("{phase}/{}@", A::NAME);
        let steps = self.visible().filter(|step| step.id.as_str().starts_with(&prefix));
        steps.filter_map(|step| read(step)).collect()
    }

    /// The zone that the forward leg reached, for a way back that differs by it.
    pub fn forward_zone(&self) -> crate::event::Zone {
        self.journal.state.forward.zone
    }

    fn visible(&self) -> impl Iterator<Item = &StepRecord> {
        let until = match self.pass.side {
            Side::Forward => self.pass.next_seq(&self.journal.book),
            Side::Back => None,
        };
        let steps = self.journal.book.leg(Side::Forward).in_order();
        steps.filter(move |(seq, _)| until.is_none_or(|until| *seq < until)).map(|(_, step)| step)
    }

    /// Whether the way back may end: from Down or later its last step must be the workflow's verification.
    pub(crate) fn is_verified(&self) -> bool {
        if self.journal.state.forward.zone == crate::event::Zone::Free {
            return true;
        }
        let last = self.journal.book.leg(Side::Back).in_order().next_back();
        last.is_some_and(|(_, step)| {
            let status = self.journal.state.leg().steps.get(&step.id).map(|s| s.status);
            Some(step.activity.as_str()) == self.workflow.verification() && status == Some(StepStatus::Done)
        })
    }
}

/// Reads a recorded step by today's types.
///
/// Panics if they do not fit, which parks the execution: a workflow must not go on as if the step had never been.
fn read<A: Activity>(step: &StepRecord) -> Option<Recorded<A>> {
    let (input, before) = step.use_.as_ref()?;
    let (input, before) = (decode(step, "input", input), before.decode().ok());
    let output = step.output.as_ref().map(|output| decode(step, "output", output));
    Some(Recorded { input, before, output })
}

fn decode<T: DeserializeOwned>(step: &StepRecord, what: &str, json: &Json) -> T {
    json.decode().unwrap_or_else(|e| panic!("the recorded {what} of {} cannot be read: {e}", step.id))
}

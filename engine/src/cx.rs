//! What a workflow sees of the world: phases, zones, steps, groups, waits and what was recorded.

use crate::activity::Activity;
use crate::book::{Entry, Pass};
use crate::clock::Timestamp;
use crate::drive::attempt::bounded_look;
use crate::drive::desk::Desk;
use crate::drive::group::{Group, Rule};
use crate::drive::journal::{Halted, Journal};
use crate::drive::member::Member;
use crate::drive::rest::Parked;
use crate::erased::{Activities, DynActivity, Use};
use crate::event::{Event, Json, Zone};
use crate::execution::Side;
use crate::ids::StepId;
use crate::registry::DynWorkflow;
use crate::workflow::{Guard, Halt};
use std::sync::Arc;
use std::time::Duration;

mod past;
mod visit;

/// How long a guard may take to answer.
const GUARD_DEADLINE: Duration = Duration::from_secs(60);

/// The only way of a workflow to the world.
pub struct Cx<E> {
    pub(crate) env: Arc<E>,
    pub(crate) workflow: Arc<dyn DynWorkflow<E>>,
    pub(crate) activities: Arc<Activities<E>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) journal: Journal,
    pub(crate) pass: Pass,
    /// Members of a group that act at the same time but for Down, whatever the workflow allows.
    pub(crate) at_once: usize,
    /// Once set, every call of this pass halts.
    pub(crate) halted: Option<Halted>,
}

/// How a member of [`Cx::run_each`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Each<O> {
    /// Its effect is in place.
    Done(O),
    /// It failed for good; the others went on.
    Left,
}

impl<O> Each<O> {
    /// The output, if it is done.
    pub fn done(self) -> Option<O> {
        match self {
            Self::Done(output) => Some(output),
            Self::Left => None,
        }
    }
}

/// A step of the forward leg as it was recorded.
#[derive(Clone, Debug)]
pub struct Recorded<A: Activity> {
    /// Its input.
    pub input: A,
    /// What was seen before its intent was written; `None` if even that look did not answer, and nothing was begun.
    pub before: Option<A::Before>,
    /// Its output, if it succeeded; a step that only started may have had any part of its effect.
    pub output: Option<A::Output>,
}

impl<E: Send + Sync + 'static> Cx<E> {
    /// A heading of the runbook: a frozen slug and a free title.
    pub async fn phase(&mut self, slug: &str, title: &str) -> Result<(), Halt> {
        let new = self.visit(&Entry::Phase(slug.to_owned()))?;
        if new {
            self.stop_here().await?;
            self.ride(Event::PhaseStarted { slug: slug.to_owned(), title: title.to_owned() })?;
            self.pass.phase = Some(slug.to_owned());
        }
        Ok(())
    }

    /// Says what a failure means from here on; only goes up. A zone of the rank that it has already is passed over.
    pub async fn zone(&mut self, zone: Zone, reason: &str) -> Result<(), Halt> {
        self.go_on()?;
        if zone.rank() == self.pass.zone.rank() {
            return Ok(());
        }
        let new = self.visit(&Entry::Zone(zone))?;
        if new {
            self.stop_here().await?;
            self.ride(Event::ZoneEntered { zone, reason: reason.to_owned() })?;
            self.pass.zone = zone;
        }
        Ok(())
    }

    /// Asks a condition where the history ends; passed over in what is replayed.
    pub async fn guard<G: Guard<E>>(&mut self, guard: &G) -> Result<(), Halt> {
        self.go_on()?;
        if !self.pass.at_end(&self.journal.book) {
            return Ok(());
        }
        for asked in 0.. {
            self.stop_here().await?;
            let clock = self.journal.clock.clone();
            let env = self.env.clone();
            let Err(failure) = bounded_look(&*clock, GUARD_DEADLINE, guard.check(&env)).await else { break };
            let said = self.guard_said_no(G::NAME, G::ROLLS_BACK, failure, asked).await;
            said.map_err(|halted| self.halt(halted))?;
        }
        Ok(())
    }

    /// Brings one effect about. The target must not have been left: `run` has nothing to return then, and the execution parks.
    pub async fn run<A: Activity<Env = E>>(&mut self, activity: A) -> Result<A::Output, Halt> {
        let target = activity.target();
        if self.pass.left.contains(&target) {
            return Err(self.park(Parked::OnLeft(target)));
        }
        let rule = Rule { at_once: 1, most_left: None, first_three: true, by_word: false };
        let mut outputs = self.group(vec![activity], rule).await?;
        match outputs.pop().flatten() {
            Some(output) => Ok(output),
            None => Err(self.halt(Halted::Parked(Parked::OnLeft(target)))),
        }
    }

    /// Brings effects about, `at_once` at a time, started in list order. All must succeed but those of targets that an operator left behind
    /// (after the outage, or on a way back before its own); targets that were left earlier in the leg are recorded as left without a look,
    /// and none of these has an output in the list.
    pub async fn run_all<A: Activity<Env = E>>(
        &mut self,
        activities: Vec<A>,
        at_once: usize,
    ) -> Result<Vec<A::Output>, Halt> {
        let rule = Rule { at_once, most_left: None, first_three: true, by_word: true };
        Ok(self.group(activities, rule).await?.into_iter().flatten().collect())
    }

    /// Like [`Cx::run_all`] for targets that others don't depend on: up to `most_left` may be left, those that were left earlier
    /// not counted. One entry a member, in list order.
    pub async fn run_each<A: Activity<Env = E>>(
        &mut self,
        activities: Vec<A>,
        at_once: usize,
        most_left: usize,
    ) -> Result<Vec<Each<A::Output>>, Halt> {
        let rule = Rule { at_once, most_left: Some(most_left), first_three: true, by_word: true };
        let outputs = self.group(activities, rule).await?;
        Ok(outputs.into_iter().map(|output| output.map_or(Each::Left, Each::Done)).collect())
    }

    /// Rests until an operator ends it, or the time comes. Way forward only, never in Down.
    pub async fn wait_for(&mut self, name: &str, until: Option<Timestamp>) -> Result<(), Halt> {
        if !self.visit(&Entry::Wait(name.to_owned()))? {
            return Ok(());
        }
        self.stop_here().await?;
        let wait = Event::WaitStarted { name: name.to_owned(), until };
        self.must_be_legal(&wait)?;
        let written = self.journal.commit(vec![wait]).await;
        Err(self.halt(written.err().unwrap_or(Halted::Turned)))
    }

    async fn group<A: Activity<Env = E>>(
        &mut self,
        activities: Vec<A>,
        rule: Rule,
    ) -> Result<Vec<Option<A::Output>>, Halt> {
        self.go_on()?;
        let members = activities.into_iter().map(|activity| self.member(activity)).collect::<Result<Vec<_>, _>>()?;
        let members = self.bring_about(members, rule).await?;
        members.iter().map(|member| self.output_of::<A>(member)).collect()
    }

    fn member<A: Activity<Env = E>>(&mut self, activity: A) -> Result<Member<E>, Halt> {
        if !self.activities.has(A::NAME) {
            return Err(self.park(Parked::NotListed(A::NAME.to_owned())));
        }
        let Some(phase) = self.pass.phase.clone() else { return Err(self.park(Parked::NoPhase)) };
        let activity = Use(activity);
        let id = StepId::of(&phase, A::NAME, &DynActivity::target(&activity));
        match activity.input() {
            Ok(input) => Ok(Member::new(id, Arc::new(activity), input)),
            Err(error) => Err(self.park(Parked::Input(error.to_string()))),
        }
    }

    fn output_of<A: Activity<Env = E>>(&mut self, member: &Member<E>) -> Result<Option<A::Output>, Halt> {
        match member.output().map(Json::decode).transpose() {
            Ok(output) => Ok(output),
            Err(error) => Err(self.park(Parked::Output(format!("{}: {error}", member.id)))),
        }
    }

    /// Brings about what is not recorded, and returns the members with their outputs.
    pub(crate) async fn bring_about(
        &mut self,
        mut members: Vec<Member<E>>,
        rule: Rule,
    ) -> Result<Vec<Member<E>>, Halt> {
        self.place(&mut members)?;
        let at_end = self.pass.at_end(&self.journal.book);
        if at_end && visit::needs_driving(&members) {
            self.stop_here_unless_open(&members).await?;
            self.leave_whose_target_was_left(&mut members)?;
            self.tell_hold(&members);
            let driven = Group::new(self, members, rule).drive().await;
            members = driven.map_err(|halted| self.halt(halted))?;
        }
        self.passed_group(&members);
        Ok(members)
    }

    /// Targets that were left so far in this leg, in order.
    pub fn left(&self) -> Vec<String> {
        self.pass.left.clone()
    }

    /// Targets that an operator left behind.
    pub fn left_behind(&self) -> Vec<String> {
        self.journal.book.left_behind(self.pass.next_seq(&self.journal.book))
    }

    /// When the step last visited started, or the wait last visited ended: the same on every pass.
    pub fn time(&self) -> Timestamp {
        self.pass.time
    }

    /// Targets that no hold counts on, whatever of the history was visited.
    pub fn not_held(&self) -> Vec<String> {
        self.journal.state.not_held()
    }

    pub(crate) fn side(&self) -> Side {
        self.pass.side
    }
}

//! Brings about the steps of a group: starts members in list order, takes their ends, and records.
//!
//! All members are futures of the one task that drives, so a clock that jumps when everything sleeps sees all of them.

use super::attempt::Outcome;
use super::decide::{GroupEnd, LONGEST_LOOK_PAUSE, Next, Tally};
use super::journal::Halted;
use super::member::{Member, Place, Verdict};
use crate::cx::Cx;
use crate::event::{Event, Zone};
use crate::execution::Side;
use crate::failure::Effect;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::time::Duration;

/// How a group is driven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Members at once, at least one.
    pub(crate) at_once: usize,
    /// How many may be left; `None` if all must succeed.
    pub(crate) most_left: Option<usize>,
    /// Whether three failures at the beginning end the group.
    pub(crate) first_three: bool,
    /// Whether the code goes on without a target that an operator left behind.
    pub(crate) by_word: bool,
}

enum Ended {
    Before(Outcome),
    Tried(Outcome),
}

/// A group on its way.
pub(crate) struct Group<'d, E> {
    pub(crate) cx: &'d mut Cx<E>,
    pub(crate) members: Vec<Member<E>>,
    pub(crate) rule: Rule,
    name: Option<String>,
    queue: VecDeque<usize>,
    running: FuturesUnordered<BoxFuture<'static, (usize, Ended)>>,
    /// Members that ended, in that order: whether each failed.
    ends: Vec<bool>,
    /// Intents that are not written yet, and what starts once they are.
    intents: Vec<(usize, Event, Duration)>,
}

impl<'d, E: Send + Sync + 'static> Group<'d, E> {
    pub(crate) fn new(cx: &'d mut Cx<E>, members: Vec<Member<E>>, rule: Rule) -> Self {
        let open = (0..members.len()).filter(|i| members[*i].place == Place::Open);
        let new = (0..members.len()).filter(|i| members[*i].place == Place::New);
        let queue = open.chain(new).collect();
        let name = (members.len() > 1).then(|| members[0].id.to_string());
        let (running, ends, intents) = (FuturesUnordered::new(), Vec::new(), Vec::new());
        Self { cx, members, rule, name, queue, running, ends, intents }
    }

    /// Drives all members to their ends, and returns them if the code may go on.
    pub(crate) async fn drive(mut self) -> Result<Vec<Member<E>>, Halted> {
        loop {
            self.start()?;
            self.write().await?;
            if self.running.is_empty() || self.only_looks() {
                match self.tally().end() {
                    GroupEnd::LookOn if !self.gives_up() => {}
                    GroupEnd::TryAgain if self.running.is_empty() || self.any_failed() => self.try_again().await?,
                    GroupEnd::TryAgain => {}
                    end => return self.finish(end).await,
                }
            }
            if !self.next_end().await {
                return Err(self.at_the_limit().await);
            }
        }
    }

    /// Starts members while places are free, and takes what ends at once.
    fn start(&mut self) -> Result<(), Halted> {
        loop {
            // What ended is taken first: it may say that nothing further starts.
            let ended = self.drain();
            let mut started = false;
            while self.acting() < self.at_once() {
                let Some(&index) = self.queue.front() else { break };
                // What an earlier life began is looked at in any case.
                let recovered = self.members[index].place == Place::Open;
                if !recovered && (self.cx.must_stop() || self.no_further()) {
                    break;
                }
                self.queue.pop_front();
                self.start_one(index, recovered);
                started = true;
            }
            if !ended && !started {
                return self.ride_results();
            }
        }
    }

    fn start_one(&mut self, index: usize, recovered: bool) {
        // A step that must succeed is not given up in Down because one look failed: the limit of the outage ends it.
        let state = &self.cx.journal.state;
        let patient = state.is_down() && state.back.is_none() && self.rule.most_left.is_none();
        self.members[index].looking = patient && !recovered;
        let t = self.cx.attempt_of(&self.members[index]);
        if recovered {
            self.running.push(async move { (index, Ended::Tried(t.look(Duration::ZERO).await)) }.boxed());
        } else if self.members[index].undo {
            // The forward leg holds what was seen before it.
            self.intend_first(index);
        } else {
            self.running.push(async move { (index, Ended::Before(t.see_before().await)) }.boxed());
        }
    }

    /// Members that hold one of the places: all that were started but those that only look.
    fn at_once(&self) -> usize {
        let most = if self.cx.journal.state.is_down() { usize::MAX } else { self.cx.at_once };
        self.rule.at_once.min(most).max(1)
    }

    fn acting(&self) -> usize {
        let looking = self.members.iter().filter(|m| m.looking && m.verdict.is_none()).count();
        (self.running.len() + self.intents.len()).saturating_sub(looking)
    }

    fn no_further(&self) -> bool {
        let tally = self.tally();
        tally.failing() && !self.keeps_trying()
    }

    fn keeps_trying(&self) -> bool {
        self.cx.journal.state.is_down() && self.cx.journal.state.back.is_some()
    }

    fn any_failed(&self) -> bool {
        self.members.iter().any(|m| matches!(m.verdict, Some(Verdict::Failed { .. })))
    }

    /// Whether all that runs are looks, each member having been looked at as often as it may be tried.
    fn only_looks(&self) -> bool {
        let enough = |m: &Member<E>| m.looks >= m.activity.retry().tries;
        let open = self.members.iter().filter(|m| m.is_open());
        self.acting() == 0 && open.clone().all(|m| m.looking && enough(m))
    }

    /// A roll-back was asked for, so that those without an answer are not waited for.
    fn gives_up(&self) -> bool {
        self.cx.must_stop() && self.tally().quorum_answers()
    }

    /// Waits for the next end; false if the outage became too long before.
    async fn next_end(&mut self) -> bool {
        let left = self.cx.journal.outage_left();
        let clock = self.cx.journal.clock.clone();
        let limit = async {
            match left {
                Some(left) => clock.sleep(left).await,
                None => std::future::pending().await,
            }
        };
        match select(self.running.next(), std::pin::pin!(limit)).await {
            Either::Left((Some((index, ended)), _)) => {
                self.take(index, ended);
                true
            }
            Either::Left((None, _)) => true,
            Either::Right(_) => false,
        }
    }

    /// Takes what has ended by now, so that it is written at once; false if nothing has.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Some(Some((index, ended))) = self.running.next().now_or_never() {
            self.take(index, ended);
            any = true;
        }
        any
    }

    fn take(&mut self, index: usize, ended: Ended) {
        let zone = self.cx.journal.state.zone();
        match ended {
            Ended::Before(Ok(before)) => {
                self.members[index].before = before;
                self.members[index].looking = false;
                self.intend_first(index);
            }
            Ended::Before(Err(missed)) => {
                self.members[index].verdict = Some(Verdict::Failed { missed, begun: false });
                self.ends.push(true);
            }
            Ended::Tried(outcome) => match self.members[index].take(outcome, zone) {
                None => self.ends.push(self.members[index].output().is_none()),
                Some(Next::Retry(after)) => {
                    let intent = self.cx.retried(&self.members[index], after);
                    self.intents.push((index, intent, after));
                }
                Some(Next::LookAgain(after)) => {
                    let t = self.cx.attempt_of(&self.members[index]);
                    self.running.push(async move { (index, Ended::Tried(t.look(after).await)) }.boxed());
                }
                Some(Next::Fail) => {}
            },
        }
    }

    fn intend_first(&mut self, index: usize) {
        let intent = self.members[index].started(self.name.as_ref());
        self.intents.push((index, intent, Duration::ZERO));
    }

    /// Results ride until the next intent.
    fn ride_results(&mut self) -> Result<(), Halted> {
        for member in &mut self.members {
            let Some(Verdict::Done(output)) = &member.verdict else { continue };
            if matches!(member.place, Place::Done(_)) {
                continue;
            }
            let output = output.clone();
            member.place = Place::Done(output.clone());
            self.cx.journal.ride(Event::StepSucceeded { step: member.id.clone(), output })?;
        }
        Ok(())
    }

    /// Makes the intents durable, then acts on them.
    async fn write(&mut self) -> Result<(), Halted> {
        self.ride_results()?;
        if self.intents.is_empty() {
            if self.running.is_empty() {
                return Ok(());
            }
            return self.cx.journal.flush_on_credit().await;
        }
        let intents = std::mem::take(&mut self.intents);
        self.cx.journal.intend(intents.iter().map(|(_, event, _)| event.clone()).collect()).await?;
        self.cx.pass.skip_to_end(&self.cx.journal.book);
        for (index, _, after) in intents {
            self.members[index].place = Place::Open;
            self.members[index].last = None;
            let t = self.cx.attempt_of(&self.members[index]);
            self.running.push(async move { (index, Ended::Tried(t.attempt(after).await)) }.boxed());
        }
        Ok(())
    }

    /// Another round for those that failed, where there is no further way back.
    async fn try_again(&mut self) -> Result<(), Halted> {
        self.cx.journal.flush().await?;
        let failed: Vec<usize> = (0..self.members.len())
            .filter(|i| matches!(self.members[*i].verdict, Some(Verdict::Failed { .. })))
            .collect();
        for index in failed {
            let Some(Verdict::Failed { missed, begun }) = self.members[index].verdict.take() else { continue };
            self.members[index].used = 0;
            if begun {
                self.members[index].attempt += 1;
                self.members[index].last = Some(missed);
                let intent = self.cx.retried(&self.members[index], LONGEST_LOOK_PAUSE);
                self.intents.push((index, intent, LONGEST_LOOK_PAUSE));
            } else {
                let (t, clock) = (self.cx.attempt_of(&self.members[index]), self.cx.journal.clock.clone());
                let again = async move {
                    clock.sleep(LONGEST_LOOK_PAUSE).await;
                    (index, Ended::Before(t.see_before().await))
                };
                self.running.push(again.boxed());
            }
        }
        self.ends.clear();
        self.write().await
    }

    pub(crate) fn tally(&self) -> Tally {
        let state = &self.cx.journal.state;
        let mut tally = Tally {
            zone: state.zone(),
            side: state.side(),
            most_left: self.rule.most_left,
            members: self.members.len(),
            done_before: self.cx.done_before(&self.members),
            done: 0,
            absent: 0,
            dark: 0,
            unknown: 0,
            first_three_failed: self.rule.first_three && self.ends.len() >= 3 && self.ends[..3].iter().all(|f| *f),
        };
        for member in &self.members {
            match &member.verdict {
                Some(Verdict::Failed { .. }) if self.is_given_up(member) => {}
                Some(Verdict::Failed { missed, begun: true }) if missed.effect == Effect::Absent => tally.absent += 1,
                Some(Verdict::Failed { .. }) => tally.dark += 1,
                Some(Verdict::Done(_)) => tally.done += 1,
                None if matches!(member.place, Place::Done(_)) => tally.done += 1,
                None => tally.unknown += usize::from(member.looking),
            }
        }
        tally
    }

    /// Left by an operator's word, whatever the group allows; with the control plane down, and before it was, the word does not say that.
    fn is_given_up(&self, member: &Member<E>) -> bool {
        let state = &self.cx.journal.state;
        let counts = match state.side() {
            Side::Forward => matches!(state.zone(), Zone::Held | Zone::Final),
            Side::Back => !state.is_down(),
        };
        self.rule.by_word && counts && state.left_behind.contains(&member.target)
    }

    /// Drops all that runs; its members are open or new.
    pub(crate) fn drop_running(&mut self) {
        self.running = FuturesUnordered::new();
        self.intents.clear();
    }
}

//! One drive: passes of the workflow's code, each from the top, until the execution rests.

use super::attempt::{Bounded, bounded};
use super::desk::{Asked, Desk};
use super::holding::{HOLD_DEADLINE, Holding};
use super::journal::{Halted, Journal, Turn};
use super::rest::{Interruption, Parked, Rest};
use super::words::{Refused, Word};
use crate::book::Pass;
use crate::clock::Timestamp;
use crate::cx::Cx;
use crate::event::{Event, Json, RollBackCause, StuckCause, WaitEnd, Zone};
use crate::execution::{Side, Status};
use crate::failure::Failure;
use crate::registry::{DynWorkflow, Registry};
use crate::workflow::{Halt, HoldCx};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

/// See the file's sentence.
pub(crate) struct Drive<E> {
    cx: Cx<E>,
    held: bool,
    /// The first hold of this drive puts back what is missing.
    puts_back: bool,
}

/// How a pass of the code ended.
enum PassEnd {
    /// It returned, or was halted.
    Code(Result<Json, Ended>),
    Foreign(Failure),
    Interrupted,
}

enum Ended {
    Halted,
    Parked(Parked),
}

impl<E: Send + Sync + 'static> Drive<E> {
    pub(crate) fn new(
        journal: Journal,
        env: Arc<E>,
        registry: &Registry<E>,
        desk: Arc<Desk>,
        at_once: usize,
    ) -> Result<Self, Parked> {
        let Some(Event::ExecutionStarted { workflow, version, input, .. }) = journal.first.clone() else {
            return Err(Parked::NoWorkflow(String::new(), 0));
        };
        let code = registry.decode(&workflow, version, &input);
        let code = code.ok_or(Parked::NoWorkflow(workflow, version))?;
        let workflow: Arc<dyn DynWorkflow<E>> = code.map_err(|e| Parked::Input(e.to_string()))?;
        let activities = Arc::new(workflow.activities());
        let pass = Pass::new(journal.state.side(), Zone::Free, journal.book.started());
        let told = matches!(journal.state.status, Status::Stuck { cause: StuckCause::Hold(_), .. });
        let puts_back = told || journal.state.is_down();
        let cx = Cx { env, workflow, activities, desk, journal, pass, at_once, halted: None };
        Ok(Self { cx, held: false, puts_back })
    }

    pub(crate) async fn drive(mut self, word: Option<Word>) -> Rest {
        if let Err(differs) = self.same_world().await {
            return Rest::Elsewhere(differs);
        }
        if let Some(word) = word
            && let Err(refused) = self.take_word(word).await
        {
            return refused;
        }
        loop {
            if let Some(rest) = self.go_on().await {
                return rest;
            }
        }
    }

    /// Asks the workflow, which is shown all that is recorded, whether the world is its own.
    async fn same_world(&mut self) -> Result<(), Failure> {
        if self.cx.journal.state.status.ended() {
            return Ok(());
        }
        self.begin_pass();
        self.cx.pass.skip_to_end(&self.cx.journal.book);
        let look = self.cx.workflow.same_world(&self.cx.env, &self.cx);
        match bounded(&*self.cx.journal.clock, HOLD_DEADLINE, look).await {
            Bounded::Ended(looked) => looked,
            // Code that does not fit its history parks in its pass.
            Bounded::Deadline | Bounded::Panicked => Ok(()),
        }
    }

    /// One pass, or one wait that the time ends; a rest if there is nothing to drive.
    async fn go_on(&mut self) -> Option<Rest> {
        match self.cx.journal.state.status.clone() {
            Status::Running | Status::RollingBack => self.pass().await,
            Status::Waiting { name, until: Some(until) } => self.sit_out(name, until).await,
            _ => {
                self.let_go().await;
                Some(self.rest())
            }
        }
    }

    fn rest(&self) -> Rest {
        let state = &self.cx.journal.state;
        match state.status.clone() {
            Status::Waiting { name, until } => Rest::Waiting { name, until },
            Status::Stuck { side, cause } => Rest::Stuck { side, cause },
            Status::RolledBack => Rest::RolledBack { left: state.leg().left.clone() },
            Status::Completed => {
                let output = self.cx.journal.output.clone().unwrap_or_else(|| Json("null".to_owned()));
                Rest::Completed { output, left: state.forward.left.clone() }
            }
            Status::New | Status::Running | Status::RollingBack => self.interrupted(Interruption::Asked),
        }
    }

    fn interrupted(&self, why: Interruption) -> Rest {
        Rest::Interrupted { why, down: self.cx.journal.state.is_down() }
    }

    /// Runs the code once from the top, the hold being renewed beside it.
    async fn pass(&mut self) -> Option<Rest> {
        let mut holding = self.holding();
        self.held = true;
        if let Err(foreign) = holding.hold().await {
            return Some(Rest::Foreign(foreign));
        }
        self.begin_pass();
        let end = match self.cx.settle_if_it_must_stop().await {
            Ok(()) => self.run_code(holding).await,
            Err(halted) => {
                self.cx.halted = Some(halted);
                PassEnd::Code(Err(Ended::Halted))
            }
        };
        let halted = match end {
            PassEnd::Foreign(failure) => return Some(Rest::Foreign(failure)),
            PassEnd::Interrupted => Halted::Interrupted(Interruption::Asked),
            PassEnd::Code(end) => self.after_code(end).await,
        };
        self.after_halt(halted).await
    }

    fn begin_pass(&mut self) {
        let state = &self.cx.journal.state;
        let side = state.side();
        // The way back begins in Down if the way forward was there.
        let zone = match (side, state.forward.zone) {
            (Side::Back, down @ Zone::Down { .. }) => down,
            _ => Zone::Free,
        };
        self.cx.pass = Pass::new(side, zone, self.cx.journal.book.started());
        self.cx.halted = None;
    }

    async fn run_code(&mut self, holding: Holding<E>) -> PassEnd {
        let desk = self.cx.desk.clone();
        desk.hold_may_end(false);
        let side = self.cx.journal.state.side();
        let workflow = self.cx.workflow.clone();
        let cx = &mut self.cx;
        let code = async move {
            match side {
                Side::Forward => workflow.execute(cx).await,
                Side::Back => workflow.roll_back(cx).await.map(|()| Ok(Json("null".to_owned()))),
            }
        };
        let code = Box::pin(AssertUnwindSafe(code).catch_unwind());
        let renewing = Box::pin(holding.renew());
        match select(pin!(desk.interrupted()), select(code, renewing)).await {
            Either::Right((Either::Left((end, renewing)), _)) => {
                // A renewal on its way ends first, so that it does not land after the hold was let go.
                desk.hold_may_end(true);
                if let Some(foreign) = renewing.await {
                    return PassEnd::Foreign(foreign);
                }
                PassEnd::Code(code_end(end))
            }
            Either::Right((Either::Right((Some(foreign), _)), _)) => PassEnd::Foreign(foreign),
            Either::Left(_) | Either::Right((Either::Right((None, _)), _)) => PassEnd::Interrupted,
        }
    }

    /// What the code's end means: an end of the leg, or why it was halted.
    async fn after_code(&mut self, end: Result<Json, Ended>) -> Halted {
        match (self.cx.halted.take(), end) {
            (Some(Halted::Interrupted(why)), _) => Halted::Interrupted(why),
            (Some(_), Ok(_)) | (None, Err(Ended::Halted)) => Halted::Parked(Parked::WentOn),
            (_, Err(Ended::Parked(why))) => Halted::Parked(why),
            (Some(halted), Err(Ended::Halted)) => halted,
            (None, Ok(output)) => match self.end_leg(output).await {
                Ok(halted) | Err(halted) => halted,
            },
        }
    }

    async fn end_leg(&mut self, output: Json) -> Result<Halted, Halted> {
        let cx = &mut self.cx;
        if let Some(recorded) = cx.pass.next(&cx.journal.book) {
            let (recorded, asked) = (recorded.to_string(), "the end".to_owned());
            return Err(Halted::Parked(Parked::Difference { recorded, asked }));
        }
        cx.checkpoint().await?;
        let left = cx.journal.state.leg().left.clone();
        let end = match cx.pass.side {
            Side::Forward => Event::Completed { output: output.clone(), left },
            Side::Back if cx.is_verified() => Event::RolledBack { left },
            Side::Back => return Err(Halted::Parked(Parked::NotVerified)),
        };
        cx.journal.allows(&end).map_err(|illegal| Halted::Parked(Parked::Illegal(illegal)))?;
        cx.journal.commit(vec![end]).await?;
        cx.journal.output = Some(output);
        Ok(Halted::Turned)
    }

    /// A rest if the drive ends here, else it goes on with what was recorded.
    async fn after_halt(&mut self, halted: Halted) -> Option<Rest> {
        let why = match halted {
            Halted::Turned => return None,
            Halted::Interrupted(why) => {
                let refused = self.cx.desk.take_refused().map(Rest::Refused);
                return Some(refused.unwrap_or_else(|| self.interrupted(why)));
            }
            Halted::Parked(why) => why,
        };
        let flushed = self.cx.journal.flush().await;
        let (down, side) = (self.cx.journal.state.is_down(), self.cx.journal.state.side());
        if let Err(Halted::Interrupted(why)) = flushed {
            return Some(self.interrupted(why));
        }
        if !down || side == Side::Back {
            return Some(Rest::Parked { why, down });
        }
        // With the control plane down nobody is waited for: the registered way back needs nothing of the code that does not fit.
        let turned = match self.cx.settle().await {
            Ok(events) => self.cx.journal.turn(events, Turn::Back(RollBackCause::Parked)).await,
            Err(halted) => halted,
        };
        match turned {
            Halted::Turned => None,
            Halted::Interrupted(why) => Some(self.interrupted(why)),
            Halted::Parked(why) => Some(Rest::Parked { why, down }),
        }
    }

    fn holding(&mut self) -> Holding<E> {
        let cx = &self.cx;
        cx.tell_hold(&[]);
        // Code that does not fit its history parks in its pass.
        let known = || catch_unwind(AssertUnwindSafe(|| cx.workflow.known(cx))).unwrap_or_default();
        let put_back = if std::mem::take(&mut self.puts_back) { known() } else { BTreeMap::new() };
        let (incarnation, predecessors) = cx.journal.log.incarnations();
        let by = HoldCx {
            execution: cx.journal.execution.clone(),
            incarnation,
            predecessors,
            fence: cx.journal.fences.floor(),
            back: cx.journal.state.side() == Side::Back,
            course: cx.desk.course(),
            put_back,
        };
        let (workflow, env, clock) = (cx.workflow.clone(), cx.env.clone(), cx.journal.clock.clone());
        Holding { workflow, env, clock, desk: cx.desk.clone(), by }
    }

    async fn let_go(&mut self) {
        if std::mem::take(&mut self.held) {
            self.holding().let_go().await;
        }
    }

    /// Sits a wait out that the time ends, unless an operator ends it before.
    async fn sit_out(&mut self, name: String, until: Timestamp) -> Option<Rest> {
        self.let_go().await;
        let (desk, clock) = (self.cx.desk.clone(), self.cx.journal.clock.clone());
        desk.sit(true);
        let end = loop {
            let mut bell = desk.bell();
            for (word, reply) in desk.take_resting() {
                let said = self.say(&word).await;
                // Whoever asked may have gone.
                let _ = reply.send(said);
            }
            if !matches!(self.cx.journal.state.status, Status::Waiting { .. }) {
                break None;
            }
            if desk.leave_asked() {
                return Some(self.interrupted(Interruption::Asked));
            }
            // Never early: a clock that was set back makes it sleep again.
            if clock.now() >= until {
                break Some(Event::WaitEnded { name, end: WaitEnd::Time });
            }
            let time = clock.sleep(until.since(clock.now()));
            match select(pin!(desk.interrupted()), select(time, pin!(bell.changed()))).await {
                Either::Left(_) => return Some(self.interrupted(Interruption::Asked)),
                Either::Right(_) => {}
            }
        };
        desk.sit(false);
        match self.cx.journal.commit(vec![end?]).await {
            Err(Halted::Interrupted(why)) => Some(self.interrupted(why)),
            _ => None,
        }
    }

    /// Records a word for an execution that rests. A pause is for one whose time is waited for.
    async fn say(&mut self, word: &Word) -> Result<(), Refused> {
        let sits_out = matches!(self.cx.journal.state.status, Status::Waiting { until: Some(_), .. });
        let event = match word {
            Word::Pause { by, reason } if sits_out => {
                Some(Event::Stuck { cause: StuckCause::Paused { by: by.clone(), reason: reason.clone() } })
            }
            word => word.event(self.cx.journal.incarnation()),
        };
        let event = event.ok_or(Refused::NotDriven)?;
        self.cx.journal.allows(&event)?;
        if matches!(word, Word::RollBack { .. }) {
            self.begin_pass();
            self.cx.pass.skip_to_end(&self.cx.journal.book);
            self.cx.workflow.may_roll_back(&self.cx.env, &self.cx).await.map_err(Refused::Looked)?;
        }
        let mut events = vec![event];
        events.extend(self.adopted_and_paused(word));
        match self.cx.journal.commit(events).await {
            Err(Halted::Interrupted(Interruption::Log(error))) => Err(Refused::Log(error)),
            Err(Halted::Interrupted(Interruption::Fenced(owner))) => Err(Refused::Fenced(owner)),
            Err(_) => Err(Refused::Driven),
            Ok(()) => Ok(()),
        }
    }

    /// What was adopted rests paused, but in Down, where it is driven on.
    fn adopted_and_paused(&self, word: &Word) -> Option<Event> {
        let Word::Adopt { by, reason, .. } = word else { return None };
        let state = &self.cx.journal.state;
        let running = matches!(state.status, Status::Running | Status::RollingBack);
        let rests = running && !state.is_down() && state.leg().open == 0;
        let cause = StuckCause::Paused { by: by.clone(), reason: reason.clone() };
        rests.then_some(Event::Stuck { cause })
    }

    /// Takes the word that a drive begins with.
    async fn take_word(&mut self, word: Word) -> Result<(), Rest> {
        let running = matches!(self.cx.journal.state.status, Status::Running | Status::RollingBack);
        let refused = |refused| Err(Rest::Refused(refused));
        match word {
            // Nobody drives it: going on is all that is asked.
            Word::Resume { .. } if running => Ok(()),
            Word::RollBack { .. } if self.cx.journal.state.status == Status::RollingBack => Ok(()),
            Word::RollBack { by, reason } if running => {
                self.cx.desk.roll_back(Asked::new(by, reason, None));
                Ok(())
            }
            Word::Pause { by, reason } if running => {
                self.cx.desk.pause(Asked::new(by, reason, None));
                Ok(())
            }
            Word::Adopt { ref by, ref reason, .. } => {
                let (by, reason) = (by.clone(), reason.clone());
                if let Err(why) = self.say(&word).await {
                    return refused(why);
                }
                if running && matches!(self.cx.journal.state.status, Status::Running | Status::RollingBack) {
                    self.cx.desk.pause(Asked::new(by, reason, None));
                }
                Ok(())
            }
            word => self.say(&word).await.or_else(refused),
        }
    }
}

fn code_end(end: std::thread::Result<Result<Result<Json, String>, Halt>>) -> Result<Json, Ended> {
    match end {
        Ok(Ok(Ok(output))) => Ok(output),
        Ok(Ok(Err(why))) => Err(Ended::Parked(Parked::Output(why))),
        Ok(Err(_)) => Err(Ended::Halted),
        Err(_) => Err(Ended::Parked(Parked::Panicked)),
    }
}

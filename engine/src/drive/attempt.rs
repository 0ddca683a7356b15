//! One attempt of a step, one look at it, one undo: the world is touched here alone, and nothing is recorded.

use super::decide::{Missed, pause};
use crate::activity::{RetryPolicy, StepCx};
use crate::clock::Clock;
use crate::erased::DynActivity;
use crate::event::{AttemptEnd, Json};
use crate::failure::{Effect, Failure};
use crate::ids::{ExecutionId, Incarnation, StepId};
use crate::trying::Trying;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fences::Fences;

/// The effect is in place, or not as far as is known.
pub(crate) type Outcome = Result<Json, Missed>;

/// All that an attempt needs, so that its future borrows nothing.
#[expect(clippy::struct_excessive_bools, reason = "four facts of an attempt that do not depend on each other")]
pub(crate) struct Try<E> {
    pub(crate) activity: Arc<dyn DynActivity<E>>,
    pub(crate) before: Json,
    pub(crate) undo: bool,
    /// Whether `run` may have been called in an earlier attempt.
    pub(crate) may_have_run: bool,
    /// The look before the intent is taken until it answers.
    pub(crate) patient: bool,
    pub(crate) env: Arc<E>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) execution: ExecutionId,
    pub(crate) incarnation: Incarnation,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    /// The number of this attempt; looks draw higher ones.
    pub(crate) fence: u64,
    pub(crate) back: bool,
    pub(crate) phase: String,
    pub(crate) left_behind: Vec<String>,
    /// As whoever looks on from outside knows it.
    pub(crate) trying: Trying,
}

/// How a piece of work with a deadline ended.
pub(crate) enum Bounded<T> {
    Ended(T),
    Deadline,
    Panicked,
}

/// Waits for the end, the deadline or a panic; what is late is dropped.
pub(crate) async fn bounded<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Bounded<T> {
    let work = pin!(AssertUnwindSafe(work).catch_unwind());
    match select(work, clock.sleep(deadline)).await {
        Either::Left((Ok(value), _)) => Bounded::Ended(value),
        Either::Left((Err(_), _)) => Bounded::Panicked,
        Either::Right(_) => Bounded::Deadline,
    }
}

/// The same for a look or a guard, with its own failures.
pub(crate) async fn bounded_look<T>(
    clock: &dyn Clock,
    deadline: Duration,
    look: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match bounded(clock, deadline, look).await {
        Bounded::Ended(result) => result,
        Bounded::Deadline => Err(Failure::new("deadline")),
        Bounded::Panicked => Err(Failure::new("panicked")),
    }
}

impl<E: Send + Sync + 'static> Try<E> {
    fn policy(&self) -> RetryPolicy {
        self.activity.retry()
    }

    fn cx(&self, fence: u64) -> StepCx<E> {
        StepCx {
            env: self.env.clone(),
            clock: self.clock.clone(),
            execution: self.execution.clone(),
            incarnation: self.incarnation.clone(),
            step: self.step.clone(),
            attempt: self.attempt,
            fence,
            back: self.back,
            phase: self.phase.clone(),
            left_behind: self.left_behind.clone(),
            give_up_at: self.clock.now().plus(self.policy().deadline),
        }
    }

    /// What is looked at before the intent is recorded; tried as often as the policy says, since it changes nothing.
    pub(crate) async fn see_before(self) -> Outcome {
        let policy = self.policy();
        let mut used = 0;
        loop {
            let cx = self.cx(self.fences.look());
            match bounded_look(&*self.clock, policy.deadline, self.activity.before(&cx)).await {
                Ok(before) => return Ok(before),
                Err(failure) if failure.retry && (self.patient || used + 1 < policy.tries) => {
                    self.clock.sleep(pause(&policy, used)).await;
                    used += 1;
                }
                Err(failure) => return Err(missed(failure, Effect::Absent, false)),
            }
        }
    }

    /// One attempt after a pause. A deadline or a panic is a crash of the attempt: fence, then probe.
    pub(crate) async fn attempt(self, after: Duration) -> Outcome {
        self.trying.clone().within(self.tried(after)).await
    }

    async fn tried(self, after: Duration) -> Outcome {
        if !after.is_zero() {
            self.clock.sleep(after).await;
        }
        let ran = AtomicBool::new(self.may_have_run);
        let end = match bounded(&*self.clock, self.policy().deadline, self.bring_about(&ran)).await {
            Bounded::Ended(outcome) => return outcome,
            Bounded::Deadline => AttemptEnd::Deadline,
            Bounded::Panicked => AttemptEnd::Panicked,
        };
        let code = if end == AttemptEnd::Deadline { "deadline" } else { "panicked" };
        self.fenced_look(ran.load(Ordering::SeqCst)).await.map_err(|late| {
            let failure = Failure::new(code).with("then", &late.failure.code);
            Missed { end, failure, ..late }
        })
    }

    /// A look at an open step, nothing having been started: fence, then probe.
    pub(crate) async fn look(self, after: Duration) -> Outcome {
        if !after.is_zero() {
            self.clock.sleep(after).await;
        }
        self.trying.clone().within(self.fenced_look(self.may_have_run)).await
    }

    async fn bring_about(&self, ran: &AtomicBool) -> Outcome {
        let cx = self.cx(self.fence);
        if self.attempt > 1 || self.undo {
            self.activity.fence(&cx).await.map_err(|f| dark(f, ran.load(Ordering::SeqCst)))?;
        }
        if self.undo {
            ran.store(true, Ordering::SeqCst);
            return self.take_back(&cx).await;
        }
        match self.activity.probe(&cx, &self.before).await {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => {}
            Err(failure) => return Err(dark(failure, ran.load(Ordering::SeqCst))),
        }
        ran.store(true, Ordering::SeqCst);
        let Err(failure) = self.activity.run(&cx, &self.before).await else {
            return self.look_until_settled(&cx, None).await;
        };
        // The effect may be there and a command of it on its way still: that must not land on what the next step does.
        let cx = self.cx(self.fences.look());
        self.activity.fence(&cx).await.map_err(|f| dark(f, true))?;
        self.look_until_settled(&cx, Some(failure)).await
    }

    /// The probe after `run`. It is asked again for a while, unless `run` itself said that it failed.
    async fn look_until_settled(&self, cx: &StepCx<E>, run: Option<Failure>) -> Outcome {
        let policy = self.policy();
        let since = self.clock.monotonic();
        loop {
            let (failure, effect) = match self.activity.probe(cx, &self.before).await {
                Ok(Some(output)) => return Ok(output),
                Ok(None) => (Failure::new("effect-absent"), Effect::Absent),
                Err(failure) => (failure, Effect::Unknown),
            };
            let over = self.clock.monotonic().saturating_sub(since) >= policy.settle_for;
            if run.is_some() || over {
                return Err(missed(run.unwrap_or(failure), effect, true));
            }
            self.clock.sleep(policy.probe_every).await;
        }
    }

    /// `undo`, then a look that nothing is left. An undo that failed is not in place, whatever the look says of a half effect.
    async fn take_back(&self, cx: &StepCx<E>) -> Outcome {
        let undo = self.activity.undo(cx, &self.before).await;
        match (undo, self.activity.undone(cx, &self.before).await) {
            (Ok(()), Ok(true)) => Ok(Json("null".to_owned())),
            (Err(failure), Ok(_)) => Err(missed(failure, Effect::Absent, true)),
            (Ok(()), Ok(false)) => Err(missed(Failure::new("effect-still-there"), Effect::Absent, true)),
            (Err(failure), Err(_)) | (Ok(()), Err(failure)) => Err(missed(failure, Effect::Unknown, true)),
        }
    }

    async fn fenced_look(&self, ran: bool) -> Outcome {
        let cx = self.cx(self.fences.look());
        let look = async {
            self.activity.fence(&cx).await?;
            // A half undo looks like a whole one, so only calling it again tells.
            if self.undo { Ok(None) } else { self.activity.probe(&cx, &self.before).await }
        };
        match bounded_look(&*self.clock, self.policy().deadline, look).await {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(Missed {
                end: AttemptEnd::Interrupted,
                failure: Failure::new("interrupted"),
                effect: Effect::Absent,
                ran,
            }),
            Err(failure) => Err(dark(failure, ran)),
        }
    }
}

/// A look that failed. A check that says no, nothing having been begun, is an answer all the same.
fn dark(failure: Failure, ran: bool) -> Missed {
    let effect = if ran || failure.retry { Effect::Unknown } else { Effect::Absent };
    missed(failure, effect, ran)
}

fn missed(failure: Failure, effect: Effect, ran: bool) -> Missed {
    Missed { end: AttemptEnd::Failed(failure.clone()), failure, effect, ran }
}

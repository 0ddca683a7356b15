//! An activity: one kind of change to the world, with a probe that says whether it is in place.

use crate::clock::{Clock, Timestamp};
use crate::failure::Failure;
use crate::ids::{ExecutionId, Incarnation, StepId};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// One kind of change to the world. A value is one use of it; its fields are its input and go into the log.
///
/// The engine *brings about* the effect: probe, run if absent, probe again. The probe, not an exit code or a dropped
/// connection, says whether the effect is there; it must be sound (true only if the effect is wholly in place) and
/// must change nothing. After a crash an open attempt is fenced and probed before `run` is called again.
pub trait Activity: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The durable name, kebab-case.
    const NAME: &'static str;
    /// What it may reach; never persisted.
    type Env: Send + Sync + 'static;
    /// What was seen before the intent was written: a boot id, a start time, the version of a Lease.
    type Before: Serialize + DeserializeOwned + Default + Send + Sync;
    /// What the probe found once the effect is in place. Recorded; whitelisted facts only.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// What the step acts on: a host's name or `cluster`.
    fn target(&self) -> String;

    /// How often, how long and at what distance it is tried.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// Looks at what the probe will compare with. Called once, before the intent is durable; changes nothing.
    fn before(&self, cx: &StepCx<Self::Env>) -> impl Future<Output = Result<Self::Before, Failure>> + Send {
        let _ = cx;
        async { Ok(Self::Before::default()) }
    }

    /// Looks whether the effect is wholly in place.
    fn probe(
        &self,
        cx: &StepCx<Self::Env>,
        before: &Self::Before,
    ) -> impl Future<Output = Result<Option<Self::Output>, Failure>> + Send;

    /// Brings the effect about. May be called when it is half in place.
    fn run(&self, cx: &StepCx<Self::Env>, before: &Self::Before) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes the effect back. Reads only the input and `before`; "already gone" is success.
    fn undo(&self, cx: &StepCx<Self::Env>, before: &Self::Before) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Looks whether nothing of the effect is left; asked after each `undo`. The default wants the probe to find nothing; an activity
    /// whose effect may stay (a check, a backup that is kept) says so by overriding it.
    fn undone(
        &self,
        cx: &StepCx<Self::Env>,
        before: &Self::Before,
    ) -> impl Future<Output = Result<bool, Failure>> + Send {
        async move { Ok(self.probe(cx, before).await?.is_none()) }
    }

    /// Makes sure that no command of an earlier attempt (fence number below `cx.fence`) runs or can still start
    /// on what this activity touches. Called before each retry, settle and undo, and before the look after a `run` that failed.
    /// Nothing to do for an activity that changes nothing remote.
    fn fence(&self, cx: &StepCx<Self::Env>) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = cx;
        async { Ok(()) }
    }
}

/// An activity that changes nothing: a look that must come out well. There is nothing to run, to undo or to fence.
pub trait Check: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The durable name, kebab-case.
    const NAME: &'static str;
    /// What it may reach; never persisted.
    type Env: Send + Sync + 'static;
    /// What was found. Recorded; whitelisted facts only.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// What the step looks at: a host's name or `cluster`.
    fn target(&self) -> String;

    /// How often, how long and at what distance it is tried.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// Looks; `None` if it did not come out well.
    fn check(&self, cx: &StepCx<Self::Env>) -> impl Future<Output = Result<Option<Self::Output>, Failure>> + Send;
}

impl<C: Check> Activity for C {
    const NAME: &'static str = <C as Check>::NAME;
    type Env = <C as Check>::Env;
    type Before = ();
    type Output = <C as Check>::Output;

    fn target(&self) -> String {
        Check::target(self)
    }

    fn retry(&self) -> RetryPolicy {
        Check::retry(self)
    }

    async fn probe(&self, cx: &StepCx<Self::Env>, (): &()) -> Result<Option<Self::Output>, Failure> {
        self.check(cx).await
    }

    async fn run(&self, _cx: &StepCx<Self::Env>, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undo(&self, _cx: &StepCx<Self::Env>, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &StepCx<Self::Env>, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }
}

/// How often a step is tried before its failure is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1. Interruptions of the engine use up none.
    pub tries: u32,
    /// Pause before the second try; doubles up to `longest`.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long one attempt (run and the probes after it) may take before it is dropped, fenced and probed.
    pub deadline: Duration,
    /// How long after `run` the probe is asked again and again before the effect counts as absent.
    pub settle_for: Duration,
    /// Pause between those probes.
    pub probe_every: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 3,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(15),
            deadline: Duration::from_secs(60),
            settle_for: Duration::ZERO,
            probe_every: Duration::from_millis(500),
        }
    }
}

/// What an attempt is given.
pub struct StepCx<E> {
    /// What the activity may reach.
    pub env: Arc<E>,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// The execution it belongs to.
    pub execution: ExecutionId,
    /// The opening of the store that drives it.
    pub incarnation: Incarnation,
    /// The step.
    pub step: StepId,
    /// From 1.
    pub attempt: u32,
    /// Rises with every attempt, settle and undo of the execution; a host refuses commands with a lower one than its mark holds.
    pub fence: u64,
    /// True on the way back.
    pub back: bool,
    /// Slug of the phase.
    pub phase: String,
    /// Targets that an operator left behind: whoever asks several targets does not wait for these.
    pub left_behind: Vec<String>,
    /// When this attempt is dropped, by the wall clock; for commands that end themselves.
    pub give_up_at: Timestamp,
}

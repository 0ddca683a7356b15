//! A workflow: code that reads like a runbook and touches the world through [`Cx`] alone.

use crate::cx::Cx;
pub use crate::erased::Activities;
use crate::failure::Failure;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::future::Future;

/// Stops the workflow's code; opaque, so that no workflow can branch on a failure. Pass it on with `?`.
#[derive(Debug)]
pub struct Halt(pub(crate) ());

/// A runbook. The value holds its input, which goes into the first event.
pub trait Workflow: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The durable name.
    const NAME: &'static str;
    /// Raised whenever the order or the inputs of steps change. Exact versions only.
    const VERSION: u32;
    /// The activity that verifies the way back. A way back from Down or later ends only after it, as its last step.
    const VERIFICATION: Option<&'static str> = None;
    /// The activity that takes the hold. Until it was begun there is nothing to renew, and a host that does not answer is for the
    /// steps to find. `None`: the hold counts from the first pass on.
    const HOLDS: Option<&'static str> = None;
    /// The activity that lets a target go: from its intent on nothing is missed there. So does an undo of the one that takes the hold.
    const LETS_GO: Option<&'static str> = None;
    /// What its activities may reach.
    type Env: Send + Sync + 'static;
    /// What it ends with; recorded.
    type Output: Serialize + DeserializeOwned + Send;

    /// Every activity that any of its versions' code uses, so that recorded steps can be settled and undone by their recorded names.
    /// A step whose activity is not listed is never started: the execution parks at once.
    fn activities() -> Activities<Self::Env>;

    /// Looks whether the world is the one in which the execution began, by what is recorded of it. Asked at each start of driving,
    /// before anything is recorded; a failure ends the drive. What does not answer is not judged.
    fn same_world(&self, env: &Self::Env, cx: &Cx<Self::Env>) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (env, cx);
        async { Ok(()) }
    }

    /// What each held target is known by, for a hold that is to be put back where it is missing.
    fn known(&self, cx: &Cx<Self::Env>) -> BTreeMap<String, String> {
        let _ = cx;
        BTreeMap::new()
    }

    /// What must be true all the time while driving: locks that lapse, and marks, by which hosts stay those that they were.
    /// Called at each start of driving and every 10 s.
    fn hold(&self, env: &Self::Env, by: &HoldCx) -> impl Future<Output = Result<(), HoldFailure>> + Send;

    /// Called at rest: locks that must not outlive the drive are let go.
    fn let_go(&self, env: &Self::Env, by: &HoldCx) -> impl Future<Output = ()> + Send;

    /// The way forward.
    fn execute(&self, cx: &mut Cx<Self::Env>) -> impl Future<Output = Result<Self::Output, Halt>> + Send;

    /// The way back. The default undoes every started step, groups reversed.
    fn roll_back(&self, cx: &mut Cx<Self::Env>) -> impl Future<Output = Result<(), Halt>> + Send {
        async { cx.undo_started().await }
    }

    /// Looks whether an operator may have the execution rolled back from where it is, with the control plane up. A failure
    /// refuses the word, and nothing is recorded. Not asked in Down, where a roll-back is never refused.
    fn may_roll_back(&self, env: &Self::Env, cx: &Cx<Self::Env>) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (env, cx);
        async { Ok(()) }
    }
}

/// Who holds.
#[derive(Clone, Debug)]
pub struct HoldCx {
    /// The execution.
    pub execution: crate::ids::ExecutionId,
    /// The opening of the store that drives it.
    pub incarnation: crate::ids::Incarnation,
    /// Those before it: their marks may be replaced.
    pub predecessors: Vec<crate::ids::Incarnation>,
    /// Above every fence number of earlier drives, and not above any that this drive hands out.
    pub fence: u64,
    /// True on the way back.
    pub back: bool,
    /// How far the drive has come.
    pub course: Course,
    /// By [`Workflow::known`], where a hold that is missing is to be put back: an operator was told of it, or the control plane is down and
    /// nobody is waited for. Empty otherwise.
    pub put_back: BTreeMap<String, String>,
}

/// How far a drive has come, as far as its hold must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The phase that it is in.
    pub phase: Option<String>,
    /// Targets that were left; they are not held.
    pub left: Vec<String>,
    /// Targets of the steps of [`Workflow::HOLDS`] that are done.
    pub taken: Vec<String>,
    /// Targets that are being let go, or were.
    pub let_go: Vec<String>,
    /// Whether it is in Down or Held: there who does not answer is for the steps to leave or to fail on (docs/decisions/0009).
    pub may_be_silent: bool,
}

/// Why a hold could not be renewed.
#[derive(Debug)]
pub enum HoldFailure {
    /// Somebody else holds it: the drive ends everywhere.
    Foreign(Failure),
    /// It could not be renewed now.
    Lapsed(Failure),
}

/// A condition looked at where the history ends, never remembered: a value with a name.
pub trait Guard<E>: Send + Sync {
    /// The durable name, kebab-case.
    const NAME: &'static str;
    /// A no in Free rolls back by itself, as a window that has passed; elsewhere, and by default, a no waits for an operator.
    const ROLLS_BACK: bool = false;
    /// Says no by a failure.
    fn check(&self, env: &E) -> impl Future<Output = Result<(), Failure>> + Send;
}

//! Begins the rotation of a cluster of a fleet, by the plan that was made for it.

use super::{Child, LONGEST_ANSWER, Reach, Refused, Step};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize};

/// In place once the history of the child is in its cluster's store, whatever became of it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginRotation {
    /// Of which cluster.
    pub cluster: String,
    /// The digest of the plan.
    pub plan: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Began {
    /// It is there.
    Begun {
        /// Its id.
        child: ExecutionId,
    },
    /// The cluster is not as it was planned.
    NoLongerFits,
    /// The cluster said no.
    Refused {
        /// Why.
        why: String,
    },
}

impl BeginRotation {
    fn child(&self, execution: &ExecutionId) -> Child {
        Child { cluster: self.cluster.clone(), execution: execution.clone(), plan: self.plan.clone() }
    }
}

impl Activity for BeginRotation {
    const NAME: &'static str = "begin-rotation";
    type Env = Reach;
    /// The child's id: recorded before the child is asked for, so that it is asked for under no other.
    type Before = Option<ExecutionId>;
    type Output = Began;

    fn target(&self) -> String {
        self.cluster.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { tries: 1, deadline: LONGEST_ANSWER, ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Self::Before, Failure> {
        Ok(Some(ExecutionId::child(&cx.execution, &cx.step, cx.clock.now())))
    }

    async fn probe(&self, cx: &Step, before: &Self::Before) -> Result<Option<Began>, Failure> {
        let Some(id) = before else { return Ok(None) };
        if cx.env.clusters.look(&self.child(id)).await?.is_some() {
            return Ok(Some(Began::Begun { child: id.clone() }));
        }
        Ok(cx.env.refusal(id).map(|refused| match refused {
            Refused::OtherPlan => Began::NoLongerFits,
            Refused::Because(why) => Began::Refused { why },
        }))
    }

    async fn run(&self, cx: &Step, before: &Self::Before) -> Result<(), Failure> {
        if let Some(id) = before {
            cx.env.refuse(id, cx.env.clusters.begin(&cx.execution, &self.child(id)).await);
        }
        Ok(())
    }

    /// What was begun goes back by itself, or not at all.
    async fn undo(&self, _cx: &Step, _before: &Self::Before) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _before: &Self::Before) -> Result<bool, Failure> {
        Ok(true)
    }
}

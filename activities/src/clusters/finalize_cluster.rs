//! Finalizes the rotation of one cluster of a fleet.

use super::{Child, How, Reach, Refused, Step, patient};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place once the child waits for that no longer, and runs no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalizeCluster {
    /// Its rotation, which waits for it.
    pub child: Child,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finalized {
    /// The old keys are destroyed.
    Done,
    /// It needs a person.
    Stuck,
    /// It went back instead: somebody else's word.
    RolledBack,
    /// The cluster said no.
    Refused {
        /// Why.
        why: String,
    },
}

impl Activity for FinalizeCluster {
    const NAME: &'static str = "finalize-cluster";
    type Env = Reach;
    type Before = ();
    type Output = Finalized;

    fn target(&self) -> String {
        self.child.cluster.clone()
    }

    fn retry(&self) -> RetryPolicy {
        patient()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<Finalized>, Failure> {
        Ok(match cx.env.clusters.look(&self.child).await? {
            Some(How::Finalized) => Some(Finalized::Done),
            Some(How::Stuck) => Some(Finalized::Stuck),
            Some(How::RolledBack) => Some(Finalized::RolledBack),
            Some(How::Runs) => None,
            Some(How::Verified) | None => cx.env.refusal(&self.child.execution).map(|refused| match refused {
                Refused::OtherPlan => Finalized::Refused { why: "the cluster is another one".to_owned() },
                Refused::Because(why) => Finalized::Refused { why },
            }),
        })
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        cx.env.refuse(&self.child.execution, cx.env.clusters.finalize(&cx.execution, &self.child).await);
        Ok(())
    }

    /// What is destroyed is destroyed.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }
}

//! Looks at a cluster of a fleet before anything is begun.

use super::{Planned, Reach, Step};
use futures_util::future::{Either, select};
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::pin::pin;
use std::time::Duration;

/// How long a look may take; a cluster that hangs keeps no other waiting.
const LONGEST_LOOK: Duration = Duration::from_secs(600);

/// Never fails: that a cluster would be refused is what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCluster {
    /// Which.
    pub cluster: String,
}

impl Check for PlanCluster {
    const NAME: &'static str = "plan-cluster";
    type Env = Reach;
    type Output = Planned;

    fn target(&self) -> String {
        self.cluster.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: 2 * LONGEST_LOOK, ..RetryPolicy::default() }
    }

    async fn check(&self, cx: &Step) -> Result<Option<Planned>, Failure> {
        let look = pin!(cx.env.clusters.plan(&self.cluster));
        Ok(Some(match select(look, cx.clock.sleep(LONGEST_LOOK)).await {
            Either::Left((planned, _)) => planned,
            Either::Right(_) => Planned::Refused { why: format!("no answer within {} s", LONGEST_LOOK.as_secs()) },
        }))
    }
}

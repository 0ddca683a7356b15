//! What the steps of a fleet reach: its clusters, each with executions in a store of its own.
//!
//! Modules in reading order.

pub mod plan_cluster;

pub mod begin_rotation;

pub mod follow;

pub mod finalize_cluster;

use async_trait::async_trait;
use k0rotate_engine::activity::{RetryPolicy, StepCx};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A reason is a sentence, not a page.
const LONGEST_REASON: usize = 300;
/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a child is followed: windows are days apart, approvals wait for people.
const LONGEST_CHILD: Duration = Duration::from_secs(365 * 86_400);
/// How long a cluster may take to say whether it begins. It goes on with what was asked, so nothing is asked again by itself.
const LONGEST_ANSWER: Duration = Duration::from_secs(3600);

/// Whoever has the clusters.
#[async_trait]
pub trait Clusters: Send + Sync + 'static {
    /// Looks at a cluster as `plan` does.
    async fn plan(&self, cluster: &str) -> Planned;
    /// Asks for a rotation by the child's plan, under the child's id. That it is there is seen by a look alone.
    async fn begin(&self, fleet: &ExecutionId, child: &Child) -> Result<(), Refused>;
    /// Says finalize of a child.
    async fn finalize(&self, fleet: &ExecutionId, child: &Child) -> Result<(), Refused>;
    /// How a child is; none if there is none.
    async fn look(&self, child: &Child) -> Result<Option<How>, Failure>;
}

/// A rotation that a fleet begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Of which cluster.
    pub cluster: String,
    /// Its id.
    pub execution: ExecutionId,
    /// The digest of its plan.
    pub plan: String,
}

/// What a look at a cluster came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Planned {
    /// It can be rotated: the plan's digest, and whether somebody else must approve it.
    Fits {
        /// The digest.
        digest: String,
        /// Whether somebody must.
        approval: bool,
    },
    /// It would be refused.
    Refused {
        /// Why.
        why: String,
    },
}

/// Why a cluster does not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// It is not as it was planned.
    OtherPlan,
    /// Anything else.
    Because(String),
}

impl Refused {
    /// For this reason, cut where it is long.
    pub fn because(why: &str) -> Self {
        Self::Because(short(why))
    }
}

/// A sentence that is not too long.
pub fn short(why: &str) -> String {
    why.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST_REASON).collect()
}

/// How a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is under way, or waits for its window, an approval, or the end of a pause.
    Runs,
    /// The new trust is verified, and the way back still there.
    Verified,
    /// The old keys are destroyed.
    Finalized,
    /// It is back at the first trust.
    RolledBack,
    /// It goes no further without a person.
    Stuck,
}

/// See the file's sentence.
pub struct Reach {
    clusters: Arc<dyn Clusters>,
    memory: Mutex<Memory>,
}

/// What a crash may forget.
#[derive(Default)]
struct Memory {
    /// What was refused of a child, until a step's end says so.
    refused: BTreeMap<ExecutionId, Refused>,
    /// Fleets that are to be paused: who follows for them comes back.
    called: BTreeSet<ExecutionId>,
}

impl Reach {
    /// Of these clusters.
    pub fn new(clusters: Arc<dyn Clusters>) -> Self {
        Self { clusters, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls back who follows children of this fleet: something was laid on its desk.
    pub fn call_back(&self, fleet: &ExecutionId) {
        self.memory().called.insert(fleet.clone());
    }

    fn is_called_back(&self, fleet: &ExecutionId) -> bool {
        self.memory().called.remove(fleet)
    }

    fn refuse(&self, child: &ExecutionId, refused: Result<(), Refused>) {
        let mut memory = self.memory();
        match refused {
            Ok(()) => drop(memory.refused.remove(child)),
            Err(why) => drop(memory.refused.insert(child.clone(), why)),
        }
    }

    fn refusal(&self, child: &ExecutionId) -> Option<Refused> {
        self.memory().refused.get(child).cloned()
    }
}

type Step = StepCx<Reach>;

/// Of what is asked once, and followed for as long as it takes.
fn patient() -> RetryPolicy {
    RetryPolicy {
        tries: 1,
        deadline: LONGEST_CHILD + LONGEST_ANSWER,
        settle_for: LONGEST_CHILD,
        probe_every: LOOK_EVERY,
        ..RetryPolicy::default()
    }
}

//! What is asked of the daemon about a cluster, and what it answers.

use crate::ahead::Ahead;
use crate::commands::Commands;
use crate::confirm::Cluster;
use crate::outcome::{Ended, Wanted};
use crate::wish::Wish;
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize};

/// See the file's sentence.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ask {
    /// What.
    pub wish: Wish,
    /// Whether a person is to be shown what lies ahead.
    pub person: bool,
    /// Whether it is begun; else it is only made ready.
    pub confirmed: bool,
    /// Why.
    pub reason: String,
    /// How whoever asks types commands.
    pub commands: Commands,
    /// What it becomes, where a fleet asks for it: nobody can from outside.
    #[serde(skip)]
    pub child: Option<Child>,
}

/// What a fleet asks for.
#[derive(Clone, Debug)]
pub struct Child {
    /// Under this id.
    pub execution: ExecutionId,
    /// For this span of the fleet, as a `TRACEPARENT`.
    pub caller: String,
}

/// See the file's sentence.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Answered {
    /// What the cluster is known by.
    pub cluster: Cluster,
    /// What lies ahead; none if nobody needs to be asked.
    pub ahead: Option<Ahead>,
    /// What whoever asks should know besides.
    pub warning: Option<String>,
    /// What was begun; none if it must be confirmed first.
    pub begun: Option<Begun>,
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "`known` is how many events there were before the drive")]
pub enum Begun {
    /// It is driven to this end.
    Course { execution: ExecutionId, known: usize, wanted: Wanted },
    /// It is done.
    Done(String),
    /// There is nothing to go on with.
    Rests(ExecutionId),
}

/// Whether an execution is driven.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Driven {
    /// It is.
    Now,
    /// It is not: how its last drive ended.
    Ended(Ended),
}

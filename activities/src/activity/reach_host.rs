//! Waits for a controller that has to be stopped, before others are stopped beside it.

use super::common::{self, Step};
use super::unit;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when the host answers (then true), or when etcd has it no more as a member (then false). Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachHost {
    /// Which.
    pub host: K0sHost,
    /// Controllers that are asked for etcd's members.
    pub via: Vec<K0sHost>,
}

impl Check for ReachHost {
    const NAME: &'static str = "reach-host";
    type Env = Fleet;
    type Output = bool;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    async fn check(&self, cx: &Step) -> Result<Option<bool>, Failure> {
        match common::exec(cx, &self.host.name, unit::to_show(&self.host)).await {
            Ok(_) => Ok(Some(true)),
            Err(_) if self.has_left(cx).await => Ok(Some(false)),
            Err(failure) => Err(failure),
        }
    }
}

impl ReachHost {
    /// A list is given with the quorum's consent; where none is given, nobody is known to have left.
    async fn has_left(&self, cx: &Step) -> bool {
        for via in &self.via {
            if let Ok(members) = common::etcd_members(cx, via).await {
                return !members.contains_key(&self.host.hostname);
            }
        }
        false
    }
}

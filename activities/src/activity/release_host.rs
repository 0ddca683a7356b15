//! Takes our mark and our lock off a host, so that others may hold it.

use super::common::{self, Step};
use super::hold_cluster;
use crate::fleet::Fleet;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when the host has no mark of this execution. The last thing done to a host: no change is possible there afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseHost {
    /// Which, by its name in the inventory.
    pub name: String,
}

impl Activity for ReleaseHost {
    const NAME: &'static str = "release-host";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.name.clone()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let mark = common::host(cx, &self.name)?.mark().await.map_err(common::of(&self.name))?;
        Ok(mark.is_none_or(|mark| mark.execution != cx.execution.as_str()).then_some(()))
    }

    /// An execution that is over holds nothing.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        hold_cluster::release(cx, &self.name).await
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.name).await
    }
}

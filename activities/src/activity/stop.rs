//! Stops k0s on a host so that nothing but us can start it again.

use super::common::{self, Step};
use super::unit;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use crate::layout;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Holds the unit, then stops it. In place when the held mark lies there and nothing of k0s runs but shims of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Where.
    pub host: K0sHost,
}

/// The unit before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// What the held mark said, where one lay there: whoever wrote it does not want the unit started.
    pub held: Option<String>,
}

impl Activity for Stop {
    const NAME: &'static str = "stop";
    type Env = Fleet;
    type Before = Was;
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: unit::STOP_DEADLINE + Duration::from_secs(20), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Was, Failure> {
        Ok(Was { held: common::read_text(cx, &self.host.name, layout::HELD).await? })
    }

    async fn probe(&self, cx: &Step, _was: &Was) -> Result<Option<()>, Failure> {
        let held = unit::is_held(cx, &self.host).await?;
        Ok((held && unit::has_ended(cx, &self.host).await?).then_some(()))
    }

    /// Lets it start again as it was; what was held before is held again.
    async fn undo(&self, cx: &Step, was: &Was) -> Result<(), Failure> {
        let name = &self.host.name;
        if let Some(held) = &was.held {
            return common::change(cx, name, unit::hold_saying(&self.host, held)).await.map(drop);
        }
        common::change(cx, name, release(&self.host)).await?;
        common::change(cx, name, vec![unit::systemctl("start", &self.host)]).await?;
        Ok(())
    }

    async fn run(&self, cx: &Step, _was: &Was) -> Result<(), Failure> {
        common::change(cx, &self.host.name, unit::hold(&self.host, cx.execution.as_str())).await?;
        if !unit::is_held(cx, &self.host).await? {
            return Err(Failure::new("held-mark-not-there").with("host", &self.host.name));
        }
        unit::stop(cx, &self.host).await
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

/// Takes the held mark and its drop-in away, the mark first: half of it is harmless.
pub fn release(host: &K0sHost) -> Vec<Change> {
    vec![
        Change::Remove { path: layout::HELD.to_owned() },
        Change::Remove { path: layout::drop_in(&host.unit) },
        Change::Run(Command::new("systemctl", ["daemon-reload"])),
    ]
}

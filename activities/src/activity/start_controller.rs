//! Lets k0s start on a controller, and starts it.

use super::common::{self, Step};
use super::unit;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Change;
use crate::layout;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Lifts the held mark and starts the unit. In place when the unit runs with a start time that it did not have before, or ran on
/// all the while; whether it is of any use is for check-controller to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartController {
    /// Where.
    pub host: K0sHost,
}

/// The unit before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Whether it ran. Held or not: a stop that was cut off between the two leaves it so, and to start what runs does nothing.
    /// Roots are renamed only where a stop is proven, so what runs here runs with the files that lie there.
    pub ran: bool,
    /// When it was last started.
    pub started: u64,
    /// In which boot.
    pub boot_id: String,
}

/// The unit as started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Microseconds since boot.
    pub started: u64,
}

impl Activity for StartController {
    const NAME: &'static str = "start-controller";
    type Env = Fleet;
    type Before = Was;
    type Output = Started;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { settle_for: Duration::from_secs(15), ..RetryPolicy::default() }
    }

    async fn before(&self, cx: &Step) -> Result<Was, Failure> {
        let unit = unit::show(cx, &self.host).await?;
        Ok(Was { ran: unit.runs(), started: unit.started, boot_id: boot_id(cx, &self.host).await? })
    }

    async fn probe(&self, cx: &Step, was: &Was) -> Result<Option<Started>, Failure> {
        if unit::is_held_at_all(cx, &self.host).await? {
            return Ok(None);
        }
        let unit = unit::show(cx, &self.host).await?;
        let fresh = was.ran || unit.started != was.started || boot_id(cx, &self.host).await? != was.boot_id;
        Ok((unit.runs() && fresh).then_some(Started { started: unit.started }))
    }

    /// Stops it again and holds it.
    async fn undo(&self, cx: &Step, _was: &Was) -> Result<(), Failure> {
        common::change(cx, &self.host.name, unit::hold(&self.host, cx.execution.as_str())).await?;
        unit::stop(cx, &self.host).await
    }

    async fn run(&self, cx: &Step, _was: &Was) -> Result<(), Failure> {
        let lift = Change::Remove { path: layout::HELD.to_owned() };
        common::change(cx, &self.host.name, vec![lift, unit::systemctl("start", &self.host)]).await?;
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

async fn boot_id(cx: &Step, host: &K0sHost) -> Result<String, Failure> {
    common::host(cx, &host.name)?.boot_id().await.map_err(common::of(&host.name))
}

//! Takes the old keys, our mark and our lock off hosts that were left and have been let in again.

use super::common::{self, Step};
use super::hold_cluster;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, HostError, Mark};
use crate::layout;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when none of these hosts has a mark of this execution. One step for all of them: steps of their own would be left with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseLeft {
    /// Which.
    pub hosts: Vec<K0sHost>,
    /// Those of them that an operator left behind: who does not answer is not waited for.
    #[serde(default)]
    pub behind: Vec<String>,
}

impl Activity for ReleaseLeft {
    const NAME: &'static str = "release-left";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        for host in &self.hosts {
            match mark(cx, &host.name).await {
                Ok(Some(_)) => return Ok(None),
                Err(failure) if !self.behind.contains(&host.name) => return Err(failure),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(Some(()))
    }

    /// What was destroyed cannot be brought back.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Err(Failure::refused("no-undo"))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        for host in &self.hosts {
            match let_go(cx, host).await {
                // The look that follows asks all that answer.
                Err(failure) if !self.behind.contains(&host.name) => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        for host in &self.hosts {
            match fence(cx, &host.name).await {
                Err(failure) if !self.behind.contains(&host.name) => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn fence(cx: &Step, name: &str) -> Result<(), Failure> {
    if renew(cx, name).await? { common::fence_host(cx, name).await } else { Ok(()) }
}

async fn let_go(cx: &Step, host: &K0sHost) -> Result<(), Failure> {
    if !renew(cx, &host.name).await? {
        return Ok(());
    }
    let folder = layout::folder(host, cx.execution.as_str());
    common::change(cx, &host.name, vec![Change::Remove { path: folder }]).await?;
    hold_cluster::release(cx, &host.name).await
}

/// The mark of this execution, of whichever opening.
async fn mark(cx: &Step, name: &str) -> Result<Option<Mark>, Failure> {
    let found = common::host(cx, name)?.mark().await.map_err(common::of(name))?;
    Ok(found.filter(|mark| mark.execution == cx.execution.as_str()))
}

/// A host that was left is held no more, so its mark may be of an earlier opening of our store. Whoever took the execution over would have
/// been found on the hosts that are held. False if the mark is not there any more.
async fn renew(cx: &Step, name: &str) -> Result<bool, Failure> {
    let Some(found) = mark(cx, name).await? else { return Ok(false) };
    let renewed = Mark { incarnation: cx.incarnation.to_string(), fence: found.fence.max(cx.fence), ..found.clone() };
    match common::host(cx, name)?.mark_replace(Some(&found), Some(&renewed)).await {
        Err(HostError::Fenced(_)) => Err(Failure::new("host-fenced").with("host", name)),
        other => other.map(|()| true).map_err(common::of(name)),
    }
}

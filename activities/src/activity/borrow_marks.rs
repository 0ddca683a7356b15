//! Lets a small execution act on hosts that a resting one holds: borrows their marks, and gives them back as they were.

use super::common::{self, Step};
use super::hold_cluster;
use crate::fleet::Fleet;
use crate::host::Mark;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when the host has our mark. Undone, and given back, it has the mark that it had, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BorrowMark {
    /// Name of the host.
    pub name: String,
    /// The execution that may hold it, and rests.
    pub from: Option<String>,
}

/// Gives a borrowed mark back. In place when the host no longer has our mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveMarkBack {
    /// Name of the host.
    pub name: String,
    /// The mark that it had.
    pub was: Option<Mark>,
    /// The execution that had it and is over: its lock goes too.
    #[serde(default)]
    pub over: Option<String>,
}

impl Activity for BorrowMark {
    const NAME: &'static str = "borrow-mark";
    type Env = Fleet;
    /// The mark that the host had.
    type Before = Option<Mark>;
    type Output = Option<Mark>;

    fn target(&self) -> String {
        self.name.clone()
    }

    async fn before(&self, cx: &Step) -> Result<Option<Mark>, Failure> {
        let found = common::host(cx, &self.name)?.mark().await.map_err(common::of(&self.name))?;
        match found {
            Some(mark) if Some(&mark.execution) != self.from.as_ref() => Err(Failure::refused("host-held")
                .with("host", &self.name)
                .with("by", &mark.by)
                .with("execution", &mark.execution)),
            found => Ok(found),
        }
    }

    async fn probe(&self, cx: &Step, was: &Option<Mark>) -> Result<Option<Option<Mark>>, Failure> {
        Ok(has_ours(cx, &self.name).await?.then(|| was.clone()))
    }

    async fn undo(&self, cx: &Step, was: &Option<Mark>) -> Result<(), Failure> {
        give_back(cx, &self.name, was.as_ref()).await
    }

    async fn run(&self, cx: &Step, was: &Option<Mark>) -> Result<(), Failure> {
        let ours = Mark {
            execution: cx.execution.to_string(),
            incarnation: cx.incarnation.to_string(),
            fence: cx.fence,
            direction: "forward".to_owned(),
            phase: cx.phase.clone(),
            by: cx.env.by.clone(),
        };
        let host = common::host(cx, &self.name)?;
        host.mark_replace(was.as_ref(), Some(&ours)).await.map_err(common::of(&self.name))
    }
}

impl Activity for GiveMarkBack {
    const NAME: &'static str = "give-mark-back";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.name.clone()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        Ok((!has_ours(cx, &self.name).await?).then_some(()))
    }

    /// It is given back on the way back too.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    /// The lock first: without a mark no change is possible.
    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        if let Some(over) = self.over.as_ref().filter(|_| self.was.is_none()) {
            hold_cluster::remove_lock_of(cx, &self.name, over).await?;
        }
        give_back(cx, &self.name, self.was.as_ref()).await
    }
}

async fn has_ours(cx: &Step, name: &str) -> Result<bool, Failure> {
    let mark = common::host(cx, name)?.mark().await.map_err(common::of(name))?;
    Ok(mark.is_some_and(|mark| mark.execution == cx.execution.as_str()))
}

async fn give_back(cx: &Step, name: &str, was: Option<&Mark>) -> Result<(), Failure> {
    let host = common::host(cx, name)?;
    match host.mark().await.map_err(common::of(name))? {
        Some(ours) if ours.execution == cx.execution.as_str() => common::replace_ours(cx, name, ours, was).await,
        _ => Ok(()),
    }
}

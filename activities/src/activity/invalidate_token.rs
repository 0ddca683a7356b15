//! Revokes the join tokens that were minted to let nodes in.

use super::common::{self, Step};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, Command};
use crate::k0s;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// All older tokens were revoked before the stop, so every one that is there and was not to be kept is ours. In place when none is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidateToken {
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
    /// Ids of tokens that the operator keeps.
    pub keep: Vec<String>,
}

impl Activity for InvalidateToken {
    const NAME: &'static str = "invalidate-token";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let (_, ids) = self.ours(cx).await?;
        Ok(ids.is_empty().then_some(()))
    }

    /// A token of an hour is not worth bringing back.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    /// Nodes mint side by side and do not fence each other's controllers, so a command that was lost on its way could still mint one after
    /// this: nothing of before may land any more.
    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await?;
        let (via, ids) = self.ours(cx).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let args = ["token".to_owned(), "invalidate".to_owned()].into_iter().chain(ids);
        common::change(cx, &via.name, vec![Change::Run(Command::new(&via.k0s, args))]).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await
    }
}

impl InvalidateToken {
    /// Who answered, and the ids of tokens of both roles that are not to be kept.
    async fn ours(&self, cx: &Step) -> Result<(K0sHost, Vec<String>), Failure> {
        let (via, found) = listed(cx, &self.via).await?;
        Ok((via, found.into_iter().filter(|id| !self.keep.contains(id)).collect()))
    }
}

/// The first controller that answers, and the ids of the tokens of both roles.
pub async fn listed(cx: &Step, via: &[K0sHost]) -> Result<(K0sHost, Vec<String>), Failure> {
    let mut last = Failure::new("no-controller-to-ask");
    for via in via {
        match ids(cx, via).await {
            Ok(found) => return Ok((via.clone(), found)),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn ids(cx: &Step, via: &K0sHost) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for role in ["worker", "controller"] {
        let output = common::exec(cx, &via.name, common::k0s(via, ["token", "list", "--role", role])).await?;
        if !output.ok() {
            return Err(Failure::new("tokens-unreadable").with("host", &via.name));
        }
        found.extend(k0s::token_ids(&output.text()));
    }
    Ok(found)
}

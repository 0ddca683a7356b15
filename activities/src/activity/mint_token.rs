//! Mints a join token, so that the proof can show one beside those that were revoked.

use super::common::{self, Step};
use super::invalidate_token::listed;
use super::node;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when there is a token that was not there before. Its output are the ids that were there, of both roles: whoever takes the new one
/// away again must spare them, for an operator may have minted some under the new trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintToken {
    /// Controllers to mint on.
    pub via: Vec<K0sHost>,
}

impl Activity for MintToken {
    const NAME: &'static str = "mint-token";
    type Env = Fleet;
    type Before = Vec<String>;
    type Output = Vec<String>;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    async fn before(&self, cx: &Step) -> Result<Vec<String>, Failure> {
        listed(cx, &self.via).await.map(|(_, ids)| ids)
    }

    async fn probe(&self, cx: &Step, others: &Vec<String>) -> Result<Option<Vec<String>>, Failure> {
        let (_, found) = listed(cx, &self.via).await?;
        Ok(found.iter().any(|id| !others.contains(id)).then(|| others.clone()))
    }

    /// It runs out by itself, and whoever goes back revokes all that were minted since.
    async fn undo(&self, _cx: &Step, _others: &Vec<String>) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, _others: &Vec<String>) -> Result<bool, Failure> {
        Ok(true)
    }

    /// What k0s prints is dropped unread: the proof reads the token where k0s keeps it.
    async fn run(&self, cx: &Step, _others: &Vec<String>) -> Result<(), Failure> {
        node::create_token(cx, &self.via).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_reachable(cx, &self.via).await
    }
}

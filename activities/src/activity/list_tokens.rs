//! Lists the join tokens that exist, so that those minted later can be told from them.

use super::common::Step;
use super::invalidate_token::listed;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use k0rotate_engine::activity::Check;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// A look alone: its output are the ids of both roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTokens {
    /// Controllers to ask.
    pub via: Vec<K0sHost>,
}

impl Check for ListTokens {
    const NAME: &'static str = "list-tokens";
    type Env = Fleet;
    type Output = Vec<String>;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    async fn check(&self, cx: &Step) -> Result<Option<Vec<String>>, Failure> {
        listed(cx, &self.via).await.map(|(_, ids)| Some(ids))
    }
}

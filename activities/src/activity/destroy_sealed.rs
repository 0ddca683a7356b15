//! Destroys sealed copies of keys and credentials, in the event log of this machine, once nobody needs them any more.

use super::common::Step;
use crate::fleet::Fleet;
use crate::trust::SecretRef;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when none of these copies is there. Touches no host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroySealed {
    /// Which, at most [`AT_ONCE`].
    pub copies: Vec<SecretRef>,
    /// Tells the steps of a fleet apart whose copies are more than one can name; from 1.
    pub part: usize,
}

/// So many references leave room in an event, whose size is limited.
pub const AT_ONCE: usize = 400;

impl DestroySealed {
    /// As many steps as it takes.
    pub fn all(copies: &[SecretRef]) -> Vec<Self> {
        let parts = copies.chunks(AT_ONCE).enumerate();
        parts.map(|(at, copies)| Self { copies: copies.to_vec(), part: at + 1 }).collect()
    }
}

impl Activity for DestroySealed {
    const NAME: &'static str = "destroy-sealed";
    type Env = Fleet;
    type Before = ();
    /// How many are gone.
    type Output = usize;

    fn target(&self) -> String {
        if self.part == 1 { "cluster".to_owned() } else { format!("cluster-{}", self.part) }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<usize>, Failure> {
        let there = cx.env.secrets.all().await?;
        Ok((!self.copies.iter().any(|copy| there.contains(copy))).then_some(self.copies.len()))
    }

    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Err(Failure::refused("sealed-copies-destroyed"))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        for copy in &self.copies {
            cx.env.secrets.remove(copy).await?;
        }
        Ok(())
    }
}

//! Waits until the first of the rotations that run has come to its rest.

use super::{Child, How, Reach, Step, patient};
use k0rotate_engine::activity::{Check, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// A look alone, again and again; a child that cannot be looked at is taken to run, one that is gone needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The how-manieth it is in its phase.
    pub number: u32,
    /// Those that run.
    pub children: Vec<Child>,
}

/// How a rotation came to its rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rested {
    /// Of which cluster.
    pub cluster: String,
    /// How.
    pub how: How,
}

impl Check for Follow {
    const NAME: &'static str = "follow";
    type Env = Reach;
    /// Those that did; none where somebody asked the fleet to pause.
    type Output = Vec<Rested>;

    fn target(&self) -> String {
        self.number.to_string()
    }

    fn retry(&self) -> RetryPolicy {
        patient()
    }

    async fn check(&self, cx: &Step) -> Result<Option<Vec<Rested>>, Failure> {
        let mut rested = Vec::new();
        for child in &self.children {
            let how = match cx.env.clusters.look(child).await {
                Ok(None) => How::Stuck,
                Ok(Some(how)) => how,
                Err(_) => How::Runs,
            };
            if how != How::Runs {
                rested.push(Rested { cluster: child.cluster.clone(), how });
            }
        }
        let over = !rested.is_empty() || cx.env.is_called_back(&cx.execution);
        Ok(over.then_some(rested))
    }
}

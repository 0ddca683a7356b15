//! Removes what the rotation left on a host and nothing needs any more; the old files stay until finalize.

use super::common::{self, Step};
use super::files::Listing;
use super::{node, stop};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Change;
use crate::layout;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when bootstrap file, staged files, held mark and drop-in are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveLeftovers {
    /// Where.
    pub host: K0sHost,
}

impl Activity for RemoveLeftovers {
    const NAME: &'static str = "remove-leftovers";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let mut paths = self.paths(cx);
        paths.extend([layout::HELD.to_owned(), layout::drop_in(&self.host.unit)]);
        paths.extend(paths.clone().iter().map(|path| layout::beside(path)));
        let listing = Listing::of(cx, &self.host, &paths).await?;
        Ok(listing.is_empty().then_some(()))
    }

    /// Nothing of it is worth bringing back.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let mut changes: Vec<Change> = self.paths(cx).into_iter().map(|path| Change::Remove { path }).collect();
        changes.extend(stop::release(&self.host));
        common::change(cx, &self.host.name, changes).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl RemoveLeftovers {
    fn paths(&self, cx: &Step) -> Vec<String> {
        let staged = format!("{}/new", layout::folder(&self.host, cx.execution.as_str()));
        vec![node::bootstrap_path(&self.host), staged]
    }
}

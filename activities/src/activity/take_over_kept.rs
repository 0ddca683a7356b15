//! Takes the files over that another execution kept on a host.

use super::common::{self, Step};
use super::files::Listing;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Change;
use crate::layout;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// A host that was left on the way back still keeps its first trust in the folder of that execution. In place when
/// nothing lies in theirs: it is ours, or nothing was kept because nothing had been touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOverKept {
    /// Where.
    pub host: K0sHost,
    /// The execution that kept them.
    pub from: String,
}

impl Activity for TakeOverKept {
    const NAME: &'static str = "take-over-kept";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let [theirs, _] = self.folders(cx);
        let listing = Listing::of(cx, &self.host, std::slice::from_ref(&theirs)).await?;
        Ok((!listing.has(&theirs)).then_some(()))
    }

    async fn undo(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let [theirs, ours] = self.folders(cx);
        if !Listing::of(cx, &self.host, std::slice::from_ref(&ours)).await?.has(&ours) {
            return Ok(());
        }
        common::change(cx, &self.host.name, vec![Change::Rename { from: ours, to: theirs }]).await.map(drop)
    }

    /// Nothing may have been there to begin with.
    async fn undone(&self, cx: &Step, (): &()) -> Result<bool, Failure> {
        let [_, ours] = self.folders(cx);
        Ok(!Listing::of(cx, &self.host, std::slice::from_ref(&ours)).await?.has(&ours))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let [theirs, ours] = self.folders(cx);
        common::change(cx, &self.host.name, vec![Change::Rename { from: theirs, to: ours }]).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl TakeOverKept {
    fn folders(&self, cx: &Step) -> [String; 2] {
        [layout::folder(&self.host, &self.from), layout::folder(&self.host, cx.execution.as_str())]
    }
}

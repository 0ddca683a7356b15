//! Destroys the old keys, and all else that the rotation kept on a host; there is no way back from here.

use super::common::{self, Step};
use super::files::Listing;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Change;
use crate::layout;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when the folder of the execution is gone from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyOldKeys {
    /// Where.
    pub host: K0sHost,
}

impl Activity for DestroyOldKeys {
    const NAME: &'static str = "destroy-old-keys";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let listing = Listing::of(cx, &self.host, &[self.folder(cx)]).await?;
        Ok(listing.is_empty().then_some(()))
    }

    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Err(Failure::refused("old-keys-destroyed").with("host", &self.host.name))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        common::change(cx, &self.host.name, vec![Change::Remove { path: self.folder(cx) }]).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl DestroyOldKeys {
    fn folder(&self, cx: &Step) -> String {
        layout::folder(&self.host, cx.execution.as_str())
    }
}

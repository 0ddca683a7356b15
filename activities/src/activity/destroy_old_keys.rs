//! Destroys the old keys, and all else that was kept on a host; there is no way back from here.

use super::common::{self, Step};
use super::files::Listing;
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::Change;
use crate::layout;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// In place when the folder of the execution, and of the one on whose behalf it works, is gone from the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyOldKeys {
    /// Where.
    pub host: K0sHost,
    /// Another execution that is done with this host.
    #[serde(default)]
    pub also: Option<String>,
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
        let listing = Listing::of(cx, &self.host, &self.folders(cx)).await?;
        Ok(listing.is_empty().then_some(()))
    }

    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Err(Failure::refused("old-keys-destroyed").with("host", &self.host.name))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        common::change(cx, &self.host.name, self.folders(cx).into_iter().map(|path| Change::Remove { path }).collect())
            .await
            .map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl DestroyOldKeys {
    fn folders(&self, cx: &Step) -> Vec<String> {
        let all = [cx.execution.as_str()].into_iter().chain(self.also.as_deref());
        all.map(|execution| layout::folder(&self.host, execution)).collect()
    }
}

//! Stages the first trust on a controller that does not have it, for it came after that was replaced.

use super::common::{self, Step};
use super::files::Listing;
use super::wipe::Placed;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, Root};
use crate::host::{Change, OwnerIds};
use crate::layout;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when what is staged on the host has the hashes of what another controller kept. k0s reads none of it yet. The keys go from
/// one host to the other through our memory, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOldKeys {
    /// Where to.
    pub host: K0sHost,
    /// Controllers on which this execution kept the old files, the one to ask first.
    pub from: Vec<K0sHost>,
    /// The roots that all controllers have in common.
    pub roots: Vec<Root>,
}

const OWNER: OwnerIds = OwnerIds { uid: 0, gid: 0 };
const MODES: [u32; 2] = [0o640, 0o644];

impl Activity for CopyOldKeys {
    const NAME: &'static str = "copy-old-keys";
    type Env = Fleet;
    type Before = ();
    type Output = Vec<Placed>;

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<Vec<Placed>>, Failure> {
        let wanted = self.kept(cx).await?.1;
        let staged = Listing::of(cx, &self.host, &[layout::folder(&self.host, cx.execution.as_str())]).await?;
        let there = wanted.iter().all(|placed| {
            let paths = layout::root_pair(&self.host, placed.root);
            let pairs = paths.iter().zip(&placed.sha256);
            pairs.into_iter().all(|(path, sha256)| staged.sha256(&self.staged(cx, path)) == Some(sha256))
        });
        Ok(there.then_some(wanted))
    }

    async fn undo(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let folder = layout::folder(&self.host, cx.execution.as_str());
        common::change(cx, &self.host.name, vec![Change::Remove { path: folder }]).await.map(drop)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let (from, _) = self.kept(cx).await?;
        let folder = layout::folder(&self.host, cx.execution.as_str());
        let mut changes = vec![Change::MakeDir { path: folder, mode: 0o700 }];
        for root in &self.roots {
            let (theirs, ours) = (layout::root_pair(&from, *root), layout::root_pair(&self.host, *root));
            for ((theirs, ours), mode) in theirs.iter().zip(&ours).zip(MODES) {
                let kept = layout::kept(&from, cx.execution.as_str(), theirs);
                let bytes = common::read(cx, &from.name, &kept).await?.ok_or_else(|| self.missing())?;
                changes.push(Change::Write { path: self.staged(cx, ours), bytes, mode, owner: OWNER });
            }
        }
        common::change(cx, &self.host.name, changes).await.map(drop)
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl CopyOldKeys {
    fn staged(&self, cx: &Step, path: &str) -> String {
        layout::staged(&self.host, cx.execution.as_str(), path)
    }

    fn missing(&self) -> Failure {
        Failure::new("old-keys-not-kept").with("host", &self.host.name)
    }

    /// The first controller that answers and kept all of it, and the hashes of that.
    async fn kept(&self, cx: &Step) -> Result<(K0sHost, Vec<Placed>), Failure> {
        let mut last = self.missing();
        for from in &self.from {
            match Listing::of(cx, from, &[layout::folder(from, cx.execution.as_str())]).await {
                Ok(listing) => {
                    if let Some(placed) = self.hashes(cx, from, &listing) {
                        return Ok((from.clone(), placed));
                    }
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn hashes(&self, cx: &Step, from: &K0sHost, listing: &Listing) -> Option<Vec<Placed>> {
        let hash = |path: &str| listing.sha256(&layout::kept(from, cx.execution.as_str(), path)).map(str::to_owned);
        let placed = |root: Root| {
            let [key, public] = layout::root_pair(from, root);
            Some(Placed { root, sha256: [hash(&key)?, hash(&public)?] })
        };
        self.roots.iter().map(|root| placed(*root)).collect()
    }
}

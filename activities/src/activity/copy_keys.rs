//! Stages the new trust on a controller, beside the old.

use super::common::{self, Step};
use super::files::Listing;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, Root};
use crate::host::{Change, OwnerIds};
use crate::layout;
use crate::pki;
use crate::secret::Secret;
use crate::trust::Pair;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when the staged files have the hashes of the new trust. k0s reads none of them yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyKeys {
    /// Where.
    pub host: K0sHost,
    /// What, in the order in which it will be put in place.
    pub pairs: Vec<(Root, Pair)>,
}

/// k0s gives files their users at its next start, and all its components may read what group 0 may (facts §1.2).
const OWNER: OwnerIds = OwnerIds { uid: 0, gid: 0 };
const KEY_MODE: u32 = 0o640;
const PUBLIC_MODE: u32 = 0o644;

impl Activity for CopyKeys {
    const NAME: &'static str = "copy-keys";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(60), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let listing = self.look(cx).await?;
        let staged = self.staged(cx).all(|(path, mode, sha256)| {
            let owned = listing.get(&path).is_some_and(|file| file.mode & 0o777 == mode && file.owner == OWNER);
            owned && listing.sha256(&path) == Some(sha256.as_str())
        });
        Ok(staged.then_some(()))
    }

    async fn undo(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let Some(folder) = self.left(cx).await? else { return Ok(()) };
        common::change(cx, &self.host.name, vec![Change::Remove { path: folder }]).await?;
        Ok(())
    }

    async fn undone(&self, cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(self.left(cx).await?.is_none())
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let folder = layout::folder(&self.host, cx.execution.as_str());
        let mut changes = vec![Change::MakeDir { path: folder, mode: 0o700 }];
        for (root, pair) in &self.pairs {
            let key = cx.env.secrets.get(&pair.key).await?;
            let public = Secret::new(pair.public.clone().into_bytes());
            for ((path, mode), bytes) in self.paths(cx, *root).into_iter().zip([key, public]) {
                changes.push(Change::Write { path, bytes, mode, owner: OWNER });
            }
        }
        common::change(cx, &self.host.name, changes).await?;
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl CopyKeys {
    fn paths(&self, cx: &Step, root: Root) -> [(String, u32); 2] {
        let [key, public] = layout::root_pair(&self.host, root);
        let staged = |path: &str| layout::staged(&self.host, cx.execution.as_str(), path);
        [(staged(&key), KEY_MODE), (staged(&public), PUBLIC_MODE)]
    }

    /// Path, mode and hash of each staged file.
    fn staged<'a>(&'a self, cx: &'a Step) -> impl Iterator<Item = (String, u32, String)> + 'a {
        self.pairs.iter().flat_map(move |(root, pair)| {
            let hashes = [pair.key_sha256.clone(), pki::sha256_hex(pair.public.as_bytes())];
            self.paths(cx, *root).into_iter().zip(hashes).map(|((path, mode), sha256)| (path, mode, sha256))
        })
    }

    async fn look(&self, cx: &Step) -> Result<Listing, Failure> {
        Listing::of(cx, &self.host, &[layout::folder(&self.host, cx.execution.as_str())]).await
    }

    /// What undo has to remove: the whole folder, unless old files were kept in it too.
    async fn left(&self, cx: &Step) -> Result<Option<String>, Failure> {
        let (listing, folder) = (self.look(cx).await?, layout::folder(&self.host, cx.execution.as_str()));
        let [staged, old] = ["new", "old"].map(|name| format!("{folder}/{name}"));
        if listing.below(&old).next().is_some() {
            return Ok(listing.below(&staged).next().is_some().then_some(staged.clone()));
        }
        Ok(listing.paths().next().is_some().then_some(folder))
    }
}

//! Puts the new trust in place of the old on a controller, and takes all that the old has signed out of k0s' way.

use super::common::{self, Step};
use super::files::{self, Listing};
use super::put_back;
use crate::facts::K0sHost;
use crate::fleet::{Fleet, Root};
use crate::host::Change;
use crate::layout;
use crate::pki::CertInfo;
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Renames the staged pairs into place, the key before the certificate: a crash in between cannot start (lab §9), and no CA
/// file is ever missing, for k0s would invent another. In place when the pairs are the new ones and nothing signed by an old one is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wipe {
    /// Where; k0s is held there.
    pub host: K0sHost,
    /// The new pairs.
    pub pairs: Vec<Placed>,
}

/// A pair as its files will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Of which root.
    pub root: Root,
    /// SHA-256 of the key file and of the certificate (or public key) file.
    pub sha256: [String; 2],
}

impl Activity for Wipe {
    const NAME: &'static str = "wipe";
    type Env = Fleet;
    type Before = ();
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(30), ..RetryPolicy::default() }
    }

    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<()>, Failure> {
        let listing = self.look(cx).await?;
        let placed = self.pairs.iter().all(|pair| {
            layout::root_pair(&self.host, pair.root)
                .iter()
                .zip(&pair.sha256)
                .all(|(path, sha)| listing.sha256(path) == Some(sha))
        });
        let clean = placed && self.to_move_aside(cx, &listing).await?.is_empty();
        Ok(clean.then_some(()))
    }

    async fn undo(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        put_back::put_back(cx, &self.host, &[]).await
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let listing = self.look(cx).await?;
        let execution = cx.execution.as_str();
        let roots: Vec<String> = self.pairs.iter().flat_map(|p| layout::root_pair(&self.host, p.root)).collect();
        let aside = self.to_move_aside(cx, &listing).await?;
        let keep = roots.iter().filter_map(|path| files::keep(cx, &self.host, &listing, path));
        let mut changes: Vec<Change> = keep.collect();
        changes.extend(
            roots
                .iter()
                .map(|path| Change::Rename { from: layout::staged(&self.host, execution, path), to: path.clone() }),
        );
        changes.extend(aside.iter().flat_map(|path| files::move_aside(cx, &self.host, &listing, path)));
        common::change(cx, &self.host.name, changes).await?;
        Ok(())
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl Wipe {
    async fn look(&self, cx: &Step) -> Result<Listing, Failure> {
        let [conf, kubelet_pki] = files::kubelet_files(&self.host);
        let roots = [files::pki_dir(&self.host), conf, kubelet_pki, files::kept_dir(cx, &self.host)];
        Listing::of(cx, &self.host, &roots).await
    }

    /// What the old trust has signed or stands in: leafs, kubeconfigs, and the kubelet's files where there is a kubelet.
    async fn to_move_aside(&self, cx: &Step, listing: &Listing) -> Result<Vec<String>, Failure> {
        let mut paths = files::signed_by(cx, &self.host, listing, &self.retired(cx, listing).await?).await?;
        if self.pairs.iter().any(|p| p.root == Root::KubernetesCa) {
            paths.extend(files::kubeconfigs(&self.host));
            if self.host.role.has_workloads() {
                paths.extend(files::kubelet_files(&self.host));
            }
        }
        paths.retain(|path| listing.has(path));
        Ok(paths)
    }

    /// The CAs that are being retired: as kept, else as they still lie in place.
    async fn retired(&self, cx: &Step, listing: &Listing) -> Result<Vec<CertInfo>, Failure> {
        let cas = self.pairs.iter().filter(|pair| pair.root != Root::ServiceAccount).map(|pair| {
            let [_, path] = layout::root_pair(&self.host, pair.root);
            let kept = layout::kept(&self.host, cx.execution.as_str(), &path);
            if listing.has(&kept) { kept } else { path }
        });
        let found = files::certificates(cx, &self.host, &cas.collect::<Vec<_>>()).await?;
        Ok(found.into_values().collect())
    }
}

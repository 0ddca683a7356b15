//! Puts the files that this execution took out of use back in their places on a host whose k0s is held.

use super::common::{self, Step};
use super::files::{self, Listing};
use super::wipe::{Placed, Wipe};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, FileKind};
use crate::layout;
use crate::pki::{self, CertInfo};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The way back of wipe. Copies, so that it can be repeated. In place when all that was kept lies in its place, byte for byte,
/// and nothing in `pki` is signed by an abandoned CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Where.
    pub host: K0sHost,
    /// Certificates of the abandoned CAs, PEM.
    pub abandoned: Vec<String>,
    /// The first trust, staged from another controller where none was kept: then it is put in place as wipe does. Empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<Placed>,
}

impl Activity for PutBack {
    const NAME: &'static str = "put-back";
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
        if let Some(wipe) = self.as_wipe() {
            return wipe.probe(cx, &()).await;
        }
        let listing = look(cx, &self.host).await?;
        let back = kept_items(cx, &self.host, &listing).iter().all(|(kept, place)| listing.same(kept, place));
        let clean = back && strangers(cx, &self.host, &listing, &self.abandoned).await?.is_empty();
        Ok(clean.then_some(()))
    }

    /// The way back has no way back.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Err(Failure::refused("no-undo"))
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        match self.as_wipe() {
            Some(wipe) => wipe.run(cx, &()).await,
            None => put_back(cx, &self.host, &self.abandoned).await,
        }
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl PutBack {
    fn as_wipe(&self) -> Option<Wipe> {
        (!self.staged.is_empty()).then(|| Wipe { host: self.host.clone(), pairs: self.staged.clone() })
    }
}

/// Copies all that was kept over what lies in its place, keys before certificates, and takes away what an abandoned CA has signed.
pub async fn put_back(cx: &Step, host: &K0sHost, abandoned: &[String]) -> Result<(), Failure> {
    let listing = look(cx, host).await?;
    let mut changes: Vec<Change> = Vec::new();
    let strangers = strangers(cx, host, &listing, abandoned).await?;
    changes.extend(strangers.into_iter().map(|path| Change::Remove { path }));
    let mut items = kept_items(cx, host, &listing);
    items.sort_by_key(|(_, place)| place.strip_suffix(".key").is_none()); // A key without its certificate can't start (lab §9).
    let differing = items.into_iter().filter(|(kept, place)| !listing.same(kept, place));
    changes.extend(differing.map(|(from, to)| Change::Copy { from, to }));
    common::change(cx, &host.name, changes).await?;
    Ok(())
}

async fn look(cx: &Step, host: &K0sHost) -> Result<Listing, Failure> {
    let [conf, kubelet_pki] = files::kubelet_files(host);
    let roots = [files::pki_dir(host), conf, kubelet_pki, files::kept_dir(cx, host)];
    Listing::of(cx, host, &roots).await
}

/// (kept, place) of each file that was kept; the kubelet's own certificates are one item, as a folder.
fn kept_items(cx: &Step, host: &K0sHost, listing: &Listing) -> Vec<(String, String)> {
    let kept = files::kept_dir(cx, host);
    let kubelet_pki = files::kubelet_files(host)[1].clone();
    let inside = |rest: &str| files::place(host, rest).starts_with(&format!("{kubelet_pki}/"));
    let single = listing.below(&kept).filter(|(rest, file)| file.kind != FileKind::Dir && !inside(rest));
    let mut items: Vec<_> = single.map(|(rest, file)| (file.path.clone(), files::place(host, rest))).collect();
    let folder = layout::kept(host, cx.execution.as_str(), &kubelet_pki);
    if listing.has(&folder) {
        items.push((folder, kubelet_pki));
    }
    items
}

/// What an abandoned CA has signed and nothing kept will overwrite.
async fn strangers(cx: &Step, host: &K0sHost, listing: &Listing, abandoned: &[String]) -> Result<Vec<String>, Failure> {
    let parsed: Result<Vec<CertInfo>, _> = abandoned.iter().map(|pem| pki::read_one(pem.as_bytes())).collect();
    let authorities = parsed.map_err(|_| Failure::refused("abandoned-ca-unreadable"))?;
    files::signed_by(cx, host, listing, &authorities).await
}

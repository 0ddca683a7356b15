//! Lets a node into the cluster under the trust that is in use now.

use super::common::{self, Step};
use super::files::{self, Listing};
use super::unit::{self, Unit};
use super::{node, put_back};
use crate::facts::K0sHost;
use crate::fleet::Fleet;
use crate::host::{Change, FileKind};
use crate::layout;
use crate::pki::{self, CertInfo};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when the kubelet's client certificate is of this CA, k0s runs since, and the node's Lease moved twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejoinNode {
    /// Which; it has a Node object.
    pub host: K0sHost,
    /// Controllers to ask and to mint a token on.
    pub via: Vec<K0sHost>,
    /// The CA that the node must be of, PEM.
    pub ca: String,
    /// By which way.
    pub how: How,
}

/// How a node comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// With a token minted now: workers.
    Token,
    /// By itself: controllers with workloads bootstrap their kubelet from admin.conf (lab §17, §18).
    Itself,
    /// By a restart: only the service-account key changed, and the kubelet holds tokens in memory.
    Restart,
    /// With its old files, whose certificates are valid again (lab §6.2); with a token where they have run out or are not there.
    OldFiles,
}

/// How the unit was seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// When it was last started, microseconds since boot.
    pub started: u64,
    /// In which boot.
    pub boot_id: String,
    /// Whether systemd ran k0s, or was about to start it again.
    #[serde(default)]
    pub ran: bool,
}

impl Activity for RejoinNode {
    const NAME: &'static str = "rejoin-node";
    type Env = Fleet;
    type Before = Was;
    type Output = ();

    fn target(&self) -> String {
        self.host.name.clone()
    }

    /// The limit is for work over SSH; waiting for kcm's Lease and a slow kubelet takes up to 90 s (lab §5.2).
    fn retry(&self) -> RetryPolicy {
        let every = Duration::from_secs(2);
        let settle_for = Duration::from_secs(180);
        let deadline = settle_for + unit::STOP_DEADLINE + Duration::from_secs(60);
        RetryPolicy {
            tries: 4,
            first: Duration::from_secs(5),
            settle_for,
            deadline,
            probe_every: every,
            ..RetryPolicy::default()
        }
    }

    async fn before(&self, cx: &Step) -> Result<Was, Failure> {
        let seen = unit::show(cx, &self.host).await?;
        Ok(Was { started: seen.started, boot_id: self.boot(cx).await?, ran: !seen.ended() })
    }

    async fn probe(&self, cx: &Step, was: &Was) -> Result<Option<()>, Failure> {
        let seen = unit::show(cx, &self.host).await?;
        let since = self.how == How::Itself || self.started_since(cx, was, &seen).await?;
        let certified = node::is_certified(cx, &self.host, &node::authority(&self.ca)?).await?;
        if !(since && seen.runs() && certified) {
            return Ok(None);
        }
        let node = self.host.node.as_deref().unwrap_or(&self.host.hostname);
        Ok(node::lives(cx, &self.via, node).await?.then_some(()))
    }

    /// A k0s that was not touched is left alone: one that runs on while it is out may not come up again once it was stopped. Of a controller
    /// nothing was changed here.
    async fn undo(&self, cx: &Step, was: &Was) -> Result<(), Failure> {
        match self.how {
            How::Itself => Ok(()),
            _ if self.is_untouched(cx, was).await? => Ok(()),
            How::OldFiles | How::Restart if !was.ran => unit::stop(cx, &self.host).await,
            How::OldFiles | How::Restart => self.with_old_files(cx, Vec::new()).await,
            How::Token => self.with_old_files(cx, self.got_since(cx, was).await?).await,
        }
    }

    /// With its old files a node may be in, and stays in; then k0s must run if it ran.
    async fn undone(&self, cx: &Step, was: &Was) -> Result<bool, Failure> {
        match self.how {
            How::Itself => Ok(true),
            How::Token => Ok(self.probe(cx, was).await?.is_none()),
            How::OldFiles | How::Restart => {
                let bootstrap = node::bootstrap_path(&self.host);
                let token = Listing::of(cx, &self.host, std::slice::from_ref(&bootstrap)).await?.has(&bootstrap);
                Ok(unit::show(cx, &self.host).await?.ended() != was.ran && !token)
            }
        }
    }

    async fn run(&self, cx: &Step, _was: &Was) -> Result<(), Failure> {
        match self.how {
            How::OldFiles if self.old_files_will_do(cx).await? => self.with_old_files(cx, Vec::new()).await,
            How::Token | How::OldFiles => self.with_token(cx).await,
            How::Restart => {
                common::change(cx, &self.host.name, vec![unit::systemctl("restart", &self.host)]).await.map(drop)
            }
            How::Itself => Ok(()),
        }
    }

    async fn fence(&self, cx: &Step) -> Result<(), Failure> {
        common::fence_host(cx, &self.host.name).await
    }
}

impl RejoinNode {
    /// It runs since before, and nothing lies there that comes between its stop and its start.
    async fn is_untouched(&self, cx: &Step, was: &Was) -> Result<bool, Failure> {
        let seen = unit::show(cx, &self.host).await?;
        if !seen.runs() || self.started_since(cx, was, &seen).await? {
            return Ok(false);
        }
        let ours = [files::kept_dir(cx, &self.host), node::bootstrap_path(&self.host)];
        let listing = Listing::of(cx, &self.host, &ours).await?;
        Ok(!ours.iter().any(|path| listing.has(path)))
    }

    async fn started_since(&self, cx: &Step, was: &Was, seen: &Unit) -> Result<bool, Failure> {
        Ok(seen.started != was.started || self.boot(cx).await? != was.boot_id)
    }

    async fn boot(&self, cx: &Step) -> Result<String, Failure> {
        common::host(cx, &self.host.name)?.boot_id().await.map_err(common::of(&self.host.name))
    }

    /// They were kept by this execution, and their certificate has not run out since. A host that was let in by another execution has none.
    async fn old_files_will_do(&self, cx: &Step) -> Result<bool, Failure> {
        let [_, own] = files::kubelet_files(&self.host);
        let kept = layout::kept(&self.host, cx.execution.as_str(), &own);
        let listing = files::kubelet_listing(cx, &self.host).await?;
        let now = i64::try_from(cx.clock.now().0 / 1000).unwrap_or(i64::MAX);
        for dir in [kept, own] {
            // Not by the link to the current one: it is absolute, and leads out of the folder of kept files.
            let dated = listing.below(&dir).filter(|(name, file)| {
                name.trim_start_matches('/').starts_with("kubelet-client-")
                    && matches!(file.kind, FileKind::File { .. })
            });
            for (_, file) in dated {
                let certificate = files::certificate(cx, &self.host, &file.path).await?;
                if certificate.is_some_and(|c| c.not_after > now && self.is_of_the_ca(&c)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn is_of_the_ca(&self, certificate: &CertInfo) -> bool {
        node::authority(&self.ca).is_ok_and(|ca| pki::signed_by(certificate, &ca))
    }

    /// The stop comes first, the restart last: a k0s that is already up does not see a bootstrap file (lab §32).
    async fn with_token(&self, cx: &Step) -> Result<(), Failure> {
        let bootstrap = node::bootstrap_file(cx, &self.via, &self.host, &self.ca).await?;
        unit::stop(cx, &self.host).await?;
        let listing = files::kubelet_listing(cx, &self.host).await?;
        let paths = files::old_kubelet_files(&self.host);
        let aside = paths.iter().flat_map(|path| files::move_aside(cx, &self.host, &listing, path));
        let mut changes: Vec<Change> = aside.collect();
        changes.push(node::write_bootstrap(&self.host, bootstrap));
        changes.push(unit::systemctl("restart", &self.host));
        common::change(cx, &self.host.name, changes).await.map(drop)
    }

    /// What it got with a token where nothing had been to move aside; the certificates last, for they tell so.
    async fn got_since(&self, cx: &Step, was: &Was) -> Result<Vec<Change>, Failure> {
        let since = self.started_since(cx, was, &unit::show(cx, &self.host).await?).await?;
        if !since || !node::is_certified(cx, &self.host, &node::authority(&self.ca)?).await? {
            return Ok(Vec::new());
        }
        let listing = files::kubelet_listing(cx, &self.host).await?;
        let mut paths = files::old_kubelet_files(&self.host);
        paths.sort_by_key(|path| *path == files::kubelet_files(&self.host)[1]);
        paths.retain(|path| listing.has(path) && !listing.has(&layout::kept(&self.host, cx.execution.as_str(), path)));
        Ok(paths.into_iter().map(|path| Change::Remove { path }).collect())
    }

    async fn with_old_files(&self, cx: &Step, without: Vec<Change>) -> Result<(), Failure> {
        unit::stop(cx, &self.host).await?;
        common::change(cx, &self.host.name, without).await?;
        put_back::put_back(cx, &self.host, &[]).await?;
        let bootstrap = Change::Remove { path: node::bootstrap_path(&self.host) };
        common::change(cx, &self.host.name, vec![bootstrap, unit::systemctl("restart", &self.host)]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    //! Shows which k0s the way back restarts.

    use super::*;
    use crate::activity::testing::{FakeHost, controller, marked, said, step};
    use crate::fleet::Role;
    use std::sync::{Arc, Mutex};

    /// A worker out of the cluster whose k0s runs all the same, and what systemctl is told to do with it.
    fn out() -> (Arc<FakeHost>, RejoinNode, Arc<Mutex<Vec<String>>>) {
        let host = FakeHost::new("w1");
        marked(&host);
        let told = Arc::new(Mutex::new(Vec::new()));
        let (noted, stopped) = (told.clone(), Mutex::new(false));
        host.script(move |command, _| {
            let mut stopped = stopped.lock().unwrap();
            match command.args[0].as_str() {
                "show" if *stopped => said("ActiveState=inactive\nMainPID=0\nExecMainStartTimestampMonotonic=5\n"),
                "show" => said("ActiveState=active\nMainPID=7\nExecMainStartTimestampMonotonic=5\n"),
                verb => {
                    *stopped = verb == "stop";
                    noted.lock().unwrap().push(verb.to_owned());
                    said("")
                }
            }
        });
        let worker = K0sHost { role: Role::Worker, unit: "k0sworker".into(), ..controller("w1") };
        (host, RejoinNode { host: worker, via: Vec::new(), ca: String::new(), how: How::Token }, told)
    }

    /// Goal: a k0s that was not touched runs on; one in whose way something lies already is restarted with its old files.
    #[tokio::test]
    async fn only_what_was_touched_is_restarted() {
        let (host, rejoin, told) = out();
        let cx = step(std::slice::from_ref(&host));
        let was = rejoin.before(&cx).await.unwrap();
        rejoin.undo(&cx, &was).await.unwrap();
        assert!(told.lock().unwrap().is_empty(), "{told:?}");
        host.put("/var/lib/k0s/kubelet-bootstrap.conf", "a token");
        rejoin.undo(&cx, &was).await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["stop", "restart"]);
        assert!(!host.files.lock().unwrap().contains_key("/var/lib/k0s/kubelet-bootstrap.conf"));
    }
}

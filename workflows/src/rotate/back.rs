//! The way back of a rotation: from the first stop on a runbook of its own, through the same gates the other way.

use super::shared::{check_nodes, clean_up, let_go, prove, refresh, rejoin};
use super::{Ready, Rotate, copies, done, fingerprint, phase};
use crate::cluster::{AT_ONCE, Cluster, way_in};
use crate::phases;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use k0rotate_activities::activity::borrow_marks::BorrowMark;
use k0rotate_activities::activity::check_control_plane::CheckControlPlane;
use k0rotate_activities::activity::check_controller::CheckController;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::copy_old_keys::CopyOldKeys;
use k0rotate_activities::activity::hold_cluster::HoldCluster;
use k0rotate_activities::activity::keep_credentials::{KeepCredentials, KeptTrust};
use k0rotate_activities::activity::look_again::{LookAgain, Since};
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::put_back::PutBack;
use k0rotate_activities::activity::reach_host::ReachHost;
use k0rotate_activities::activity::refresh_client_cas::RefreshClientCas;
use k0rotate_activities::activity::rejoin_node::{How, RejoinNode};
use k0rotate_activities::activity::release_host::ReleaseHost;
use k0rotate_activities::activity::start_controller::StartController;
use k0rotate_activities::activity::stop::Stop;
use k0rotate_activities::activity::wipe::{Placed, Wipe};
use k0rotate_activities::facts::{HostFacts, K0sHost};
use k0rotate_activities::fleet::{Fleet, Root};
use k0rotate_engine::activity::Activity;
use k0rotate_engine::cx::Cx;
use k0rotate_engine::event::Zone;
use k0rotate_engine::workflow::Halt;

/// How far the way forward came, host by host.
struct Begun {
    ready: Ready,
    /// Where the new trust may be in place, wholly or by half, and the first is kept.
    swapped: BTreeSet<String>,
    /// Where k0s may have been started with it.
    started: BTreeSet<String>,
    /// Nodes whose files may have been taken away.
    rejoined: BTreeSet<String>,
    /// Nodes that were seen to come in under the new trust.
    readmitted: BTreeSet<String>,
    /// Whether the control plane was seen to work with the new trust.
    verified: bool,
    /// Hosts that came since.
    joined: BTreeSet<String>,
    /// Controllers of these that have the first trust still: they were left behind from the start, and are back.
    kept_first: BTreeSet<String>,
    /// Controllers that do not answer and have left etcd: nothing of them can come back by itself.
    departed: BTreeSet<String>,
    /// The first trust as it is staged on controllers that do not have it.
    staged: BTreeMap<String, Vec<Placed>>,
}

/// Goes back. In Free nothing was stopped, and each step is simply undone; from the first stop on the controllers go back together.
pub(super) async fn roll_back(rotate: &Rotate, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
    let Some(mut begun) = Begun::of(rotate, cx) else { return in_free(rotate, cx).await };
    begun.take_in_who_came(rotate, cx).await?;
    begun.reach_who_must_stop(cx).await?;
    let new_trust = begun.remember(rotate, cx).await?;
    cx.zone(rotate.down(&begun.ready.cluster), "the controllers go back to the first trust").await?;
    let running = begun.controllers_back(cx).await?;
    cx.zone(Zone::Held, "the control plane works with the first trust").await?;
    begun.nodes_back(rotate, cx, &running).await?;
    begun.clean_up(rotate, cx, &running, &new_trust).await?;
    begun.verify(cx, &running).await
}

/// Each step is undone but the hold, which is let go host by host: one that was left behind keeps its mark, the others do not.
async fn in_free(rotate: &Rotate, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
    cx.undo_started_but(&[HoldCluster::NAME]).await?;
    let behind = cx.left_behind();
    let (left, others): (Vec<_>, Vec<_>) = held(cx).into_iter().partition(|name| behind.contains(name));
    let abandoned = copies::of_new_trust(rotate, cx, core::iter::empty());
    if left.is_empty() && others.is_empty() && abandoned.is_empty() {
        return Ok(());
    }
    phase(cx, phases::BACK_DESTROY).await?;
    copies::destroy(cx, &abandoned).await?;
    let release = |name: String| ReleaseHost { name };
    cx.run_all(others.into_iter().map(release).collect(), AT_ONCE).await?;
    let most_left = left.len();
    cx.run_each(left.into_iter().map(release).collect(), AT_ONCE, most_left).await.map(drop)
}

/// Hosts on which a mark may lie.
pub(super) fn held(cx: &Cx<Fleet>) -> Vec<String> {
    cx.recorded::<HoldCluster>(phases::HOLD.0, "cluster").map(|step| step.input.hosts).unwrap_or_default()
}

/// Controllers that were stopped: what a roll-back must be able to reach, if they are still there.
pub(super) fn touched(cx: &Cx<Fleet>) -> Vec<K0sHost> {
    cx.recorded_all::<Stop>(phases::STOP.0).into_iter().map(|step| step.input.host).collect()
}

/// All hosts as they were found at the beginning.
pub(super) fn known(cx: &Cx<Fleet>) -> Vec<K0sHost> {
    found(cx).into_iter().map(|facts| facts.host).collect()
}

/// The same with all that was found of them.
pub(super) fn found(cx: &Cx<Fleet>) -> Vec<HostFacts> {
    cx.recorded_all::<CheckHost>(phases::CHECK_HOSTS.0).into_iter().filter_map(|step| step.output).collect()
}

/// Targets of the steps of an activity that were started.
fn targets<A: Activity<Env = Fleet>>(cx: &Cx<Fleet>, phase: &str) -> BTreeSet<String> {
    cx.recorded_all::<A>(phase).iter().map(|step| step.input.target()).collect()
}

impl Begun {
    /// `None` in Free. Everything before the stop had succeeded once that was left.
    fn of(rotate: &Rotate, cx: &Cx<Fleet>) -> Option<Self> {
        if cx.forward_zone() == Zone::Free {
            return None;
        }
        let cluster = Cluster::new(found(cx), rotate.primary.as_deref());
        let new = cx.recorded::<MakeTrust>(phases::MAKE_TRUST.0, "cluster")?.output?;
        let kept = cx.recorded_all::<KeepCredentials>(phases::BACK_UP.0).into_iter();
        let old = kept.filter_map(|s| Some((s.input.target(), s.output?))).collect();
        let plane = cx.recorded::<CheckControlPlane>(phases::START.0, "cluster");
        let verified = plane.is_some_and(|step| step.output.is_some());
        // Of one that was left nobody knows what became of it since.
        let seen = cx.recorded_all::<CheckController>(phases::START.0).into_iter().filter(|s| s.output.is_some());
        let seen: BTreeSet<String> = seen.map(|s| s.input.target()).collect();
        let mut swapped = targets::<Wipe>(cx, phases::SWAP.0);
        swapped.retain(|name| !verified || seen.contains(name));
        let readmitted = cx.recorded_all::<RejoinNode>(phases::REJOIN.0).into_iter();
        Some(Self {
            ready: Ready { cluster, new, old },
            swapped,
            started: targets::<StartController>(cx, phases::START.0),
            rejoined: targets::<RejoinNode>(cx, phases::REJOIN.0),
            readmitted: readmitted.filter(|s| s.output.is_some()).map(|s| s.input.target()).collect(),
            verified,
            joined: BTreeSet::new(),
            kept_first: BTreeSet::new(),
            departed: BTreeSet::new(),
            staged: BTreeMap::new(),
        })
    }

    /// Before the control plane was verified nobody could come or go.
    async fn take_in_who_came(&mut self, rotate: &Rotate, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        if !self.verified {
            return Ok(());
        }
        phase(cx, phases::BACK_LOOK).await?;
        let since: Since =
            cx.run(LookAgain { known: self.ready.cluster.hosts(), left_behind: rotate.leave_behind.clone() }).await?;
        self.joined = since.joined.iter().map(|facts| facts.host.name.clone()).collect();
        let first = |facts: &&HostFacts| self.ready.cluster.has_its_trust(facts, &rotate.roots);
        self.kept_first = since.joined.iter().filter(first).map(|facts| facts.host.name.clone()).collect();
        let cluster = self.ready.cluster.since(&since, rotate.primary.as_deref());
        self.ready.cluster = cluster;
        let borrow = |name: &String| BorrowMark { name: name.clone(), from: None };
        cx.run_all(self.joined.iter().map(borrow).collect(), AT_ONCE).await?;
        self.stage_first_trust(rotate, cx).await
    }

    /// Nobody is stopped for the sake of one that cannot be: while it is waited for, those that run go on.
    async fn reach_who_must_stop(&mut self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        let controllers = self.ready.cluster.controllers();
        let must: Vec<&K0sHost> = controllers.iter().filter(|c| self.must_stop(&c.name)).collect();
        if must.is_empty() {
            return Ok(());
        }
        if !self.verified {
            phase(cx, phases::BACK_LOOK).await?;
        }
        let reach = |host: &&K0sHost| ReachHost {
            host: (*host).clone(),
            via: controllers.iter().filter(|c| c.name != host.name).cloned().collect(),
        };
        let answer = cx.run_all(must.iter().map(reach).collect(), AT_ONCE).await?;
        let departed = must.iter().zip(answer).filter(|(_, answers)| !answers).map(|(host, _)| host.name.clone());
        self.departed = departed.collect();
        Ok(())
    }

    /// A controller on which nothing was swapped came later, or was let in again: it has no file of the first trust that can be put back.
    async fn stage_first_trust(&mut self, rotate: &Rotate, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        let (from, to): (Vec<_>, Vec<_>) =
            self.ready.cluster.controllers().into_iter().partition(|c| self.swapped.contains(&c.name));
        let shared = |root: &Root| self.ready.new.shared.contains_key(root);
        let roots: Vec<Root> = rotate.roots.iter().copied().filter(shared).collect();
        let copy = |host: &K0sHost| CopyOldKeys { host: host.clone(), from: from.clone(), roots: roots.clone() };
        let staged = cx.run_all(to.iter().map(copy).collect(), AT_ONCE).await?;
        self.staged = to.into_iter().map(|host| host.name).zip(staged).collect();
        Ok(())
    }

    fn old_public(&self, root: Root) -> String {
        let any = self.ready.old.values().find_map(|kept| kept.public.get(&root));
        any.cloned().unwrap_or_default()
    }

    fn old_ca(&self) -> String {
        self.old_public(Root::KubernetesCa)
    }

    /// What the control plane accepts now must be refused in the end; it can only be shown if it was accepted once.
    async fn remember(&self, rotate: &Rotate, cx: &mut Cx<Fleet>) -> Result<BTreeMap<String, KeptTrust>, Halt> {
        if !self.verified {
            return Ok(BTreeMap::new());
        }
        phase(cx, phases::BACK_REMEMBER).await?;
        let cluster = &self.ready.cluster;
        let all = cluster.controllers().into_iter();
        // What one accepts that has the first trust still is accepted afterwards too.
        let shown = |c: &K0sHost| !self.kept_first.contains(&c.name) && !self.departed.contains(&c.name);
        let controllers: Vec<K0sHost> = all.filter(shown).collect();
        // A node that did not come in shows no new certificate.
        let nodes = cluster.nodes().into_iter().map(|n| n.name);
        let behind = cx.left_behind();
        let out: Vec<String> = nodes.filter(|name| !self.readmitted.contains(name) || behind.contains(name)).collect();
        // The front-proxy CA of a controller that came since is its own, and stays.
        let goes = |c: &K0sHost, root: &Root| *root != Root::FrontProxyCa || !self.staged.contains_key(&c.name);
        let keep = |c: &K0sHost| KeepCredentials {
            place: cluster.place(c, &out, &rotate.keep_token),
            roots: rotate.roots.iter().filter(|root| goes(c, root)).copied().collect(),
        };
        // Who is left here is not stopped either.
        let spare = if self.shuts_out() { cluster.spare_controllers() } else { 0 };
        let ended = cx.run_each(controllers.iter().map(keep).collect(), AT_ONCE, spare).await?;
        let pairs = controllers.into_iter().zip(ended).filter_map(|(c, end)| Some((c.name, end.done()?)));
        Ok(pairs.collect())
    }

    /// Down: no root is renamed back unless each controller is stopped, or was held by a stop and not started since.
    async fn controllers_back(&self, cx: &mut Cx<Fleet>) -> Result<Vec<K0sHost>, Halt> {
        let cluster = &self.ready.cluster;
        let (controllers, spare) = (cluster.controllers(), cluster.spare_controllers());
        if !self.swapped.is_empty() {
            phase(cx, phases::BACK_STOP).await?;
            self.stop(cx).await?;
            phase(cx, phases::BACK_SWAP).await?;
            // All of them, also those on which nothing lies: who is silent is left only if enough of all answer.
            let back = |c: &K0sHost| PutBack {
                host: c.clone(),
                abandoned: self.abandoned(&c.name),
                staged: self.staged.get(&c.name).cloned().unwrap_or_default(),
            };
            cx.run_each(controllers.iter().map(back).collect(), AT_ONCE, spare).await?;
        }
        phase(cx, phases::BACK_START).await?;
        cx.run_each(controllers.iter().cloned().map(|host| StartController { host }).collect(), AT_ONCE, spare).await?;
        let check = |c: &K0sHost| CheckController { host: c.clone(), ca: self.old_ca() };
        let ended = cx.run_each(controllers.iter().map(check).collect(), AT_ONCE, spare).await?;
        let running = done(&controllers, ended);
        cx.run(self.whole(&running)).await?;
        Ok(running)
    }

    /// A controller that may serve the new trust, for a start was begun on it here or it was let in since, may be left only if the etcd CA
    /// changes, which shuts it out (lab §31).
    async fn stop(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        let cluster = &self.ready.cluster;
        let stop = |host: &K0sHost| Stop { host: host.clone() };
        let all = cluster.controllers();
        let (must, others): (Vec<_>, Vec<_>) = all.iter().partition(|c| self.must_stop(&c.name));
        if must.is_empty() {
            return cx.run_each(all.iter().map(stop).collect(), AT_ONCE, cluster.spare_controllers()).await.map(drop);
        }
        cx.run_all(must.into_iter().map(stop).collect(), AT_ONCE).await?;
        cx.run_each(others.into_iter().map(stop).collect(), AT_ONCE, cluster.spare_controllers()).await.map(drop)
    }

    fn must_stop(&self, controller: &str) -> bool {
        let may_run = self.started.contains(controller) || self.staged.contains_key(controller);
        may_run && !self.shuts_out() && !self.departed.contains(controller)
    }

    /// Whether a controller with the new trust cannot reach the datastore of the first one. An etcd CA that was asked for and that the cluster
    /// does not have shuts nobody out.
    fn shuts_out(&self) -> bool {
        self.ready.new.shared.contains_key(&Root::EtcdCa)
    }

    /// Certificates of the CAs that go, as this controller has them.
    fn abandoned(&self, controller: &str) -> Vec<String> {
        let pairs = self.ready.new.of(controller).into_iter().filter(|(root, _)| *root != Root::ServiceAccount);
        pairs.map(|(_, pair)| pair.public.clone()).collect()
    }

    fn whole(&self, running: &[K0sHost]) -> CheckControlPlane {
        let cluster = &self.ready.cluster;
        let (storage, elects) = (cluster.storage(), cluster.elects());
        // One that was left may run on as it did, and lead.
        CheckControlPlane { controllers: running.to_vec(), ca: self.old_ca(), storage, elects, whoever_leads: true }
    }

    /// Held: nodes that were let in under the new trust get their old files back, whose certificates are valid again; the others are looked at.
    async fn nodes_back(&self, rotate: &Rotate, cx: &mut Cx<Fleet>, running: &[K0sHost]) -> Result<(), Halt> {
        let way = |node: K0sHost| {
            let how = match (node.role.is_controller(), self.joined.contains(&node.name)) {
                (false, true) => How::Token,
                (false, false) if self.rejoined.contains(&node.name) => How::OldFiles,
                _ => How::Itself,
            };
            (node.name, how)
        };
        let ways: BTreeMap<_, _> = self.ready.cluster.nodes().into_iter().map(way).collect();
        if ways.is_empty() {
            return Ok(());
        }
        phase(cx, phases::BACK_NODES).await?;
        rejoin(cx, &self.ready, running, &self.old_ca(), &ways).await?;
        let depends = |node: &K0sHost| way_in(node, &rotate.roots).is_some();
        if self.verified && self.ready.cluster.nodes().iter().any(depends) {
            phase(cx, phases::BACK_REFRESH).await?;
            refresh(cx, &self.ready, running, &self.old_ca(), rotate.refresh).await?;
        }
        phase(cx, phases::BACK_CHECK).await?;
        check_nodes(cx, &self.ready, running, &self.old_ca()).await
    }

    /// Takes away what only the new trust needed, and proves that it is refused.
    async fn clean_up(
        &self,
        rotate: &Rotate,
        cx: &mut Cx<Fleet>,
        running: &[K0sHost],
        new_trust: &BTreeMap<String, KeptTrust>,
    ) -> Result<(), Halt> {
        phase(cx, phases::BACK_CLEAN).await?;
        let published = RefreshClientCas { via: running.to_vec(), accepted: self.client_cas(new_trust) };
        let service_account = self.old_public(Root::ServiceAccount);
        clean_up(cx, &self.ready, running, published, service_account, &rotate.keep_token).await?;
        super::prepare::give_tokens_back(cx).await?;
        if !new_trust.is_empty() {
            phase(cx, phases::BACK_PROVE).await?;
            prove(cx, rotate, &self.ready, running, new_trust).await?;
        }
        phase(cx, phases::BACK_DESTROY).await?;
        let abandoned = copies::of_new_trust(rotate, cx, new_trust.values());
        let_go(cx, &self.ready.cluster, &abandoned).await
    }

    fn client_cas(&self, now: &BTreeMap<String, KeptTrust>) -> Vec<String> {
        let came = now.iter().filter(|(name, _)| self.staged.contains_key(*name)).map(|(_, kept)| kept);
        let own = self.ready.old.values().chain(came).filter_map(|kept| kept.public.get(&Root::FrontProxyCa));
        own.chain([&self.old_ca()]).filter_map(|pem| fingerprint(pem)).collect()
    }

    /// The last step: the control plane once more, as at the first look.
    async fn verify(&self, cx: &mut Cx<Fleet>, running: &[K0sHost]) -> Result<(), Halt> {
        phase(cx, phases::BACK_VERIFY).await?;
        cx.run(self.whole(running)).await
    }
}

//! What the history of a rotation at rest says about the hosts that it went on without, and how each is let in.

use crate::error::Error;
use crate::report;
use crate::same;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::keep_credentials::{KeepCredentials, KeptTrust};
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::put_back::PutBack;
use k0rotate_activities::activity::rejoin_node::RejoinNode;
use k0rotate_activities::activity::wipe::Wipe;
use k0rotate_activities::facts::{ClusterFacts, HostFacts, K0sHost};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::{Side, Status, StepStatus};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::{Beside, Rejoin, Touched, Trust};
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeMap;

/// See the file's sentence.
pub struct Rotation<'a> {
    view: &'a ExecutionView,
    facts: BTreeMap<String, HostFacts>,
    new: NewTrust,
    old: BTreeMap<Root, String>,
    left: Vec<String>,
}

/// The one to let a host in by: the one that is open, else the newest that went on without it, else the newest.
pub fn of_host<'v>(views: &'v [ExecutionView], newest: &'v ExecutionView, host: &str) -> &'v ExecutionView {
    let left_it =
        |view: &&ExecutionView| view.workflow == "rotate" && report::without(view).iter().any(|left| left == host);
    if !newest.state.status.ended() {
        return newest;
    }
    views.iter().rev().find(left_it).unwrap_or(newest)
}

/// Whether a host can be let in: the control plane was verified with the new trust, or the way back has ended. Before that nobody serves
/// what it would get.
pub fn rests_at_a_trust(view: &ExecutionView) -> bool {
    match view.state.status {
        Status::Completed | Status::RolledBack => true,
        Status::Waiting { .. } | Status::Stuck { side: Side::Forward, .. } => {
            matches!(view.state.zone(), Zone::Held | Zone::Final)
        }
        _ => false,
    }
}

/// The execution that let this controller in with the new trust, where the rotation went back without it after that: its first trust lies
/// nowhere on it any more.
pub fn kept_no_more(rotation: &ExecutionView, all: &[ExecutionView], now: &Rejoin) -> Option<ExecutionId> {
    if !now.host.role.is_controller() || !matches!(now.trust, Trust::First(Touched::Files)) {
        return None;
    }
    let let_in = all.iter().filter(|other| other.workflow == "rejoin" && other.state.status == Status::Completed);
    let mut of_it = let_in.filter(|other| {
        let rejoin = other.input.decode::<Rejoin>().ok();
        rejoin.is_some_and(|rejoin| {
            rejoin.rotation == rotation.execution.as_str()
                && rejoin.host.name == now.host.name
                && matches!(rejoin.trust, Trust::New(_))
        })
    });
    of_it.next().map(|other| other.execution.clone())
}

impl<'a> Rotation<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// It is no rotation, or does not rest at a trust.
    pub fn of(view: &'a ExecutionView) -> Result<Self, Error> {
        if !rests_at_a_trust(view) || view.workflow != "rotate" {
            let what = format!("{} does not rest at a trust: {}", view.execution, report::state(view));
            return Err(Error::Word(what));
        }
        let input: Option<Rotate> = view.input.decode().ok();
        let mut left = view.state.leg().left.clone();
        left.extend(input.map(|rotate| rotate.leave_behind).unwrap_or_default());
        let kept = report::forward_outputs::<KeepCredentials, KeptTrust>(view).pop();
        Ok(Self {
            view,
            facts: report::forward_outputs::<CheckHost, HostFacts>(view).into_iter().collect(),
            new: report::outputs::<MakeTrust, NewTrust>(view).pop().map(|(_, new)| new).unwrap_or_default(),
            old: kept.map(|(_, kept)| kept.public).unwrap_or_default(),
            left,
        })
    }

    /// Whether it looked at this host.
    pub fn looked_at(&self, name: &str) -> bool {
        self.facts.contains_key(name)
    }

    /// Whether letting it in can be asked for, as far as the history tells without a look at the host.
    pub fn offers(&self, name: &str) -> bool {
        if self.looked_at(name) {
            return self.rejoin(name, None).is_ok();
        }
        let cluster = report::forward_outputs::<CheckCluster, ClusterFacts>(self.view).pop();
        let controls = cluster.is_some_and(|(_, cluster)| {
            cluster.etcd_members.contains_key(name) || cluster.controller_leases.iter().any(|known| known == name)
        });
        !controls && self.left.iter().any(|left| left == name) && self.old.contains_key(&Root::KubernetesCa)
    }

    /// How this host is let in; `now` if it was only looked at now.
    ///
    /// # Errors
    /// Where it was not left, or cannot be let in: why.
    pub fn rejoin(&self, name: &str, now: Option<K0sHost>) -> Result<Rejoin, Error> {
        let refused = |what: &str| Error::Word(format!("{name}: {what} ({})", self.view.execution));
        if !self.left.iter().any(|left| left == name) {
            return Err(refused("the rotation did not go on without it, so there is nothing to let in"));
        }
        let unknown = now.is_some();
        let known = self.facts.get(name).map(|facts| facts.host.clone());
        let host = known.or(now).ok_or_else(|| refused("nothing is known of it"))?;
        if unknown && host.role.is_controller() {
            return Err(refused(
                "a controller that was left behind from the start has no trust made for it: take it out of the cluster as docs/failures.md says at controller-away, and join it anew as k0s does",
            ));
        }
        let controllers = self.facts.values().map(|facts| &facts.host);
        let running = controllers.filter(|c| c.role.is_controller() && c.name != name && !self.left.contains(&c.name));
        let controllers: Vec<K0sHost> = running.cloned().collect();
        if controllers.is_empty() {
            return Err(refused("no other controller runs that could let it in"));
        }
        let back = self.view.state.status == Status::RolledBack;
        let new = self.new.shared.get(&Root::KubernetesCa).map(|pair| &pair.public).filter(|_| !back);
        let ca = new.or_else(|| self.old.get(&Root::KubernetesCa)).cloned();
        let beside = if self.view.state.status.ended() { Beside::Over } else { Beside::Resting };
        let world = same::known(self.view, &[]);
        let ids = controllers.iter().filter_map(|c| Some((c.name.clone(), world.machines.get(&c.name)?.clone())));
        let machines = ids.collect();
        Ok(Rejoin {
            trust: if back { Trust::First(self.touched(name)) } else { self.pairs(&host) },
            host,
            controllers,
            ca: ca.ok_or_else(|| refused("the rotation ended before it knew the Kubernetes CA"))?,
            rotation: self.view.execution.to_string(),
            beside,
            marked: None,
            nodes: self.nodes(),
            machines,
            uid: world.uid,
        })
    }

    fn pairs(&self, host: &K0sHost) -> Trust {
        let pairs = self.new.of(&host.name).into_iter().map(|(root, pair)| (root, pair.clone()));
        Trust::New(if host.role.is_controller() { pairs.collect() } else { Vec::new() })
    }

    fn nodes(&self) -> u32 {
        let cluster = report::forward_outputs::<CheckCluster, ClusterFacts>(self.view).pop();
        let nodes = cluster.map_or(self.facts.len(), |(_, cluster)| cluster.nodes.len());
        u32::try_from(nodes).unwrap_or(u32::MAX)
    }

    /// Whether the way forward had begun to change its files, and the way back did not put them back.
    fn touched(&self, name: &str) -> Touched {
        let steps = |side: Side| {
            let phases = self.view.phases.iter().filter(move |phase| phase.side == side);
            phases.flat_map(|phase| &phase.steps).filter(move |step| step.target == name)
        };
        let changed = steps(Side::Forward).any(|step| [Wipe::NAME, RejoinNode::NAME].contains(&step.activity.as_str()));
        let mut back = steps(Side::Back).filter(|step| step.status == StepStatus::Done);
        let restored = back.any(|step| [PutBack::NAME, RejoinNode::NAME].contains(&step.activity.as_str()));
        if changed && !restored { Touched::Files } else { Touched::Nothing }
    }
}

//! Lets one host in that a rotation went on without: a small execution of its own, beside a resting rotation or after its end.

use crate::cluster::{AT_ONCE, placed_pairs};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use k0rotate_activities::activity::borrow_marks::{BorrowMark, GiveMarkBack};
use k0rotate_activities::activity::check_controller::CheckController;
use k0rotate_activities::activity::check_node::CheckNode;
use k0rotate_activities::activity::copy_keys::CopyKeys;
use k0rotate_activities::activity::destroy_old_keys::DestroyOldKeys;
use k0rotate_activities::activity::hold_cluster::{self, Marks};
use k0rotate_activities::activity::invalidate_token::InvalidateToken;
use k0rotate_activities::activity::list_tokens::ListTokens;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::activity::put_back::PutBack;
use k0rotate_activities::activity::refresh_trust_holders::RefreshTrustHolders;
use k0rotate_activities::activity::rejoin_node::{How, RejoinNode};
use k0rotate_activities::activity::remove_leftovers::RemoveLeftovers;
use k0rotate_activities::activity::start_controller::StartController;
use k0rotate_activities::activity::stop::Stop;
use k0rotate_activities::activity::take_over_kept::TakeOverKept;
use k0rotate_activities::activity::wipe::Wipe;
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::fleet::{Fleet, Root};
use k0rotate_activities::identity::Known;
use k0rotate_activities::trust::Pair;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::cx::{Cx, Recorded};
use k0rotate_engine::event::Zone;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::workflow::{Activities, Halt, HoldCx, HoldFailure, Workflow};
use serde::{Deserialize, Serialize};

/// The input, taken from the history of the rotation that left the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoin {
    /// The host as it was found by that rotation.
    pub host: K0sHost,
    /// Controllers that run, without the host itself.
    pub controllers: Vec<K0sHost>,
    /// The Kubernetes CA in use, PEM.
    pub ca: String,
    /// Which trust the host must get.
    pub trust: Trust,
    /// The rotation that left it; its marks may lie on the hosts while it rests.
    pub rotation: String,
    /// Whether that one still rests, and needs its marks back.
    pub beside: Beside,
    /// The ended execution whose mark lies on the host, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<String>,
    /// Nodes in the cluster.
    pub nodes: u32,
    /// machine-ids of these hosts as the rotation found them, as far as it did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, String>,
    /// The UID of the cluster's namespace kube-system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// Where the rotation is that left the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beside {
    /// It rests, and gets the marks back.
    Resting,
    /// It is over: what it left marked is free afterwards.
    Over,
}

/// Which trust a host must get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// The new one of the rotation: the pairs of a controller; none for a worker.
    New(Vec<(Root, Pair)>),
    /// The first one, which the rotation kept on the host: it was rolled back without it. True where its files were touched.
    First(Touched),
}

/// Whether the rotation had changed files of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Touched {
    /// Its old files lie in the rotation's folder.
    Files,
    /// At most its unit is held.
    Nothing,
}

const HOLD: (&str, &str) = ("hold", "Borrow the hosts");
const LET_IN: (&str, &str) = ("let-in", "Let the host in");
const CHECK: (&str, &str) = ("check", "Check the host");
const CLEAN_UP: (&str, &str) = ("clean-up", "Clean up");
const BACK_OUT: (&str, &str) = ("back-out", "Leave the host as it was");

impl Workflow for Rejoin {
    const NAME: &'static str = "rejoin";
    const VERSION: u32 = 1;
    const HOLDS: Option<&'static str> = Some(BorrowMark::NAME);
    const LETS_GO: Option<&'static str> = Some(GiveMarkBack::NAME);
    type Env = Fleet;
    type Output = ();

    fn activities() -> Activities<Fleet> {
        Activities::new()
            .with::<BorrowMark>()
            .with::<GiveMarkBack>()
            .with::<ListTokens>()
            .with::<CopyKeys>()
            .with::<TakeOverKept>()
            .with::<Stop>()
            .with::<Wipe>()
            .with::<PutBack>()
            .with::<StartController>()
            .with::<CheckController>()
            .with::<RejoinNode>()
            .with::<RefreshTrustHolders>()
            .with::<CheckNode>()
            .with::<InvalidateToken>()
            .with::<RemoveLeftovers>()
            .with::<DestroyOldKeys>()
    }

    async fn same_world(&self, env: &Fleet, _cx: &Cx<Fleet>) -> Result<(), Failure> {
        self.world().same(&env.hosts, &*env.clock).await
    }

    fn known(&self, _cx: &Cx<Fleet>) -> BTreeMap<String, String> {
        self.machines.clone()
    }

    async fn hold(&self, env: &Fleet, by: &HoldCx) -> Result<(), HoldFailure> {
        let (hosts, due) = (&self.names(), &by.course.taken);
        let resting: Vec<&str> = self.marked.iter().chain([&self.rotation]).map(String::as_str).collect();
        hold_cluster::renew_beside(env, &Marks { hosts, due, resting: &resting }, by).await
    }

    async fn let_go(&self, _env: &Fleet, _by: &HoldCx) {}

    /// In Free until the end: a failure puts the host back as it was, for it was out before.
    async fn execute(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        cx.phase(HOLD.0, HOLD.1).await?;
        let names = self.names();
        let borrow = |name: &String| BorrowMark { name: name.clone(), from: Some(self.holder(name)) };
        let marks = cx.run_all(names.iter().map(borrow).collect(), AT_ONCE).await?;
        let via = self.controllers.clone();
        let keep = cx.run(ListTokens { via: via.clone() }).await?;

        cx.phase(LET_IN.0, LET_IN.1).await?;
        if self.host.role.is_controller() {
            self.controller(cx).await?;
        }
        if let (Trust::First(Touched::Files), false) = (&self.trust, self.host.role.is_controller()) {
            cx.run(TakeOverKept { host: self.host.clone(), from: self.rotation.clone() }).await?;
        }
        if let Some(how) = self.way_in() {
            let (host, ca) = (self.host.clone(), self.ca.clone());
            cx.run(RejoinNode { host, via: via.clone(), ca, how }).await?;
        }
        cx.phase(CHECK.0, CHECK.1).await?;
        self.check(cx).await?;

        cx.phase(CLEAN_UP.0, CLEAN_UP.1).await?;
        cx.run(InvalidateToken { via, keep }).await?;
        cx.run(RemoveLeftovers { host: self.host.clone() }).await?;
        cx.zone(Zone::Final, "the host is in: what was kept on it is destroyed").await?;
        // What the rotation kept here is old: should that go back, this host gets the first trust from others, or a token.
        cx.run(DestroyOldKeys { host: self.host.clone(), also: Some(self.rotation.clone()) }).await?;
        // A mark of an execution that has ended is not given back, and the lock with it goes.
        let over = |name: &String| self.beside == Beside::Over || self.holder(name) != self.rotation;
        let back = names.into_iter().zip(marks).map(|(name, mark)| GiveMarkBack {
            was: mark.filter(|_| !over(&name)),
            over: Some(self.holder(&name)).filter(|_| over(&name)),
            name,
        });
        cx.run_all(back.collect(), AT_ONCE).await.map(drop)
    }

    /// What was put back is the first trust, as the cluster has it: that stays. What was kept on the way, and a token that was minted, go before
    /// the marks are given back.
    async fn roll_back(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        let stays: &[&str] = match self.trust {
            Trust::New(_) => &[BorrowMark::NAME],
            Trust::First(_) => &[BorrowMark::NAME, PutBack::NAME],
        };
        cx.undo_started_but(stays).await?;
        if !cx.recorded_all::<BorrowMark>(HOLD.0).is_empty() {
            cx.phase(BACK_OUT.0, BACK_OUT.1).await?;
            let listed = cx.recorded::<ListTokens>(HOLD.0, "cluster").and_then(|step| step.output);
            if let (Some(keep), true) = (listed, cx.recorded_all::<RejoinNode>(LET_IN.0).iter().any(mints)) {
                cx.run(InvalidateToken { via: self.controllers.clone(), keep }).await?;
            }
            // One that died on the way is left, with what was kept there: everything else waits for this end.
            cx.run_each(vec![DestroyOldKeys { host: self.host.clone(), also: None }], 1, 1).await?;
        }
        for name in self.names() {
            cx.undo::<BorrowMark>(HOLD.0, &name).await?;
        }
        Ok(())
    }
}

/// Whether a token may have been minted for it: with the old files, too, where their certificate has run out.
fn mints(node: &Recorded<RejoinNode>) -> bool {
    matches!(node.input.how, How::Token | How::OldFiles)
}

impl Rejoin {
    /// What its world is known by.
    pub fn world(&self) -> Known {
        let (machines, uid, controllers) = (self.machines.clone(), self.uid.clone(), self.controllers.clone());
        Known { machines, uid, controllers, down: false }
    }

    /// The execution whose mark may lie on a host.
    fn holder(&self, name: &str) -> String {
        let own = self.marked.as_ref().filter(|_| name == self.host.name);
        own.unwrap_or(&self.rotation).clone()
    }

    /// All hosts that it acts on, the host itself first.
    fn names(&self) -> Vec<String> {
        vec![self.host.name.clone()].into_iter().chain(self.controllers.iter().map(|c| c.name.clone())).collect()
    }

    fn way_in(&self) -> Option<How> {
        match (&self.trust, self.host.role.is_controller()) {
            _ if !self.host.role.has_workloads() => None,
            (_, true) => Some(How::Itself),
            (Trust::New(_), false) => Some(How::Token),
            (Trust::First(Touched::Files), false) => Some(How::OldFiles),
            (Trust::First(Touched::Nothing), false) => Some(How::Restart),
        }
    }

    /// The other controllers work meanwhile: only this one is stopped, if it runs at all.
    async fn controller(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        let host = || self.host.clone();
        if let Trust::New(pairs) = &self.trust {
            cx.run(CopyKeys { host: host(), pairs: pairs.clone() }).await?;
        }
        cx.run(Stop { host: host() }).await?;
        match &self.trust {
            Trust::New(pairs) => cx.run(Wipe { host: host(), pairs: placed_pairs(pairs) }).await?,
            Trust::First(Touched::Files) => {
                cx.run(TakeOverKept { host: host(), from: self.rotation.clone() }).await?;
                cx.run(PutBack { host: host(), abandoned: Vec::new(), staged: Vec::new() }).await?;
            }
            Trust::First(Touched::Nothing) => {}
        }
        cx.run(StartController { host: host() }).await?;
        cx.run(CheckController { host: host(), ca: self.ca.clone() }).await
    }

    async fn check(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        if !self.host.role.has_workloads() {
            return Ok(());
        }
        let (host, via, ca) = (self.host.clone(), self.controllers.clone(), self.ca.clone());
        cx.run(RefreshTrustHolders { host: host.clone(), via: via.clone(), ca: ca.clone(), refresh: Refresh::System })
            .await?;
        cx.run(CheckNode { host, through: via, ca, nodes: self.nodes }).await
    }
}

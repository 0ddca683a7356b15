//! Replaces the trust of a cluster while its control plane is down for some seconds: the offline runbook, from the first look to the last key destroyed.

mod back;
mod copies;
mod input;
mod prepare;
mod shared;

use crate::cluster::{AT_ONCE, Cluster, placed, public_of, way_in};
use crate::phases::{self, Phase};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
pub use input::{APPROVAL, BreakGlass, DEFAULT_MAX_OUTAGE_SECONDS, DEFAULT_ROOM_SECONDS, Rotate};
use k0rotate_activities::activity::back_up_cluster::BackUpCluster;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_control_plane::CheckControlPlane;
use k0rotate_activities::activity::check_controller::CheckController;
use k0rotate_activities::activity::check_logs::CheckLogs;
use k0rotate_activities::activity::check_node::CheckNode;
use k0rotate_activities::activity::destroy_old_keys::DestroyOldKeys;
use k0rotate_activities::activity::destroy_sealed::DestroySealed;
use k0rotate_activities::activity::hold_cluster;
use k0rotate_activities::activity::invalidate_token::InvalidateToken;
use k0rotate_activities::activity::keep_credentials::KeptTrust;
use k0rotate_activities::activity::mint_token::MintToken;
use k0rotate_activities::activity::prove_old_refused::ProveOldRefused;
use k0rotate_activities::activity::reboot_host::RebootHost;
use k0rotate_activities::activity::refresh_client_cas::RefreshClientCas;
use k0rotate_activities::activity::refresh_trust_holders::RefreshTrustHolders;
use k0rotate_activities::activity::rejoin_node::RejoinNode;
use k0rotate_activities::activity::release_host::ReleaseHost;
use k0rotate_activities::activity::release_left::ReleaseLeft;
use k0rotate_activities::activity::remint_tokens::RemintTokens;
use k0rotate_activities::activity::remove_leftovers::RemoveLeftovers;
use k0rotate_activities::activity::start_controller::StartController;
use k0rotate_activities::activity::stop::Stop;
use k0rotate_activities::activity::wipe::Wipe;
use k0rotate_activities::facts::K0sHost;
pub use k0rotate_activities::fleet::Member;
use k0rotate_activities::fleet::{Fleet, Root};
use k0rotate_activities::guards::{self, AllAreIn, Window};
use k0rotate_activities::identity::Known;
use k0rotate_activities::pki::read_one;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::cx::{Cx, Each};
use k0rotate_engine::event::Zone;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::workflow::{Activities, Halt, HoldCx, HoldFailure, Workflow};
use serde::{Deserialize, Serialize};

/// What a rotation ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Fingerprints of the new trust, several where each controller has its own.
    pub trust: BTreeMap<Root, Vec<String>>,
}

/// All that is known once the controllers may be stopped.
struct Ready {
    cluster: Cluster,
    new: NewTrust,
    old: BTreeMap<String, KeptTrust>,
}

impl Workflow for Rotate {
    const NAME: &'static str = "rotate";
    const VERSION: u32 = 1;
    const VERIFICATION: Option<&'static str> = Some(CheckControlPlane::NAME);
    const HOLDS: Option<&'static str> = Some(hold_cluster::HoldCluster::NAME);
    const LETS_GO: Option<&'static str> = Some(ReleaseHost::NAME);
    type Env = Fleet;
    type Output = Rotated;

    fn activities() -> Activities<Fleet> {
        prepare::activities()
            .with::<Stop>()
            .with::<Wipe>()
            .with::<StartController>()
            .with::<CheckController>()
            .with::<CheckControlPlane>()
            .with::<RejoinNode>()
            .with::<RefreshTrustHolders>()
            .with::<RebootHost>()
            .with::<CheckNode>()
            .with::<InvalidateToken>()
            .with::<RemoveLeftovers>()
            .with::<RefreshClientCas>()
            .with::<RemintTokens>()
            .with::<MintToken>()
            .with::<ProveOldRefused>()
            .with::<CheckLogs>()
            .with::<DestroyOldKeys>()
            .with::<DestroySealed>()
            .with::<ReleaseHost>()
            .with::<ReleaseLeft>()
            .with::<k0rotate_activities::activity::put_back::PutBack>()
            .with::<k0rotate_activities::activity::look_again::LookAgain>()
            .with::<k0rotate_activities::activity::reach_host::ReachHost>()
            .with::<k0rotate_activities::activity::borrow_marks::BorrowMark>()
            .with::<k0rotate_activities::activity::copy_old_keys::CopyOldKeys>()
    }

    async fn same_world(&self, env: &Fleet, cx: &Cx<Fleet>) -> Result<(), Failure> {
        let cluster = cx.recorded::<CheckCluster>(phases::CHECK_HOSTS.0, "cluster").and_then(|step| step.output);
        let known = Known::of(&back::found(cx), cluster.as_ref(), &cx.not_held());
        Known { down: cx.is_down(), ..known }.same(&env.hosts, &*env.clock).await
    }

    fn known(&self, cx: &Cx<Fleet>) -> BTreeMap<String, String> {
        Known::of(&back::found(cx), None, &[]).machines
    }

    /// The marks on all hosts but those that were left, and those that are out of the inventory: no step can change these. k0sctl's lock is
    /// dated ahead and needs no renewal.
    async fn hold(&self, env: &Fleet, by: &HoldCx) -> Result<(), HoldFailure> {
        let held = self.held(env);
        hold_cluster::renew(env, &held, by).await?;
        hold_cluster::renew_others(env, &held, by).await
    }

    /// Marks and lock outlive the drive: at rest the cluster is half-rotated, or its way back must stay free.
    async fn let_go(&self, env: &Fleet, by: &HoldCx) {
        hold_cluster::note_at_rest(env, &self.held(env), by).await;
    }

    async fn execute(&self, cx: &mut Cx<Fleet>) -> Result<Rotated, Halt> {
        let ready = self.prepare(cx).await?;
        let running = self.replace(cx, &ready).await?;
        self.readmit(cx, &ready, &running).await?;
        self.clean_up(cx, &ready, &running).await?;
        self.prove(cx, &ready, &running).await?;
        cx.wait_for("finalize", None).await?;
        self.finalize(cx, &ready, &running).await?;
        Ok(ready.summary())
    }

    async fn roll_back(&self, cx: &mut Cx<Fleet>) -> Result<(), Halt> {
        back::roll_back(self, cx).await
    }

    async fn may_roll_back(&self, env: &Fleet, cx: &Cx<Fleet>) -> Result<(), Failure> {
        if cx.forward_zone() == Zone::Free {
            let behind = cx.left_behind();
            let held: Vec<String> = back::held(cx).into_iter().filter(|name| !behind.contains(name)).collect();
            return guards::all_answer(env, &held).await;
        }
        guards::may_roll_back(env, &back::touched(cx), &back::known(cx), &self.leave_behind, &cx.not_held()).await
    }
}

/// Enters a phase.
async fn phase(cx: &mut Cx<Fleet>, (slug, title): Phase) -> Result<(), Halt> {
    cx.phase(slug, title).await
}

/// Those of a group that were not left.
fn done<T: Clone, O>(of: &[T], ended: Vec<Each<O>>) -> Vec<T> {
    of.iter().zip(ended).filter(|(_, end)| matches!(end, Each::Done(_))).map(|(one, _)| one.clone()).collect()
}

impl Ready {
    /// The Kubernetes CA once the new trust is in place.
    fn ca(&self) -> String {
        self.public(Root::KubernetesCa)
    }

    fn public(&self, root: Root) -> String {
        let any = self.old.values().next();
        public_of(root, &self.new, &any.map(|kept| kept.public.clone()).unwrap_or_default())
    }

    /// Fingerprints of all CAs that API servers accept clients by.
    fn client_cas(&self) -> Vec<String> {
        let own = |(name, kept): (&String, &KeptTrust)| match self.new.front_proxy.get(name) {
            Some(pair) => Some(pair.fingerprint.clone()),
            None => kept.public.get(&Root::FrontProxyCa).and_then(|pem| fingerprint(pem)),
        };
        fingerprint(&self.ca()).into_iter().chain(self.old.iter().filter_map(own)).collect()
    }

    fn summary(&self) -> Rotated {
        let shared = self.new.shared.iter().map(|(root, pair)| (*root, vec![pair.fingerprint.clone()]));
        let mut trust: BTreeMap<Root, Vec<String>> = shared.collect();
        if !self.new.front_proxy.is_empty() {
            let own = self.new.front_proxy.values().map(|pair| pair.fingerprint.clone()).collect();
            trust.insert(Root::FrontProxyCa, own);
        }
        Rotated { trust }
    }
}

fn fingerprint(pem: &str) -> Option<String> {
    read_one(pem.as_bytes()).ok().map(|certificate| certificate.fingerprint)
}

impl Rotate {
    /// Hosts on which a mark may lie, as far as they are in the inventory.
    fn held(&self, env: &Fleet) -> Vec<String> {
        let inventory = self.hosts.iter().filter(|member| env.hosts.contains_key(&member.name));
        inventory.map(|member| member.name.clone()).collect()
    }

    /// Down: stops all controllers, puts the new trust in place, starts them, and sees the control plane work. Only controllers are touched.
    async fn replace(&self, cx: &mut Cx<Fleet>, ready: &Ready) -> Result<Vec<K0sHost>, Halt> {
        let controllers = ready.cluster.controllers();
        let spare = ready.cluster.spare_controllers();
        if self.approval {
            cx.wait_for(APPROVAL, None).await?;
        }
        if self.not_before.is_some() {
            cx.wait_for("window", self.not_before).await?;
        }
        if self.approval {
            self.see_that_it_is_as_approved(cx, &ready.cluster).await?;
        }
        cx.guard(&Window { not_after: self.not_after, room: Duration::from_secs(self.room_seconds) }).await?;
        cx.zone(self.down(&ready.cluster), "the controllers are stopped").await?;

        phase(cx, phases::STOP).await?;
        cx.run_all(controllers.iter().cloned().map(|host| Stop { host }).collect(), AT_ONCE).await?;

        phase(cx, phases::SWAP).await?;
        let wipe = |host: &K0sHost| Wipe { host: host.clone(), pairs: placed(&ready.new, &host.name) };
        cx.run_each(controllers.iter().map(wipe).collect(), AT_ONCE, spare).await?;

        phase(cx, phases::START).await?;
        cx.run_each(controllers.iter().cloned().map(|host| StartController { host }).collect(), AT_ONCE, spare).await?;
        let running = self.check_controllers(cx, ready, &controllers, spare).await?;
        cx.zone(Zone::Held, "the control plane works with the new trust").await?;
        Ok(running)
    }

    /// Whether a controller that still has the first trust is let in to etcd afterwards.
    pub fn etcd_ca_stays(&self) -> bool {
        !self.roots.contains(&Root::EtcdCa)
    }

    fn down(&self, cluster: &Cluster) -> Zone {
        let quorum = u32::try_from(cluster.quorum()).unwrap_or(u32::MAX);
        Zone::Down { max_outage: Duration::from_secs(self.max_outage_seconds), quorum }
    }

    /// Each controller at its own address, then the control plane as a whole.
    async fn check_controllers(
        &self,
        cx: &mut Cx<Fleet>,
        ready: &Ready,
        controllers: &[K0sHost],
        spare: usize,
    ) -> Result<Vec<K0sHost>, Halt> {
        let check = |host: &K0sHost| CheckController { host: host.clone(), ca: ready.ca() };
        let ended = cx.run_each(controllers.iter().map(check).collect(), AT_ONCE, spare).await?;
        let running = done(controllers, ended);
        let (storage, elects) = (ready.cluster.storage(), ready.cluster.elects());
        cx.run(CheckControlPlane {
            controllers: running.clone(),
            ca: ready.ca(),
            storage,
            elects,
            whoever_leads: false,
        })
        .await?;
        Ok(running)
    }

    /// Held: lets the nodes in, then refreshes what they run, then sees that every controller reaches them.
    async fn readmit(&self, cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost]) -> Result<(), Halt> {
        let nodes = ready.cluster.nodes().into_iter();
        let ways: BTreeMap<_, _> = nodes.filter_map(|n| Some((n.name.clone(), way_in(&n, &self.roots)?))).collect();
        if ways.is_empty() {
            return Ok(());
        }
        phase(cx, phases::REJOIN).await?;
        shared::rejoin(cx, ready, running, &ready.ca(), &ways).await?;
        phase(cx, phases::REFRESH).await?;
        match self.reboot_at_once {
            Some(at_once) => shared::reboot(cx, ready, running, at_once as usize).await?,
            None => shared::refresh(cx, ready, running, &ready.ca(), self.refresh).await?,
        }
        phase(cx, phases::CHECK_NODES).await?;
        shared::check_nodes(cx, ready, running, &ready.ca()).await
    }

    /// Takes away what was needed on the way, and what would go on trusting the old.
    async fn clean_up(&self, cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost]) -> Result<(), Halt> {
        phase(cx, phases::CLEAN_UP).await?;
        let published = RefreshClientCas { via: running.to_vec(), accepted: ready.client_cas() };
        shared::clean_up(cx, ready, running, published, ready.public(Root::ServiceAccount), &self.keep_token).await
    }

    /// Asks every controller directly, then takes the first backup of the new trust.
    async fn prove(&self, cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost]) -> Result<(), Halt> {
        phase(cx, phases::PROVE).await?;
        shared::prove_with_token(cx, self, ready, running).await?;
        let since = cx.time().0 / 1000;
        let logs = running.iter().cloned().map(|host| CheckLogs { host, since: since.saturating_sub(LOGS_SECONDS) });
        cx.run_all(logs.collect(), AT_ONCE).await?;
        cx.run(BackUpCluster::new(running.to_vec(), ready.cluster.storage(), self.allow.clone())).await?;
        Ok(())
    }

    /// Verifies once more and backs up, with the way back still open; then, in Final, destroys the old keys everywhere and lets the cluster go.
    async fn finalize(&self, cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost]) -> Result<(), Halt> {
        let (behind, left) = (cx.left_behind(), cx.left());
        let left: Vec<K0sHost> = ready.cluster.hosts().into_iter().filter(|h| left.contains(&h.name)).collect();
        let due = left.iter().filter(|host| !behind.contains(&host.name)).cloned().collect();
        cx.guard(&AllAreIn { left: due, ca: ready.ca() }).await?;

        phase(cx, phases::VERIFY_AGAIN).await?;
        let running = &self.check_controllers(cx, ready, running, 0).await?;
        shared::prove_with_token(cx, self, ready, running).await?;
        cx.run(BackUpCluster::new(running.clone(), ready.cluster.storage(), self.allow.clone())).await?;
        cx.zone(Zone::Final, "finalize: from here on there is no way back").await?;

        phase(cx, phases::DESTROY).await?;
        if !left.is_empty() {
            cx.run(ReleaseLeft { hosts: left, behind }).await?;
        }
        let retired = copies::of_first_trust(cx);
        shared::let_go(cx, &ready.cluster, &retired).await
    }
}

/// How far back journals are read from the proof on: further than a rotation of many nodes takes.
const LOGS_SECONDS: u64 = 900;

//! What both ways of a rotation do with nodes, with what the cluster keeps, and with the proof.

use super::{Ready, Rotate, copies};
use crate::cluster::{AT_ONCE, Cluster};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use k0rotate_activities::activity::check_node::CheckNode;
use k0rotate_activities::activity::credentials::{Kind, Verdict};
use k0rotate_activities::activity::destroy_old_keys::DestroyOldKeys;
use k0rotate_activities::activity::invalidate_token::InvalidateToken;
use k0rotate_activities::activity::keep_credentials::{Kept, KeptTrust};
use k0rotate_activities::activity::mint_token::MintToken;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::activity::prove_old_refused::ProveOldRefused;
use k0rotate_activities::activity::reboot_host::RebootHost;
use k0rotate_activities::activity::refresh_client_cas::RefreshClientCas;
use k0rotate_activities::activity::refresh_trust_holders::RefreshTrustHolders;
use k0rotate_activities::activity::rejoin_node::{How, RejoinNode};
use k0rotate_activities::activity::release_host::ReleaseHost;
use k0rotate_activities::activity::remint_tokens::RemintTokens;
use k0rotate_activities::activity::remove_leftovers::RemoveLeftovers;
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::fleet::Fleet;
use k0rotate_activities::trust::SecretRef;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::cx::Cx;
use k0rotate_engine::workflow::Halt;

/// A step on each of these hosts. A worker that fails for good is left, so that the others go on; a controller is not: the cluster
/// is asked and changed through it, and it could not be held any more.
async fn on_each<A: Activity<Env = Fleet>>(
    cx: &mut Cx<Fleet>,
    cluster: &Cluster,
    hosts: Vec<K0sHost>,
    step: impl Fn(K0sHost) -> A,
) -> Result<(), Halt> {
    let (controllers, workers): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| host.role.is_controller());
    if !workers.is_empty() {
        cx.run_each(workers.into_iter().map(&step).collect(), AT_ONCE, cluster.spare_workers()).await?;
    }
    if !controllers.is_empty() {
        cx.run_all(controllers.into_iter().map(&step).collect(), AT_ONCE).await?;
    }
    Ok(())
}

/// Lets nodes in, each by its way.
pub(super) async fn rejoin(
    cx: &mut Cx<Fleet>,
    ready: &Ready,
    running: &[K0sHost],
    ca: &str,
    ways: &BTreeMap<String, How>,
) -> Result<(), Halt> {
    let nodes = ready.cluster.nodes().into_iter().filter(|node| ways.contains_key(&node.name)).collect();
    let step = |host: K0sHost| {
        let (via, how) = (ready.cluster.to_ask(running, &host), ways[&host.name]);
        RejoinNode { host, via, ca: ca.into(), how }
    };
    on_each(cx, &ready.cluster, nodes, step).await
}

/// Restarts in place what holds another CA in memory.
pub(super) async fn refresh(
    cx: &mut Cx<Fleet>,
    ready: &Ready,
    running: &[K0sHost],
    ca: &str,
    refresh: Refresh,
) -> Result<(), Halt> {
    let step = |host: K0sHost| {
        let via = ready.cluster.to_ask(running, &host);
        RefreshTrustHolders { host, via, ca: ca.into(), refresh }
    };
    on_each(cx, &ready.cluster, ready.cluster.nodes(), step).await
}

/// Controllers one at a time, so that etcd keeps its quorum; then the workers.
pub(super) async fn reboot(cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost], at_once: usize) -> Result<(), Halt> {
    let step = |host: &K0sHost| RebootHost { host: host.clone(), via: ready.cluster.to_ask(running, host) };
    let (controllers, workers): (Vec<_>, Vec<_>) =
        ready.cluster.nodes().into_iter().partition(|h| h.role.is_controller());
    if !controllers.is_empty() {
        cx.run_all(controllers.iter().map(step).collect(), 1).await?;
    }
    if !workers.is_empty() {
        cx.run_each(workers.iter().map(step).collect(), at_once.max(1), ready.cluster.spare_workers()).await?;
    }
    Ok(())
}

/// Through every controller.
pub(super) async fn check_nodes(cx: &mut Cx<Fleet>, ready: &Ready, running: &[K0sHost], ca: &str) -> Result<(), Halt> {
    let nodes = ready.cluster.nodes();
    let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let step = |host| CheckNode { host, through: running.to_vec(), ca: ca.into(), nodes: count };
    on_each(cx, &ready.cluster, nodes, step).await
}

/// Tokens minted since, published CAs, legacy tokens, files.
pub(super) async fn clean_up(
    cx: &mut Cx<Fleet>,
    ready: &Ready,
    running: &[K0sHost],
    published: RefreshClientCas,
    service_account: String,
    keep_token: &[String],
) -> Result<(), Halt> {
    let via = running.to_vec();
    if ready.cluster.has_tokens() {
        cx.run(InvalidateToken { via: via.clone(), keep: keep_token.to_vec() }).await?;
    }
    cx.run(published).await?;
    cx.run(RemintTokens { via, public: service_account }).await?;
    on_each(cx, &ready.cluster, ready.cluster.hosts(), |host| RemoveLeftovers { host }).await
}

/// The same with a join token minted for it, where one of the first trust can be shown; those that let the nodes in are revoked already.
pub(super) async fn prove_with_token(
    cx: &mut Cx<Fleet>,
    rotate: &Rotate,
    ready: &Ready,
    running: &[K0sHost],
) -> Result<(), Halt> {
    let shown = |kept: &Kept| kept.kind == Kind::JoinToken && kept.verdict == Verdict::Accepted;
    if !ready.old.values().any(|kept| kept.credentials.iter().any(shown)) {
        return prove(cx, rotate, ready, running, &ready.old).await;
    }
    let via = running.to_vec();
    let keep = cx.run(MintToken { via: via.clone() }).await?;
    prove(cx, rotate, ready, running, &ready.old).await?;
    cx.run(InvalidateToken { via, keep }).await
}

/// The matrix, controller by controller.
pub(super) async fn prove(
    cx: &mut Cx<Fleet>,
    rotate: &Rotate,
    ready: &Ready,
    running: &[K0sHost],
    kept: &BTreeMap<String, KeptTrust>,
) -> Result<(), Halt> {
    let left = cx.left();
    let step = |controller: &K0sHost| ProveOldRefused {
        place: ready.cluster.place(controller, &left, &rotate.keep_token),
        others: running.iter().filter(|other| other.name != controller.name).cloned().collect(),
        roots: rotate.roots.clone(),
        kept: kept.get(&controller.name).map(|k| k.credentials.clone()).unwrap_or_default(),
    };
    cx.run_all(running.iter().map(step).collect(), AT_ONCE).await.map(drop)
}

/// Destroys what lies on the hosts, and these sealed copies here, and takes the marks away.
pub(super) async fn let_go(cx: &mut Cx<Fleet>, cluster: &Cluster, copies: &[SecretRef]) -> Result<(), Halt> {
    on_each(cx, cluster, cluster.hosts(), |host| DestroyOldKeys { host, also: None }).await?;
    copies::destroy(cx, copies).await?;
    on_each(cx, cluster, cluster.hosts(), |host| ReleaseHost { name: host.name }).await
}

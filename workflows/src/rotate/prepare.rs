//! What happens while nothing is down yet: looks, marks, backups, new keys staged, join tokens revoked.

use super::{Ready, Rotate, phase};
use crate::cluster::{AT_ONCE, Cluster, names};
use crate::phases;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use k0rotate_activities::activity::back_up_cluster::BackUpCluster;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::copy_keys::CopyKeys;
use k0rotate_activities::activity::hold_cluster::HoldCluster;
use k0rotate_activities::activity::keep_credentials::{KeepCredentials, KeptTrust};
use k0rotate_activities::activity::make_trust::{MakeTrust, Wanted};
use k0rotate_activities::activity::revoke_join_tokens::RevokeJoinTokens;
use k0rotate_activities::activity::snapshot_host::SnapshotHost;
use k0rotate_activities::facts::{ClusterFacts, K0sHost, Storage};
use k0rotate_activities::fleet::{Fleet, Root};
use k0rotate_activities::guards::AsApproved;
use k0rotate_activities::pki::read_one;
use k0rotate_engine::cx::Cx;
use k0rotate_engine::workflow::{Activities, Halt};

/// The activities of this zone.
pub(super) fn activities() -> Activities<Fleet> {
    Activities::new()
        .with::<CheckHost>()
        .with::<CheckCluster>()
        .with::<HoldCluster>()
        .with::<BackUpCluster>()
        .with::<SnapshotHost>()
        .with::<KeepCredentials>()
        .with::<MakeTrust>()
        .with::<CopyKeys>()
        .with::<RevokeJoinTokens>()
}

impl Rotate {
    /// Free: everything that can be found out, kept and made while the cluster works as ever.
    pub(super) async fn prepare(&self, cx: &mut Cx<Fleet>) -> Result<Ready, Halt> {
        phase(cx, phases::CHECK_HOSTS).await?;
        let (cluster, _) = self.look(cx).await?;
        let controllers = cluster.controllers();
        phase(cx, phases::HOLD).await?;
        cx.run(HoldCluster { hosts: names(&cluster.hosts()) }).await?;

        phase(cx, phases::BACK_UP).await?;
        cx.run(BackUpCluster::new(controllers.clone(), cluster.storage(), self.allow.clone())).await?;
        cx.run_all(cluster.hosts().into_iter().map(SnapshotHost::new).collect(), AT_ONCE).await?;
        let keep =
            |c: &K0sHost| KeepCredentials { place: cluster.place(c, &[], &self.keep_token), roots: self.roots.clone() };
        let kept = cx.run_all(controllers.iter().map(keep).collect(), AT_ONCE).await?;
        let old: BTreeMap<String, KeptTrust> = controllers.iter().map(|c| c.name.clone()).zip(kept).collect();

        phase(cx, phases::MAKE_TRUST).await?;
        let new = cx.run(self.wanted(&cluster, &old)).await?;
        phase(cx, phases::COPY_KEYS).await?;
        let pairs = |host: &K0sHost| new.of(&host.name).into_iter().map(|(root, pair)| (root, pair.clone())).collect();
        let copies = controllers.iter().map(|host| CopyKeys { host: host.clone(), pairs: pairs(host) });
        cx.run_all(copies.collect(), AT_ONCE).await?;

        if cluster.has_tokens() {
            phase(cx, phases::REVOKE_TOKENS).await?;
            cx.run(RevokeJoinTokens { via: controllers.clone(), keep: self.keep_token.clone() }).await?;
        }
        Ok(Ready { cluster, new, old })
    }

    /// Looks at every host, then at the cluster as they and its API describe it.
    async fn look(&self, cx: &mut Cx<Fleet>) -> Result<(Cluster, ClusterFacts), Halt> {
        let check = |member: &super::Member| CheckHost {
            name: member.name.clone(),
            role: member.role,
            address: member.address.clone(),
            allow: self.allow.clone(),
        };
        let facts = cx.run_all(self.hosts.iter().map(check).collect(), AT_ONCE).await?;
        let cluster = Cluster::new(facts, self.primary.as_deref());
        let check = CheckCluster::of(cluster.facts(), self.leave_behind.clone());
        let seen = cx.run(check.without(self.leave_behind.clone(), self.etcd_ca_stays())).await?;
        Ok((cluster, seen))
    }

    /// An approval is of what was seen then. Keys may be staged since and join tokens revoked, which it does not cover.
    pub(super) async fn see_that_it_is_as_approved(&self, cx: &mut Cx<Fleet>, then: &Cluster) -> Result<(), Halt> {
        phase(cx, phases::CHECK_APPROVED).await?;
        let (cluster, seen) = self.look(cx).await?;
        let pairs = then.facts().iter().zip(cluster.facts());
        let other = pairs.into_iter().find(|(then, now)| then.covered() != now.covered());
        let other = other.map(|(_, now)| now.host.name.clone());
        let first = cx.recorded::<CheckCluster>(phases::CHECK_HOSTS.0, "cluster").and_then(|step| step.output);
        let same = first.is_some_and(|first| seen.is_as(&first));
        let differs = other.or_else(|| (!same).then(|| String::from("cluster")));
        cx.guard(&AsApproved { differs }).await
    }

    /// Names are kept, for k0s tells its own leafs by the issuer's (facts §1.1).
    fn wanted(&self, cluster: &Cluster, old: &BTreeMap<String, KeptTrust>) -> MakeTrust {
        let roots = self.roots.iter().filter(|root| **root != Root::EtcdCa || cluster.storage() == Storage::Etcd);
        let wanted = |root: Root| {
            let given = self.own_cas.get(&root).cloned();
            let retired = if given.is_some() { keys_of(old) } else { Vec::new() };
            let (common_name, seconds) = (cluster.common_name(root), cluster.lifetime(root));
            Wanted { root, common_name, seconds, given, retired }
        };
        let (own, shared): (Vec<Root>, Vec<Root>) = roots.copied().partition(|root| *root == Root::FrontProxyCa);
        let names = || cluster.controllers().into_iter().map(|c| c.name).collect::<Vec<_>>();
        let front_proxy = own.first().map(|root| (wanted(*root), names()));
        MakeTrust::new(shared.into_iter().map(wanted).collect(), front_proxy)
    }
}

/// The public keys of all CAs that were in use anywhere.
fn keys_of(old: &BTreeMap<String, KeptTrust>) -> Vec<String> {
    let certificates = old.values().flat_map(|kept| kept.public.values());
    let keys = certificates.filter_map(|pem| Some(read_one(pem.as_bytes()).ok()?.spki_sha256));
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The join tokens of the first trust are good again.
pub(super) async fn give_tokens_back(cx: &mut Cx<Fleet>) -> Result<(), Halt> {
    match cx.recorded::<RevokeJoinTokens>(phases::REVOKE_TOKENS.0, "cluster") {
        Some(_) => cx.undo::<RevokeJoinTokens>(phases::REVOKE_TOKENS.0, "cluster").await,
        None => Ok(()),
    }
}

//! Who is affected by a rotation: what people and programs hold that stops working or must be taken anew.

use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::Root;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// See the file's sentence. Names alone: nothing secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// Whether copies of admin.conf stop working, and all that trusts the old Kubernetes CA.
    pub admin_copies: bool,
    /// Users with a certificate in `pki/`: their kubeconfigs stop working.
    pub kubeconfigs: Vec<String>,
    /// Service-account tokens in Secrets, which are minted anew and must be copied again.
    pub legacy_tokens: Vec<String>,
    /// Join tokens for controllers that are revoked.
    pub controller_tokens: usize,
    /// The same for workers.
    pub worker_tokens: usize,
    /// Running pods that mount the CA or a token, by owner; some programs read them once.
    pub pods: BTreeMap<String, u32>,
    /// Whether the rotation restarts all of these itself, by `--refresh all` or by a reboot.
    pub pods_restarted: bool,
    /// Webhooks that keep pods from being made while they do not answer.
    pub webhooks: Vec<String>,
    /// Objects that hold the old CA as a `caBundle`: k0rotate does not change them.
    pub ca_bundles: Vec<String>,
}

impl Affected {
    /// By a rotation with these options.
    pub fn of(facts: &[HostFacts], cluster: &ClusterFacts, rotate: &Rotate) -> Self {
        let (ca, key) = (rotate.roots.contains(&Root::KubernetesCa), rotate.roots.contains(&Root::ServiceAccount));
        let users: BTreeSet<String> = facts.iter().flat_map(HostFacts::user_certificates).map(user).collect();
        let joinable = facts.iter().any(|f| f.join_api);
        let revoked = |ids: &[String]| {
            let all = ids.iter().filter(|id| !rotate.keep_token.contains(id)).count();
            if joinable { all } else { 0 }
        };
        Self {
            admin_copies: ca,
            kubeconfigs: if ca { users.into_iter().collect() } else { Vec::new() },
            legacy_tokens: if key { cluster.legacy_secrets.clone() } else { Vec::new() },
            controller_tokens: revoked(&cluster.controller_tokens),
            worker_tokens: revoked(&cluster.worker_tokens),
            pods: if ca || key { cluster.token_pods.clone() } else { BTreeMap::new() },
            pods_restarted: rotate.refresh == Refresh::All || rotate.reboot_at_once.is_some(),
            webhooks: cluster.blocking_webhooks.clone(),
            ca_bundles: if ca { cluster.ca_bundles.clone() } else { Vec::new() },
        }
    }

    /// Pods outside of kube-system: those of kube-system are refreshed.
    pub fn own_pods(&self) -> u32 {
        self.pods.iter().filter(|(owner, _)| !owner.starts_with("kube-system/")).map(|(_, count)| count).sum()
    }
}

/// The user of a certificate, which is the name of its file.
pub(super) fn user(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".crt").unwrap_or(name).to_owned()
}

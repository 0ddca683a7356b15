//! A fleet of the model that is like a cluster that was looked at, in all that the course and the times of a rotation depend on.

use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::facts::{ClusterFacts, HostFacts, Storage};
use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeMap;
use std::fmt;

/// A cluster of the model, and the rotation that is asked for there.
#[derive(Clone, Debug)]
pub struct Modelled {
    /// The fleet.
    pub fleet: FleetPlan,
    /// The same options, on the hosts of the fleet.
    pub rotate: Rotate,
    /// Names in the inventory by names in the fleet.
    pub names: BTreeMap<String, String>,
}

/// Why the model has nothing like this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotModelled {
    /// It keeps its data where no machine of the model does.
    Storage {
        /// A controller that does.
        host: String,
        /// Where.
        storage: Storage,
    },
    /// It has more hosts than are simulated while somebody waits.
    Hosts(usize),
    /// Nothing was found that could be modelled.
    NoController,
}

/// More hosts than that take longer to simulate than people wait for a plan: both ways of 100 take half a minute or more.
pub const MOST_HOSTS: usize = 120;

impl fmt::Display for NotModelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { host, storage } => {
                let kept = match storage {
                    Storage::Etcd => "etcd with --single",
                    Storage::ExternalEtcd => "an external etcd",
                    Storage::KineSqlite => "kine on a local file without --single",
                    Storage::KineRemote => "kine on a database server",
                };
                write!(f, "the model has no {kept}, as {host} has it")
            }
            Self::Hosts(hosts) => write!(f, "{hosts} hosts take too long to simulate; at most {MOST_HOSTS} are"),
            Self::NoController => f.write_str("no controller was found"),
        }
    }
}

impl Modelled {
    /// Names and addresses are the model's own, so that none of the cluster's can be one that it does not expect. The window stays
    /// out (the model would sit it out), and so do hosts left behind and tokens kept: they are not there. The model has throw-away keys for CAs that are brought, too.
    pub fn of(facts: &[HostFacts], cluster: &ClusterFacts, rotate: &Rotate) -> Result<Self, NotModelled> {
        let first = facts.iter().find(|f| f.host.role.is_controller()).ok_or(NotModelled::NoController)?;
        if facts.len() > MOST_HOSTS {
            return Err(NotModelled::Hosts(facts.len()));
        }
        facts.iter().try_for_each(stored)?;
        let (mut hosts, mut names) = (Vec::new(), BTreeMap::new());
        for (i, f) in facts.iter().enumerate() {
            let name = format!("h{}", i + 1);
            names.insert(name.clone(), f.host.name.clone());
            let version = (f.host.version != first.host.version).then(|| f.host.version.clone());
            let address = format!("10.77.{}.{}", i / 200, 11 + i % 200);
            hosts.push(PlannedHost { name, role: f.host.role, address, version });
        }
        let revoked = |ids: &[String]| ids.iter().filter(|id| !rotate.keep_token.contains(id)).count();
        let own_root = first.host.kubelet_root != format!("{}/kubelet", first.host.data_dir);
        let fleet = FleetPlan {
            version: first.host.version.clone(),
            dynamic_config: cluster.dynamic_config,
            data_dir: first.host.data_dir.clone(),
            kubelet_root: own_root.then(|| first.host.kubelet_root.clone()),
            // Pods that are not refreshed take nobody's time.
            pods_per_node: if rotate.refresh == Refresh::All { pods_per_node(facts, cluster) } else { 1 },
            legacy_secrets: cluster.legacy_secrets.len(),
            worker_tokens: revoked(&cluster.worker_tokens),
            controller_tokens: revoked(&cluster.controller_tokens),
            hosts,
            ..FleetPlan::of(&[])
        };
        let rotate = on(&fleet, &names, rotate);
        Ok(Self { fleet, rotate, names })
    }

    /// A host's name in the inventory; other targets as they are.
    pub fn name(&self, target: &str) -> String {
        self.names.get(target).map_or_else(|| target.to_owned(), Clone::clone)
    }
}

/// The machines of the model keep their data in etcd, and a single one in kine on a local file.
fn stored(facts: &HostFacts) -> Result<(), NotModelled> {
    let modelled = if facts.host.role == Role::Single { Storage::KineSqlite } else { Storage::Etcd };
    match facts.storage.filter(|found| *found != modelled) {
        Some(storage) => Err(NotModelled::Storage { host: facts.host.name.clone(), storage }),
        None => Ok(()),
    }
}

/// Pods that hold the cluster's CA besides those of kube-system, which the model has of its own.
fn pods_per_node(facts: &[HostFacts], cluster: &ClusterFacts) -> usize {
    let nodes = facts.iter().filter(|f| f.host.role.has_workloads()).count();
    let own = cluster.token_pods.iter().filter(|(owner, _)| !owner.starts_with("kube-system/"));
    let pods: usize = own.map(|(_, count)| *count as usize).sum();
    pods.div_ceil(nodes.max(1))
}

fn on(fleet: &FleetPlan, names: &BTreeMap<String, String>, rotate: &Rotate) -> Rotate {
    let of_ours = |real: &String| names.iter().find(|(_, name)| *name == real).map(|(model, _)| model.clone());
    Rotate {
        hosts: fleet.hosts.iter().map(PlannedHost::member).collect(),
        primary: rotate.primary.as_ref().and_then(of_ours),
        not_before: None,
        not_after: None,
        approval: false,
        leave_behind: Vec::new(),
        keep_token: Vec::new(),
        own_cas: BTreeMap::new(),
        ..rotate.clone()
    }
}

//! Looks at a cluster through the probes that a rotation uses, and gives all that can be seen of it; changes nothing on any host.

use crate::error::Error;
use crate::open::Hosts;
use futures_util::future::{Either, join_all, select};
use futures_util::stream::{self, StreamExt};
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::common::{self, Seen, Step};
use k0rotate_activities::activity::hold_cluster::{self, LockedBy};
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::{Fleet, KeyKind, Secrets};
use k0rotate_activities::host::Mark;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::secret::Secret;
use k0rotate_activities::trust::SecretRef;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::clock::{Clock, Timestamp};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::{ExecutionId, Incarnation, StepId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is looked at.
pub struct Asked<'a> {
    /// What the file says.
    pub inventory: &'a Inventory,
    /// How its hosts are reached.
    pub hosts: &'a Hosts,
    /// The clock that belongs to them.
    pub clock: Arc<dyn Clock>,
    /// Checks whose refusal is accepted.
    pub allow: &'a [String],
    /// Hosts and Nodes that are not looked at.
    pub leave_behind: &'a [String],
    /// Whether it is for a rotation that leaves the etcd CA as it is.
    pub etcd_ca_stays: bool,
    /// Hosts looked at at the same time.
    pub at_once: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Survey {
    /// When.
    pub at: Timestamp,
    /// Hosts of the inventory by name, or why they could not be looked at.
    pub hosts: BTreeMap<String, Result<HostFacts, Failure>>,
    /// The cluster as its API tells it, or why none does.
    pub cluster: Result<ClusterFacts, Failure>,
    /// All that speaks against a rotation, in the order in which a rotation would be refused.
    pub against: Vec<Failure>,
    /// Marks of executions, by host.
    pub marks: BTreeMap<String, Mark>,
    /// Who has k0sctl's lock, by host.
    pub locks: BTreeMap<String, LockedBy>,
}

impl Survey {
    /// Facts of all hosts that could be looked at, in the order of the inventory.
    pub fn seen<'a>(&'a self, inventory: &'a Inventory) -> impl Iterator<Item = &'a HostFacts> {
        inventory.hosts.iter().filter_map(|host| self.hosts.get(&host.name)?.as_ref().ok())
    }
}

/// What was seen of one host.
struct Found {
    facts: Result<HostFacts, Failure>,
    against: Vec<Failure>,
    mark: Option<Mark>,
    lock: Option<LockedBy>,
}

/// Looks. On a rehearsal fleet it must run inside of `paced`.
pub async fn survey(asked: &Asked<'_>) -> Survey {
    let fleet = Arc::new(Fleet {
        hosts: asked.hosts.clone(),
        members: asked.inventory.hosts.iter().map(InventoryHost::member).collect(),
        clock: asked.clock.clone(),
        secrets: Arc::new(NoSecrets),
        by: crate::open::who(),
        keys: KeyKind::P256,
    });
    let left =
        |host: &&InventoryHost| !asked.leave_behind.iter().any(|called| asked.inventory.host(called) == Some(host));
    let looked_at: Vec<&InventoryHost> = asked.inventory.hosts.iter().filter(left).collect();
    let looks = looked_at.iter().map(|host| look(asked, &fleet, host));
    let found: Vec<Found> = stream::iter(looks.collect::<Vec<_>>()).buffered(asked.at_once.max(1)).collect().await;

    let facts: Vec<HostFacts> = found.iter().filter_map(|found| found.facts.as_ref().ok()).cloned().collect();
    let called =
        |called: &String| asked.inventory.host(called).map_or_else(|| called.clone(), |host| host.name.clone());
    let mut controllers_first = facts;
    controllers_first.sort_by_key(|facts| !facts.host.role.is_controller());
    // Whoever could not be looked at is told so, and not that the cluster knows somebody more than the file.
    let unseen = looked_at.iter().zip(&found).filter(|(_, found)| found.facts.is_err());
    let unseen = unseen.flat_map(|(host, _)| [host.name.clone(), host.address.clone()]);
    let left: Vec<String> = asked.leave_behind.iter().map(called).collect();
    let check = CheckCluster::of(&controllers_first, left.iter().cloned().chain(unseen).collect());
    let check = check.without(left, asked.etcd_ca_stays);
    let Seen { facts, against } =
        within(asked, &check, check.look(&attempt(&fleet, &check))).await.unwrap_or_else(late);
    let cluster = facts.ok_or_else(|| against.last().cloned().unwrap_or_else(|| Failure::new("no-controller-to-ask")));
    let mut survey = Survey {
        at: asked.clock.now(),
        hosts: BTreeMap::new(),
        cluster,
        against: Vec::new(),
        marks: BTreeMap::new(),
        locks: BTreeMap::new(),
    };
    for (host, found) in looked_at.into_iter().zip(found) {
        survey.against.extend(found.facts.as_ref().err().cloned().into_iter().chain(found.against));
        survey.hosts.insert(host.name.clone(), found.facts);
        survey.marks.extend(found.mark.map(|mark| (host.name.clone(), mark)));
        survey.locks.extend(found.lock.map(|lock| (host.name.clone(), lock)));
    }
    survey.against.extend(against);
    survey.against.extend(answering(asked.hosts, &*asked.clock, asked.leave_behind).await);
    survey
}

/// Hosts that are to be left behind, and answer: such a controller would go on with the old trust, lead, and admit nobody.
pub async fn answering(hosts: &Hosts, clock: &dyn Clock, leave_behind: &[String]) -> Vec<Failure> {
    let marks = marks(hosts, clock, leave_behind).await;
    let answering = leave_behind.iter().zip(marks).filter(|(_, mark)| mark.is_some());
    answering.map(|(name, _)| Failure::refused("host-answers").with("host", name)).collect()
}

/// Of each of these hosts that answers its mark, if it has one; all are asked at once.
pub async fn marks(hosts: &Hosts, clock: &dyn Clock, names: &[String]) -> Vec<Option<Option<Mark>>> {
    let one = async |name: &String| {
        let asking = std::pin::pin!(hosts.get(name)?.mark());
        match select(asking, clock.sleep(BRIEFLY)).await {
            Either::Left((mark, _)) => mark.ok(),
            Either::Right(_) => None,
        }
    };
    join_all(names.iter().map(one)).await
}

/// Who does not answer by then is not waited for, and counts as dead.
const BRIEFLY: Duration = Duration::from_secs(10);

/// The same, in the time of the rehearsal fleet if it is one.
pub async fn paced(asked: &Asked<'_>, rehearsal: Option<&Rehearsal>) -> Result<Survey, Error> {
    in_time_of(rehearsal, survey(asked)).await
}

/// Anything that asks hosts, in the time of the rehearsal fleet if they are of one.
pub async fn in_time_of<T>(rehearsal: Option<&Rehearsal>, asking: impl Future<Output = T>) -> Result<T, Error> {
    let gone = |_| Error::Host("the rehearsal fleet has ended: k0rotate demo --shell starts one".into());
    match rehearsal {
        Some(rehearsal) => rehearsal.paced(asking).await.map_err(gone),
        None => Ok(asking.await),
    }
}

async fn look(asked: &Asked<'_>, fleet: &Arc<Fleet>, host: &InventoryHost) -> Found {
    let check = CheckHost {
        name: host.name.clone(),
        role: host.role,
        address: host.address.clone(),
        allow: asked.allow.to_vec(),
    };
    if !asked.hosts.contains_key(&host.name) {
        let facts = Err(Failure::refused("winrm-not-spoken").with("host", &host.name));
        return Found { facts, against: Vec::new(), mark: None, lock: None };
    }
    let cx = attempt(fleet, &check);
    // First who holds it: that is told also where nothing else can be seen.
    let (mark, lock) = match within(asked, &check, holders(&cx, &host.name)).await.and_then(|found| found) {
        Ok(found) => found,
        Err(failure) => return Found { facts: Err(failure), against: Vec::new(), mark: None, lock: None },
    };
    let (facts, against) = match within(asked, &check, check.look(&cx)).await {
        Ok(Ok(Seen { facts, against })) => (Ok(facts), against),
        Ok(Err(failure)) | Err(failure) => (Err(failure), Vec::new()),
    };
    Found { facts, against, mark, lock }
}

async fn holders(cx: &Step, name: &str) -> Result<(Option<Mark>, Option<LockedBy>), Failure> {
    let mark = common::host(cx, name)?.mark().await.map_err(common::of(name))?;
    Ok((mark, hold_cluster::locked_by(cx, name).await?))
}

/// A look ends with the deadline that the activity has in a rotation.
async fn within<A: Activity, T>(asked: &Asked<'_>, of: &A, look: impl Future<Output = T>) -> Result<T, Failure> {
    let (look, late) = (std::pin::pin!(look), asked.clock.sleep(of.retry().deadline));
    match futures_util::future::select(look, late).await {
        futures_util::future::Either::Left((seen, _)) => Ok(seen),
        futures_util::future::Either::Right(_) => Err(Failure::new("host-slow").with("host", of.target())),
    }
}

fn late(failure: Failure) -> Seen<Option<ClusterFacts>> {
    Seen { facts: None, against: vec![failure] }
}

/// An attempt of an execution that does not exist: no host obeys a change of it.
fn attempt<A: Activity>(fleet: &Arc<Fleet>, of: &A) -> Step {
    Step {
        env: fleet.clone(),
        clock: fleet.clock.clone(),
        execution: ExecutionId::new("survey"),
        incarnation: Incarnation::new("survey"),
        step: StepId::of("survey", A::NAME, &of.target()),
        attempt: 1,
        fence: 0,
        back: false,
        left_behind: Vec::new(),
        phase: "survey".to_owned(),
        give_up_at: fleet.clock.now().plus(of.retry().deadline),
    }
}

/// Looks need no secrets.
struct NoSecrets;

#[async_trait::async_trait]
impl Secrets for NoSecrets {
    async fn put(&self, _: &Secret) -> Result<SecretRef, Failure> {
        Err(Failure::refused("secret-not-stored"))
    }

    async fn get(&self, _: &SecretRef) -> Result<Secret, Failure> {
        Err(Failure::refused("secret-not-found"))
    }

    async fn remove(&self, _: &SecretRef) -> Result<(), Failure> {
        Err(Failure::refused("secret-not-removed"))
    }

    async fn all(&self) -> Result<Vec<SecretRef>, Failure> {
        Ok(Vec::new())
    }
}

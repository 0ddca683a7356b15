//! Whether hosts are the machines, and their cluster the one, on which an execution began: names can be the same in another cluster.

use crate::facts::{ClusterFacts, HostFacts, K0sHost};
use crate::host::{Host, HostError};
use crate::kube::Api;
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt};
use k0rotate_engine::clock::Clock;
use k0rotate_engine::failure::Failure;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// Hosts that are asked at the same time.
const AT_ONCE: usize = 30;
/// Who does not answer in this time is not known to be another, and is looked at by the steps that need it.
const BRIEFLY: Duration = Duration::from_secs(5);

/// What an execution knows its world by.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// machine-ids by host.
    pub machines: BTreeMap<String, String>,
    /// The UID of the namespace kube-system.
    pub uid: Option<String>,
    /// Controllers that can be asked for it.
    pub controllers: Vec<K0sHost>,
    /// Whether the control plane is down. Then one other machine keeps nobody from bringing the rest up: without a mark it obeys nothing.
    pub down: bool,
}

impl Known {
    /// As it was found, without these hosts.
    pub fn of(hosts: &[HostFacts], cluster: Option<&ClusterFacts>, but: &[String]) -> Self {
        let counted = hosts.iter().filter(|facts| !but.contains(&facts.host.name));
        let controllers = counted.clone().map(|facts| &facts.host).filter(|host| host.role.is_controller());
        Self {
            machines: counted.clone().filter_map(machine).collect(),
            uid: cluster.map(|facts| facts.uid.clone()).filter(|uid| !uid.is_empty()),
            controllers: controllers.cloned().collect(),
            down: false,
        }
    }

    /// Fails where somebody who answers is another.
    pub async fn same(&self, hosts: &BTreeMap<String, Arc<dyn Host>>, clock: &dyn Clock) -> Result<(), Failure> {
        self.same_machines(hosts, clock).await?;
        if self.down { Ok(()) } else { self.same_cluster(hosts, clock).await }
    }

    /// The same of the machines alone, which takes one look at each.
    pub async fn same_machines(
        &self,
        hosts: &BTreeMap<String, Arc<dyn Host>>,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let one = async |host: Option<&Arc<dyn Host>>| briefly(clock, machine_id(&**host?)).await?.ok().flatten();
        let looks: Vec<_> = self.machines.keys().map(|name| one(hosts.get(name))).collect();
        let ids: Vec<Option<String>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
        let pairs = || self.machines.iter().zip(&ids).filter_map(|((name, was), id)| Some((name, was, id.as_ref()?)));
        let any_same = pairs().any(|(_, was, id)| was == id);
        match pairs().find(|(_, was, id)| was != id) {
            Some((name, ..)) if !(self.down && any_same) => Err(Failure::refused("machine-differs").with("host", name)),
            _ => Ok(()),
        }
    }

    /// Machines made from one image may share their ids; two clusters never share the UID.
    async fn same_cluster(&self, hosts: &BTreeMap<String, Arc<dyn Host>>, clock: &dyn Clock) -> Result<(), Failure> {
        let Some(uid) = &self.uid else { return Ok(()) };
        let one = async |via: &K0sHost| {
            let host = hosts.get(&via.name)?.clone();
            Api::through(host, via).cluster_uid().await.ok().map(|now| (via.name.clone(), now))
        };
        // All at once: one that hangs must not keep the others from being heard in time.
        let asked: Vec<_> = self.controllers.iter().map(one).collect();
        let mut answers = pin!(stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(std::future::ready));
        match briefly(clock, answers.next()).await.flatten() {
            Some((via, now)) if now != *uid => {
                Err(Failure::refused("cluster-differs").with("host", via).with("uid", now).with("was", uid))
            }
            _ => Ok(()),
        }
    }
}

/// Nothing is known of a host that had no id.
fn machine(facts: &HostFacts) -> Option<(String, String)> {
    (!facts.machine_id.is_empty()).then(|| (facts.host.name.clone(), facts.machine_id.clone()))
}

/// `None` if it takes too long.
async fn briefly<T>(clock: &dyn Clock, look: impl Future<Output = T>) -> Option<T> {
    match select(pin!(look), clock.sleep(BRIEFLY)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// What a machine is known by; `None` where it has no id.
pub async fn machine_id(host: &dyn Host) -> Result<Option<String>, HostError> {
    let id = host.read("/etc/machine-id").await?;
    Ok(id.map(|id| String::from_utf8_lossy(id.expose()).trim().to_owned()).filter(|id| !id.is_empty()))
}

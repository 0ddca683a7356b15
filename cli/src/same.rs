//! Refuses a word about an execution on hosts that are not those that it began on: names can be the same in another cluster.

use crate::error::Error;
use crate::plan::look;
use crate::report;
use crate::runtime::Runtime;
use crate::survey;
use futures_util::future::{Either, join_all, select};
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::host::Mark;
use k0rotate_engine::event::Zone;
use k0rotate_engine::view::ExecutionView;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// A host that does not answer in this time is not known to be another one, and is looked at by the steps that need it.
const BRIEFLY: Duration = Duration::from_secs(10);

/// Fails if a host that answers is another machine than the one that was found under its name; those that were left, and these, are passed
/// over. While the API is down one other machine keeps nobody from bringing the rest up: without a mark it obeys nothing.
pub async fn same_machines(runtime: &Runtime, view: &ExecutionView, but: &[String]) -> Result<(), Error> {
    let left = view.state.not_held();
    let mut found = report::outputs::<CheckHost, HostFacts>(view);
    found.retain(|(name, _)| !left.contains(name) && !but.contains(name));
    let ids = each(runtime, found.iter().map(|(name, _)| name.clone()), async |host| {
        let id = host.read("/etc/machine-id").await.ok().flatten()?;
        Some(String::from_utf8_lossy(id.expose()).trim().to_owned())
    });
    let ids = ids.await?;
    let pairs = || found.iter().zip(&ids).filter_map(|((name, facts), id)| Some((name, facts, id.as_ref()?)));
    let any_same = pairs().any(|(_, facts, id)| facts.machine_id == *id);
    let down = matches!(view.state.zone(), Zone::Down { .. });
    match pairs().find(|(_, facts, id)| facts.machine_id != **id) {
        Some((name, ..)) if !(down && any_same) => Err(Error::Elsewhere(format!(
            "{name} is another machine than the one on which {} of {} began",
            view.execution, view.subject
        ))),
        _ => Ok(()),
    }
}

/// Fails if somebody holds a host: found before anything is recorded.
pub async fn not_held(runtime: &Runtime, hosts: Vec<String>) -> Result<(), Error> {
    let marks = marks(runtime, &hosts).await?;
    let held = hosts.iter().zip(marks).find_map(|(host, mark)| Some((host, mark.flatten()?)));
    held.map_or(Ok(()), |(host, mark)| Err(Error::Open(format!("the cluster is held: {}", look::held(host, &mark)))))
}

/// Fails if one of these hosts answers and was not left: it has to be let go like the others, or nobody ever can.
pub async fn away(runtime: &Runtime, view: &ExecutionView, hosts: &[String]) -> Result<(), Error> {
    let left = view.state.not_held();
    let hosts: Vec<String> = hosts.iter().filter(|host| !left.contains(host)).cloned().collect();
    let marks = marks(runtime, &hosts).await?;
    match hosts.iter().zip(marks).find(|(_, mark)| mark.is_some()) {
        Some((host, _)) => {
            Err(Error::Word(format!("host-answers host={host}: it was not left, and is let go with the others")))
        }
        None => Ok(()),
    }
}

/// Of each host that answers its mark, if it has one.
async fn marks(runtime: &Runtime, hosts: &[String]) -> Result<Vec<Option<Option<Mark>>>, Error> {
    each(runtime, hosts.iter().cloned(), async |host| host.mark().await.ok()).await
}

/// One look at each of these hosts, all at once; `None` for those that do not answer.
async fn each<T, F: Future<Output = Option<T>>>(
    runtime: &Runtime,
    hosts: impl Iterator<Item = String>,
    ask: impl Fn(std::sync::Arc<dyn k0rotate_activities::host::Host>) -> F,
) -> Result<Vec<Option<T>>, Error> {
    let one = async |name: String| {
        let host = runtime.fleet.hosts.get(&name)?.clone();
        match select(pin!(ask(host)), runtime.fleet.clock.sleep(BRIEFLY)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => None,
        }
    };
    survey::in_time_of(runtime.rehearsal.as_ref(), join_all(hosts.map(one))).await
}

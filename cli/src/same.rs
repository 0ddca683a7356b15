//! Refuses a word about an execution on hosts that are not those that it began on: names can be the same in another cluster.

use crate::config::Settings;
use crate::error::Error;
use crate::open::{self, Hosts};
use crate::plan::look;
use crate::report;
use crate::runtime::Runtime;
use crate::survey;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::host::Mark;
use k0rotate_activities::host::ssh::HostKeys;
use k0rotate_activities::identity::Known;
use k0rotate_activities::inventory::Inventory;
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::Side;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;
use std::sync::Arc;
use std::time::Duration;

/// How long a word to a process that drives waits for hosts, by the clock on the wall.
const WALL: Duration = Duration::from_secs(6);

/// What an execution knows its world by, as its history tells, without these hosts.
pub fn known(view: &ExecutionView, but: &[String]) -> Known {
    if let Some(rejoin) = view.input.decode::<Rejoin>().ok().filter(|_| view.workflow == "rejoin") {
        return rejoin.world();
    }
    let found = report::forward_outputs::<CheckHost, HostFacts>(view).into_iter().map(|(_, facts)| facts);
    let found: Vec<HostFacts> = found.collect();
    let cluster = report::forward_outputs::<CheckCluster, ClusterFacts>(view).pop();
    let but = [&view.state.not_held(), but].concat();
    let known = Known::of(&found, cluster.as_ref().map(|(_, facts)| facts), &but);
    Known { down: view.state.is_down(), ..known }
}

/// Fails if a host that answers, or its cluster, is another than the one that was found under its name.
pub async fn same_world(runtime: &Runtime, view: &ExecutionView, but: &[String]) -> Result<(), Error> {
    let (known, fleet) = (known(view, but), &runtime.fleet);
    let looked = survey::in_time_of(runtime.rehearsal.as_ref(), known.same(&fleet.hosts, &*fleet.clock)).await?;
    looked.map_err(|differs| Error::Elsewhere(elsewhere(view, &differs)))
}

/// The same of the machines alone, for a word to a process that drives: that one has looked at its cluster, and these hosts must be its hosts.
pub async fn its_machines(settings: &Settings, inventory: &Inventory, view: &ExecutionView) -> Result<(), Error> {
    let (hosts, rehearsal): (Hosts, Option<Rehearsal>) = open::hosts(settings, inventory, HostKeys::Known)?;
    let clock: Arc<dyn Clock> = match &rehearsal {
        Some(rehearsal) => rehearsal.clock(),
        None => Arc::new(SystemClock::default()),
    };
    let known = known(view, &[]);
    let looked = survey::in_time_of(rehearsal.as_ref(), known.same_machines(&hosts, &*clock));
    // The time of a rehearsal fleet may stand: that, too, is no answer.
    match tokio::time::timeout(WALL, looked).await {
        Ok(looked) => looked?.map_err(|differs| Error::Elsewhere(elsewhere(view, &differs))),
        Err(_) => Ok(()),
    }
}

/// What was seen, in words.
pub fn elsewhere(view: &ExecutionView, differs: &Failure) -> String {
    let host = differs.fields.get("host").map_or("", String::as_str);
    let began = format!("on which {} of {} began", view.execution, view.subject);
    match differs.fields.get("uid") {
        Some(uid) => format!("{host} is in the cluster with the UID {uid}, which is not the one {began}"),
        None => format!("{host} is another machine than the one {began}"),
    }
}

/// Fails if somebody holds a host: found before anything is recorded.
pub async fn not_held(runtime: &Runtime, hosts: Vec<String>) -> Result<(), Error> {
    let marks = marks(runtime, &hosts).await?;
    let held = hosts.iter().zip(marks).find_map(|(host, mark)| Some((host, mark?)));
    let Some((host, mark)) = held else { return Ok(()) };
    let then = if has_ended(runtime, &mark).await {
        format!("; that has ended without it: k0rotate rejoin {host} takes the mark away")
    } else {
        String::new()
    };
    Err(Error::Open(format!("the cluster is held: {}{then}", look::held(host, &mark))))
}

/// The ended execution, another than this rotation, whose mark lies on a host that is to be let in. Fails if somebody else holds it.
pub async fn left_marked(runtime: &Runtime, rotation: &ExecutionView, host: &str) -> Result<Option<String>, Error> {
    let mark = marks(runtime, &[host.to_owned()]).await?.pop().flatten();
    match mark.filter(|mark| mark.execution != rotation.execution.as_str()) {
        None => Ok(None),
        Some(mark) if has_ended(runtime, &mark).await => Ok(Some(mark.execution)),
        Some(mark) => Err(Error::Open(format!("the host is held: {}", look::held(host, &mark)))),
    }
}

/// The mark of each of these hosts, as far as there is one and the host answers.
async fn marks(runtime: &Runtime, hosts: &[String]) -> Result<Vec<Option<Mark>>, Error> {
    let asked = survey::marks(&runtime.fleet.hosts, &*runtime.fleet.clock, hosts);
    let marks = survey::in_time_of(runtime.rehearsal.as_ref(), asked).await?;
    Ok(marks.into_iter().map(Option::flatten).collect())
}

/// Whether a mark is of an execution of this store that is over.
async fn has_ended(runtime: &Runtime, mark: &Mark) -> bool {
    let by = runtime.view(&ExecutionId::new(&mark.execution)).await;
    by.is_some_and(|view| view.state.status.ended())
}

/// Fails if one of these hosts answers and was not left: it has to be let go like the others, or nobody ever can.
pub async fn away(runtime: &Runtime, view: &ExecutionView, hosts: &[String]) -> Result<(), Error> {
    let left = view.state.not_held();
    let hosts: Vec<String> = hosts.iter().filter(|host| !left.contains(host)).cloned().collect();
    match answering(runtime, &hosts).await? {
        Some(failure) => Err(Error::Word(format!("{failure}: it was not left, and is let go with the others"))),
        None => Ok(()),
    }
}

/// Fails on the way back, once there was an outage, if one of these hosts is a controller that was not left: it keeps the first trust, which has to
/// be put back there too (docs/decisions/0005).
pub fn no_controller(view: &ExecutionView, hosts: &[String]) -> Result<(), Error> {
    if view.state.side() == Side::Forward || view.state.forward.zone == Zone::Free {
        return Ok(());
    }
    let left = view.state.not_held();
    let found = report::forward_outputs::<CheckHost, HostFacts>(view);
    let counts = |facts: &HostFacts| facts.host.role.is_controller() && hosts.contains(&facts.host.name);
    match found.iter().find(|(host, facts)| counts(facts) && !left.contains(host)) {
        Some((host, _)) => Err(Error::Word(format!(
            "{host} is a controller, and the way back puts the first trust back on it. Bring it back, or its disk in another machine; or take it out of the cluster and of the inventory (docs/failures.md, controller-away)"
        ))),
        None => Ok(()),
    }
}

/// Fails if one of these hosts, which are to be left behind from the start, answers.
pub async fn dead(runtime: &Runtime, hosts: &[String]) -> Result<(), Error> {
    const WHY: &str = "--leave-behind is for machines that are dead; this one would go on with the old trust";
    match answering(runtime, hosts).await? {
        Some(failure) => Err(Error::Host(format!("a rotation would be refused: {failure}: {WHY}"))),
        None => Ok(()),
    }
}

/// Fails if one of these hosts, which are to be let in, does not answer: an execution that waits for it would keep every word about its
/// rotation waiting too.
pub async fn all_answer(runtime: &Runtime, hosts: &[String]) -> Result<(), Error> {
    for host in hosts {
        if answering(runtime, std::slice::from_ref(host)).await?.is_none() {
            return Err(Error::Host(format!("{host} does not answer: it can be let in once it does")));
        }
    }
    Ok(())
}

/// The first of them that does.
async fn answering(runtime: &Runtime, hosts: &[String]) -> Result<Option<Failure>, Error> {
    let asked = survey::answering(&runtime.fleet.hosts, &*runtime.fleet.clock, hosts);
    Ok(survey::in_time_of(runtime.rehearsal.as_ref(), asked).await?.into_iter().next())
}

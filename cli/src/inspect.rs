//! The verb `inspect`: looks at the trust on the machines, how long it lasts, and who holds the cluster; changes nothing.

pub mod against;
pub mod by_daemon;
pub mod differences;
pub mod found;
pub mod stale;
pub mod text;

use crate::args::{Global, InspectArgs};
use crate::drive::duration;
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::open;
use crate::report;
use crate::source::Source;
use crate::survey::{self, Asked, Survey};
use found::{Inspection, Rotation};
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::facts::ClusterFacts;
use k0rotate_activities::host::ssh::HostKeys;
use k0rotate_activities::inventory::Inventory;
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::view::ExecutionView;
use stale::StalePods;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// See the file's sentence.
pub async fn inspect(global: &Global, state: &Path, args: &InspectArgs) -> Result<Exit, Error> {
    if args.by_daemon {
        return by_daemon::inspect(global, args).await;
    }
    if args.all {
        return all(global, state, args).await;
    }
    let inventory = open::cluster(global, args.cluster.as_deref())?;
    let (found, survey) = one(global, state, args, &inventory).await?;
    refuse_unknown_keys(&survey)?;
    let value = serde_json::to_value(&found).map_err(|e| Error::Usage(e.to_string()))?;
    print(global.output, &value, || text::text(&found))?;
    Ok(exit(&survey, &found))
}

/// One cluster after another; one that cannot be looked at hides no other.
async fn all(global: &Global, state: &Path, args: &InspectArgs) -> Result<Exit, Error> {
    let (mut found, mut exits) = (Vec::new(), Vec::new());
    for inventory in open::inventories(global)? {
        match one(global, state, args, &inventory).await {
            Ok((inspection, survey)) => {
                exits.push(exit(&survey, &inspection));
                found.push(inspection);
            }
            Err(error) => {
                eprintln!("{}: {}", inventory.name, error.sentence());
                exits.push(Exit::Refused);
            }
        }
    }
    let value = serde_json::to_value(&found).map_err(|e| Error::Usage(e.to_string()))?;
    print(global.output, &value, || found.iter().map(text::text).collect::<Vec<_>>().join("\n\n"))?;
    let worst = [Exit::Differs, Exit::Refused].into_iter().find(|worst| exits.contains(worst));
    Ok(worst.unwrap_or(Exit::Done))
}

async fn one(
    global: &Global,
    state: &Path,
    args: &InspectArgs,
    inventory: &Inventory,
) -> Result<(Inspection, Survey), Error> {
    let within = args.expires_within.as_deref().map(duration).transpose()?.map(Duration::from_secs);
    let Past { last, ended } = past(global, state, inventory).await?;
    let against = match &args.against {
        Some(run) => Some(Source::of(global, state, inventory).await?.find(Some(run)).await?.2),
        None => None,
    };
    let host_keys = if args.accept_new_host_keys { HostKeys::AcceptNew } else { HostKeys::Known };
    let (hosts, rehearsal) = open::hosts(&global.settings, inventory, host_keys)?;
    let survey = look(global, inventory, &hosts, rehearsal.as_ref()).await?;
    let mut found = Inspection::of(inventory, &survey, last.as_ref().map(rotation), within);
    for holder in &mut found.holders {
        holder.ended = holder.execution.as_ref().is_some_and(|execution| ended.contains(execution));
    }
    found.against = against.map(|view| against::compare(inventory, &survey, &view)).transpose()?;
    if args.stale_pods {
        let seen: Vec<_> = survey.seen(inventory).collect();
        let asked = StalePods::look(last.as_ref(), &seen, &hosts);
        found.stale_pods = Some(survey::in_time_of(rehearsal.as_ref(), asked).await??);
    }
    found.unused = args.verbose.then(|| unused(inventory));
    Ok((found, survey))
}

/// Looks at the inventory's hosts, wherever they are.
async fn look(
    global: &Global,
    inventory: &Inventory,
    hosts: &open::Hosts,
    rehearsal: Option<&Rehearsal>,
) -> Result<Survey, Error> {
    let clock: Arc<dyn Clock> = match rehearsal {
        Some(rehearsal) => rehearsal.clock(),
        None => Arc::new(SystemClock::default()),
    };
    let at_once = open::at_once(global, inventory);
    let asked = Asked { inventory, hosts, clock, allow: &[], leave_behind: &[], etcd_ca_stays: false, at_once };
    survey::paced(&asked, rehearsal).await
}

/// What the verb says with its exit status.
pub fn exit(survey: &Survey, found: &Inspection) -> Exit {
    if survey.hosts.values().all(Result::is_err) {
        Exit::Refused
    } else if found.differs() {
        Exit::Differs
    } else {
        Exit::Done
    }
}

/// Where keys are all that keeps us from looking at anybody, how to record them is all there is to say.
fn refuse_unknown_keys(survey: &Survey) -> Result<(), Error> {
    let unknown = |failure: &&k0rotate_engine::failure::Failure| failure.code == "host-key-unknown";
    let hosts: Vec<&str> = survey
        .hosts
        .iter()
        .filter(|(_, seen)| seen.as_ref().err().as_ref().is_some_and(unknown))
        .map(|(host, _)| host.as_str())
        .collect();
    if hosts.is_empty() || survey.hosts.values().any(Result::is_ok) {
        Ok(())
    } else {
        Err(Error::HostKey(hosts.join(" ")))
    }
}

/// What the store of this cluster knows.
#[derive(Default)]
struct Past {
    /// The last rotation.
    last: Option<ExecutionView>,
    /// Executions that have ended: a mark of theirs keeps nobody out on purpose.
    ended: Vec<String>,
}

/// Looks into the store of this cluster, whoever holds it.
async fn past(global: &Global, state: &Path, inventory: &Inventory) -> Result<Past, Error> {
    let source = match Source::of(global, state, inventory).await {
        // Never rotated from here, or looked at in the moment in which another process opens it.
        Err(Error::NoRun(_) | Error::Held(_)) => return Ok(Past::default()),
        source => source?,
    };
    let mut past = Past::default();
    for execution in source.executions().await? {
        let history = source.history(&execution).await?;
        let view = ExecutionView::of(&history).map_err(|e| Error::Log(e.to_string()))?;
        past.ended.extend(view.iter().filter(|view| view.state.status.ended()).map(|view| view.execution.to_string()));
        past.last = view.filter(|view| view.workflow == "rotate").or(past.last);
    }
    Ok(past)
}

fn rotation(view: &ExecutionView) -> Rotation {
    let cluster = report::outputs::<CheckCluster, ClusterFacts>(view).pop();
    Rotation {
        execution: view.execution.to_string(),
        state: report::state(view),
        since: crate::render::rfc3339(view.since),
        uid: cluster.map(|(_, facts)| facts.uid),
    }
}

fn unused(inventory: &Inventory) -> Vec<String> {
    let keys = inventory.unused.iter().map(|key| format!("{}:{}: {}: {}", key.file, key.line, key.key, key.why));
    let unset = inventory.unset.iter();
    let unset =
        unset.map(|(name, file, line)| format!("{file}:{line}: the variable {name} is not set, and empty here"));
    keys.chain(unset).collect()
}

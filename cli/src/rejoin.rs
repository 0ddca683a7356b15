//! The verb `rejoin`: lets hosts in again that a rotation went on without, each by an execution of its own.

pub mod rotation;

use crate::ahead::Ahead;
use crate::args::{Global, HostsArgs};
use crate::beside;
use crate::client;
use crate::commands::Commands;
use crate::confirm::{Cluster, confirm};
use crate::drive::follow;
use crate::error::Error;
use crate::exit::Exit;
use crate::left;
use crate::naming;
use crate::open;
use crate::outcome::Wanted;
use crate::runtime::Runtime;
use crate::same;
use crate::socket::Address;
use crate::survey::{self, Asked};
use crate::wish::{Course, Ground, Wish};
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::drive::Start;
use k0rotate_workflows::rejoin::Rejoin;
use rotation::Rotation;
use std::collections::BTreeSet;
use std::path::Path;

/// See the file's sentence.
pub async fn rejoin(global: &Global, state: &Path, args: &HostsArgs) -> Result<Exit, Error> {
    if let Some(kept) = client::meant(global, None) {
        return Box::pin(by_the_daemon(global, &kept?, args)).await;
    }
    let inventory = open::inventory(global)?;
    let (runtime, commands) = (open::runtime(global, state, &inventory)?, Commands::of(global));
    let ground = Ground { global, inventory: &inventory, runtime: &runtime, commands: &commands };
    let (ahead, wanted) = Box::pin(wanted(&ground, &args.hosts)).await?;
    let reason = confirm(&Cluster::of(&inventory), &args.sure, &ahead)?;
    let mut ends = Vec::new();
    for rejoin in &wanted {
        let course = begin(&ground, rejoin, open::who(), reason.clone()).await?;
        let end = follow(&ground, course, None).await?;
        ends.push(end);
        // Only one may be open beside the rotation.
        if !matches!(end, Exit::Done | Exit::Refused) {
            return Ok(end);
        }
    }
    Ok(exit(&ends))
}

/// One after another; each is confirmed.
async fn by_the_daemon(global: &Global, kept: &Address, args: &HostsArgs) -> Result<Exit, Error> {
    let mut ends = Vec::new();
    for host in &args.hosts {
        let wish = Wish::Rejoin { host: host.clone() };
        let end = client::carry_out(global, kept, &wish, &args.sure).await?;
        ends.push(end);
        if !matches!(end, Exit::Done | Exit::Refused) {
            return Ok(end);
        }
    }
    Ok(exit(&ends))
}

/// Begins one of them.
pub async fn begin(ground: &Ground<'_>, rejoin: &Rejoin, by: String, reason: String) -> Result<Course, Error> {
    let start = Start { subject: ground.inventory.name.clone(), by, reason };
    let execution = ground.runtime.engine.start(rejoin, start).await.map_err(|e| Error::Log(e.to_string()))?;
    Ok(Course { execution, word: None, wanted: Wanted::Verified })
}

/// Looks, and refuses what can't be: what lies ahead, and an execution for each host, by name.
pub async fn wanted(ground: &Ground<'_>, called: &[String]) -> Result<(Ahead, Vec<Rejoin>), Error> {
    let Ground { inventory, runtime, commands, .. } = ground;
    let source = ground.source();
    let (_, _, newest) = source.find(None).await?;
    let again = commands.verb("rejoin", &called.iter().map(String::as_str).collect::<Vec<_>>());
    beside::refuse(&source, beside::BESIDE_A_ROTATION, commands, Some(again)).await?;
    let views = source.views().await?;
    drop(source);
    let name = |called: &String| naming::host(inventory, Some(&newest), called);
    let names: Vec<String> = called.iter().map(name).collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
    let view = rotation::of_host(&views, &newest, &names[0]);
    same::same_world(runtime, view, &[]).await?;
    same::all_answer(runtime, &names).await?;
    let rotation = Rotation::of(view)?;
    let mut wanted = Vec::new();
    for name in &names {
        let rejoin = rotation.rejoin(name, looked_at(runtime, inventory, &rotation, name).await?)?;
        let marked = same::left_marked(runtime, view, name).await?;
        let is_in = left::of(view, &views).into_iter().find(|left| left.host == *name && left.again.is_some());
        if let Some(left) = is_in.filter(|_| marked.is_none()) {
            return Err(Error::Word(format!("{left}: there is nothing to let in")));
        }
        if let Some(by) = rotation::kept_no_more(view, &views, &rejoin) {
            return Err(Error::Word(format!(
                "{name}: what was kept of the first trust on it was destroyed when {by} let it in, and the rotation was rolled back without it since: take it out of the cluster, and join it anew"
            )));
        }
        wanted.push(Rejoin { marked, ..rejoin });
    }
    Ok((Ahead::of_rejoin(view, &names.join(" ")), wanted))
}

/// All, none, or some of them are back.
fn exit(ends: &[Exit]) -> Exit {
    match ends.iter().filter(|end| **end == Exit::Done).count() {
        back if back == ends.len() => Exit::Done,
        0 => Exit::Refused,
        _ => Exit::WithLeft,
    }
}

/// A host that the rotation never looked at is looked at now.
async fn looked_at(
    runtime: &Runtime,
    inventory: &Inventory,
    rotation: &Rotation<'_>,
    name: &str,
) -> Result<Option<K0sHost>, Error> {
    if rotation.looked_at(name) {
        return Ok(None);
    }
    let mut alone = inventory.clone();
    alone.hosts.retain(|host| host.name == name);
    let (hosts, clock) = (&runtime.fleet.hosts, runtime.fleet.clock.clone());
    let asked =
        Asked { inventory: &alone, hosts, clock, allow: &[], leave_behind: &[], etcd_ca_stays: false, at_once: 1 };
    let mut survey = survey::paced(&asked, runtime.rehearsal.as_ref()).await?;
    match survey.hosts.remove(name) {
        Some(Ok(facts)) => Ok(Some(facts.host)),
        Some(Err(failure)) => Err(Error::Host(format!("{name}: {failure}"))),
        None => Err(Error::Host(format!("{name} was not looked at"))),
    }
}

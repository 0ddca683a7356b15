//! The verb `leave-behind`: records an operator's word that finalize, or a way back, may go on without hosts that are dead.

use crate::ahead::Ahead;
use crate::approval;
use crate::args::{Global, HostsArgs};
use crate::beside;
use crate::client;
use crate::drive::carry_out;
use crate::error::Error;
use crate::exit::Exit;
use crate::naming;
use crate::open;
use crate::report;
use crate::same;
use crate::wish::{Act, Ground, Ready, Wish};
use std::path::Path;

/// See the file's sentence.
pub async fn leave_behind(global: &Global, state: &Path, args: &HostsArgs) -> Result<Exit, Error> {
    let wish = Wish::LeaveBehind { hosts: args.hosts.clone() };
    if let Some(kept) = client::meant(global, None) {
        return Box::pin(client::carry_out(global, &kept?, &wish, &args.sure)).await;
    }
    let inventory = open::inventory(global)?;
    Box::pin(carry_out(global, state, &inventory, &wish, &args.sure)).await
}

/// Looks, and refuses what can't be.
pub async fn ready(ground: &Ground<'_>, called: &[String]) -> Result<Ready, Error> {
    let Ground { inventory, runtime, commands, .. } = ground;
    let source = ground.source();
    let (_, _, view) = source.find(None).await?;
    let named = called.iter().map(|called| naming::host(inventory, Some(&view), called));
    let hosts = named.collect::<Result<Vec<_>, _>>()?;
    let view = match beside::open(&source, beside::BESIDE_A_ROTATION).await? {
        // It was to let that host in, which has died since.
        Some(rejoin) if hosts.iter().all(|host| beside::lets_in(&rejoin, host)) => rejoin,
        _ => view,
    };
    if approval::is_waited_for(&view) {
        let again = "roll it back, and rotate with --leave-behind";
        return Err(Error::Word(format!("{}: what was planned is without nobody: {again}", report::state(&view))));
    }
    if view.workflow == "rotate" {
        let words: Vec<&str> = called.iter().map(String::as_str).collect();
        let again = commands.verb("leave-behind", &words);
        beside::refuse(&source, beside::BESIDE_A_ROTATION, commands, Some(again)).await?;
    }
    drop(source);
    let execution = &view.execution;
    if let Some(host) = report::left_by_word(&view).into_iter().find(|left| hosts.contains(left)) {
        return Err(Error::Word(format!("{execution} was begun or told to end without {host} already")));
    }
    same::same_world(runtime, &view, &hosts).await?;
    same::no_controller(&view, &hosts)?;
    same::away(runtime, &view, &hosts).await?;
    let ahead = Ahead::of_no_outage(&view, &format!("{execution} may end without {}", hosts.join(" ")));
    Ok(Ready::new(Some(ahead), Act::LeaveBehind(Box::new(view), hosts)))
}

//! The verb `leave-behind`: records an operator's word that finalize, or a way back, may go on without hosts that are dead.

use crate::ahead::Ahead;
use crate::args::{Global, HostsArgs};
use crate::beside;
use crate::commands::Commands;
use crate::confirm::confirm;
use crate::error::Error;
use crate::exit::Exit;
use crate::naming;
use crate::open;
use crate::outcome::refusal;
use crate::report;
use crate::same;
use crate::source::Source;
use k0rotate_engine::drive::Word;
use std::path::Path;

/// See the file's sentence.
pub async fn leave_behind(global: &Global, state: &Path, args: &HostsArgs) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let runtime = open::runtime(global, state, &inventory)?;
    let source = Source::opened(runtime.engine.log().clone());
    let (_, _, view) = source.find(None).await?;
    let named = args.hosts.iter().map(|called| naming::host(&inventory, Some(&view), called));
    let hosts = named.collect::<Result<Vec<_>, _>>()?;
    let view = match beside::open(&source, beside::BESIDE_A_ROTATION).await? {
        // It was to let that host in, which has died since.
        Some(rejoin) if hosts.iter().all(|host| beside::lets_in(&rejoin, host)) => rejoin,
        _ => view,
    };
    let execution = view.execution.clone();
    if view.workflow == "rotate" {
        let (commands, called) = (Commands::of(global), args.hosts.iter().map(String::as_str).collect::<Vec<_>>());
        let again = commands.verb("leave-behind", &called);
        beside::refuse(&source, beside::BESIDE_A_ROTATION, &commands, Some(again)).await?;
    }
    drop(source);
    if let Some(host) = report::left_by_word(&view).into_iter().find(|left| hosts.contains(left)) {
        return Err(Error::Word(format!("{execution} was begun or told to end without {host} already")));
    }
    same::same_world(&runtime, &view, &hosts).await?;
    same::no_controller(&view, &hosts)?;
    same::away(&runtime, &view, &hosts).await?;
    let told = hosts.join(" ");
    let ahead = Ahead::of_no_outage(&view, &format!("{execution} may end without {told}"));
    let reason = confirm(&inventory, &args.sure, &ahead)?;
    let word = Word::LeaveBehind { hosts, by: open::who(), reason };
    runtime.engine.say(&execution, word).await.map_err(|e| Error::Word(refusal(&view, &e)))?;
    println!("{execution} may end without {told}");
    Ok(Exit::Done)
}

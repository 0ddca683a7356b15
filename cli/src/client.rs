//! The verbs on a cluster of the daemon: it looks and begins there, and is confirmed and followed here.

use crate::ahead::Ahead;
use crate::args::{Global, Sure};
use crate::commands::Commands;
use crate::confirm::{asks, confirm};
use crate::daemon::ask::{Answered, Ask, Begun, Driven};
use crate::drive::{rests, told};
use crate::error::Error;
use crate::exit::Exit;
use crate::files;
use crate::left;
use crate::outcome::Ended;
use crate::render::live::Live;
use crate::render::screen::Screen;
use crate::socket::client::{events, send};
use crate::socket::{self, Address};
use crate::source::{Place, Source};
use crate::wish::Wish;
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use std::time::Duration;

/// How long the daemon is waited for in one question for events: it also says then whether it still drives.
const WAIT: Duration = Duration::from_millis(500);

/// The cluster of the daemon that is meant by this name, the files that `-c` names, the one that lies here, or as the only one. None if it
/// is none of the daemon's.
pub fn meant(global: &Global, called: Option<&str>) -> Option<Result<Address, Error>> {
    let socket = global.daemon()?;
    let settings = &global.settings;
    let by_file = || {
        let files = files::expand(&global.files()).ok()?;
        let [file] = files.as_slice() else { return None };
        settings.cluster_of_file(file)
    };
    let here = || !global.config.is_empty() || global.files().iter().any(|file| file.exists());
    let only = || settings.names().next().filter(|_| settings.names().count() == 1 && !here());
    let by_name = called.filter(|called| settings.has(called));
    let name = match called {
        Some(_) => by_name?,
        None => by_file().or_else(only)?,
    };
    let others = [("--state-dir", &global.state_dir), ("--identity", &global.identity)];
    if let Some((flag, _)) = others.into_iter().find(|(_, given)| given.is_some()) {
        let what = format!(
            "{flag} is the daemon's to know for {name}: leave it out (also of the environment), or say --embedded"
        );
        return Some(Err(Error::Usage(what)));
    }
    Some(Ok(Address::of_daemon(&socket, name)))
}

/// The same by an execution, the beginning of one, or a cluster's name.
pub async fn meant_by(global: &Global, run: Option<&str>) -> Result<Option<Address>, Error> {
    let named = run.filter(|run| global.settings.has(run));
    if let Some(meant) = meant(global, named) {
        return meant.map(Some);
    }
    let (Some(socket), Some(run), true) = (global.daemon(), run, global.config.is_empty()) else { return Ok(None) };
    for name in global.settings.names() {
        let address = Address::of_daemon(&socket, name);
        match Source::at(&Place::Daemon(address.clone())).await?.find(Some(run)).await {
            Ok(_) => return Ok(Some(address)),
            Err(Error::NoRun(_) | Error::NoRight(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Has it made ready, confirms it, has it begun and follows it.
pub async fn carry_out(global: &Global, kept: &Address, wish: &Wish, sure: &Sure) -> Result<Exit, Error> {
    // Whether one can be asked matters only where somebody must be.
    let person = matches!(asks(sure), Ok(true));
    let (reason, commands) = (sure.reason.clone(), Commands::of(global));
    let mut ask =
        Ask { wish: wish.clone(), person, confirmed: sure.yes, reason, commands: commands.clone(), child: None };
    let mut answered: Answered = send(kept, "/ask", &ask).await?;
    answered.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let expected = answered.ahead.as_ref().and_then(Ahead::expected);
    if let Some(ahead) = &answered.ahead {
        // Without a person it only shows what lies ahead.
        ask.reason = confirm(&answered.cluster, sure, ahead)?;
        ask.wish.is_said_twice();
    }
    if answered.begun.is_none() {
        ask.confirmed = true;
        answered = send(kept, "/ask", &ask).await?;
    }
    match answered.begun {
        Some(Begun::Course { execution, known, wanted }) => {
            let (view, ended) = follow(&commands, kept, &execution, known, expected).await?;
            let source = Source::at(&Place::Daemon(kept.clone())).await?;
            let left = left::of(&view, &source.views().await?);
            told(&commands, &view, &left, &ended, wanted)
        }
        Some(Begun::Done(what)) => {
            println!("{what}");
            Ok(Exit::Done)
        }
        Some(Begun::Rests(execution)) => {
            rests(&commands, &Source::at(&Place::Daemon(kept.clone())).await?, &execution).await
        }
        None => Err(kept.lost("it answered something else than was asked")),
    }
}

/// Follows to the end of the drive. Ctrl-C ends the following alone.
async fn follow(
    commands: &Commands,
    kept: &Address,
    execution: &ExecutionId,
    known: usize,
    expected: Option<Duration>,
) -> Result<(ExecutionView, Ended), Error> {
    let [show, pause] = ["show", "pause"].map(|verb| commands.verb(verb, &[execution.as_str()]));
    eprintln!("· execution {execution} · the daemon drives it: Ctrl-C detaches · other terminal: {show} | {pause}");
    let mut screen = Screen::on_stderr(Live::with_wall_clock().expecting(expected));
    let mut all: Vec<Record> = Vec::new();
    let ended = loop {
        // Asked before the events: what came before its end is shown.
        let driven: Driven = socket::get(kept, &format!("/rest/{execution}")).await?;
        let wait = if matches!(driven, Driven::Now) { WAIT } else { Duration::ZERO };
        let more = events(kept, execution, all.len(), wait).await?;
        let none = more.is_empty();
        for record in more {
            screen.add(&record, all.len() >= known);
            all.push(record);
        }
        if let (Driven::Ended(ended), true) = (driven, none) {
            break ended;
        }
    };
    let view = ExecutionView::of(&all).ok().flatten();
    let view = view.ok_or_else(|| Error::Log("the history cannot be read".into()))?;
    screen.end(view.last);
    Ok((view, ended))
}

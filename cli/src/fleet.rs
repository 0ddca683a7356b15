//! The verbs about fleets: all of them ask the daemon, which has the clusters.

use crate::args::{FleetRotateArgs, FleetVerb, FleetWordArgs, Global, Sure};
use crate::commands::Commands;
use crate::confirm::{asks, confirm_all, counted};
use crate::daemon::fleets::api::LAST;
use crate::daemon::fleets::show::{Row, Shown};
use crate::daemon::fleets::words::{Chosen, Done, Said, Wanted};
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::plan::digest::SHOWN;
use crate::render::seconds;
use crate::socket::Address;
use crate::socket::client::{get_at, send_at};
use comfy_table::{Table, presets};
use serde_json::json;
use std::time::Duration;

/// How often the daemon is asked what is new.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The verb.
pub async fn run(global: &Global, verb: &FleetVerb) -> Result<Exit, Error> {
    let daemon = daemon(global)?;
    match verb {
        FleetVerb::Rotate(args) => rotate(global, &daemon, args).await,
        FleetVerb::List => list(global, &daemon).await,
        FleetVerb::Show(args) => {
            let shown = show(&daemon, args.fleet.as_deref()).await?;
            print(global.output, &json!(shown), || text(&Commands::of(global), &shown))
        }
        FleetVerb::Pause(args) => word(&daemon, args, "pause", "is paused: what runs goes on, no new one begins").await,
        FleetVerb::Resume(args) => word(&daemon, args, "resume", "goes on").await,
        FleetVerb::Finalize(args) => finalize(global, &daemon, args).await,
    }
}

fn daemon(global: &Global) -> Result<Address, Error> {
    let socket = global.daemon().ok_or_else(|| {
        Error::NoDaemon("fleets are of the clusters of a daemon: `socket` in config.toml says where it answers".into())
    })?;
    Ok(Address { socket, folder: String::new(), daemon: true })
}

async fn show(daemon: &Address, fleet: Option<&str>) -> Result<Shown, Error> {
    get_at(daemon, &format!("/fleets/{}", fleet.unwrap_or(LAST))).await
}

async fn say(daemon: &Address, fleet: Option<&str>, word: &str, said: &Said) -> Result<Done, Error> {
    send_at(daemon, &format!("/fleets/{}/{word}", fleet.unwrap_or(LAST)), said).await
}

async fn word(daemon: &Address, args: &FleetWordArgs, word: &str, means: &str) -> Result<Exit, Error> {
    let said = Said { reason: args.sure.reason.clone(), ..Said::default() };
    let done = say(daemon, args.fleet.as_deref(), word, &said).await?;
    println!("fleet {} {means}", done.fleet);
    Ok(Exit::Done)
}

/// Begins a fleet and waits until all are planned: from there on it goes on in the daemon.
async fn rotate(global: &Global, daemon: &Address, args: &FleetRotateArgs) -> Result<Exit, Error> {
    let mut wanted = Wanted {
        selector: args.selector.clone(),
        waves: args.waves.clone(),
        max_failed: usize::try_from(args.max_failed).unwrap_or(usize::MAX),
        at_once: usize::try_from(args.at_once).unwrap_or(usize::MAX),
        reason: args.sure.reason.clone(),
        confirmed: false,
    };
    let chosen: Chosen = send_at(daemon, "/fleets", &wanted).await?;
    wanted.reason = confirm_all(&ahead(&chosen), &args.selector, &args.sure)?;
    wanted.confirmed = true;
    let begun: Chosen = send_at(daemon, "/fleets", &wanted).await?;
    let fleet = begun.fleet.ok_or_else(|| daemon.lost("it answered something else than was asked"))?;
    let clusters = counted(begun.waves.iter().map(Vec::len).sum(), "cluster");
    eprintln!("· fleet {fleet}: {clusters}; the daemon goes on with it: Ctrl-C detaches; plans are made");
    let shown = until(daemon, fleet.as_str(), |shown| {
        let quiet = |row: &Row| ["not begun", "is planned", "refused", "in no wave"].contains(&row.state.as_str());
        shown.is_planned && !(shown.goes_on && shown.rows.iter().all(quiet))
    });
    let shown = shown.await?;
    println!("{}", text(&Commands::of(global), &shown));
    let begins = shown.rows.iter().any(|row| row.wave.is_some());
    Ok(match (begins, &shown.waits_for) {
        (false, _) => Exit::Refused,
        (true, Some(_)) => Exit::NotYet,
        (true, None) => Exit::Done,
    })
}

async fn until(daemon: &Address, fleet: &str, holds: impl Fn(&Shown) -> bool) -> Result<Shown, Error> {
    loop {
        let shown = show(daemon, Some(fleet)).await?;
        if holds(&shown) {
            return Ok(shown);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn ahead(chosen: &Chosen) -> String {
    let wave = |(at, wave): (usize, &Vec<String>)| format!("  wave {}      {}\n", at + 1, wave.join(" "));
    let waves: String = chosen.waves.iter().enumerate().map(wave).collect();
    let approval = if chosen.approval.is_empty() {
        "none of these clusters wants an approval: the first wave begins as soon as all are planned".to_owned()
    } else {
        format!("{} want somebody else's approval, wave by wave", chosen.approval.join(" "))
    };
    format!(
        "{waves}  outage      of each cluster once, in its window where it has one (k0rotate plan CLUSTER forecasts it)\n  afterwards  every old credential of them is refused\n  approval    {approval}"
    )
}

/// `approve` and `decline` of a wave.
pub async fn answer(
    global: &Global,
    (fleet, wave): (Option<&str>, usize),
    verb: &str,
    plan: Option<&str>,
    sure: &Sure,
) -> Result<Exit, Error> {
    let daemon = daemon(global)?;
    let shown = match show(&daemon, fleet).await {
        // Whoever may not even look is refused what was asked for.
        Err(Error::NoRight(_)) => {
            let said = Said { wave: Some(wave), ..Said::default() };
            return say(&daemon, fleet, verb, &said).await.map(|_| Exit::Done);
        }
        shown => shown?,
    };
    let id = shown.fleet.to_string();
    let reason = confirm_all(&text(&Commands::of(global), &shown), &shown.selector, sure)?;
    // What was shown is what is approved.
    let seen = shown.waits_for.filter(|waits| waits.wave == wave).map(|waits| waits.plan);
    let said = Said { reason, wave: Some(wave), plan: plan.map(str::to_owned).or(seen), ..Said::default() };
    let done = say(&daemon, Some(&id), verb, &said).await?;
    let clusters = done.clusters.join(" ");
    if verb == "approve" {
        println!("wave {wave} of fleet {id} is approved: {clusters}");
    } else {
        println!("wave {wave} of fleet {id}, and what comes after it, is declined: {clusters}");
    }
    Ok(Exit::Done)
}

/// Finalizes all that wait for it, and waits for that.
async fn finalize(global: &Global, daemon: &Address, args: &FleetWordArgs) -> Result<Exit, Error> {
    let called = args.fleet.as_deref();
    let mut said = Said::default();
    let waiting = say(daemon, called, "finalize", &said).await?;
    let fleet = waiting.fleet.to_string();
    let clusters = waiting.clusters.join(" ");
    let ahead = format!("  finalize    {clusters}\n  afterwards  their old keys are destroyed: there is no way back");
    let selector = if asks(&args.sure)? { show(daemon, Some(&fleet)).await?.selector } else { String::new() };
    said.reason = confirm_all(&ahead, &selector, &args.sure)?;
    said.confirmed = true;
    say(daemon, Some(&fleet), "finalize", &said).await?;
    eprintln!("· the daemon goes on with it: Ctrl-C detaches");
    let shown = until(daemon, &fleet, |shown| !shown.is_finalizing).await?;
    println!("{}", text(&Commands::of(global), &shown));
    let is_done = |row: &&Row| waiting.clusters.contains(&row.cluster) && row.state == "finalized";
    let done = shown.rows.iter().filter(is_done).count();
    Ok(if done == waiting.clusters.len() { Exit::Done } else { Exit::NeedsPerson })
}

async fn list(global: &Global, daemon: &Address) -> Result<Exit, Error> {
    let all: Vec<Shown> = get_at(daemon, "/fleets").await?;
    print(global.output, &json!(all), || {
        let mut table = table(["FLEET", "CLUSTERS", "BY", "STARTED", "STATE"]);
        for shown in &all {
            table.add_row([shown.fleet.as_str(), &shown.selector, &shown.by, &shown.started, &shown.state]);
        }
        table.to_string()
    })
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn text(commands: &Commands, shown: &Shown) -> String {
    let mut rows = table(["WAVE", "CLUSTER", "STATE", "API AWAY", "NEXT"]);
    for row in &shown.rows {
        let wave = row.wave.map_or_else(|| "–".to_owned(), |wave| wave.to_string());
        let away = row.api_away_ms.map_or_else(|| "–".to_owned(), |ms| seconds(Duration::from_millis(ms)));
        rows.add_row([&wave, &row.cluster, &row.state, &away, &next(commands, row)]);
    }
    let why = if shown.reason.is_empty() { String::new() } else { format!(": {}", shown.reason) };
    let plan = shown.waits_for.as_ref().map_or_else(String::new, |waits| {
        format!("\n  plan of wave {}: {}", waits.wave, waits.plan.chars().take(SHOWN).collect::<String>())
    });
    let typed: Vec<String> = shown.next.iter().map(|words| command(commands, words)).collect();
    let typed = if typed.is_empty() { String::new() } else { format!("\n  do one of\n    {}", typed.join("\n    ")) };
    format!(
        "fleet {} of {}, asked for by {}{why}\n{rows}\nfleet {} {}{plan}\n  if you do nothing: {}{typed}",
        shown.fleet, shown.selector, shown.by, shown.fleet, shown.state, shown.if_nothing
    )
}

fn next(commands: &Commands, row: &Row) -> String {
    let typed = (!row.next.is_empty()).then(|| command(commands, &row.next));
    let note = Some(row.note.clone()).filter(|note| !note.is_empty());
    note.into_iter().chain(typed).collect::<Vec<_>>().join("; ")
}

fn command(commands: &Commands, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.split_first().map_or_else(String::new, |(verb, words)| commands.verb(verb, words))
}

//! `demo --shell`: the fleet stays up, with a k0sctl.yaml on which all verbs work.

use super::hand;
use super::stand::Stand;
use crate::error::Error;
use crate::exit::Exit;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};

/// Seconds of the fleet's time in one of ours: slow enough to be killed by hand in any phase.
const PACE: NonZeroU32 = NonZeroU32::new(5).expect("it is not 0");

/// Serves the fleet until Ctrl-C, SIGTERM or the end of its terminal.
pub async fn run(plan: &FleetPlan, state: &Path) -> Result<Exit, Error> {
    let failed = |e: std::io::Error| Error::File("signals".into(), e.to_string());
    // Before anything is printed: who reads it may send a signal at once.
    let on = |kind| signal(kind).map_err(failed);
    let (mut int, mut term, mut hup) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?);
    let dir = state.join("demo").join(format!("shell-{}", std::process::id()));
    // Two shells are two clusters, with machines of their own.
    let plan = &FleetPlan { seed: seed(), ..plan.clone() };
    let stand = Stand::new(&dir, plan, Stage::new(plan), || ())?;
    stand.stage().pace = Some(PACE);
    println!("{}", told(&stand));
    // A thread of its own, for which nobody waits: a line may never come.
    let fleet = stand.shared();
    std::thread::spawn(move || hand::obey(std::io::stdin().lock(), &fleet));
    tokio::select! {
        _ = int.recv() => (),
        _ = term.recv() => (),
        _ = hup.recv() => (),
    }
    let dir = stand.dir().to_owned();
    match stand.remove() {
        Ok(()) => println!("The fleet is gone, and its folder with it."),
        Err(why) => println!("The fleet is gone. Its identity and histories stay in {}: {why}", dir.display()),
    }
    Ok(Exit::Done)
}

/// Another one for each process.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().rotate_left(32) ^ u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()).rotate_left(16)
}

fn told(stand: &Stand) -> String {
    let binary = std::env::current_exe().map_or_else(|_| "k0rotate".to_owned(), |path| path.display().to_string());
    format!(
        "The fleet stands until Ctrl-C. Its time moves only while a verb drives it, {PACE} seconds in one of yours. In another terminal:
  alias k='{binary} {}'
  k rotate --reason try      asks for the API's host; kill it with kill -9 whenever you like
  k show                     what runs, what is down since when, what can be done now
  k resume                   goes on
  k rollback --reason try    back to the first trust
  k finalize --reason try    destroys the old keys instead
  k report; k history        what happened
In this terminal, a line each:
  {}
When the fleet ends its folder is removed, with what happened: k export --to DIR keeps it",
        stand.flags().join(" "),
        hand::WORDS.join("\n  ")
    )
}

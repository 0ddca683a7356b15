//! What a rest means to the one who typed the verb: a few sentences and an exit status.

use crate::exit::Exit;
use crate::render::live::cause_of;
use crate::render::seconds;
use crate::report;
use k0rotate_engine::drive::{Interruption, Rest};
use k0rotate_engine::event::RollBackCause;
use k0rotate_engine::view::ExecutionView;

/// What the verb promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The new trust, verified.
    Verified,
    /// The first trust, verified.
    RolledBack,
    /// The old keys destroyed.
    Finalized,
}

/// Prints the result and gives the status.
pub fn outcome(view: &ExecutionView, rest: &Rest, wanted: Wanted) -> Exit {
    let name = format!("{} {}", view.subject, view.execution);
    match rest {
        Rest::Waiting { .. } => waiting(view, &name, wanted),
        Rest::Completed { .. } if view.workflow == "rejoin" => {
            println!("{name}: the host is in again, and checked");
            Exit::Done
        }
        Rest::RolledBack { .. } if view.workflow == "rejoin" => {
            println!(
                "{name}: the host could not be let in, and is as it was; k0rotate report {} says why",
                view.execution
            );
            Exit::Refused
        }
        Rest::Completed { left, .. } => {
            println!("{name}: completed; the old keys are destroyed, and there is no way back");
            with_left(left)
        }
        Rest::RolledBack { left } => rolled_back(view, &name, left, wanted),
        Rest::Stuck { cause, .. } => {
            println!("{name}: stuck: {}", cause_of(cause));
            next(&["k0rotate resume", "k0rotate rollback", "k0rotate show"]);
            Exit::NeedsPerson
        }
        Rest::Parked { why, down } => {
            println!("{name}: parked: {why}{}", is_down(*down));
            Exit::NeedsPerson
        }
        Rest::Foreign(failure) => {
            println!("{name}: a host is held by somebody else: {failure}; nothing was changed after that");
            Exit::Held
        }
        Rest::Refused(refused) => {
            println!("{name}: not now: {refused}; nothing was recorded and nothing was driven");
            Exit::Refused
        }
        Rest::Interrupted { why: Interruption::Asked, down } => {
            println!("{name}: left as it is, driven by nobody{}; k0rotate resume goes on", is_down(*down));
            Exit::Interrupted
        }
        Rest::Interrupted { why, down } => {
            println!("{name}: the event log: {why}; nothing further was started{}", is_down(*down));
            Exit::Log
        }
    }
}

fn is_down(down: bool) -> &'static str {
    if down { ". THE API IS DOWN: k0rotate resume goes on, k0rotate rollback goes back" } else { "" }
}

fn next(commands: &[&str]) {
    println!("  do one of");
    commands.iter().for_each(|command| println!("    {command}"));
}

fn with_left(left: &[String]) -> Exit {
    if left.is_empty() {
        return Exit::Done;
    }
    println!("  left: {}", left.join(" "));
    Exit::WithLeft
}

fn waiting(view: &ExecutionView, name: &str, wanted: Wanted) -> Exit {
    let left: Vec<String> = view.state.leg().left.clone();
    println!("{name}: verified; waits for finalize; the old keys are kept, sealed, until then");
    if let Some((from, Some(until))) = view.outages.last() {
        println!("  control plane away and verified again within {}", seconds(until.since(*from)));
    }
    println!("  proof: {}", report::proof_in_short(view));
    println!("  if you do nothing: nothing changes");
    next(&["k0rotate report", "k0rotate finalize", "k0rotate rollback"]);
    match wanted {
        Wanted::Verified => with_left(&left),
        Wanted::RolledBack | Wanted::Finalized => Exit::Refused,
    }
}

fn rolled_back(view: &ExecutionView, name: &str, left: &[String], wanted: Wanted) -> Exit {
    println!("{name}: rolled back to the first trust, verified; the new keys are destroyed");
    let passed = matches!(view.roll_back, Some((RollBackCause::WindowPassed, _)));
    match (wanted, passed) {
        (Wanted::RolledBack, _) => with_left(left),
        (_, true) => Exit::NotYet,
        (_, false) => Exit::RolledBack,
    }
}

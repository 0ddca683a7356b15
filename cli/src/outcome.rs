//! What a rest means to the one who typed the verb: a few sentences and an exit status.

use crate::approval;
use crate::break_glass;
use crate::commands::Commands;
use crate::exit::Exit;
use crate::last::LastMoment;
use crate::left::{self, Left};
use crate::possible::{commands_now, way_back};
use crate::render::seconds;
use crate::report;
use crate::same;
use k0rotate_engine::drive::{Interruption, Refused, Rest};
use k0rotate_engine::event::{RollBackCause, StuckCause, Zone};
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::phases;
use serde::{Deserialize, Serialize};

/// What the verb promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Wanted {
    /// The new trust, verified.
    Verified,
    /// The first trust, verified.
    RolledBack,
    /// The old keys destroyed.
    Finalized,
}

/// How a drive ended, as it is told: also by the daemon, to whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "`down` is whether the API is down, the texts say why")]
pub enum Ended {
    /// Somebody must end a wait.
    Waiting,
    /// The way forward has ended.
    Completed,
    /// The way back has ended, without these hosts.
    RolledBack { left: Vec<String> },
    /// Somebody must decide.
    Stuck { cause: StuckCause },
    /// History and code do not match.
    Parked { why: String, down: bool },
    /// Somebody else holds a host.
    Foreign(String),
    /// The world is another one.
    Elsewhere(String),
    /// The word was not taken.
    Refused(String),
    /// Whoever drove was told to leave.
    Left { down: bool },
    /// The event log gave up.
    Log { why: String, down: bool },
}

impl Ended {
    /// Of this drive; `view` is of after it.
    pub fn of(rest: &Rest, view: &ExecutionView) -> Self {
        match rest {
            Rest::Waiting { .. } => Self::Waiting,
            Rest::Completed { .. } => Self::Completed,
            Rest::RolledBack { left } => Self::RolledBack { left: left.clone() },
            Rest::Stuck { cause, .. } => Self::Stuck { cause: cause.clone() },
            Rest::Parked { why, down } => Self::Parked { why: why.to_string(), down: *down },
            Rest::Foreign(failure) => Self::Foreign(failure.to_string()),
            Rest::Elsewhere(differs) => Self::Elsewhere(same::elsewhere(view, differs)),
            Rest::Refused(refused) => Self::Refused(refusal(view, refused)),
            Rest::Interrupted { why: Interruption::Asked, down } => Self::Left { down: *down },
            Rest::Interrupted { why, down } => Self::Log { why: why.to_string(), down: *down },
        }
    }
}

impl Ended {
    /// As its history says, of an execution that is driven by nobody.
    pub fn of_view(view: &ExecutionView) -> Self {
        match &view.state.status {
            Status::Waiting { .. } => Self::Waiting,
            Status::Stuck { cause, .. } => Self::Stuck { cause: cause.clone() },
            Status::Completed => Self::Completed,
            Status::RolledBack => Self::RolledBack { left: view.state.leg().left.clone() },
            Status::New | Status::Running | Status::RollingBack => Self::Left { down: view.state.is_down() },
        }
    }
}

/// Prints the result and gives the status.
pub fn outcome(commands: &Commands, view: &ExecutionView, left: &[Left], ended: &Ended, wanted: Wanted) -> Exit {
    let name = name(view);
    let command = |verb: &str| commands.verb(verb, &[view.execution.as_str()]);
    match ended {
        Ended::Waiting => waiting(commands, view, left, wanted),
        Ended::Completed if view.workflow == "rejoin" => {
            println!("{name}: the host is in again, and checked");
            Exit::Done
        }
        Ended::RolledBack { .. } if view.workflow == "rejoin" => {
            println!(
                "{name}: taken back: the host was not let in; how it is now: {}; why: {}",
                commands.verb("inspect", &[]),
                command("report")
            );
            if wanted == Wanted::RolledBack { Exit::Done } else { Exit::Refused }
        }
        Ended::Completed => {
            println!("{name}: completed; the old keys are destroyed on the hosts and here, and there is no way back");
            with_left(&left::out(left))
        }
        Ended::RolledBack { left: without } => {
            let exit = rolled_back(view, &name, without, wanted);
            next(&commands_now(commands, view, false, left));
            exit
        }
        Ended::Stuck { cause } => {
            println!("{name}: stuck: {}", report::stuck_by(view, cause));
            println!("  if you do nothing: {}", if_nothing(view));
            next(&commands_now(commands, view, false, left));
            Exit::NeedsPerson
        }
        Ended::Parked { why, down } => {
            println!("{name}: parked: {why}{}", is_down(*down));
            next(&["resume", "rollback", "show"].map(command));
            Exit::NeedsPerson
        }
        Ended::Foreign(failure) => {
            println!("{name}: a host is held by somebody else: {failure}; nothing was changed after that");
            Exit::Held
        }
        Ended::Elsewhere(differs) => {
            println!("{name}: this is another cluster: {differs}; nothing was recorded and nothing was changed");
            Exit::Differs
        }
        Ended::Refused(why) => {
            println!("{name}: not now: {why}; nothing was recorded and nothing was driven");
            next(&commands_now(commands, view, false, left));
            Exit::Refused
        }
        Ended::Left { down } => {
            println!("{name}: left as it is, driven by nobody{}", is_down(*down));
            go_on(&command, view);
            Exit::Interrupted
        }
        Ended::Log { why, down } => {
            println!("{name}: the event log: {why}; nothing further was started{}", is_down(*down));
            next(&["resume", "show"].map(command));
            Exit::Log
        }
    }
}

/// What becomes of one that is stuck and that nobody touches: it goes no further by itself, and what is in between stays so.
fn if_nothing(view: &ExecutionView) -> &'static str {
    let refreshed =
        view.phases.iter().any(|phase| phase.slug == phases::REFRESH.0 || phase.slug == phases::BACK_REFRESH.0);
    match view.state.zone() {
        Zone::Free => "nothing changes; the cluster goes on with the trust that it has, and stays held",
        _ if refreshed => "nothing changes; the API is up, and the cluster stays held",
        _ => {
            "the API is up; nodes that were not let in yet are not ready, and Kubernetes evicts their pods after some five minutes"
        }
    }
}

/// Why a word was not taken, for the one who said it: the table of states is ours to know.
pub fn refusal(view: &ExecutionView, refused: &Refused) -> String {
    match refused {
        Refused::Illegal(_) => format!("it is {}", report::state(view)),
        other => other.to_string(),
    }
}

/// What can be done with one that rests before its end.
fn go_on(command: &impl Fn(&str) -> String, view: &ExecutionView) {
    let verbs: &[&str] = if way_back(view) { &["resume", "rollback", "show"] } else { &["resume", "show"] };
    next(&verbs.iter().map(|verb| command(verb)).collect::<Vec<_>>());
}

fn name(view: &ExecutionView) -> String {
    format!("{} {}", view.subject, view.execution)
}

fn is_down(down: bool) -> &'static str {
    if down { ". THE API IS DOWN: resume goes on, rollback goes back" } else { "" }
}

fn next(commands: &[String]) {
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

/// It is verified, and waits for a person's word.
pub fn waiting(commands: &Commands, view: &ExecutionView, left: &[Left], wanted: Wanted) -> Exit {
    let name = name(view);
    if approval::is_waited_for(view) {
        println!("{name}: {}", report::state(view));
        println!(
            "  if you do nothing: nothing changes; the cluster goes on with the trust that it has, and stays held"
        );
        next(&commands_now(commands, view, false, left));
        return Exit::NotYet;
    }
    println!(
        "{name}: verified; waits for finalize; the old keys are kept until then: sealed here, and aside on the hosts"
    );
    if let Some((from, Some(until))) = view.outages.last() {
        println!("  control plane away and verified again within {}", seconds(until.since(*from)));
    }
    println!("  proof: {}", report::proof::in_short(view));
    break_glass::lines(view).iter().for_each(|line| println!("  {line}"));
    let last = LastMoment::of_view(view);
    let last = last.map_or_else(String::new, |last| format!("; the last moment for a roll-back is {last}"));
    println!("  if you do nothing: nothing changes{last}");
    next(&commands_now(commands, view, false, left));
    match wanted {
        Wanted::Verified => with_left(&left::out(left)),
        Wanted::RolledBack | Wanted::Finalized => Exit::Refused,
    }
}

fn rolled_back(view: &ExecutionView, name: &str, left: &[String], wanted: Wanted) -> Exit {
    println!("{name}: {}", report::state(view));
    let passed = matches!(view.roll_back, Some((RollBackCause::WindowPassed, _)));
    let asked = with_left(left);
    match (wanted, passed) {
        (Wanted::RolledBack, _) => asked,
        (_, true) => Exit::NotYet,
        (_, false) => Exit::RolledBack,
    }
}

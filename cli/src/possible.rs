//! What can be done with an execution now.

use crate::approval;
use crate::commands::Commands;
use crate::left::{self, Left};
use crate::rejoin::rotation::{Rotation, rests_at_a_trust};
use k0rotate_activities::fleet::Fleet;
use k0rotate_activities::guards::AllAreIn;
use k0rotate_engine::event::{StuckCause, Zone};
use k0rotate_engine::execution::{Side, Status};
use k0rotate_engine::view::ExecutionView;
use k0rotate_engine::workflow::Guard;

/// Whether it rests, and not only until a time for which the process that drives it waits.
pub fn rests_for_all(view: &ExecutionView) -> bool {
    view.rests() && !matches!(view.state.status, Status::Waiting { until: Some(_), .. })
}

/// The verb that most people want next.
pub fn next(view: &ExecutionView, driven: bool) -> &'static str {
    match &view.state.status {
        _ if driven && !rests_for_all(view) => "show",
        _ if approval::is_waited_for(view) => "approve",
        Status::Waiting { until: None, .. } => "finalize",
        Status::Completed | Status::RolledBack => "report",
        _ => "resume",
    }
}

/// The commands that are possible now, whole; `left` are the hosts that it went on without.
pub fn commands_now(commands: &Commands, view: &ExecutionView, driven: bool, left: &[Left]) -> Vec<String> {
    let command = |(verb, more): &(&str, &[&str])| {
        // It is about hosts of the inventory's cluster.
        let run: &[&str] = if *verb == "leave-behind" { &[] } else { &[view.execution.as_str()] };
        commands.verb(verb, &[run, *more].concat())
    };
    let rests = !matches!(view.state.status, Status::Stuck { .. }) && rests_at_a_trust(view);
    let wants_them = matches!(&view.state.status, Status::Stuck { cause: StuckCause::Guard { name, .. }, .. } if name == <AllAreIn as Guard<Fleet>>::NAME);
    let rotation = Rotation::of(view).ok().filter(|_| rests || wants_them);
    let offered = |host: &String| rotation.as_ref().is_some_and(|rotation| rotation.offers(host));
    let let_in = left::out(left).into_iter().filter(offered).map(|host| commands.verb("rejoin", &[&host]));
    // Its end will want one of the two of each of them.
    let waits = matches!(view.state.status, Status::Waiting { .. });
    let waited_for = left.iter().filter(|left| waits && left.waited_for);
    let given_up = waited_for.map(|left| commands.verb("leave-behind", &[&left.host]));
    possible(view, driven).iter().map(command).chain(let_in).chain(given_up).collect()
}

/// The verbs that are possible now, with what they want besides the execution.
fn possible(view: &ExecutionView, driven: bool) -> Vec<(&'static str, &'static [&'static str])> {
    let verbs: &[&str] = match &view.state.status {
        _ if driven && !rests_for_all(view) => &["watch", "pause"],
        _ if approval::is_waited_for(view) => &["approve", "decline", "rollback", "report"],
        Status::Waiting { until: None, .. } => &["report", "finalize", "rollback"],
        Status::Completed | Status::RolledBack => return vec![("report", &[]), ("export", &["--to", "DIR"])],
        Status::RollingBack => &["resume"],
        _ if !way_back(view) => &["resume", "report"],
        _ => &["resume", "rollback", "report"],
    };
    let mut all: Vec<(&'static str, &'static [&'static str])> =
        verbs.iter().map(|verb| (*verb, [].as_slice())).collect();
    if may_leave_behind(view) {
        all.insert(1, ("leave-behind", &["HOST"]));
    }
    all
}

/// Where a host that is dead keeps it, nothing else goes on: after the outage, or on a way back before its own.
fn may_leave_behind(view: &ExecutionView) -> bool {
    let state = &view.state;
    let may = match &state.status {
        Status::Stuck { side: Side::Forward, .. } => matches!(state.zone(), Zone::Held | Zone::Final),
        Status::Stuck { side: Side::Back, .. } => state.zone() == Zone::Free,
        _ => false,
    };
    // Of a rejoin the host itself, if it died on the way: what is left of it can be taken back without it.
    may && (view.workflow == "rotate" || matches!(state.status, Status::Stuck { side: Side::Back, .. }))
}

/// Whether it can still be rolled back.
pub fn way_back(view: &ExecutionView) -> bool {
    view.state.side() == Side::Forward && view.state.zone() != Zone::Final
}

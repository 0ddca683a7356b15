//! The change record of an execution, as Markdown: a projection of its history and, for hosts that were let in since, of its store's others.

pub mod proof;
mod timeline;

use crate::approval;
use crate::break_glass;
use crate::left::{self, Left};
use crate::render::live::{cause_of, why_back};
use crate::render::{rfc3339, seconds};
use k0rotate_activities::activity::back_up_cluster::{BackUpCluster, Backup};
use k0rotate_activities::activity::check_controller::CheckController;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::destroy_sealed::DestroySealed;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::release_host::ReleaseHost;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{RollBackCause, StuckCause, Zone};
use k0rotate_engine::execution::{Side, Status, StepStatus};
use k0rotate_engine::ids::StepId;
use k0rotate_engine::view::{ExecutionView, Said, StepView};
use k0rotate_workflows::rotate::Rotate;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write;
use timeline::timeline;

/// Fingerprints are shown this short in tables; whole ones stand in the exported history.
const SHORT: usize = 16;

/// The whole report; `all` are the executions of its store.
pub fn markdown(view: &ExecutionView, all: &[ExecutionView]) -> String {
    let parts = [
        head(view),
        words(view),
        changed(view),
        timeline(view),
        outage(view),
        proof::proof(view),
        left(view, &left::of(view, all)),
        copies(view),
        break_glass::section(view),
        troubles(view),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn head(view: &ExecutionView) -> String {
    let reason = if view.reason.is_empty() { "(none given)".to_owned() } else { plain(&view.reason) };
    format!(
        "# Change record: {} of {}\n\n| | |\n|---|---|\n| execution | `{}` ({} version {}) |\n| asked for by | {} |\n| why | {reason} |\n| started | {} |\n| last event | {} ({} events) |\n| state | {} |\n| trace id | `{}` |\n",
        view.workflow,
        view.subject,
        view.execution,
        view.workflow,
        view.version,
        plain(&view.by),
        rfc3339(view.started),
        rfc3339(view.last),
        view.events,
        state(view),
        view.trace_id,
    )
}

/// What operators said on the way, and why.
fn words(view: &ExecutionView) -> String {
    if view.words.is_empty() {
        return String::new();
    }
    let mut text = "## Words\n\n| when | who | word | why |\n|---|---|---|---|\n".to_owned();
    for Said { word, by, reason, at } in &view.words {
        let reason = if reason.is_empty() { "(none given)".to_owned() } else { plain(reason) };
        let _ = writeln!(text, "| {} | {} | {} | {reason} |", rfc3339(*at), plain(by), plain(word));
    }
    text
}

/// What a person wrote, so that it stays in its cell and in its line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().replace('|', "\\|")
}

/// Where it is, in a sentence.
pub fn state(view: &ExecutionView) -> String {
    match &view.state.status {
        Status::New => "not begun".to_owned(),
        Status::Running => "going forward".to_owned(),
        Status::Waiting { name, until: Some(until) } => {
            format!(
                "waits for its {name} until {}; nothing was stopped, and the first trust is in use",
                rfc3339(*until)
            )
        }
        Status::Waiting { .. } if approval::is_waited_for(view) => approval::state(view),
        Status::Waiting { name, .. } => {
            format!("verified; waits for {name}; the old keys are kept until then: sealed here, and aside on the hosts")
        }
        Status::Stuck { side: Side::Forward, cause } => format!("stuck on the way forward: {}", stuck_by(view, cause)),
        Status::Stuck { side: Side::Back, cause } => format!("stuck on the way back: {}", stuck_by(view, cause)),
        Status::RollingBack => "going back".to_owned(),
        Status::Completed if view.workflow == "rejoin" => "completed; the host is in again".to_owned(),
        Status::RolledBack if view.workflow == "rejoin" => "taken back; the host is out as before".to_owned(),
        Status::Completed => "completed; the old keys are destroyed on the hosts".to_owned(),
        Status::RolledBack if view.state.forward.zone == Zone::Free => {
            let why = view.roll_back.as_ref().map(|(cause, _)| format!(" ({})", turned_by(view, cause)));
            let why = why.unwrap_or_default();
            let leaked = break_glass::back_at(view).unwrap_or_default();
            format!("taken back before anything was stopped{why}: the first trust was in use all along{leaked}")
        }
        Status::RolledBack => format!(
            "rolled back to the first trust, verified; the new keys are gone from the hosts that it went back on{}",
            break_glass::back_at(view).unwrap_or_default()
        ),
    }
}

/// Why it is stuck, with what its step failed for.
pub fn stuck_by(view: &ExecutionView, cause: &StuckCause) -> String {
    match cause {
        StuckCause::Failure(step) => cause_of(cause) + &failure_of(view, step),
        _ => cause_of(cause),
    }
}

/// Why it went back, with what its step failed for.
pub fn turned_by(view: &ExecutionView, cause: &RollBackCause) -> String {
    match cause {
        RollBackCause::Failure(step) => why_back(cause) + &failure_of(view, step),
        RollBackCause::WindowPassed => why_back(cause) + &missed(view),
        _ => why_back(cause),
    }
}

/// Until when what it missed would have lasted.
fn missed(view: &ExecutionView) -> String {
    let until = view.input.decode::<Rotate>().ok().and_then(|rotate| Some((rotate.not_after?, rotate.room_seconds)));
    until.map_or_else(String::new, |(until, room)| {
        format!(": no way there and back of {room} s would have ended by {}", rfc3339(until))
    })
}

fn failure_of(view: &ExecutionView, step: &StepId) -> String {
    let failure = view.steps().filter(|found| found.step == *step).find_map(|found| found.failure.as_ref());
    failure.map_or_else(String::new, |failure| format!(": {failure}"))
}

/// Outputs of all steps of an activity that are done, with their targets, in order; of a target done twice, both.
pub fn outputs<A: Activity, O: DeserializeOwned>(view: &ExecutionView) -> Vec<(String, O)> {
    done::<A, O>(view.steps())
}

/// The same of the way forward alone: what was found and kept before anything was replaced.
pub fn forward_outputs<A: Activity, O: DeserializeOwned>(view: &ExecutionView) -> Vec<(String, O)> {
    outputs_on::<A, O>(view, Side::Forward)
}

/// The same of one way alone.
fn outputs_on<A: Activity, O: DeserializeOwned>(view: &ExecutionView, side: Side) -> Vec<(String, O)> {
    done::<A, O>(view.phases.iter().filter(|phase| phase.side == side).flat_map(|phase| &phase.steps))
}

fn done<'v, A: Activity, O: DeserializeOwned>(steps: impl Iterator<Item = &'v StepView>) -> Vec<(String, O)> {
    let done = steps.filter(|step| step.activity == A::NAME && step.status == StepStatus::Done);
    done.filter_map(|step| Some((step.target.clone(), step.output.as_ref()?.decode().ok()?))).collect()
}

fn changed(view: &ExecutionView) -> String {
    let found: Vec<(String, HostFacts)> = outputs::<CheckHost, HostFacts>(view);
    let made: Vec<(String, NewTrust)> = outputs::<MakeTrust, NewTrust>(view);
    let Some((_, new)) = made.last() else { return String::new() };
    let brought = view.input.decode::<Rotate>().map(|rotate| rotate.own_cas).unwrap_or_default();
    let mut text = "## What changed\n\n| root | controllers | old | new |\n|---|---|---|---|\n".to_owned();
    let mut rows: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    for (host, facts) in &found {
        for (root, pair) in new.of(host) {
            let old = facts.trust.iter().find(|file| file.is_root && file.root == root);
            let old = old.map_or_else(|| "–".to_owned(), |file| short(&file.fingerprint));
            let yours = if brought.contains_key(&root) { " (brought)" } else { "" };
            let root = format!("{}{yours}", root.name());
            if facts.host.role.is_controller() {
                let hosts: &mut Vec<String> = rows.entry((root, old, short(&pair.fingerprint))).or_default();
                // Where somebody had to approve it was looked at twice.
                hosts.extend((!hosts.contains(host)).then(|| host.clone()));
            }
        }
    }
    for ((root, old, new), hosts) in rows {
        let _ = writeln!(text, "| {root} | {} | `{old}` | `{new}` |", hosts.join(" "));
    }
    if matches!(view.state.status, Status::RolledBack) {
        text.push_str("\nRolled back: the old trust is in use again, and the new keys are gone from the hosts.\n");
    }
    text
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(SHORT).collect()
}

fn outage(view: &ExecutionView) -> String {
    if view.outages.is_empty() {
        return "## API gap\n\nNone: the controllers were never stopped.\n".to_owned();
    }
    let mut text = "## API gap\n\nFrom the moment at which the controllers were told to stop.\n\n".to_owned();
    for (from, until) in &view.outages {
        if let Some(answered) = answered(view, *from) {
            let gap = seconds(answered.since(*from));
            let _ = writeln!(text, "- the API answered again, at the first controller that was checked, within {gap}");
        }
        let end = match until {
            Some(until) => format!("verified at {}, within {}", rfc3339(*until), seconds(until.since(*from))),
            None => "not verified at the last event".to_owned(),
        };
        let _ = writeln!(text, "- the control plane, stopped at {}: {end}", rfc3339(*from));
    }
    text
}

/// When the first controller was seen to serve, after the controllers had been stopped.
fn answered(view: &ExecutionView, stopped: Timestamp) -> Option<Timestamp> {
    let checked = view.steps().filter(|s| s.activity == CheckController::NAME && s.status == StepStatus::Done);
    checked.filter_map(|step| step.ended).filter(|ended| *ended >= stopped).min()
}

/// Hosts that it went on without: left on the way, by an operator's word, or from the start.
pub fn without(view: &ExecutionView) -> Vec<String> {
    let mut all = view.state.leg().left.clone();
    for name in left_by_word(view) {
        if !all.contains(&name) && !let_go_back(view, &name) {
            all.push(name);
        }
    }
    all
}

/// Whether a way back that has ended let this host go with the others: it answered again.
fn let_go_back(view: &ExecutionView, host: &str) -> bool {
    let back = view.phases.iter().filter(|phase| phase.side == Side::Back).flat_map(|phase| &phase.steps);
    let mut released = back.filter(|step| step.activity == ReleaseHost::NAME && step.target == host);
    view.state.status == Status::RolledBack && released.any(|step| step.status == StepStatus::Done)
}

/// Those of them that an operator named, on the way or at the start: nothing waits for them.
pub fn left_by_word(view: &ExecutionView) -> Vec<String> {
    let started = view.input.decode::<Rotate>().map(|rotate| rotate.leave_behind).unwrap_or_default();
    view.state.left_behind.iter().cloned().chain(started).collect()
}

fn left(view: &ExecutionView, hosts: &[Left]) -> String {
    let left: Vec<&StepView> = view.steps_in(|status| status == StepStatus::Left).collect();
    if hosts.is_empty() && left.is_empty() {
        return "## Left\n\nNo host was left.\n".to_owned();
    }
    let mut text = "## Left\n\n| host | step | why |\n|---|---|---|\n".to_owned();
    for step in left.iter().filter(|step| step.failure.is_some()) {
        let why = step.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} | {why} |", step.target, step.step);
    }
    let failed = |name: &String| left.iter().any(|step| step.target == *name && step.failure.is_some());
    for name in hosts.iter().map(|left| &left.host).filter(|name| !failed(name)) {
        let _ = writeln!(text, "| {name} | – | left behind by an operator |");
    }
    let again: Vec<&Left> = hosts.iter().filter(|left| left.again.is_some()).collect();
    if !again.is_empty() {
        text.push_str("\nLet in again:\n\n");
        for left in again {
            let _ = writeln!(text, "- {left}");
        }
    }
    let out = left::out(hosts);
    if out.is_empty() {
        return text;
    }
    text.push_str("\nBy hand, for each of them: once it answers again, `k0rotate rejoin HOST` lets it in and takes what was kept there away. ");
    text.push_str(
        "One that never comes back is to be deleted as a Node, and a controller also as a member of etcd.\n\n",
    );
    for name in &out {
        let _ = writeln!(text, "- `k0rotate rejoin {name}`");
    }
    text
}

/// What became of the sealed copies, and what is out of reach.
fn copies(view: &ExecutionView) -> String {
    let (retired, kept) = match view.state.status {
        Status::Completed if view.workflow == "rotate" => {
            ("old", "the backups of the new trust, and its keys for hosts that are let in later")
        }
        Status::RolledBack if view.workflow == "rotate" && !outputs::<BackUpCluster, Backup>(view).is_empty() => {
            ("new", "the first backup and the snapshots, of the trust that is in use")
        }
        _ => return String::new(),
    };
    let gone: usize = outputs::<DestroySealed, usize>(view).into_iter().map(|(_, count)| count).sum();
    format!(
        "## Copies\n\n{gone} sealed copies that held {retired} keys or credentials were destroyed in the state folder of the machine that ran this. Still there, sealed: {kept}. Backups and exports made elsewhere are not touched: those of before hold the first trust's keys.\n"
    )
}

fn troubles(view: &ExecutionView) -> String {
    let mut text = String::new();
    for (cause, at) in &view.stuck {
        let _ = writeln!(text, "- {} stuck: {}", rfc3339(*at), plain(&stuck_by(view, cause)));
    }
    if let Some((cause, at)) = &view.roll_back {
        let _ = writeln!(text, "- {} rolled back: {}", rfc3339(*at), plain(&turned_by(view, cause)));
    }
    for step in view.steps().filter(|step| step.attempt > 1) {
        let _ = writeln!(text, "- {} took {} attempts", step.step, step.attempt);
    }
    if text.is_empty() { text } else { format!("## What did not go straight\n\n{text}") }
}

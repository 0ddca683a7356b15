//! Hosts that a rotation went on without, and which of them a rejoin let in since: that stands in a history of its own.

use crate::render::rfc3339;
use crate::report;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::execution::{Status, StepStatus};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;
use serde_json::{Value, json};
use std::fmt;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name.
    pub host: String,
    /// When it was left for the last time.
    pub at: Timestamp,
    /// Whether the end waits for it still: it was held, and nobody has said that the end may come without it.
    pub waited_for: bool,
    /// When it was let in since, and by which execution.
    pub again: Option<(Timestamp, ExecutionId)>,
}

/// All of an execution; `all` are those of its store.
pub fn of(view: &ExecutionView, all: &[ExecutionView]) -> Vec<Left> {
    let rejoins = all.iter().filter(|other| other.workflow == "rejoin" && other.state.status == Status::Completed);
    let rejoins: Vec<(Rejoin, &ExecutionView)> =
        rejoins.filter_map(|other| Some((other.input.decode().ok()?, other))).collect();
    let free = report::left_by_word(view);
    let one = |host: String| {
        let fits =
            rejoins.iter().filter(|(rejoin, _)| rejoin.rotation == view.execution.as_str() && rejoin.host.name == host);
        let last = fits.map(|(_, other)| (other.since, other.execution.clone())).max_by_key(|(since, _)| *since);
        let at = when(view, &host, last.as_ref().map(|(since, _)| *since));
        let again = last.filter(|(since, _)| *since >= at);
        Left { waited_for: again.is_none() && !free.contains(&host), host, at, again }
    };
    report::without(view).into_iter().map(one).collect()
}

/// Names of those that are out.
pub fn out(all: &[Left]) -> Vec<String> {
    all.iter().filter(|left| left.again.is_none()).map(|left| left.host.clone()).collect()
}

/// Those that are in again, for programs.
pub fn again(all: &[Left]) -> Vec<Value> {
    let one = |left: &Left| {
        let (at, by) = left.again.as_ref()?;
        Some(json!({ "host": left.host, "left": rfc3339(left.at), "at": rfc3339(*at), "execution": by }))
    };
    all.iter().filter_map(one).collect()
}

/// By a failure on the way that it goes; an operator's word after that changes nothing, unless the host was let in between. Else by the
/// word, else from the start.
fn when(view: &ExecutionView, host: &str, let_in: Option<Timestamp>) -> Timestamp {
    let failed = view.steps_in(|status| status == StepStatus::Left);
    let failed =
        failed.filter(|step| step.target == host && step.failure.is_some()).filter_map(|step| step.ended).max();
    let said = view.given_up.iter().filter(|(hosts, _)| hosts.iter().any(|name| name == host)).map(|(_, at)| *at).max();
    match (failed, said) {
        (Some(failed), Some(said)) if let_in.is_some_and(|at| failed <= at && at <= said) => said,
        (failed, said) => failed.or(said).unwrap_or(view.started),
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} left at {}", self.host, rfc3339(self.at))?;
        match &self.again {
            Some((at, by)) => write!(f, ", let in again at {} by {by}", rfc3339(*at)),
            None => Ok(()),
        }
    }
}

//! Refuses what would act on a cluster beside an execution that is open: there is at most one rotation and, while it rests, one rejoin.

use crate::commands::Commands;
use crate::error::Error;
use crate::possible::commands_now;
use crate::report;
use crate::source::Source;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;

/// What may not be open where a rotation begins.
pub const A_ROTATION: &[&str] = &["rotate", "rejoin"];
/// What may not be open where a rejoin begins, or a word is said about a rotation.
pub const BESIDE_A_ROTATION: &[&str] = &["rejoin"];

/// The execution of one of these workflows that is open, if there is one.
pub async fn open(source: &Source, workflows: &[&str]) -> Result<Option<ExecutionView>, Error> {
    let open = |view: &ExecutionView| workflows.contains(&view.workflow.as_str()) && !view.state.status.ended();
    Ok(source.views().await?.into_iter().find(open))
}

/// Whether it is a rejoin of this host.
pub fn lets_in(view: &ExecutionView, host: &str) -> bool {
    view.workflow == "rejoin" && view.input.decode::<Rejoin>().is_ok_and(|rejoin| rejoin.host.name == host)
}

/// Which it is, in a sentence.
pub fn sentence(view: &ExecutionView) -> String {
    format!("{} ({}) is open already: {}", view.execution, view.workflow, report::state(view))
}

/// Fails if one is open, with what ends it and what is to be said again then. Nothing is recorded before.
pub async fn refuse(
    source: &Source,
    workflows: &[&str],
    commands: &Commands,
    again: Option<String>,
) -> Result<(), Error> {
    let Some((what, mut next)) = in_the_way(source, workflows, commands).await? else { return Ok(()) };
    next.extend(again.map(|again| format!("then: {again}")));
    Err(Error::Beside(what, next))
}

/// The one that is open: which it is, in a sentence, and what can be done with it.
async fn in_the_way(
    source: &Source,
    workflows: &[&str],
    commands: &Commands,
) -> Result<Option<(String, Vec<String>)>, Error> {
    let open = open(source, workflows).await?;
    Ok(open.map(|view| {
        let next = commands_now(commands, &view, source.is_driven(&view.execution), &[]);
        (sentence(&view), next)
    }))
}

/// The same of what a word about this execution has to wait for: only a rotation is kept waiting.
pub async fn before_a_word(
    source: &Source,
    view: &ExecutionView,
    commands: &Commands,
) -> Result<Option<(String, Vec<String>)>, Error> {
    if !is_kept_waiting(view) {
        return Ok(None);
    }
    in_the_way(source, BESIDE_A_ROTATION, commands).await
}

fn is_kept_waiting(view: &ExecutionView) -> bool {
    view.workflow == "rotate" && !view.state.status.ended()
}

/// Refuses a word about this execution.
pub async fn refuse_word(source: &Source, view: &ExecutionView, commands: &Commands, verb: &str) -> Result<(), Error> {
    if !is_kept_waiting(view) {
        return Ok(());
    }
    refuse(source, BESIDE_A_ROTATION, commands, Some(commands.verb(verb, &[view.execution.as_str()]))).await
}

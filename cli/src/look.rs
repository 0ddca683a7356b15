//! The reading verbs: list, show, watch, history, report.

use crate::args::{Format, Global, RunArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::open;
use crate::render::live::Live;
use crate::render::{rfc3339, seconds};
use crate::report;
use crate::source::Source;
use comfy_table::{Table, presets};
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::{Clock, SystemClock, Timestamp};
use k0rotate_engine::execution::{Status, StepStatus};
use k0rotate_engine::view::ExecutionView;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// All executions of the inventory's cluster.
pub async fn list(global: &Global, state: &Path) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let (views, driven) = match Source::of(state, &inventory) {
        Ok(source) => (all(&source).await?, source.is_driven()),
        // Never rotated from here: an empty list is the truth.
        Err(Error::NoRun(_)) => (Vec::new(), false),
        Err(error) => return Err(error),
    };
    if views.is_empty() {
        eprintln!("· none yet: k0rotate plan says what a rotation would do");
    }
    let value = Value::Array(views.iter().map(|view| summary(view, driven)).collect());
    print(global.output, &value, || {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CLUSTER", "EXECUTION", "WORKFLOW", "STATE", "DRIVEN BY", "PHASE", "SINCE", "NEXT"]);
        for view in &views {
            let phase = view.current_phase().map_or("", |phase| phase.slug.as_str());
            let by = if driven && !view.rests() { "another terminal" } else { "nobody" };
            let id = view.execution.as_str();
            let state = view.state.status.name();
            table.add_row([
                &view.subject,
                id,
                &view.workflow,
                state,
                by,
                phase,
                &rfc3339(view.since),
                next(view, driven),
            ]);
        }
        table.to_string()
    })
}

async fn all(source: &Source) -> Result<Vec<ExecutionView>, Error> {
    let mut views = Vec::new();
    for execution in source.executions().await? {
        let history = source.history(&execution).await?;
        views.extend(ExecutionView::of(&history).map_err(|e| Error::Log(e.to_string()))?);
    }
    Ok(views)
}

/// The command that most people want next.
fn next(view: &ExecutionView, driven: bool) -> &'static str {
    match &view.state.status {
        _ if driven => "k0rotate show",
        Status::Waiting { .. } => "k0rotate finalize",
        Status::Completed | Status::RolledBack => "k0rotate report",
        _ => "k0rotate resume",
    }
}

fn summary(view: &ExecutionView, driven: bool) -> Value {
    json!({
        "execution": view.execution, "workflow": view.workflow, "cluster": view.subject, "by": view.by, "reason": view.reason,
        "state": view.state.status.name(), "driven": driven && !view.rests(), "since": rfc3339(view.since),
        "started": rfc3339(view.started), "phase": view.current_phase().map(|phase| phase.slug.clone()),
        "down_since": view.down_since().map(rfc3339), "left": view.state.leg().left, "events": view.events,
    })
}

/// One execution.
pub async fn show(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let source = Source::of(state, &inventory)?;
    let (_, _, view) = source.find(args.run.as_deref()).await?;
    let mut value = summary(&view, source.is_driven());
    value["steps"] = serde_json::to_value(view.steps().collect::<Vec<_>>()).unwrap_or_default();
    let now = if open::is_simulated(&inventory) { view.last } else { SystemClock::default().now() };
    print(global.output, &value, || text(&view, source.is_driven(), now))
}

fn text(view: &ExecutionView, driven: bool, now: Timestamp) -> String {
    let mut lines = vec![format!("{} {} ({}): {}", view.subject, view.execution, view.workflow, report::state(view))];
    let by = if driven && !view.rests() { "another terminal" } else { "nobody" };
    lines.push(format!("  driven by  {by}"));
    if let Some(since) = view.down_since() {
        lines.push(format!("  API        DOWN since {} ({})", rfc3339(since), seconds(now.since(since))));
    }
    if let Some(phase) = view.current_phase() {
        lines.push(format!("  phase      {} since {}", phase.title, rfc3339(phase.started)));
    }
    for step in view.steps_in(|s| matches!(s, StepStatus::Open | StepStatus::Failed(_))) {
        let failure = step.failure.as_ref().map(|f| format!(": {f}")).unwrap_or_default();
        lines.push(format!("  open       {} (attempt {}){failure}", step.step, step.attempt));
    }
    let left = &view.state.leg().left;
    if !left.is_empty() {
        lines.push(format!("  left       {}", left.join(" ")));
    }
    lines.push("  do one of".to_owned());
    lines.extend(possible(view, driven).iter().map(|command| format!("    {command}")));
    lines.join("\n")
}

/// The commands that are possible now.
fn possible(view: &ExecutionView, driven: bool) -> Vec<&'static str> {
    match &view.state.status {
        _ if driven && !view.rests() => vec!["k0rotate watch", "k0rotate pause"],
        Status::Waiting { .. } => vec!["k0rotate report", "k0rotate finalize", "k0rotate rollback"],
        Status::Completed | Status::RolledBack => vec!["k0rotate report", "k0rotate export --to DIR"],
        Status::RollingBack => vec!["k0rotate resume"],
        _ => vec!["k0rotate resume", "k0rotate rollback", "k0rotate report"],
    }
}

/// The events, as lines of JSON, or as a table.
pub async fn history(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let (_, history, _) = Source::of(state, &inventory)?.find(args.run.as_deref()).await?;
    let value = serde_json::to_value(&history).unwrap_or_default();
    print(global.output, &value, || {
        let line = |r: &k0rotate_engine::event::Record| {
            let kind = serde_json::to_value(&r.event).unwrap_or_default();
            let (kind, fields) = kind
                .as_object()
                .and_then(|o| o.iter().next())
                .map_or((String::new(), Value::Null), |(k, v)| (k.clone(), v.clone()));
            let what = ["step", "slug", "name", "cause", "zone", "by"].iter().find_map(|key| fields.get(*key).cloned());
            format!("{:>5}  {}  {kind:<18} {}", r.seq, rfc3339(r.time), what.map(short).unwrap_or_default())
        };
        history.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn short(value: Value) -> String {
    let text = match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    text.chars().take(120).collect()
}

/// The change record.
pub async fn report(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let (_, _, view) = Source::of(state, &inventory)?.find(args.run.as_deref()).await?;
    print!("{}", report::markdown(&view));
    Ok(Exit::Done)
}

/// How often another process is asked for what is new.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Follows an execution that another process drives, until it rests. Ctrl-C ends the following alone.
pub async fn watch(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let inventory = open::inventory(global)?;
    let view = until_rest(state, &inventory, args.run.as_deref(), 0, |line| println!("{line}")).await?;
    println!("{}", report::state(&view));
    Ok(Exit::Done)
}

/// Gives each line from an event on, until nobody drives any more.
pub async fn until_rest(
    state: &Path,
    inventory: &Inventory,
    run: Option<&str>,
    from: usize,
    show: impl Fn(&str),
) -> Result<ExecutionView, Error> {
    let mut live = Live::with_wall_clock();
    let mut seen = 0;
    loop {
        let source = Source::of(state, inventory)?;
        let (_, history, view) = source.find(run).await?;
        for (at, record) in history.iter().enumerate().skip(seen) {
            live.add(record).iter().filter(|_| at >= from).for_each(|line| show(line));
        }
        seen = history.len();
        if view.rests() || view.state.status.ended() || !source.is_driven() {
            return Ok(view);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Prints a result as asked for.
pub fn print(format: Format, value: &Value, table: impl FnOnce() -> String) -> Result<Exit, Error> {
    let text = match format {
        Format::Table => table(),
        Format::Json => serde_json::to_string_pretty(value).map_err(|e| Error::Usage(e.to_string()))?,
        Format::Yaml => serde_saphyr::to_string(value).map_err(|e| Error::Usage(e.to_string()))?,
        Format::Notice => return Err(Error::Usage("-o notice is for plan".into())),
    };
    println!("{}", text.trim_end());
    Ok(Exit::Done)
}

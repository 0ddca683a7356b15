//! The reading verbs: list, show, watch, report.

use crate::args::{Format, Global, RunArgs};
use crate::beside;
use crate::commands::Commands;
use crate::error::Error;
use crate::exit::Exit;
use crate::last::LastMoment;
use crate::left::{self, Left};
use crate::open;
use crate::plan::window::{missed, was_missed};
use crate::policy::Policy;
use crate::possible::{commands_now, next, rests_for_all, way_back};
use crate::render::live::Live;
use crate::render::{rfc3339, seconds};
use crate::report;
use crate::source::{Place, Source};
use crate::which::{Found, which};
use comfy_table::{Table, presets};
use k0rotate_activities::activity::reach_host::ReachHost;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::Record;
use k0rotate_engine::execution::StepStatus;
use k0rotate_engine::view::ExecutionView;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// All executions of all clusters of this machine; with `-c`, of that cluster alone; with a word, those that it means.
pub async fn list(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let mut stores = Place::all(global, state);
    if !global.config.is_empty() {
        let named: Vec<Place> =
            open::inventories(global)?.iter().map(|inventory| Place::of(global, state, &inventory.name)).collect();
        stores = match global.daemon() {
            // A cluster that the daemon does not know has a store of its own.
            Some(_) => named,
            None => stores.into_iter().filter(|place| named.contains(place)).collect(),
        };
    }
    let mut rows = Vec::new();
    let mut failed = None;
    for place in &stores {
        match of_store(place).await {
            Ok(more) => rows.extend(more),
            // Of many, those that one may not look at are nobody's business.
            Err(Error::NoRight(_)) if stores.len() > 1 => {}
            // One store that cannot be read hides no other.
            Err(error) => {
                eprintln!("· {place}: {}", error.sentence());
                failed = failed.or(Some(error));
            }
        }
    }
    if let Some(run) = &args.run {
        rows.retain(|row| row.view.execution.as_str().starts_with(run) || row.view.subject == *run);
        if rows.is_empty() && failed.is_none() {
            return Err(Error::NoRun(run.clone()));
        }
    }
    if rows.is_empty() && failed.is_none() {
        eprintln!("· none yet; what a rotation would do: {}", Commands::of(global).verb("plan", &[]));
    }
    let value = Value::Array(rows.iter().map(|row| summary(&row.view, row.driven, &row.left)).collect());
    let exit = print(global.output, &value, || table(global, &rows))?;
    failed.map_or(Ok(exit), Err)
}

/// An execution, whether and by whom it is driven, and whom it went on without.
struct Row {
    view: ExecutionView,
    driven: bool,
    driver: &'static str,
    left: Vec<Left>,
}

async fn of_store(place: &Place) -> Result<Vec<Row>, Error> {
    let source = Source::at(place).await?;
    let views = source.views().await?;
    let row = |view: &ExecutionView| Row {
        view: view.clone(),
        driven: source.is_driven(&view.execution),
        driver: source.driver(),
        left: left::of(view, &views),
    };
    Ok(views.iter().map(row).collect())
}

fn table(global: &Global, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLUSTER", "EXECUTION", "WORKFLOW", "STATE", "DRIVEN BY", "PHASE", "SINCE", "LEFT", "NEXT"]);
    let here = open::inventories(global).unwrap_or_default();
    for Row { view, driven, driver, left } in rows {
        let phase = view.current_phase().map_or("", |phase| phase.slug.as_str());
        let by = if *driven && !rests_for_all(view) { driver } else { "nobody" };
        let id = view.execution.as_str();
        let commands = Commands::of(global);
        let known = global.settings.has(&view.subject) || here.iter().any(|inventory| inventory.name == view.subject);
        let commands = if known { commands } else { commands.without_inventory() };
        table.add_row([
            &view.subject,
            id,
            &view.workflow,
            &status(view),
            by,
            phase,
            &rfc3339(view.since),
            &left::out(left).join(" "),
            &commands.verb(next(view, *driven), &[id]),
        ]);
    }
    table.to_string()
}

/// Its state, and that the API is down if it is.
fn status(view: &ExecutionView) -> String {
    let name = view.state.status.name();
    let missed = if was_missed(view) { ", window missed" } else { "" };
    let down = view.down_since().map_or_else(String::new, |since| format!(", API DOWN since {}", rfc3339(since)));
    format!("{name}{missed}{down}")
}

fn summary(view: &ExecutionView, driven: bool, left: &[Left]) -> Value {
    json!({
        "execution": view.execution, "workflow": view.workflow, "cluster": view.subject, "by": view.by, "reason": view.reason,
        "state": view.state.status.name(), "driven": driven && !rests_for_all(view), "since": rfc3339(view.since),
        "started": rfc3339(view.started), "phase": view.current_phase().map(|phase| phase.slug.clone()),
        "down_since": view.down_since().map(rfc3339), "left": left::out(left), "let_in_again": left::again(left),
        "events": view.events, "window_missed": was_missed(view),
    })
}

/// One execution.
pub async fn show(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let found = which(global, state, args.run.as_deref()).await?;
    let left = left::of(&found.view, &found.source.views().await?);
    let mut value = summary(&found.view, found.is_driven(), &left);
    let beside = beside::before_a_word(&found.source, &found.view, &found.commands).await?;
    let next = match &beside {
        Some((_, commands)) => commands.clone(),
        None => commands_now(&found.commands, &found.view, found.is_driven(), &left),
    };
    value["next"] = json!(next);
    value["waits_for"] = json!(beside.as_ref().map(|(what, _)| what));
    value["way_back"] = way_back_until(&found).map_or(
        Value::Null,
        |last| json!({ "until": rfc3339(last.at), "ends_first": last.root, "is_over": last.is_over(found.now()) }),
    );
    let missed = missed(&found.view, found.now());
    value["window_missed"] = json!(missed.is_some());
    let policy = Policy::of(&global.settings, &found.view.subject);
    value["finalizes_at"] = json!(policy.finalizes_at(&found.view).map(rfc3339));
    value["steps"] = serde_json::to_value(found.view.steps().collect::<Vec<_>>()).unwrap_or_default();
    let beside = beside.map(|(what, _)| what);
    let mut text = text(&found, &left, beside.as_deref());
    text.extend(missed.map(told_of_window));
    text.extend(policy.shown(&found.view, found.now()));
    text.push("  do one of".to_owned());
    text.extend(next.iter().map(|command| format!("    {command}")));
    print(global.output, &value, || text.join("\n"))
}

/// What ends the wait of reach-host, which no verb can.
const HOW_REACHED: &str =
    "nobody is stopped for its sake: bring it back, or let it leave etcd as docs/failures.md says at controller-away";

/// That its window was missed. Nothing catches it up.
fn told_of_window(until: Timestamp) -> String {
    let until = rfc3339(until);
    format!(
        "  window     MISSED: it was until {until}; nothing was stopped, and nothing catches it up: ask for another rotation"
    )
}

fn text(found: &Found, left: &[Left], beside: Option<&str>) -> Vec<String> {
    let (view, driven) = (&found.view, found.is_driven());
    let mut lines = vec![format!("{} {} ({}): {}", view.subject, view.execution, view.workflow, report::state(view))];
    let by = if driven && !rests_for_all(view) { found.source.driver() } else { "nobody" };
    lines.push(format!("  driven by  {by}"));
    if let Some(since) = view.down_since() {
        lines.push(format!("  API        DOWN since {} ({})", rfc3339(since), seconds(found.now().since(since))));
    }
    if let Some(phase) = view.current_phase() {
        lines.push(format!("  phase      {} since {}", phase.title, rfc3339(phase.started)));
    }
    for step in view.steps_in(|s| matches!(s, StepStatus::Open | StepStatus::Failed(_))) {
        let failure = step.failure.as_ref().map(|f| format!(": {f}")).unwrap_or_default();
        lines.push(format!("  open       {} (attempt {}){failure}", step.step, step.attempt));
        if step.activity == ReachHost::NAME {
            lines.push(format!("             {HOW_REACHED}"));
        }
    }
    lines.extend(left.iter().map(|left| format!("  left       {left}")));
    if let Some(last) = way_back_until(found) {
        let over = if last.is_over(found.now()) { "; IT IS OVER" } else { "" };
        lines.push(format!("  way back   until {last}{over}"));
    }
    lines.extend(beside.map(|beside| format!("  waits for  {beside}")));
    lines
}

/// The last moment for a roll-back, while there is a way back.
fn way_back_until(found: &Found) -> Option<LastMoment> {
    let view = &found.view;
    LastMoment::of_view(view).filter(|_| way_back(view) && !view.state.status.ended())
}

/// The change record.
pub async fn report(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let found = which(global, state, args.run.as_deref()).await?;
    print!("{}", report::markdown(&found.view, &found.source.views().await?));
    Ok(Exit::Done)
}

/// How often another process is asked for what is new.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Follows an execution that another process drives, until it rests. Ctrl-C ends the following alone.
pub async fn watch(global: &Global, state: &Path, args: &RunArgs) -> Result<Exit, Error> {
    let found = which(global, state, args.run.as_deref()).await?;
    let Found { place, execution, commands, .. } = found;
    if global.output == Format::Json {
        let line = |record: &Record| serde_json::to_string(record).unwrap_or_default();
        until_rest(&place, execution.as_str(), |_, record| println!("{}", line(record))).await?;
        return Ok(Exit::Done);
    }
    let mut live = Live::with_wall_clock();
    let show = |_, record: &Record| live.add(record).iter().for_each(|line| println!("{line}"));
    let view = until_rest(&place, execution.as_str(), show).await?;
    println!("{}", report::state(&view));
    if let Some(since) = view.down_since() {
        println!("  API  DOWN since {}", rfc3339(since));
    }
    println!("  next: {}", commands.verb(next(&view, false), &[execution.as_str()]));
    Ok(Exit::Done)
}

/// Gives each event with its place, until nobody drives any more.
pub async fn until_rest(
    place: &Place,
    run: &str,
    mut each: impl FnMut(usize, &Record),
) -> Result<ExecutionView, Error> {
    let mut seen = 0;
    loop {
        let source = Source::at(place).await?;
        let (_, history, view) = source.find(Some(run)).await?;
        history.iter().enumerate().skip(seen).for_each(|(at, record)| each(at, record));
        seen = history.len();
        if rests_for_all(&view) || !source.is_driven(&view.execution) {
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

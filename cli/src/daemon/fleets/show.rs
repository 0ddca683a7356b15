//! How a fleet stands: a row a cluster, what it waits for, and what happens if nobody does anything.

use super::children::{found, how};
use super::progress::{Progress, WaitsFor};
use super::{Fleets, words};
use crate::error::Error;
use crate::outcome::Ended;
use crate::render::rfc3339;
use crate::report;
use k0rotate_activities::clusters::begin_rotation::Began;
use k0rotate_activities::clusters::{How, Planned};
use k0rotate_activities::pki::sha256_hex;
use k0rotate_engine::event::StuckCause;
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::APPROVAL;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// See the file's sentence.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Shown {
    /// Its id.
    pub fleet: ExecutionId,
    /// By which labels it was chosen.
    pub selector: String,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub started: String,
    /// Where it is, in a sentence.
    pub state: String,
    /// What becomes of it if nobody does anything.
    pub if_nothing: String,
    /// How many failed, and at how many no new one begins.
    pub failed: usize,
    /// See `failed`.
    pub max_failed: usize,
    /// Which wave waits to be approved, and the digest of its plans.
    pub waits_for: Option<Wave>,
    /// Whether the daemon has more to do by itself before a person is needed.
    pub goes_on: bool,
    /// Whether all are planned.
    pub is_planned: bool,
    /// Whether its rotations are being finalized.
    pub is_finalizing: bool,
    /// Its clusters.
    pub rows: Vec<Row>,
    /// What can be typed: verb and words.
    pub next: Vec<Vec<String>>,
}

/// A wave that waits to be approved.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wave {
    /// From 1.
    pub wave: usize,
    /// The digest of all its plans.
    pub plan: String,
}

/// A cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Its wave, from 1; none if it is in none.
    pub wave: Option<usize>,
    /// Its name.
    pub cluster: String,
    /// Its rotation.
    pub execution: Option<ExecutionId>,
    /// The digest of its plan.
    pub plan: Option<String>,
    /// Where it is.
    pub state: String,
    /// How long its API was away so far, milliseconds.
    pub api_away_ms: Option<u64>,
    /// What comes next, and when.
    pub note: String,
    /// What can be typed about it: verb and words.
    pub next: Vec<String>,
}

/// A fleet, with those of its clusters that somebody may see.
pub async fn shown(fleets: &Fleets, progress: &Progress, sees: impl Fn(&str) -> bool) -> Result<Shown, Error> {
    let (view, fleet) = (&progress.view, &progress.fleet);
    let mut rows = Vec::new();
    for cluster in fleet.clusters.iter().filter(|cluster| sees(cluster)) {
        rows.push(row(fleets, progress, cluster).await);
    }
    rows.sort_by_key(|row| row.wave.unwrap_or(usize::MAX));
    let waits_for = match progress.waits_for() {
        Some((WaitsFor::Approval(wave), _)) => Some(Wave { wave, plan: plan_of_wave(progress, wave) }),
        _ => None,
    };
    let engine = fleets.engine().await?;
    Ok(Shown {
        fleet: view.execution.clone(),
        selector: fleet.selector.clone(),
        by: view.by.clone(),
        reason: view.reason.clone(),
        started: rfc3339(view.started),
        state: state(progress),
        if_nothing: if_nothing(progress).to_owned(),
        failed: progress.failed(),
        max_failed: fleet.max_failed,
        waits_for,
        goes_on: view.state.status == Status::Running,
        is_planned: !progress.waves.is_empty() || view.state.status.ended(),
        is_finalizing: words::finalizing(&engine, &view.execution).await?.is_some(),
        next: next(progress, &rows),
        rows,
    })
}

/// The digest of all plans of a wave that begin once it is approved.
pub fn plan_of_wave(progress: &Progress, wave: usize) -> String {
    let line = |cluster: String| format!("{cluster} {}\n", progress.plan_of(&cluster).unwrap_or_default());
    let all: String = progress.about_to_begin(wave).into_iter().map(line).collect();
    sha256_hex(all.as_bytes())
}

/// Where it is, in a sentence.
pub fn state(progress: &Progress) -> String {
    let fleet = &progress.fleet;
    match (&progress.view.state.status, progress.waits_for()) {
        (_, Some((WaitsFor::Approval(wave), name))) if name.contains("-round-") => {
            format!("asks for wave {wave} once more: plans no longer fitted, and were made again")
        }
        (_, Some((WaitsFor::Approval(wave), _))) => {
            format!("waits for somebody else than {} to approve wave {wave}", progress.view.by)
        }
        (_, Some((WaitsFor::Limit, _))) => format!(
            "is paused: {} failed, at {} no new one begins; what runs goes on",
            progress.failed(),
            fleet.max_failed
        ),
        (Status::Stuck { cause: StuckCause::Paused { by, reason }, .. }, _) => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("was paused by {by}{why}; what runs goes on, no new one begins")
        }
        (Status::Stuck { cause, .. }, _) => format!("needs a person: {}", report::stuck_by(&progress.view, cause)),
        (status, _) if status.ended() => {
            format!("has ended: {} begun, {} failed", progress.begun(), progress.failed())
        }
        _ if progress.waves.is_empty() => "plans its clusters".to_owned(),
        _ => match progress.view.current_phase() {
            Some(phase) => format!("is under way: {}", phase.title),
            None => "is under way".to_owned(),
        },
    }
}

fn if_nothing(progress: &Progress) -> &'static str {
    match (&progress.view.state.status, progress.waits_for()) {
        (_, Some((WaitsFor::Approval(_), _))) => "nothing begins: its clusters go on with the trust that they have",
        (_, Some((WaitsFor::Limit, _))) | (Status::Stuck { .. }, _) => {
            "no further cluster begins; what runs comes to its rest, and old keys are kept until finalize"
        }
        (status, _) if status.ended() => "nothing changes: old keys are kept until finalize",
        _ => "it goes on wave after wave, each cluster in its window; old keys are kept until finalize",
    }
}

fn next(progress: &Progress, rows: &[Row]) -> Vec<Vec<String>> {
    let id = progress.view.execution.as_str();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mut next = match (&progress.view.state.status, progress.waits_for()) {
        (_, Some((WaitsFor::Approval(wave), _))) => {
            let wave = wave.to_string();
            vec![words(&["approve", id, "--wave", &wave]), words(&["decline", id, "--wave", &wave])]
        }
        (_, Some((WaitsFor::Limit, _))) | (Status::Stuck { .. }, _) => vec![words(&["fleet", "resume", id])],
        (status, _) if status.ended() => Vec::new(),
        _ => vec![words(&["fleet", "pause", id])],
    };
    if rows.iter().any(|row| row.state == WAITS_FOR_FINALIZE) {
        next.push(words(&["fleet", "finalize", id]));
    }
    next
}

const WAITS_FOR_FINALIZE: &str = "waiting for finalize";
const NO_LONGER_FITS: &str = "plan no longer fits";

async fn row(fleets: &Fleets, progress: &Progress, cluster: &str) -> Row {
    let child = progress.child(cluster);
    let mut row = Row {
        wave: progress.wave_of(cluster),
        cluster: cluster.to_owned(),
        execution: child.as_ref().map(|child| child.execution.clone()),
        plan: progress.plan_of(cluster),
        state: String::new(),
        api_away_ms: None,
        note: String::new(),
        next: Vec::new(),
    };
    let Some(child) = child else {
        (row.state, row.note, row.next) = not_begun(progress, cluster);
        return row;
    };
    let known = fleets.clusters().get(cluster);
    match known {
        None => "not configured any more".clone_into(&mut row.state),
        Some(known) => match found(&known, &child.execution).await {
            Ok(Some((view, ended))) => {
                let lapsed = fleets.has_lapsed(&child.execution);
                (row.state, row.note, row.next) = of_child(progress, &view, ended.as_ref(), lapsed);
                row.api_away_ms = away(&view).and_then(|away| u64::try_from(away.as_millis()).ok());
            }
            Ok(None) => "gone from its cluster's store".clone_into(&mut row.state),
            Err(failure) => row.state = failure.to_string(),
        },
    }
    row
}

fn away(view: &ExecutionView) -> Option<Duration> {
    (!view.outages.is_empty()).then(|| view.down_for(view.last))
}

type Told = (String, String, Vec<String>);

fn told(state: &str, note: impl Into<String>) -> Told {
    (state.to_owned(), note.into(), Vec::new())
}

fn typed(state: &str, note: impl Into<String>, words: &[&str]) -> Told {
    (state.to_owned(), note.into(), words.iter().map(|word| (*word).to_owned()).collect())
}

fn not_begun(progress: &Progress, cluster: &str) -> Told {
    let began = progress.begun.get(cluster).map(|begun| &begun.began);
    if progress.is_declined(cluster) {
        let said = progress.view.words.iter().rfind(|said| said.word.starts_with("leave-behind"));
        return told("declined", said.map_or_else(String::new, |said| format!("by {}: {}", said.by, said.reason)));
    }
    let Some(wave) = progress.wave_of(cluster) else {
        return match progress.planned.get(cluster) {
            Some(Planned::Refused { why }) => told("refused", why.as_str()),
            Some(Planned::Fits { .. }) if !progress.waves.is_empty() => told("in no wave", "not begun by this fleet"),
            _ => told("is planned", ""),
        };
    };
    match (began, progress.planned.get(cluster)) {
        (Some(Some(Began::Refused { why })), _) | (_, Some(Planned::Refused { why })) => {
            return told("refused", why.as_str());
        }
        (Some(None), _) => return told("begins", ""),
        _ => {}
    }
    let id = progress.view.execution.as_str();
    let again = matches!(began, Some(Some(Began::NoLongerFits)));
    match progress.waits_for() {
        Some((WaitsFor::Approval(asked), _)) if asked == wave => {
            let state = if again { NO_LONGER_FITS } else { "waits for approval" };
            let note = if again { "planned again, approve again" } else { "" };
            typed(state, note, &["approve", id, "--wave", &wave.to_string()])
        }
        _ if again => told(NO_LONGER_FITS, "planned again once the others of its wave rest"),
        Some((WaitsFor::Limit, _)) => typed("not begun", "the fleet is paused", &["fleet", "resume", id]),
        _ if wave > 1 => told("not begun", format!("after wave {}", wave - 1)),
        _ => told("not begun", ""),
    }
}

fn of_child(progress: &Progress, view: &ExecutionView, ended: Option<&Ended>, lapsed: bool) -> Told {
    let (id, fleet) = (view.execution.as_str(), progress.view.execution.as_str());
    let approved =
        progress.approval_of(&view.subject).map_or_else(String::new, |(by, _)| format!(", approved by {by}"));
    match (how(view, ended), &view.state.status) {
        (How::Verified, _) => typed(WAITS_FOR_FINALIZE, "old keys are kept until then", &["fleet", "finalize", fleet]),
        (How::Finalized, _) => told("finalized", ""),
        (How::RolledBack, _) => typed("rolled back", "", &["report", id]),
        (How::Stuck, Status::Stuck { cause: StuckCause::Guard { failure, .. }, .. })
            if failure.code == "approval-lapsed" =>
        {
            typed(NO_LONGER_FITS, "changed since it was approved", &["rollback", id])
        }
        (How::Stuck, _) => typed("stuck", "", &["show", id]),
        (How::Runs, Status::Waiting { name, .. }) if name == APPROVAL && lapsed => {
            typed(NO_LONGER_FITS, "changed since it was approved", &["rollback", id])
        }
        (How::Runs, Status::Waiting { name, .. }) if name == APPROVAL && approved.is_empty() => {
            typed("waits for approval", "", &["approve", id])
        }
        (How::Runs, Status::Waiting { name, .. }) if name == APPROVAL => told("running", "is being approved"),
        (How::Runs, Status::Waiting { until: Some(until), .. }) => {
            told("waits for window", format!("{}{approved}", rfc3339(*until)))
        }
        (How::Runs, Status::Stuck { .. }) => typed("paused", "", &["resume", id]),
        (How::Runs, _) if view.down_since().is_some() => typed("running, API DOWN", "", &["watch", id]),
        (How::Runs, _) => {
            let phase = view.current_phase().map_or("", |phase| phase.slug.as_str());
            typed("running", phase, &["watch", id])
        }
    }
}

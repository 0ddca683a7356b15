//! The proof that retired credentials are refused: a row for each of them at each controller, on each way.

use super::outputs_on;
use k0rotate_activities::activity::credentials::Verdict;
use k0rotate_activities::activity::prove_old_refused::{Cell, ProveOldRefused};
use k0rotate_engine::execution::Side;
use k0rotate_engine::view::ExecutionView;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is proven on each way: which trust is in use there, and since when.
const WAYS: [(Side, &str); 2] = [
    (Side::Forward, "The new trust in use, before the way back"),
    (Side::Back, "The first trust in use again, after the way back"),
];

/// On a way the last round of each controller counts.
fn last_round(view: &ExecutionView, side: Side) -> Vec<Cell> {
    let rounds: BTreeMap<String, Vec<Cell>> = outputs_on::<ProveOldRefused, _>(view, side).into_iter().collect();
    rounds.into_values().flatten().collect()
}

/// A row for each credential and controller; of an execution that was proven on both ways, both.
pub fn proof(view: &ExecutionView) -> String {
    let rounds = WAYS.map(|(side, title)| (title, last_round(view, side)));
    let proven: Vec<_> = rounds.iter().filter(|(_, cells)| !cells.is_empty()).collect();
    if proven.is_empty() {
        return String::new();
    }
    let mut text = "## Proof\n\nEach credential of the retired trust was shown to each controller, and its successor in the same round.\n".to_owned();
    for (title, cells) in &proven {
        if proven.len() > 1 {
            let _ = write!(text, "\n### {title}\n");
        }
        text.push_str(&matrix(cells));
    }
    text
}

fn matrix(cells: &[Cell]) -> String {
    let mut text = "\n| credential | at | retired | in use |\n|---|---|---|---|\n".to_owned();
    for cell in cells.iter().filter(|cell| cell.minted_by.is_none()) {
        let kind = serde_json::to_value(cell.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let _ = writeln!(text, "| {kind} | {} | {} | {} |", cell.at, verdict(cell.old), verdict(cell.new));
    }
    let minted: Vec<_> = cells.iter().filter_map(|cell| Some((cell.minted_by.as_ref()?, cell))).collect();
    if !minted.is_empty() {
        text.push_str("\nA service-account token minted by each controller was shown to every other.\n\n| minted by | shown to | |\n|---|---|---|\n");
    }
    for (minter, cell) in minted {
        let _ = writeln!(text, "| {minter} | {} | {} |", cell.at, verdict(cell.new));
    }
    text
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Refused => "refused",
        Verdict::Unclear => "unclear",
        Verdict::NotShown => "not shown",
    }
}

/// The proof of the way forward in a sentence.
pub fn in_short(view: &ExecutionView) -> String {
    let (minted, cells): (Vec<Cell>, Vec<Cell>) =
        last_round(view, Side::Forward).into_iter().partition(|cell| cell.minted_by.is_some());
    let shown = cells.iter().filter(|cell| cell.old == Verdict::Refused && cell.new == Verdict::Accepted).count();
    let mut text = format!("{shown} of {} cells refuse the old and accept the new", cells.len());
    if shown < cells.len() {
        text.push_str("; in the rest there was no old one to show");
    }
    if !minted.is_empty() {
        let accepted = minted.iter().filter(|cell| cell.new == Verdict::Accepted).count();
        let _ = write!(text, "; each controller accepts the others' new tokens ({accepted} of {})", minted.len());
    }
    text
}

//! The plan of a way back, for people.

use super::BackPlan;
use crate::break_glass;
use crate::plan::text::{about, phases};
use std::fmt::Write;

/// The whole plan.
pub fn table(plan: &BackPlan) -> String {
    let mut text = format!("Roll-back of {} (execution {}; {})\n", plan.cluster, plan.execution, plan.state);
    for refusal in &plan.refusals {
        let _ = writeln!(text, "refused now: {}", refusal.what);
    }
    if let Some(why) = &plan.second {
        let _ = writeln!(text, "{why}. It asks twice; without a terminal it wants {}.", break_glass::FLAG);
    }
    match (&plan.forecast, &plan.no_forecast) {
        _ if !plan.outage => text.push_str("Nothing was stopped: each step is undone, and nothing is down.\n"),
        (Some(way), _) => {
            text.push_str(&phases(way, plan.hosts.len()));
            let _ = writeln!(
                text,
                "One outage: API {} expected, {} until the control plane is verified, {} in all, at most (as from the wait for finalize).",
                about(way.api_down_ms),
                about(way.down_ms),
                about(way.total_ms)
            );
        }
        (None, why) => {
            let _ = writeln!(text, "One outage. Forecast: not available: {}", why.as_deref().unwrap_or("unknown"));
        }
    }
    if !plan.since.is_empty() {
        text.push_str("Since the rotation looked:\n");
    }
    for change in &plan.since {
        let _ = writeln!(text, "  {:<12} {}: {}", change.of, change.what, change.then);
    }
    for what in &plan.breaks {
        let _ = writeln!(text, "Breaks again: {what}");
    }
    text.push_str(
        "Stays: all data, binaries, units and configuration. Window: none; a roll-back is never held back by one.\n",
    );
    match (&plan.digest, &plan.go_on) {
        (Some(digest), Some(command)) => {
            let _ = writeln!(text, "Digest {digest}\n  covers {}\n  {command}", plan.covers);
        }
        _ => text.push_str("No digest: it would be refused, or would not come through. Nothing was changed.\n"),
    }
    text
}

//! A plan for people: the table, and the notice for a status page.

use super::forecast::{Forecast, Phase, Way};
use super::result::Plan;
use crate::confirm::counted;
use crate::render::rfc3339;
use comfy_table::{Table, presets};
use std::fmt::Write;

/// More hosts than this are counted, not named.
const NAMED: usize = 6;
/// More objects than this are counted; all stand in `-o json`.
const LISTED: usize = 4;

/// The whole plan.
pub fn table(plan: &Plan) -> String {
    let mut text = head(plan);
    for refusal in &plan.refusals {
        let _ = writeln!(text, "refused now: {}", refusal.what);
    }
    match (&plan.forecast, &plan.no_forecast) {
        (Some(forecast), _) => text.push_str(&expected(plan, forecast)),
        (None, Some(why)) => {
            let _ = writeln!(text, "Forecast: not available: {why}");
        }
        (None, None) => {}
    }
    if let Some(last) = &plan.last_moment {
        let _ = writeln!(text, "Last moment for a roll-back: {last}.");
    }
    text.push_str(&waited_for(plan));
    text.push_str(&people(plan));
    text.push_str(&not_covered(plan));
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if !plan.recipients.is_empty() {
        let _ = writeln!(text, "Keys and backups are sealed to: {}", plan.recipients.join(" "));
    }
    text.push_str(&go_on(plan));
    text
}

fn head(plan: &Plan) -> String {
    let roots: Vec<&str> = plan.roots.iter().map(|root| root.name()).collect();
    let left = match plan.left_behind.as_slice() {
        [] => String::new(),
        left => format!(" ({} left behind)", left.join(" ")),
    };
    let mut text = format!(
        "Plan for {} ({}): replace {} · offline · {}, {}{left}\n",
        plan.cluster,
        plan.api,
        roots.join(", "),
        counted(plan.count(true), "controller"),
        counted(plan.count(false), "worker")
    );
    for own in &plan.own_cas {
        let (root, until) = (own.root.name(), rfc3339(own.not_after));
        let _ = writeln!(text, "Yours: {root} {:?}, SHA-256 {}, valid until {until}", own.common_name, own.fingerprint);
    }
    text
}

fn expected(plan: &Plan, forecast: &Forecast) -> String {
    let mut text = phases(&forecast.forward, plan.hosts.len());
    let (forward, back) = (&forecast.forward, &forecast.back);
    let _ = writeln!(
        text,
        "Outage: API {} expected{}, {} until the control plane is verified; rolls back by itself after {} (--max-outage). Pods that call the API: errors for up to {}.",
        about(forward.api_down_ms),
        worst(forecast).map_or_else(String::new, |ms| format!(" ({} if etcd's leader finds no heir)", about(ms))),
        about(forward.down_ms),
        about(plan.max_outage_seconds * 1000),
        about(pods_ms(forward)),
    );
    let _ = writeln!(
        text,
        "Way back: any time until finalize; one more outage of about {}, {} in all.",
        about(back.api_down_ms),
        about(back.total_ms)
    );
    if let Some(window) = &plan.window {
        let _ = writeln!(text, "{}", window.sentence());
    }
    text
}

/// Whom and what the stop waits for.
fn waited_for(plan: &Plan) -> String {
    let approval = plan.approval.as_ref().map_or_else(String::new, |approval| format!("Approval: {approval}.\n"));
    let (Some(from), Some(until)) = (plan.not_before, plan.not_after) else { return approval };
    let approved =
        if plan.approval.is_some() { ", if it is approved in time: one that is missed is not caught up" } else { "" };
    format!("{approval}Falls into the window from {} until {}{approved}.\n", rfc3339(from), rfc3339(until))
}

/// Where to look besides, if the keys leaked.
fn not_covered(plan: &Plan) -> String {
    let all = plan.not_covered.iter().map(|what| format!("Not covered, look yourself: {what}.\n"));
    all.collect()
}

/// The longest that the API may be away, where that is longer than expected.
fn worst(forecast: &Forecast) -> Option<u64> {
    forecast.api_down_worst_ms.filter(|worst| *worst > forecast.forward.api_down_ms)
}

/// From the stop until what runs in the cluster was refreshed.
fn pods_ms(forward: &Way) -> u64 {
    let until = forward.phases.iter().position(|p| p.slug == "refresh" || p.slug == "start");
    let last = forward.phases.iter().rposition(|p| p.slug == "refresh").or(until).unwrap_or(0);
    let within = forward.phases.iter().take(last + 1).skip_while(|p| p.slug != "stop");
    within.map(|p| p.expected_ms).sum()
}

/// The phases of a way as a table.
pub(super) fn phases(way: &Way, all: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["#", "PHASE", "HOSTS", "ZONE", "WHAT IS DOWN", "EXPECTED", "LIMIT"]);
    for (i, phase) in way.phases.iter().enumerate() {
        table.add_row([
            (i + 1).to_string(),
            phase.title.clone(),
            hosts(phase, all),
            if phase.zone == "down" { "DOWN".to_owned() } else { phase.zone.to_owned() },
            phase.down.clone(),
            about(phase.expected_ms),
            about(phase.limit_seconds * 1000),
        ]);
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    format!(
        "{}\nExpected is the time of a model; the limit is that of one try of the longest step.\n",
        lines.join("\n")
    )
}

fn hosts(phase: &Phase, all: usize) -> String {
    match phase.hosts.len() {
        0 => "cluster".to_owned(),
        n if n == all && n > 1 => format!("all {n}"),
        n if n > NAMED => n.to_string(),
        _ => phase.hosts.join(" "),
    }
}

fn people(plan: &Plan) -> String {
    let affected = &plan.affected;
    let mut lines = Vec::new();
    if affected.admin_copies {
        let users = if affected.kubeconfigs.is_empty() {
            String::new()
        } else {
            format!("; pki/ holds {}", affected.kubeconfigs.join(", "))
        };
        lines.push(format!("kubeconfigs that stop working    copies of admin.conf{users}  (k0s kubeconfig create)"));
    }
    if !affected.legacy_tokens.is_empty() {
        let secrets = some(&affected.legacy_tokens);
        lines.push(format!("legacy service-account tokens    {secrets}  (minted anew: copy them again)"));
    }
    let (controllers, workers) = (affected.controller_tokens, affected.worker_tokens);
    if controllers + workers > 0 {
        lines.push(format!(
            "join tokens                      {} exist ({workers} worker, {controllers} controller): all are revoked",
            controllers + workers
        ));
    }
    if affected.own_pods() > 0 {
        let owners: Vec<String> =
            affected.pods.keys().filter(|owner| !owner.starts_with("kube-system/")).cloned().collect();
        let (count, owners) = (affected.own_pods(), some(&owners));
        lines.push(if affected.pods_restarted {
            format!("pods restarted on the way        {count} mount the CA or a token, each restarts once: {owners}")
        } else {
            format!(
                "pods to restart afterwards       {count} mount the CA or a token and may have read it once: {owners}"
            )
        });
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("Tell these people before:\n  {}\n", lines.join("\n  "))
}

/// The first of many.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more (-o json)"),
    }
}

fn go_on(plan: &Plan) -> String {
    let (Some(digest), Some(command)) = (&plan.digest, &plan.go_on) else {
        return "No digest: a rotation would be refused. Nothing was changed.\n".to_owned();
    };
    format!(
        "Text for your status page: the same with -o notice\nDigest {digest}\n  covers {}\n  {command}\n",
        plan.covers
    )
}

/// A text for a status page: when, how long, and who must do what.
pub fn notice(plan: &Plan) -> String {
    let mut text =
        format!("Maintenance of the Kubernetes cluster {}: its certificates and keys are replaced.\n", plan.cluster);
    let begin =
        plan.not_before.map_or_else(|| "at a time to be told".to_owned(), |at| format!("not before {}", rfc3339(at)));
    let end = plan.not_after.map_or_else(String::new, |at| format!(", over by {}", rfc3339(at)));
    let _ = writeln!(text, "When: {begin}{end}.");
    let limit = about(plan.max_outage_seconds * 1000);
    match &plan.forecast {
        Some(forecast) => {
            let way = &forecast.forward;
            let _ = writeln!(
                text,
                "How long: the Kubernetes API does not answer for about {}; should it take {limit}, everything goes back to how it was. Programs in the cluster keep running; those that call the API see errors for up to {}. All of it takes about {}.",
                about(worst(forecast).unwrap_or(way.api_down_ms)),
                about(pods_ms(way)),
                about(way.total_ms)
            );
        }
        None => {
            let _ = writeln!(
                text,
                "How long: the Kubernetes API does not answer for at most {limit}. Programs in the cluster keep running."
            );
        }
    }
    let todo = todo(plan);
    if !todo.is_empty() {
        let _ = writeln!(text, "What you must do afterwards:\n- {}", todo.join("\n- "));
    }
    text
}

fn todo(plan: &Plan) -> Vec<String> {
    let affected = &plan.affected;
    let mut all = Vec::new();
    if affected.admin_copies {
        let named = if affected.kubeconfigs.is_empty() {
            String::new()
        } else {
            format!(" (known: {})", affected.kubeconfigs.join(", "))
        };
        all.push(format!(
            "Whoever has a kubeconfig of this cluster{named}: ask for a new one; the old ones are refused."
        ));
        all.push("Whoever joins hosts or verifies this cluster's certificates: fetch its new CA.".to_owned());
    }
    if !affected.legacy_tokens.is_empty() {
        let secrets = affected.legacy_tokens.join(", ");
        all.push(format!("Whoever copied a token out of one of these Secrets: copy it again: {secrets}."));
    }
    if affected.controller_tokens + affected.worker_tokens > 0 {
        all.push("Whoever holds a join token: ask for a new one; all are revoked.".to_owned());
    }
    if affected.own_pods() > 0 && !affected.pods_restarted {
        all.push(
            "Whoever runs programs that read the cluster's CA or their token only when they start: restart them."
                .to_owned(),
        );
    }
    all
}

/// A duration as a forecast can mean it: whole seconds, rounded up.
pub fn about(ms: u64) -> String {
    match (ms, ms.div_ceil(1000)) {
        (0, _) => "–".to_owned(),
        (1..1000, _) => "<1 s".to_owned(),
        (_, s @ 0..=90) => format!("{s} s"),
        (_, s) if s.is_multiple_of(60) => format!("{} min", s / 60),
        (_, s) => format!("{} min {:02} s", s / 60, s % 60),
    }
}

//! An inspection as people read it.

use super::against::{Comparison, Trust};
use super::found::{Expiry, Holder, HostRow, Inspection, RootRow};
use super::stale::StalePods;
use crate::confirm::counted;
use comfy_table::{Table, presets};

/// A certificate that ends within so many days is explained.
const SOON_DAYS: i64 = 30;
/// Lines of one list; programs get all of them.
const MOST_LINES: usize = 20;
/// From so many days on, years are told.
const YEARS_FROM_DAYS: i64 = 730;

/// The whole text.
pub fn text(found: &Inspection) -> String {
    let mut lines = head(found);
    lines.extend(roots(&found.roots));
    lines.extend(hosts(&found.hosts));
    if let Some(leaf) = &found.earliest_leaf {
        let help = if leaf.days_left < SOON_DAYS { format!("  ! {}", leaf.help) } else { String::new() };
        lines.push(format!("EARLIEST LEAF  {} {}  {}{help}", leaf.host, leaf.path, when(leaf)));
    }
    if let Some(expiring) = &found.expiring {
        lines.extend(list("EXPIRING", "nothing within the time that was asked for", expiring, |e| {
            format!("{} {}  {}  {}", e.host, e.path, when(e), e.help)
        }));
    }
    lines.extend(list("DIFFERENCES", "none between the file and the machines", &found.differences, |d| d.what.clone()));
    lines.extend(found.against.iter().flat_map(against));
    lines.extend(found.stale_pods.iter().flat_map(stale));
    if let Some(unused) = &found.unused {
        lines.extend(rows("UNUSED KEYS", "none", unused, unused.len(), Clone::clone));
    }
    lines.join("\n")
}

fn stale(stale: &StalePods) -> Vec<String> {
    let (Some(execution), Some(since)) = (&stale.execution, &stale.since) else {
        return vec!["STALE PODS  no rotation from here retired the Kubernetes CA".to_owned()];
    };
    let rows: Vec<String> = stale.pods.iter().map(|(owner, pods)| format!("{owner}: {}", pods.join(" "))).collect();
    let none = format!("none has run since before {execution} was verified at {since}");
    list("STALE PODS", &none, &rows, Clone::clone)
}

fn head(found: &Inspection) -> Vec<String> {
    let version = if found.versions.is_empty() { "not seen".to_owned() } else { found.versions.join(" and ") };
    let uid = found.uid.as_deref().unwrap_or("not seen");
    let mut lines = vec![format!(
        "{} · {} · k0s {version} · {}, {} · kube-system uid {uid}",
        found.cluster,
        found.api,
        counted(found.controllers, "controller"),
        counted(found.workers, "worker")
    )];
    lines.extend(found.holders.iter().map(holder));
    if found.holders.is_empty() {
        lines.push("held by nobody".to_owned());
    }
    lines.push(match &found.last_rotation {
        Some(last) => format!("last rotated from here: {} {} since {}", last.execution, last.state, last.since),
        None => "last rotated from here: never".to_owned(),
    });
    if !found.not_ready.is_empty() {
        lines.push(format!("Nodes that are not ready: {}", found.not_ready.join(" ")));
    }
    lines
}

fn holder(holder: &Holder) -> String {
    let hosts = holder.hosts.join(" ");
    match &holder.execution {
        Some(execution) => {
            if holder.ended {
                let what = "which has ended without them; k0rotate rejoin takes the mark away";
                return format!("HELD by {}: execution {execution}, {what} · {hosts}", holder.by);
            }
            let phase = if holder.phase.is_empty() {
                String::new()
            } else {
                format!(", in phase {} when it last wrote its mark", holder.phase)
            };
            let way = if holder.direction.is_empty() { "" } else { ", going " };
            format!("HELD by {}: execution {execution}{way}{}{phase} · {hosts}", holder.by, holder.direction)
        }
        None => format!("HELD by {}, which has its lock · {hosts}", holder.by),
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string().lines().map(|line| line.trim().to_owned()).collect()
}

fn roots(roots: &[RootRow]) -> Vec<String> {
    let row = |root: &RootRow| {
        let fingerprint = match root.fingerprints.as_slice() {
            [one] => short(one),
            several => format!("{} different", several.len()),
        };
        let expires = match (&root.expires, root.days_left) {
            (Some(date), Some(days)) => format!("{} ({})", day(date), left(days)),
            _ => "–".to_owned(),
        };
        vec![root.root.clone(), fingerprint, expires, places(root), root.note.clone()]
    };
    table(&["ROOT", "FINGERPRINT", "EXPIRES", "WHERE", "NOTE"], roots.iter().map(row))
}

fn places(root: &RootRow) -> String {
    let controllers = &root.hosts[..root.hosts.len() - root.kubelets.min(root.hosts.len())];
    let kubelets = match root.kubelets {
        0 => None,
        1 => Some("1 kubelet".to_owned()),
        several => Some(format!("{several} kubelets")),
    };
    let named = Some(controllers.join(" ")).filter(|named| !named.is_empty());
    named.into_iter().chain(kubelets).collect::<Vec<_>>().join(", ")
}

fn hosts(hosts: &[HostRow]) -> Vec<String> {
    const ROOTS: [&str; 3] = ["kubernetes-ca", "etcd-ca", "front-proxy-ca"];
    let row = |host: &HostRow| {
        let mut row = vec![host.host.clone(), host.role.clone()];
        row.extend(ROOTS.map(|root| host.days_left.get(root).map_or("–".to_owned(), |days| left(*days))));
        row.push(host.earliest_leaf.as_ref().map_or("–".to_owned(), |e| format!("{} {}", left(e.days_left), e.path)));
        row
    };
    table(&["HOST", "ROLE", ROOTS[0], ROOTS[1], ROOTS[2], "EARLIEST LEAF"], hosts.iter().map(row))
}

fn against(comparison: &Comparison) -> Vec<String> {
    let good = comparison.places - comparison.differ.len();
    let mut lines = vec![format!(
        "AGAINST {} ({}): {good} of {} places are as it left them",
        comparison.execution, comparison.state, comparison.places
    )];
    lines.extend(comparison.differ.iter().map(|place| {
        let is = match place.is {
            Trust::Old => "still has the old trust",
            Trust::New => "still has the new trust",
            Trust::Another => "has another trust",
            Trust::Missing => "has none",
        };
        let found = place.found.as_deref().map(short).unwrap_or_default();
        format!("  {} {} {is} {found}", place.host, place.root).trim_end().to_owned()
    }));
    if !comparison.not_looked_at.is_empty() {
        lines.push(format!("  not looked at: {}", comparison.not_looked_at.join(" ")));
    }
    lines
}

fn list<T>(title: &str, none: &str, all: &[T], line: impl Fn(&T) -> String) -> Vec<String> {
    rows(title, none, all, MOST_LINES, line)
}

fn rows<T>(title: &str, none: &str, all: &[T], most: usize, line: impl Fn(&T) -> String) -> Vec<String> {
    if all.is_empty() {
        return vec![format!("{title}  {none}")];
    }
    let mut lines = vec![title.to_owned()];
    lines.extend(all.iter().take(most).map(|one| format!("  {}", line(one))));
    if all.len() > most {
        lines.push(format!("  and {} more: -o json has all", all.len() - most));
    }
    lines
}

/// `5d:0a:…:91`.
fn short(fingerprint: &str) -> String {
    match (fingerprint.get(..2), fingerprint.get(2..4), fingerprint.get(fingerprint.len().saturating_sub(2)..)) {
        (Some(first), Some(second), Some(last)) => format!("{first}:{second}:…:{last}"),
        _ => fingerprint.to_owned(),
    }
}

fn when(expiry: &Expiry) -> String {
    format!("{} ({})", day(&expiry.expires), left(expiry.days_left))
}

fn day(rfc3339: &str) -> &str {
    rfc3339.get(..10).unwrap_or(rfc3339)
}

fn left(days: i64) -> String {
    match days {
        ..0 => "EXPIRED".to_owned(),
        0..YEARS_FROM_DAYS => format!("{days} d"),
        // Tenths of a year of 365 days.
        _ => format!("{}.{} y", days / 365, days % 365 * 10 / 365),
    }
}

//! The daily look at a cluster's certificates: between drives, dropped when something is asked, told where a threshold is crossed.

use super::notify::bell::Bell;
use super::notify::notice::Notice;
use crate::args::Global;
use crate::calendar::{Crossed, Look};
use crate::confirm::counted;
use crate::error::Error;
use crate::open;
use crate::runtime::Runtime;
use crate::survey::{self, Asked};
use crate::telemetry::Telemetry;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::{Clock, SystemClock};
use std::path::Path;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// How often certificates are looked at.
const DAILY: Duration = Duration::from_hours(24);
/// How soon again where nobody could be looked at.
const AGAIN: Duration = Duration::from_hours(1);
/// Looks at the same time: of all clusters, since each asks all of its hosts.
const AT_ONCE: usize = 8;

static LOOKS: Semaphore = Semaphore::const_new(AT_ONCE);

/// A cluster as it is open.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// What was asked for.
    pub global: &'a Global,
    /// The folder of event logs.
    pub state: &'a Path,
    /// What its file says.
    pub inventory: &'a Inventory,
    /// Its store and hosts.
    pub runtime: &'a Runtime,
    /// Who is told.
    pub bell: &'a Bell,
}

/// When a cluster's next look is due.
pub struct Watch {
    due: Option<Instant>,
}

impl Watch {
    /// Nothing is known yet.
    pub fn begin() -> Self {
        Self { due: None }
    }

    /// Looks once it is due. Dropped before, it is due as it was.
    pub async fn daily(&mut self, of: Of<'_>) {
        let due = *self.due.get_or_insert_with(|| due(&of));
        sleep_until(due).await;
        let Ok(_room) = LOOKS.acquire().await else { return };
        let next = match look(of).await {
            Ok(_) => DAILY,
            Err(error) => {
                tracing::warn!(cluster = of.inventory.name, "certificates were not looked at: {}", error.sentence());
                AGAIN
            }
        };
        self.due = Some(Instant::now() + next);
    }

    /// It was looked at.
    pub fn done(&mut self) {
        self.due = Some(Instant::now() + DAILY);
    }
}

/// A day after the last look, whichever process looked.
fn due(of: &Of<'_>) -> Instant {
    let last = Look::read(&open::cluster_dir(of.state, of.inventory));
    let age = last.map_or(DAILY, |look| SystemClock::default().now().since(look.at));
    Instant::now() + DAILY.saturating_sub(age)
}

/// Looks now, keeps what was seen, and tells what was crossed. What is told and then not kept is told again.
pub async fn look(of: Of<'_>) -> Result<Look, Error> {
    let Of { global, state, inventory, runtime, bell } = of;
    let (hosts, clock) = (&runtime.fleet.hosts, runtime.fleet.clock.clone());
    let at_once = open::at_once(global, inventory);
    let asked = Asked { inventory, hosts, clock, allow: &[], leave_behind: &[], etcd_ca_stays: false, at_once };
    let survey = Box::pin(survey::paced(&asked, runtime.rehearsal.as_ref())).await?;
    if let Some(silent) = survey.hosts.values().find_map(|seen| seen.as_ref().err())
        && survey.hosts.values().all(Result::is_err)
    {
        return Err(Error::Host(format!("none of the hosts can be looked at; the first: {silent}")));
    }
    let dir = open::cluster_dir(state, inventory);
    let before = Look::read(&dir);
    let look = Look::of(inventory, &survey, before.as_ref());
    let crossed = look.crossed(before.as_ref());
    crossed.iter().for_each(|crossed| log(&inventory.name, crossed));
    // One notice a look: the queue is short, and a cluster has many certificates.
    if let Some(says) = told(&crossed) {
        bell.ring(&global.settings, Notice::new(&inventory.name, "certificate-ends", says));
    }
    look.write(&dir).map_err(|why| Error::File(dir.display().to_string(), why))?;
    runtime.telemetry.iter().for_each(Telemetry::nudge);
    Ok(look)
}

/// The one that ends first, and how many more.
fn told(crossed: &[Crossed]) -> Option<String> {
    let first = crossed.iter().min_by_key(|crossed| crossed.end.not_after)?;
    let Crossed { end, days_left, .. } = first;
    // Days that are negative are over.
    let days = usize::try_from(*days_left);
    let ends = days.map_or_else(|_| "is over".to_owned(), |days| format!("ends in {}", counted(days, "day")));
    let more = match crossed.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("a {} of {} on {} ({}) {ends}{more}", end.kind(), end.root, end.host, end.path))
}

fn log(cluster: &str, crossed: &Crossed) {
    let Crossed { end, days_left, threshold } = crossed;
    let (host, root, path, kind) = (&end.host, &end.root, &end.path, end.kind());
    let what = if *days_left < 0 { "a certificate is over" } else { "a certificate ends" };
    tracing::warn!(
        cluster,
        host,
        root,
        kind,
        path,
        days_left,
        threshold,
        "{what}: days left are at a threshold or below"
    );
}

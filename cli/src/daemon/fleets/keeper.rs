//! What the thread of the fleets does: opens their store, drives all that are under way, and says in each rotation that its wave was approved.

use super::children::approve;
use super::progress::Progress;
use super::{FOLDER, Order, Shared};
use crate::daemon::notify;
use crate::error::Error;
use crate::open;
use crate::telemetry::Telemetry;
use crate::telemetry::courier::Courier;
use crate::telemetry::metrics::{self, Meters, Page};
use k0rotate_activities::clusters::Reach;
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::drive::{Engine, Rest};
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::registry::Registry;
use k0rotate_workflows::waves::{FinalizeAll, Waves};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often it is looked which rotations wait for an approval that their wave has.
const APPROVE_EVERY: Duration = Duration::from_secs(1);
/// How often collectors and commands hear that something may be new while a fleet is driven.
const NUDGE_EVERY: Duration = Duration::from_secs(1);

/// All workflows of fleets that this program has code for.
pub fn registry() -> Registry<Reach> {
    Registry::new().with::<Waves>().with::<FinalizeAll>()
}

/// See the file's sentence.
pub struct Keeper {
    shared: Arc<Shared>,
    reach: Arc<Reach>,
    dir: PathBuf,
}

/// The store, opened.
struct Open {
    /// Its last moments come before the store is closed.
    notices: Option<Courier>,
    telemetry: Telemetry,
    engine: Engine,
}

impl Open {
    fn nudge(&self) {
        self.telemetry.nudge();
        self.notices.iter().for_each(Courier::nudge);
    }
}

/// What is under way.
#[derive(Default)]
struct Work {
    drives: JoinSet<(ExecutionId, Rest)>,
    approving: JoinSet<()>,
    /// Fleets that have not ended.
    open: BTreeSet<ExecutionId>,
}

impl Keeper {
    /// Of the store in this folder.
    pub fn new(shared: Arc<Shared>, reach: Arc<Reach>, dir: PathBuf) -> Self {
        Self { shared, reach, dir }
    }

    /// Its life.
    pub async fn live(self, mut orders: mpsc::Receiver<Order>) {
        let all = self.shared.clusters.all();
        let opened = futures_util::future::join_all(all.iter().map(|cluster| cluster.opened()));
        let mut opened = std::pin::pin!(opened);
        let (mut store, mut work, mut begun) = (None, Work::default(), false);
        let mut approve = tokio::time::interval(APPROVE_EVERY);
        let mut nudge = tokio::time::interval(NUDGE_EVERY);
        while !self.shared.is_leaving() {
            tokio::select! {
                order = orders.recv() => match order {
                    None => break,
                    Some(Order::Open(reply)) => {
                        let open = self.ensure(&mut store);
                        // Whoever asked may have gone.
                        let _ = reply.send(open);
                    }
                    Some(Order::Look) if begun => self.drive_on(store.as_ref(), &mut work).await,
                    Some(Order::Look) => {}
                },
                // What its steps ask of a cluster that is being opened would be refused.
                _ = &mut opened, if !begun => {
                    begun = true;
                    if self.dir.exists() && let Err(error) = self.ensure(&mut store) {
                        tracing::error!("fleets cannot be opened: {}", error.sentence());
                    }
                    self.drive_on(store.as_ref(), &mut work).await;
                }
                Some(ended) = work.drives.join_next() => {
                    self.ended(ended);
                    self.drive_on(store.as_ref(), &mut work).await;
                }
                Some(_) = work.approving.join_next() => {}
                _ = approve.tick(), if !work.open.is_empty() && work.approving.is_empty() => self.approve(store.as_ref(), &mut work),
                _ = nudge.tick(), if !work.drives.is_empty() => store.iter().for_each(Open::nudge),
            }
        }
        work.drives.shutdown().await;
        work.approving.shutdown().await;
        store.iter().for_each(Open::nudge);
        *self.shared.engine() = None;
    }

    fn ensure(&self, store: &mut Option<Open>) -> Result<Engine, Error> {
        if let Some(open) = store {
            return Ok(open.engine.clone());
        }
        crate::private::dir(&self.dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let meters = metrics::of_process(&open::machine(), Page::Unasked);
        let log = open::store(&self.dir, clock.clone(), meters.as_deref().map(Meters::commits), open::Keeper::Daemon)?;
        let telemetry = Telemetry::begin(&self.dir, FOLDER, &log, meters);
        let notices = notify::of_histories(&self.shared.clusters.settings(), FOLDER, &self.dir, &log, clock.now());
        let engine = Engine::new(log, clock);
        *self.shared.engine() = Some(engine.clone());
        *store = Some(Open { notices, telemetry, engine: engine.clone() });
        Ok(engine)
    }

    /// Drives whatever is under way and not driven.
    async fn drive_on(&self, store: Option<&Open>, work: &mut Work) {
        let Some(open) = store else { return };
        open.nudge();
        let heads = match open.engine.log().heads().await {
            Ok(heads) => heads,
            Err(error) => return tracing::error!("fleets cannot be read: {error}"),
        };
        work.open.clear();
        for head in heads {
            let Ok(Some(view)) = open.engine.view(&head.execution).await else { continue };
            if !view.state.status.ended() {
                work.open.insert(head.execution.clone());
            }
            if view.state.status == Status::Running && !open.engine.drives(&head.execution) {
                let (engine, reach) = (open.engine.clone(), self.reach.clone());
                tracing::info!(fleet = %head.execution, "is driven");
                work.drives.spawn_local(async move {
                    let rest = engine.drive(&head.execution, reach, &registry(), None).await;
                    (head.execution, rest)
                });
            }
        }
    }

    fn ended(&self, ended: Result<(ExecutionId, Rest), tokio::task::JoinError>) {
        match ended {
            Ok((fleet, Rest::Waiting { name, .. })) => tracing::info!(%fleet, "waits for {name}"),
            Ok((fleet, Rest::Completed { .. })) => tracing::info!(%fleet, "has ended"),
            Ok((fleet, rest)) => {
                tracing::error!(%fleet, "needs somebody: {rest:?}");
                if let Rest::Parked { why, .. } = rest {
                    self.shared.clusters.ring(FOLDER, "parked", format!("fleet {fleet} is parked: {why}"));
                }
            }
            Err(error) => tracing::error!("the drive of a fleet has died: {error}"),
        }
    }

    /// Says what was said of a wave in each rotation of it that waits for that. Beside everything else: it looks at machines.
    fn approve(&self, store: Option<&Open>, work: &mut Work) {
        let Some(open) = store.filter(|_| !work.open.is_empty()) else { return };
        let (engine, shared, fleets) = (open.engine.clone(), self.shared.clone(), work.open.clone());
        work.approving.spawn_local(async move {
            for fleet in fleets {
                let Ok(Some(view)) = engine.view(&fleet).await else { continue };
                if let Some(progress) = Progress::of(&view) {
                    approve(&shared, &progress).await;
                }
            }
        });
    }
}

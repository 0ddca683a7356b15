//! Fleets of clusters: their executions in a store of the daemon's own, and a thread that drives them. docs/decisions/0014 has the design.
//!
//! Modules in reading order.

pub mod progress;

pub mod children;

pub mod keeper;

pub mod show;

pub mod words;

pub mod api;

use super::clusters::Clusters;
use crate::error::Error;
use k0rotate_activities::clusters::Reach;
use k0rotate_engine::drive::Engine;
use k0rotate_engine::ids::ExecutionId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// The folder of their store: no cluster's can be called so.
pub const FOLDER: &str = "+fleets";
/// Orders that may wait for the thread.
const MOST_WAITING: usize = 64;

/// How long after it was refused the approval of a rotation is tried again.
const APPROVE_AGAIN: Duration = Duration::from_secs(60);

/// What the thread is told.
pub enum Order {
    /// Open the store, if it is not.
    Open(oneshot::Sender<Result<Engine, Error>>),
    /// Something may be driven that is not.
    Look,
}

/// What the thread and the others share.
pub struct Shared {
    /// The clusters that fleets are made of.
    pub clusters: Arc<Clusters>,
    engine: Mutex<Option<Engine>>,
    leaving: AtomicBool,
    /// Rotations that could not be approved with their wave, and when that was tried: since they are not as they were planned, or for
    /// anything else that a later look may not find again.
    unapproved: Mutex<BTreeMap<ExecutionId, (Instant, bool)>>,
}

impl Shared {
    /// The store's engine, while it is open.
    fn engine(&self) -> MutexGuard<'_, Option<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to try to approve a rotation with its wave.
    fn may_approve(&self, child: &ExecutionId) -> bool {
        self.unapproved().get(child).is_none_or(|(at, _)| at.elapsed() > APPROVE_AGAIN)
    }

    fn unapproved(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, (Instant, bool)>> {
        self.unapproved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_approved(&self, child: &ExecutionId, why: &Error) {
        let lapsed = matches!(why, Error::Digest { .. });
        self.unapproved().insert(child.clone(), (Instant::now(), lapsed));
    }

    /// Whether the daemon ends: nothing that is answered from now on may be recorded.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
}

/// See the file's sentence.
pub struct Fleets {
    shared: Arc<Shared>,
    /// What their steps reach.
    pub reach: Arc<Reach>,
    dir: PathBuf,
    orders: mpsc::Sender<Order>,
    left: watch::Receiver<bool>,
}

impl Fleets {
    /// Begins the thread, which drives on what was driven once the clusters are open.
    pub fn begin(clusters: &Arc<Clusters>, state: &Path) -> Result<Self, Error> {
        let (orders, waiting) = mpsc::channel(MOST_WAITING);
        let (tell, left) = watch::channel(false);
        let (clusters, engine, leaving) = (clusters.clone(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { clusters, engine, leaving, unapproved: Mutex::default() });
        let reach = Arc::new(Reach::new(Arc::new(children::Children(shared.clone()))));
        let dir = state.join(FOLDER);
        let keeper = keeper::Keeper::new(shared.clone(), reach.clone(), dir.clone());
        let failed = |e: std::io::Error| Error::File("a thread for fleets".into(), e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let live = move || {
            // Told also where it panics: whoever waits for the end must not wait for ever.
            let _left = super::cluster::Tells::new(tell);
            tokio::task::LocalSet::new().block_on(&runtime, keeper.live(waiting));
        };
        std::thread::Builder::new().name("fleets".into()).spawn(live).map_err(failed)?;
        Ok(Self { shared, reach, dir, orders, left })
    }

    /// All clusters of the daemon.
    pub fn clusters(&self) -> &Arc<Clusters> {
        &self.shared.clusters
    }

    /// The store, opened if it was not.
    pub async fn opened(&self) -> Result<Engine, Error> {
        let gone = || Error::NoDaemon("fleets are not open: their thread ends, or has died; the log says which".into());
        let (reply, answer) = oneshot::channel();
        self.orders.try_send(Order::Open(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The store, where there is one.
    pub async fn engine(&self) -> Result<Engine, Error> {
        if self.dir.exists() { self.opened().await } else { Err(Error::NoRun("of a fleet yet".into())) }
    }

    /// Something may be driven that is not.
    pub fn look(&self) {
        // Full: it looks anyway.
        let _ = self.orders.try_send(Order::Look);
    }

    /// Whether a rotation was not approved with its wave, since it is not as it was planned.
    pub fn has_lapsed(&self, child: &ExecutionId) -> bool {
        self.shared.unapproved().get(child).is_some_and(|(_, lapsed)| *lapsed)
    }

    /// Whether the daemon ends, and nothing new may begin.
    pub fn is_leaving(&self) -> bool {
        self.shared.is_leaving()
    }

    /// Every drive ends as a crash would end it: the next daemon goes on. Returns once the store is closed.
    pub async fn leave(&self) {
        self.shared.leaving.store(true, Ordering::SeqCst);
        self.look();
        // An error means the same: the thread has ended.
        let _ = self.left.clone().wait_for(|left| *left).await;
    }
}

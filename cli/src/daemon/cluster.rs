//! A cluster of the daemon: a thread of its own with its store and hosts, which drives one execution at a time.

use super::ask::{Answered, Ask, Begun, Driven};
use super::keeper::Keeper;
use super::notify::bell::Bell;
use crate::args::Global;
use crate::calendar::Look;
use crate::confirm;
use crate::error::Error;
use crate::outcome::Ended;
use k0rotate_engine::drive::Engine;
use k0rotate_engine::ids::ExecutionId;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

/// Requests that may wait for the thread: a change of the configuration, and what was let in before it.
const MOST_WAITING: usize = 8;

/// How long somebody who asks waits for another who looks.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the thread is told.
pub enum Request {
    /// Something is asked of the cluster by somebody; the guard keeps others out until it is done.
    Asked(Box<Ask>, String, oneshot::Sender<Result<Answered, Error>>, OwnedMutexGuard<()>),
    /// Its certificates are to be looked at; the guard keeps others out meanwhile.
    Look(oneshot::Sender<Result<Look, Error>>, OwnedMutexGuard<()>),
    /// The configuration is another one.
    Settings(Box<Global>),
    /// There is nothing more.
    End,
}

/// What others may know of it.
#[derive(Default)]
pub struct Status {
    /// Its store, while it is open.
    pub engine: Option<Engine>,
    /// What it is known by, once its inventory was read.
    pub cluster: Option<confirm::Cluster>,
    /// Why it is not open.
    pub failed: Option<Error>,
    /// What it drives.
    pub driving: Option<ExecutionId>,
    /// How the last drive of each ended.
    pub ends: BTreeMap<ExecutionId, Ended>,
}

/// What the thread and the others share.
#[derive(Default)]
pub struct Shared {
    status: Mutex<Status>,
    busy: Arc<tokio::sync::Mutex<()>>,
    leaving: AtomicBool,
}

impl Shared {
    /// To be looked at, or changed; nobody waits while it is held.
    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing new may begin.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// The same if nobody is in.
    pub fn alone_now(&self) -> Option<OwnedMutexGuard<()>> {
        self.busy.clone().try_lock_owned().ok()
    }

    /// Keeps others out, once those that are in are done.
    pub async fn alone(&self) -> OwnedMutexGuard<()> {
        self.busy.clone().lock_owned().await
    }
}

/// See the file's sentence.
pub struct Cluster {
    /// Its name.
    pub name: String,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    opened: watch::Receiver<bool>,
    ended: watch::Receiver<bool>,
}

impl Cluster {
    /// Begins its thread, which opens the store and drives on what was driven.
    pub fn begin(global: &Global, state: &Path, name: &str, bell: &Bell) -> Result<Self, Error> {
        let (requests, waiting) = mpsc::channel(MOST_WAITING);
        let (tell_opened, opened) = watch::channel(false);
        let (tell_ended, ended) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let keeper = Keeper::new(global, state, name, shared.clone(), bell.clone());
        let failed = |e: std::io::Error| Error::File(format!("a thread for {name}"), e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name(name.chars().take(15).collect());
        let live = move || {
            // Told also where it panics: whoever waits for the end must not wait for ever.
            let _ended = Tells(tell_ended);
            runtime.block_on(keeper.live(waiting, &tell_opened));
        };
        thread.spawn(live).map_err(failed)?;
        Ok(Self { name: name.to_owned(), shared, requests, opened, ended })
    }

    /// To be looked at.
    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.shared.status()
    }

    /// Returns once the store is open, or could not be opened.
    pub async fn opened(&self) {
        // An error means that the thread has ended: that is known, too.
        let _ = self.opened.clone().wait_for(|opened| *opened).await;
    }

    /// Its store, while it is open.
    pub fn engine(&self) -> Result<Engine, Error> {
        let status = self.status();
        match (&status.engine, &status.failed) {
            (Some(engine), _) => Ok(engine.clone()),
            (None, Some(failed)) => Err(failed.clone()),
            (None, None) => Err(self.gone()),
        }
    }

    /// Asks its thread, unless that is at work.
    pub async fn ask(&self, ask: Ask, by: String) -> Result<Answered, Error> {
        let alone = self.alone().await?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Asked(Box::new(ask), by, reply, alone);
        self.requests.try_send(request).map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Looks at its certificates now, unless its thread is at work.
    pub async fn look(&self) -> Result<Look, Error> {
        let alone = self.alone().await?;
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request::Look(reply, alone)).map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Who only looks is done soon, and waited for a while; who drives is not.
    async fn alone(&self) -> Result<OwnedMutexGuard<()>, Error> {
        let begun = Instant::now();
        loop {
            if let Ok(alone) = self.shared.busy.clone().try_lock_owned() {
                return Ok(alone);
            }
            if self.status().driving.is_some() || begun.elapsed() > PATIENCE {
                return Err(self.at_work());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn at_work(&self) -> Error {
        let name = &self.name;
        match &self.status().driving {
            Some(execution) => Error::Held(format!("the daemon drives {execution} of {name}")),
            None => Error::Held(format!("the daemon looks at {name} for somebody else")),
        }
    }

    fn gone(&self) -> Error {
        Error::NoDaemon(format!("{} is not open: its thread begins, ends, or has died; the log says which", self.name))
    }

    /// Whether it is driven, and how it ended if not.
    pub async fn driven(&self, execution: &ExecutionId) -> Result<Driven, Error> {
        let engine = self.engine()?;
        {
            let status = self.status();
            if status.driving.as_ref() == Some(execution) {
                return Ok(Driven::Now);
            }
            if let Some(ended) = status.ends.get(execution) {
                return Ok(Driven::Ended(ended.clone()));
            }
        }
        let view = engine.view(execution).await.map_err(|e| Error::Log(e.to_string()))?;
        let view = view.ok_or_else(|| Error::NoRun(execution.to_string()))?;
        Ok(Driven::Ended(Ended::of_view(&view)))
    }

    /// Another configuration; used once it rests.
    pub fn reload(&self, global: &Global) {
        if self.requests.try_send(Request::Settings(Box::new(global.clone()))).is_err() {
            tracing::warn!(cluster = self.name, "has not yet taken the last change of the configuration; reload again");
        }
    }

    /// Nothing new begins; what is driven leaves as soon as the control plane is up. True once it has.
    pub fn leave(&self) -> bool {
        self.shared.leaving.store(true, Ordering::SeqCst);
        let status = self.status();
        if let (Some(engine), Some(execution)) = (&status.engine, &status.driving) {
            engine.leave_when_up(execution);
            return false;
        }
        // Full: it has not begun with what came before.
        drop(status);
        let _ = self.requests.try_send(Request::End);
        *self.ended.borrow()
    }

    /// It is configured no more: ends it, unless it is driven. True once it has.
    pub fn retire(&self) -> bool {
        let driven = self.status().driving.is_some();
        !driven && self.leave()
    }

    /// What is driven ends as a crash would end it.
    pub fn interrupt(&self) {
        let status = self.status();
        if let (Some(engine), Some(execution)) = (&status.engine, &status.driving) {
            engine.interrupt(execution);
        }
    }
}

/// Tells that a thread has ended, however it does.
pub struct Tells(watch::Sender<bool>);

impl Tells {
    /// When it is dropped.
    pub fn new(tell: watch::Sender<bool>) -> Self {
        Self(tell)
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// What came of something that was asked, before it is driven.
pub fn begun(execution: &ExecutionId, known: usize, wanted: crate::outcome::Wanted) -> Begun {
    Begun::Course { execution: execution.clone(), known, wanted }
}

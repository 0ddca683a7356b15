//! Where reading verbs take histories from: the store, or the process that holds it, through its socket.

use crate::error::Error;
use crate::open;
use crate::socket;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::sled::Reading;
use k0rotate_engine::log::{EventLog, LogError};
use k0rotate_engine::view::ExecutionView;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process that begins or ends may leave neither its socket nor the store to those who look: longer than an opening takes.
const TRANSITION: Duration = Duration::from_secs(20);
/// How often it is tried again meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// See the file's sentence.
pub struct Source {
    /// None for what this process itself opened.
    dir: Option<PathBuf>,
    from: Mutex<Origin>,
}

#[derive(Clone)]
enum Origin {
    /// This process opened the store.
    Log(Arc<dyn EventLog>),
    /// Nobody had it open: what it held when it was looked at.
    Reading(Arc<Reading>),
    /// Another process has it open and answers here.
    Socket(PathBuf),
}

impl Origin {
    /// Reads the store, or finds who has it open; waits where that is just changing.
    fn of(dir: &Path) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            match open::reading(dir) {
                Ok(reading) => return Ok(Self::Reading(Arc::new(reading))),
                Err(Error::Held(_)) if socket::path(dir).exists() => return Ok(Self::Socket(socket::path(dir))),
                Err(Error::Held(_)) if begun.elapsed() < TRANSITION => std::thread::sleep(AGAIN),
                Err(error) => return Err(error),
            }
        }
    }

    async fn executions(&self) -> Result<Vec<ExecutionId>, Error> {
        match self {
            Self::Log(log) => {
                let heads = log.heads().await.map_err(of_log)?;
                Ok(heads.into_iter().map(|head| head.execution).collect())
            }
            Self::Reading(reading) => Ok(reading.executions()),
            Self::Socket(path) => socket::get(path, "/executions").await,
        }
    }

    async fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
        match self {
            Self::Log(log) => log.read(execution, 0).await.map_err(of_log),
            Self::Reading(reading) => reading.history(execution).map_err(of_log),
            Self::Socket(path) => socket::history(path, execution).await,
        }
    }

    async fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, Error> {
        match self {
            Self::Log(log) => log.stored(execution).await.map_err(of_log),
            Self::Reading(reading) => reading.stored(execution).map_err(of_log),
            Self::Socket(path) => socket::stored(path, execution).await,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn of_log(error: LogError) -> Error {
    Error::Log(error.to_string())
}

impl Source {
    /// Reads the store of a cluster, or finds who has it open.
    pub fn of(state: &Path, inventory: &Inventory) -> Result<Self, Error> {
        let dir = open::cluster_dir(state, inventory);
        if !dir.exists() {
            return Err(Error::NoRun(format!("of {}: it was never rotated from here", inventory.name)));
        }
        Self::at(&dir)
    }

    /// Reads the store in this folder, or finds who has it open.
    pub fn at(dir: &Path) -> Result<Self, Error> {
        Ok(Self { dir: Some(dir.to_owned()), from: Mutex::new(Origin::of(dir)?) })
    }

    /// The store that this process opened.
    pub fn opened(log: Arc<dyn EventLog>) -> Self {
        Self { dir: None, from: Mutex::new(Origin::Log(log)) }
    }

    /// Folders of all stores of this machine, by name.
    pub fn all(state: &Path) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut stores: Vec<PathBuf> = folders.filter(|dir| dir.join("anchor").exists()).collect();
        stores.sort();
        stores
    }

    /// Whether another process drives.
    pub fn is_driven(&self) -> bool {
        self.socket().is_some()
    }

    /// Where the process that drives answers.
    pub fn socket(&self) -> Option<PathBuf> {
        match self.from() {
            Origin::Socket(path) => Some(path),
            Origin::Log(_) | Origin::Reading(_) => None,
        }
    }

    /// All executions, oldest first.
    pub async fn executions(&self) -> Result<Vec<ExecutionId>, Error> {
        self.ask(async |from: Origin| from.executions().await).await
    }

    /// What all of them say, oldest first.
    pub async fn views(&self) -> Result<Vec<ExecutionView>, Error> {
        let mut views = Vec::new();
        for execution in self.executions().await? {
            let history = self.history(&execution).await?;
            views.extend(ExecutionView::of(&history).map_err(|e| Error::Log(e.to_string()))?);
        }
        Ok(views)
    }

    /// A history.
    pub async fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
        self.ask(async |from: Origin| from.history(execution).await).await
    }

    /// The stored bytes of each event of a history.
    pub async fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, Error> {
        self.ask(async |from: Origin| from.stored(execution).await).await
    }

    fn from(&self) -> Origin {
        self.from.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, and asks again where the process that answered has ended meanwhile: then the store can be read, or the next one answers.
    async fn ask<T>(&self, what: impl AsyncFn(Origin) -> Result<T, Error>) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            match (what(self.from()).await, &self.dir) {
                (Err(Error::Held(_)), Some(dir)) if begun.elapsed() < TRANSITION => {
                    tokio::time::sleep(AGAIN).await;
                    let from = Origin::of(dir)?;
                    *self.from.lock().unwrap_or_else(PoisonError::into_inner) = from;
                }
                (answer, _) => return answer,
            }
        }
    }

    /// The execution that `run` names: an id, or a unique beginning of one. A cluster's name, or none, is its open rotation, else its last
    /// one: an execution beside it is named by its id.
    pub async fn find(&self, run: Option<&str>) -> Result<(ExecutionId, Vec<Record>, ExecutionView), Error> {
        let all = self.executions().await?;
        let mut fits = Vec::new();
        for execution in all.iter().rev() {
            let history = self.history(execution).await?;
            let view = ExecutionView::of(&history).map_err(|e| Error::Log(e.to_string()))?;
            fits.extend(view.map(|view| (execution.clone(), history, view)));
        }
        let run = run.filter(|run| !fits.iter().any(|(_, _, view)| view.subject == *run));
        if let Some(run) = run {
            fits.retain(|(execution, _, _)| execution.as_str().starts_with(run));
            return match fits.len() {
                0 => Err(Error::NoRun(run.to_owned())),
                1 => Ok(fits.remove(0)),
                several => Err(Error::NoRun(format!("is meant by {run}: {several} begin so"))),
            };
        }
        let first = |wanted: &dyn Fn(&ExecutionView) -> bool| fits.iter().position(|(_, _, view)| wanted(view));
        let open = first(&|view| view.workflow == "rotate" && !view.state.status.ended());
        let at = open.or_else(|| first(&|view| view.workflow == "rotate")).unwrap_or(0);
        if fits.is_empty() { Err(Error::NoRun("yet".into())) } else { Ok(fits.remove(at)) }
    }
}

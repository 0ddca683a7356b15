//! Where reading verbs take histories from: the store, or the process that holds it, through its socket.

use crate::error::Error;
use crate::open;
use crate::socket;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::SystemClock;
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::view::ExecutionView;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the file's sentence.
pub enum Source {
    /// Nobody drives: the store is ours while we look.
    Store(Arc<dyn EventLog>),
    /// Another process drives and answers here.
    Socket(PathBuf),
}

impl Source {
    /// Opens the store of a cluster, or finds who holds it.
    pub fn of(state: &Path, inventory: &Inventory) -> Result<Self, Error> {
        let dir = open::cluster_dir(state, inventory);
        if !dir.exists() {
            return Err(Error::NoRun(format!("of {}: it was never rotated from here", inventory.name)));
        }
        Self::at(&dir)
    }

    /// Opens the store in this folder, or finds who holds it.
    pub fn at(dir: &Path) -> Result<Self, Error> {
        match open::store(dir, Arc::new(SystemClock::default())) {
            Ok(log) => Ok(Self::Store(log)),
            Err(Error::Held(_)) if socket::path(dir).exists() => Ok(Self::Socket(socket::path(dir))),
            Err(error) => Err(error),
        }
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
        matches!(self, Self::Socket(_))
    }

    /// All executions, oldest first.
    pub async fn executions(&self) -> Result<Vec<ExecutionId>, Error> {
        match self {
            Self::Store(log) => {
                let heads = log.heads().await.map_err(|e| Error::Log(e.to_string()))?;
                Ok(heads.into_iter().map(|head| head.execution).collect())
            }
            Self::Socket(path) => socket::get(path, "/executions").await,
        }
    }

    /// A history.
    pub async fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
        match self {
            Self::Store(log) => log.read(execution, 0).await.map_err(|e| Error::Log(e.to_string())),
            Self::Socket(path) => socket::get(path, &format!("/history/{execution}")).await,
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

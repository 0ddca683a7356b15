//! Where reading verbs take histories from: the store, the process that holds it, or the daemon, through its socket.

use crate::args::Global;
use crate::config::{Settings, place};
use crate::error::Error;
use crate::open;
use crate::socket::{self, Address};
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

/// Where the executions of a cluster are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the store in this folder, whoever holds it.
    Dir(PathBuf),
    /// By the daemon, whose cluster it is.
    Daemon(Address),
}

impl Place {
    /// Of a cluster of this name.
    pub fn of(global: &Global, state: &Path, cluster: &str) -> Self {
        match global.daemon() {
            Some(socket) if global.settings.has(cluster) => Self::Daemon(Address::of_daemon(&socket, cluster)),
            _ => Self::Dir(state.join(open::folder_of(cluster))),
        }
    }

    /// Of the store in this folder, whatever the verb is about: the daemon's, if it is one of its and it answers.
    pub async fn of_store(global: &Global, dir: &Path) -> Self {
        match Self::by_daemon(global, dir) {
            Some(address) if socket::client::get_at::<bool>(&address, "/health").await.is_ok() => Self::Daemon(address),
            _ => Self::Dir(dir.to_owned()),
        }
    }

    fn by_daemon(global: &Global, dir: &Path) -> Option<Address> {
        // A verb that needs no configuration works where that is broken, too.
        let global = Global { settings: Arc::new(Settings::find(global).ok()?), ..global.clone() };
        let (state, _) = place::state_dir(&global, &global.settings).ok()?;
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir }.canonicalize().ok()?;
        let is_it = |name: &&str| state.join(open::folder_of(name)).canonicalize().is_ok_and(|own| own == dir);
        let name = global.settings.names().find(is_it)?;
        Some(Address::of_daemon(&global.daemon()?, name))
    }

    /// Of all clusters that can be known from here, by name.
    pub fn all(global: &Global, state: &Path) -> Vec<Self> {
        match global.daemon() {
            Some(socket) => {
                global.settings.names().map(|name| Self::Daemon(Address::of_daemon(&socket, name))).collect()
            }
            None => Source::all(state).into_iter().map(Self::Dir).collect(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir(dir) => write!(f, "{}", dir.display()),
            Self::Daemon(address) => f.write_str(&address.folder),
        }
    }
}

/// See the file's sentence.
pub struct Source {
    /// None for what this process itself opened.
    place: Option<Place>,
    from: Mutex<Origin>,
    /// What the daemon drives.
    driven: Vec<ExecutionId>,
}

#[derive(Clone)]
enum Origin {
    /// This process opened the store.
    Log(Arc<dyn EventLog>),
    /// Nobody had it open: what it held when it was looked at.
    Reading(Arc<Reading>),
    /// Another process has it open and answers here.
    Socket(Address),
}

impl Origin {
    /// Reads the store, or finds who has it open; waits where that is just changing.
    fn of(place: &Place) -> Result<Self, Error> {
        let dir = match place {
            Place::Dir(dir) => dir,
            Place::Daemon(address) => return Ok(Self::Socket(address.clone())),
        };
        let begun = Instant::now();
        loop {
            match open::reading(dir) {
                Ok(reading) => return Ok(Self::Reading(Arc::new(reading))),
                Err(Error::Held(_)) if socket::path(dir).exists() => return Ok(Self::Socket(Address::beside(dir))),
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
            Self::Socket(address) => socket::get(address, "/executions").await,
        }
    }

    async fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
        match self {
            Self::Log(log) => log.read(execution, 0).await.map_err(of_log),
            Self::Reading(reading) => reading.history(execution).map_err(of_log),
            Self::Socket(address) => socket::history(address, execution).await,
        }
    }

    async fn stored(&self, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, Error> {
        match self {
            Self::Log(log) => log.stored(execution).await.map_err(of_log),
            Self::Reading(reading) => reading.stored(execution).map_err(of_log),
            Self::Socket(address) => socket::stored(address, execution).await,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn of_log(error: LogError) -> Error {
    Error::Log(error.to_string())
}

impl Source {
    /// What is known of a cluster, whoever knows it.
    pub async fn of(global: &Global, state: &Path, inventory: &Inventory) -> Result<Self, Error> {
        let place = Place::of(global, state, &inventory.name);
        match &place {
            Place::Dir(dir) if !dir.exists() => {
                Err(Error::NoRun(format!("of {}: it was never rotated from here", inventory.name)))
            }
            place => Self::at(place).await,
        }
    }

    /// What is known at this place.
    pub async fn at(place: &Place) -> Result<Self, Error> {
        let driven = match place {
            Place::Dir(_) => Vec::new(),
            Place::Daemon(address) => socket::get(address, "/driven").await?,
        };
        Ok(Self { place: Some(place.clone()), from: Mutex::new(Origin::of(place)?), driven })
    }

    /// Reads the store of this cluster, or finds who has it open, however it is configured.
    pub fn of_dir(state: &Path, inventory: &Inventory) -> Result<Self, Error> {
        let dir = open::cluster_dir(state, inventory);
        if !dir.exists() {
            return Err(Error::NoRun(format!("of {}: it was never rotated from here", inventory.name)));
        }
        let place = Place::Dir(dir);
        let from = Mutex::new(Origin::of(&place)?);
        Ok(Self { place: Some(place), from, driven: Vec::new() })
    }

    /// The store that this process opened.
    pub fn opened(log: Arc<dyn EventLog>) -> Self {
        Self { place: None, from: Mutex::new(Origin::Log(log)), driven: Vec::new() }
    }

    /// Folders of all stores of this machine, by name.
    pub fn all(state: &Path) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut stores: Vec<PathBuf> = folders.filter(|dir| dir.join("anchor").exists()).collect();
        stores.sort();
        stores
    }

    /// Whether another process drives it. One that has just this store open is taken for doing so; of the daemon it is known.
    pub fn is_driven(&self, execution: &ExecutionId) -> bool {
        self.socket().is_some_and(|address| !address.daemon || self.driven.contains(execution))
    }

    /// Whether another process has the store open.
    pub fn is_held(&self) -> bool {
        self.socket().is_some()
    }

    /// Who drives, if somebody does.
    pub fn driver(&self) -> &'static str {
        if matches!(self.place, Some(Place::Daemon(_))) { "the daemon" } else { "another terminal" }
    }

    /// Where the process that has the store open answers.
    pub fn socket(&self) -> Option<Address> {
        match self.from() {
            Origin::Socket(address) => Some(address),
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
            match (what(self.from()).await, &self.place) {
                (Err(Error::Held(_)), Some(place)) if begun.elapsed() < TRANSITION => {
                    tokio::time::sleep(AGAIN).await;
                    let from = Origin::of(place)?;
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

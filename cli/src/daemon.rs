//! The daemon: holds the stores of all configured clusters, drives what is open, and answers on one socket until it is told to end.
//!
//! Modules in reading order.

pub mod ask;

pub mod notify;

pub mod refusals;

pub mod cluster;

pub mod watch;

pub mod keeper;

pub mod clusters;

pub mod fleets;

pub mod rights;

pub mod api;

pub mod service;

use crate::args::{DaemonArgs, Global};
use crate::drive::duration;
use crate::error::Error;
use crate::exit::Exit;
use crate::open::machine;
use crate::socket::{self, Address};
use crate::telemetry::metrics::{self, Page};
use clusters::Clusters;
use fleets::Fleets;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the opening of stores may hold the start back; a cluster that takes longer comes later.
const OPENING: Duration = Duration::from_secs(60);
/// How often it is looked whether all have left.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long threads may take to end once nothing is driven.
const LAST: Duration = Duration::from_secs(10);

/// The verb.
pub async fn run(global: &Global, state: &Path, args: &DaemonArgs) -> Result<Exit, Error> {
    let longest = Duration::from_secs(duration(&args.max_outage)?);
    let socket = global.socket_path().ok_or_else(|| {
        Error::Usage("where the daemon answers is not known: `socket` in config.toml says it, to verbs as well".into())
    })?;
    let mut told = Told::listen()?;
    let _only = only(&socket)?;
    crate::private::dir(state)?;
    // Kept to the end: clusters come and go.
    let page = global.settings.metrics_at().map_or(Page::Unasked, Page::At);
    let meters = metrics::of_process(&machine(), page);
    let clusters = Arc::new(Clusters::begin(global, state)?);
    let all = clusters.all();
    let opened = futures_util::future::join_all(all.iter().map(|cluster| cluster.opened()));
    if tokio::time::timeout(OPENING, opened).await.is_err() {
        tracing::warn!("some clusters are still being opened");
    }
    let fleets = Arc::new(Fleets::begin(&clusters, state)?);
    let router = api::router(&clusters).merge(fleets::api::router(&fleets));
    let serving = socket::serve(&socket, 0o666, router)?;
    service::ready();
    tracing::info!(clusters = all.len(), socket = %socket.display(), state = %state.display(), "serves");
    drop(all);
    serve(&mut told, &clusters, &socket).await;
    // They ask the clusters: what those refuse at their end is nobody's answer.
    fleets.leave().await;
    let exit = leave(&mut told, &clusters, longest).await;
    drop(serving);
    drop(meters);
    Ok(exit)
}

/// Until it is told to end.
async fn serve(told: &mut Told, clusters: &Arc<Clusters>, socket: &Path) {
    let watched = service::watched_every();
    let mut tick = tokio::time::interval(watched.unwrap_or(Duration::from_secs(3600)));
    let address = Address { socket: socket.to_owned(), folder: String::new(), daemon: true };
    loop {
        tokio::select! {
            word = told.next() => match word {
                Word::End => return,
                Word::Reload => reload(clusters),
            },
            _ = tick.tick(), if watched.is_some() => {
                // Whoever asks is answered: that is what it lives for.
                if socket::client::get_at::<bool>(&address, "/health").await.is_ok() {
                    service::alive();
                }
            }
        }
    }
}

fn reload(clusters: &Arc<Clusters>) {
    service::reloading();
    match clusters.reload() {
        Ok(()) => tracing::info!("the configuration was read anew"),
        Err(error) => tracing::error!("the configuration is kept as it was: {}", error.sentence()),
    }
    service::ready();
}

/// Drives on where the API is down until it is up, for so long; elsewhere nothing new begins. A second word ends it at once.
async fn leave(told: &mut Told, clusters: &Arc<Clusters>, longest: Duration) -> Exit {
    let begun = Instant::now();
    tracing::info!("ends: no new step, but where the API is down");
    let all = clusters.all();
    let mut interrupted = false;
    loop {
        service::ending();
        let left = all.iter().filter(|cluster| !cluster.leave()).count();
        if left == 0 {
            return if interrupted { Exit::NeedsPerson } else { Exit::Done };
        }
        if begun.elapsed() > longest + LAST || (interrupted && begun.elapsed() > LAST) {
            tracing::error!(clusters = left, "are left as they are");
            return Exit::NeedsPerson;
        }
        let late = begun.elapsed() > longest && !interrupted;
        let again = matches!(tokio::time::timeout(LOOK_AGAIN, told.next()).await, Ok(Word::End));
        if late || again {
            interrupted = true;
            all.iter().for_each(|cluster| cluster.interrupt());
        }
    }
}

/// What a signal says.
enum Word {
    End,
    Reload,
}

/// Signals.
struct Told {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Told {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|e| Error::File("signals".into(), e.to_string()));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.term.recv() => Word::End,
            _ = self.int.recv() => Word::End,
            _ = self.hup.recv() => Word::Reload,
        }
    }
}

/// Held while this process is the only one that answers there.
fn only(socket: &Path) -> Result<File, Error> {
    let mut name = PathBuf::from(socket).into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |what: String| Error::File(path.display().to_string(), what);
    let lock = File::create(&path).map_err(|e| failed(e.to_string()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Held(format!("a daemon answers at {}", socket.display()))),
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e.to_string())),
    }
}

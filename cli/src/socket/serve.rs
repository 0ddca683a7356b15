//! Serves a router on a Unix socket from a thread of its own: so many connections and no more, each with what the kernel says of its peer.

use super::PAGE;
use crate::error::Error;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// Connections at the same time, in all.
pub const MOST_CONNECTIONS: usize = 256;
/// Connections of one user at the same time, so that none can keep the others out.
pub const MOST_OF_ONE_USER: usize = 64;
/// How long a request's head may take to come, and a connection may be silent before one.
const HEAD: Duration = Duration::from_secs(10);
/// A request's head may be this large, and so much of an answer is held back for a peer that does not read.
const MOST_HELD_BACK: usize = 64 << 10;
/// How long a process that ends lets those read on who asked it before.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long nobody is let in after the kernel could not open a connection.
const OUT_OF_BREATH: Duration = Duration::from_millis(50);

const _: () = assert!(MOST_HELD_BACK < PAGE, "a page is larger than what is held back of it");

/// Who is at the other end, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Binds the socket, with these permissions: what lies there is a dead process's, since the caller holds the lock that goes with it. It is
/// served also while this process waits for a person.
pub fn serve(path: &Path, mode: u32, router: Router) -> Result<Serving, Error> {
    let failed = |e: io::Error| Error::File(path.display().to_string(), e.to_string());
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("socket".into());
    let thread = thread.spawn(move || runtime.block_on(serve_until(listener, router, ended))).map_err(failed)?;
    Ok(Serving { path: path.to_owned(), end: Some(end), thread: Some(thread) })
}

async fn serve_until(listener: std::os::unix::net::UnixListener, router: Router, mut ended: oneshot::Receiver<()>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    let (graceful, guests) = (GracefulShutdown::new(), Guests::default());
    loop {
        tokio::select! {
            // An error means the same: whoever served is gone.
            _ = &mut ended => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => answer(stream, &router, &guests, &graceful),
                Err(_) => tokio::time::sleep(OUT_OF_BREATH).await,
            },
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await;
}

/// One connection, beside all others. One too many is closed unanswered.
fn answer(stream: UnixStream, router: &Router, guests: &Guests, graceful: &GracefulShutdown) {
    let Ok(known) = stream.peer_cred() else { return };
    let peer = Peer { uid: known.uid(), gid: known.gid() };
    let Some(guest) = guests.enter(peer.uid) else { return };
    let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MOST_HELD_BACK);
    let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        // A peer that is gone is the usual end of a connection.
        let _ = connection.await;
        drop(guest);
    });
}

/// Who is connected.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<u32, usize>>>);

impl Guests {
    fn enter(&self, uid: u32) -> Option<Guest> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all: usize = all.values().sum();
        let own = all.entry(uid).or_default();
        if in_all >= MOST_CONNECTIONS || *own >= MOST_OF_ONE_USER {
            return None;
        }
        *own += 1;
        Some(Guest { guests: self.clone(), uid })
    }
}

struct Guest {
    guests: Guests,
    uid: u32,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

/// Takes the socket away and ends the serving, when dropped; a store that is served must be closed after it.
pub struct Serving {
    path: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A socket that is left is removed by the next process that serves here.
        let _ = std::fs::remove_file(&self.path);
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, nobody is served any more either.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that one user cannot keep the others out.

    use super::{Guests, MOST_CONNECTIONS, MOST_OF_ONE_USER};

    /// Goal: a user has so many connections, all users so many, and who leaves makes room.
    #[test]
    fn connections_are_counted() {
        let guests = Guests::default();
        let mut all: Vec<_> = (0..MOST_OF_ONE_USER).filter_map(|_| guests.enter(1)).collect();
        assert!(all.len() == MOST_OF_ONE_USER && guests.enter(1).is_none());
        all.extend((2..).map_while(|uid| guests.enter(uid)));
        assert!(all.len() == MOST_CONNECTIONS && guests.enter(0).is_none());
        all.pop();
        assert!(guests.enter(1).is_none() && guests.enter(0).is_some());
    }
}

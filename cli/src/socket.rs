//! While a process has a store open, it serves what it knows, and takes a few words, on a Unix socket beside the store.

use crate::error::Error;
use crate::outcome::refusal;
use axum::extract::{Path as Part, Query, State};
use axum::http::StatusCode;
use axum::routing::{get as reads, post as says};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// An answer may be this large.
const MOST_BYTES: usize = 64 << 20;
/// Events are answered in pages: one ends with the event that brings it here, so that it stays far below [`MOST_BYTES`].
const PAGE: usize = 8 << 20;
/// How long an answer to a question may take; a process that lives gives it at once, whatever it is doing.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a process that was told a word is asked whether it still lives.
const ALIVE: Duration = Duration::from_secs(5);
/// How long a process that ends lets those read on who asked it before.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The socket of a cluster's folder.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("api.sock")
}

/// Who says a word, and why.
#[derive(Debug, Deserialize, Serialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Where a page begins.
#[derive(Deserialize)]
struct Begin {
    #[serde(default)]
    from: usize,
}

/// Binds the socket; the store's lock is held already, so one that lies there is a dead process's. It is served by a thread of its own:
/// also while this process waits for a person.
pub fn serve(dir: &Path, engine: Engine) -> Result<Serving, Error> {
    let path = path(dir);
    let failed = |e: io::Error| Error::File(path.display().to_string(), e.to_string());
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let router = Router::new()
        .route("/executions", reads(executions))
        .route("/history/{id}", reads(records))
        .route("/stored/{id}", reads(bytes))
        .route("/pause/{id}", says(pause))
        .route("/roll-back/{id}", says(roll_back))
        .with_state(engine);
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("socket".into());
    let thread = thread.spawn(move || runtime.block_on(serve_until(listener, router, ended))).map_err(failed)?;
    Ok(Serving { path, end: Some(end), thread: Some(thread) })
}

async fn serve_until(listener: std::os::unix::net::UnixListener, router: Router, ended: oneshot::Receiver<()>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    let (told, was_told) = oneshot::channel();
    let end = async move {
        // An error means the same: whoever served is gone.
        let _ = ended.await;
        let _ = told.send(());
    };
    let late = async move {
        let _ = was_told.await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        _ = axum::serve(listener, router).with_graceful_shutdown(end) => {}
        () = late => {}
    }
}

/// Takes the socket away and ends the serving, when dropped; the store must be closed after it.
pub struct Serving {
    path: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A socket that is left is removed by the next process that drives.
        let _ = std::fs::remove_file(&self.path);
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, nobody is served any more either.
            let _ = thread.join();
        }
    }
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn wrong(error: impl ToString) -> (StatusCode, String) {
    (StatusCode::CONFLICT, error.to_string())
}

async fn executions(State(engine): State<Engine>) -> Answer<Vec<ExecutionId>> {
    let heads = engine.log().heads().await.map_err(wrong)?;
    Ok(Json(heads.into_iter().map(|head| head.execution).collect()))
}

/// The first so many that fill a page; at least one.
fn page<T>(all: Vec<T>, from: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = PAGE;
    let fits = |one: &T| {
        let fits = left > 0;
        left = left.saturating_sub(size(one));
        fits
    };
    all.into_iter().skip(from).take_while(fits).collect()
}

async fn records(State(engine): State<Engine>, Part(id): Part<String>, Query(at): Query<Begin>) -> Answer<Vec<Record>> {
    let all = engine.history(&ExecutionId::new(id)).await.map_err(wrong)?;
    Ok(Json(page(all, at.from, |record| serde_json::to_vec(record).map_or(PAGE, |bytes| bytes.len()))))
}

async fn bytes(State(engine): State<Engine>, Part(id): Part<String>, Query(at): Query<Begin>) -> Answer<Vec<String>> {
    let all = engine.log().stored(&ExecutionId::new(id)).await.map_err(wrong)?;
    Ok(Json(page(all, at.from, Vec::len).iter().map(|bytes| BASE64.encode(bytes)).collect()))
}

async fn pause(State(engine): State<Engine>, Part(id): Part<String>, Json(said): Json<Said>) -> Answer<()> {
    // Whoever sits before the driving process is told, too.
    eprintln!("· {} asks to pause: at the next place where the API is up", said.by);
    told(&engine, &ExecutionId::new(id), Word::Pause { by: said.by, reason: said.reason }).await
}

async fn roll_back(State(engine): State<Engine>, Part(id): Part<String>, Json(said): Json<Said>) -> Answer<()> {
    eprintln!("· {} asks to go back", said.by);
    told(&engine, &ExecutionId::new(id), Word::RollBack { by: said.by, reason: said.reason }).await
}

async fn told(engine: &Engine, execution: &ExecutionId, word: Word) -> Answer<()> {
    let Err(refused) = engine.say(execution, word).await else { return Ok(Json(())) };
    let view = engine.view(execution).await.ok().flatten();
    Err(wrong(view.map_or_else(|| refused.to_string(), |view| refusal(&view, &refused))))
}

/// A whole history, page by page.
pub async fn history(socket: &Path, execution: &ExecutionId) -> Result<Vec<Record>, Error> {
    pages(socket, &format!("/history/{execution}")).await
}

/// The stored bytes of each event of a history, page by page.
pub async fn stored(socket: &Path, execution: &ExecutionId) -> Result<Vec<Vec<u8>>, Error> {
    let all: Vec<String> = pages(socket, &format!("/stored/{execution}")).await?;
    let decoded = all.iter().map(|text| BASE64.decode(text));
    decoded
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Log(format!("what the driving process sent is no base64: {e}")))
}

/// What was written stays as it is, so pages fit together whatever is written meanwhile.
async fn pages<T: DeserializeOwned>(socket: &Path, what: &str) -> Result<Vec<T>, Error> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let more: Vec<T> = get(socket, &format!("{what}?from={}", all.len())).await?;
        if more.is_empty() {
            return Ok(all);
        }
        all.extend(more);
    }
}

/// Asks the process that has the store open.
pub async fn get<T: DeserializeOwned>(socket: &Path, what: &str) -> Result<T, Error> {
    let request = Request::get(what).header("host", "k0rotate").body(Full::default());
    let asked = ask(socket, request.map_err(|e| Error::Usage(e.to_string()))?);
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(silent(socket).await),
    }
}

/// Says a word to the process that drives. It is answered when it is durable, which may take as long as a step: so the process is asked
/// meanwhile whether it lives.
pub async fn post(socket: &Path, what: &str, said: &Said) -> Result<(), Error> {
    let body = serde_json::to_vec(said).map_err(|e| Error::Usage(e.to_string()))?;
    let request = Request::post(what).header("host", "k0rotate").header("content-type", "application/json");
    let said = ask(socket, request.body(Full::from(body)).map_err(|e| Error::Usage(e.to_string()))?);
    let silence = async {
        loop {
            tokio::time::sleep(ALIVE).await;
            // One that has ended answered the word before, or the word is lost with it: the other question says so.
            if let Err(error @ Error::Silent(_)) = get::<Vec<ExecutionId>>(socket, "/executions").await {
                break error;
            }
        }
    };
    tokio::select! {
        answer = said => answer,
        error = silence => Err(error),
    }
}

/// The error of a process that has the socket and says nothing.
async fn silent(socket: &Path) -> Error {
    // The kernel accepts for a process that hangs, and knows who it is.
    let peer = UnixStream::connect(socket).await.ok().and_then(|stream| stream.peer_cred().ok()?.pid());
    Error::Silent(peer.map_or_else(|| socket.display().to_string(), |pid| format!("process {pid}")))
}

async fn ask<T: DeserializeOwned>(socket: &Path, request: Request<Full<Bytes>>) -> Result<T, Error> {
    let lost = |e: String| Error::Held(format!("{}: {e}", socket.display()));
    let stream = UnixStream::connect(socket).await.map_err(|e| lost(e.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(e.to_string()))?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| lost(e.to_string()))?;
    let status = answer.status();
    let body =
        Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| lost(e.to_string()))?.to_bytes();
    if status.is_success() {
        serde_json::from_slice(&body).map_err(|e| lost(e.to_string()))
    } else {
        Err(Error::Word(String::from_utf8_lossy(&body).into_owned()))
    }
}

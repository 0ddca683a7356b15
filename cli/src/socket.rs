//! While a process drives, it serves what it knows, and takes a few words, on a Unix socket beside its store.

use crate::error::Error;
use axum::extract::{Path as Part, State};
use axum::http::StatusCode;
use axum::routing::{get as reads, post as says};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// An answer may be this large: a history of some ten thousand events.
const MOST_BYTES: usize = 64 << 20;

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

/// Binds the socket; the store's lock is held already, so one that lies there is a dead process's.
pub fn serve(dir: &Path, engine: Engine) -> Result<Serving, Error> {
    let path = path(dir);
    let failed = |e: std::io::Error| Error::File(path.display().to_string(), e.to_string());
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let router = Router::new()
        .route("/executions", reads(executions))
        .route("/history/{id}", reads(history))
        .route("/pause/{id}", says(pause))
        .route("/roll-back/{id}", says(roll_back))
        .with_state(engine);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Serving { path, server })
}

/// Ends the serving, and takes the socket away, when dropped.
pub struct Serving {
    path: PathBuf,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.abort();
        // A socket that is left is removed by the next process that drives.
        let _ = std::fs::remove_file(&self.path);
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

async fn history(State(engine): State<Engine>, Part(id): Part<String>) -> Answer<Vec<Record>> {
    Ok(Json(engine.history(&ExecutionId::new(id)).await.map_err(wrong)?))
}

async fn pause(State(engine): State<Engine>, Part(id): Part<String>, Json(said): Json<Said>) -> Answer<()> {
    // Whoever sits before the driving process is told, too.
    eprintln!("· {} asks to pause: at the next place where the API is up", said.by);
    let word = Word::Pause { by: said.by, reason: said.reason };
    engine.say(&ExecutionId::new(id), word).await.map_err(wrong)?;
    Ok(Json(()))
}

async fn roll_back(State(engine): State<Engine>, Part(id): Part<String>, Json(said): Json<Said>) -> Answer<()> {
    eprintln!("· {} asks to go back", said.by);
    let word = Word::RollBack { by: said.by, reason: said.reason };
    engine.say(&ExecutionId::new(id), word).await.map_err(wrong)?;
    Ok(Json(()))
}

/// Asks the process that drives.
pub async fn get<T: DeserializeOwned>(socket: &Path, what: &str) -> Result<T, Error> {
    let request = Request::get(what).header("host", "k0rotate").body(Full::default());
    ask(socket, request.map_err(|e| Error::Usage(e.to_string()))?).await
}

/// Says a word to the process that drives.
pub async fn post(socket: &Path, what: &str, said: &Said) -> Result<(), Error> {
    let body = serde_json::to_vec(said).map_err(|e| Error::Usage(e.to_string()))?;
    let request = Request::post(what).header("host", "k0rotate").header("content-type", "application/json");
    ask(socket, request.body(Full::from(body)).map_err(|e| Error::Usage(e.to_string()))?).await
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

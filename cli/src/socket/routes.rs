//! The routes of a cluster: histories in pages, whether it is driven, and the words that reach a driver.

use super::{PAGE, Peer, Said};
use crate::break_glass;
use crate::error::Error;
use crate::outcome::refusal;
use async_trait::async_trait;
use axum::extract::{Extension, Path as Part, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get as reads, post as says};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k0rotate_engine::drive::{Engine, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::{Followed, LogError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A request may wait so long for events.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What somebody wants to do with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look.
    View,
    /// Start, and say words.
    Operate,
    /// Approve what others asked for.
    Approve,
}

impl Right {
    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Approve => "approve",
        }
    }
}

/// Who has stores open.
#[async_trait]
pub trait Serves: Send + Sync + 'static {
    /// The engine of a cluster for somebody who may do this, who then is called so.
    async fn engine(
        &self,
        cluster: &str,
        peer: Peer,
        right: Right,
        what: &str,
    ) -> Result<(Engine, Option<String>), Error>;
}

/// A process that has one store open. Nobody but its own user reaches its socket.
pub struct One(pub Engine);

#[async_trait]
impl Serves for One {
    async fn engine(&self, _: &str, _: Peer, _: Right, _: &str) -> Result<(Engine, Option<String>), Error> {
        Ok((self.0.clone(), None))
    }
}

type Served = State<Arc<dyn Serves>>;

/// See the file's sentence.
pub fn router(serves: Arc<dyn Serves>) -> Router {
    Router::new()
        .route("/clusters/{cluster}/executions", reads(executions))
        .route("/clusters/{cluster}/driven", reads(driven))
        .route("/clusters/{cluster}/history/{id}", reads(records))
        .route("/clusters/{cluster}/stored/{id}", reads(bytes))
        .route("/clusters/{cluster}/pause/{id}", says(pause))
        .route("/clusters/{cluster}/roll-back/{id}", says(roll_back))
        .with_state(serves)
}

/// An error as it crosses the socket: for programs its code and status, for people its text; and as it is, for a verb.
#[derive(Debug, Deserialize, Serialize)]
pub struct Refusal {
    /// Its code.
    pub code: String,
    /// The exit status that a verb ends with.
    pub status: u8,
    /// What happened.
    pub what: String,
    /// As it is.
    pub error: Error,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NoRight(_) => StatusCode::FORBIDDEN,
            Self::NoRun(_) => StatusCode::NOT_FOUND,
            Self::Usage(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        let (code, exit, what) = (self.code().to_owned(), self.exit().code(), self.to_string());
        (status, Json(Refusal { code, status: exit, what, error: self })).into_response()
    }
}

/// What a route answers.
pub type Answer<T> = Result<Json<T>, Error>;

fn of_log(error: LogError) -> Error {
    match error {
        LogError::NotFound(what) => Error::NoRun(what),
        error => Error::Log(error.to_string()),
    }
}

async fn executions(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part(cluster): Part<String>,
) -> Answer<Vec<ExecutionId>> {
    let (engine, _) = served.engine(&cluster, peer, Right::View, "list").await?;
    let heads = engine.log().heads().await.map_err(of_log)?;
    Ok(Json(heads.into_iter().map(|head| head.execution).collect()))
}

async fn driven(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part(cluster): Part<String>,
) -> Answer<Vec<ExecutionId>> {
    let (engine, _) = served.engine(&cluster, peer, Right::View, "list").await?;
    let heads = engine.log().heads().await.map_err(of_log)?;
    Ok(Json(heads.into_iter().map(|head| head.execution).filter(|execution| engine.drives(execution)).collect()))
}

/// Where a page begins, and how long it may be waited for, milliseconds.
#[derive(Deserialize)]
pub struct Begin {
    /// The first of the page.
    #[serde(default)]
    pub from: usize,
    /// How long it may be waited for.
    #[serde(default)]
    pub wait: u64,
}

/// The first so many that fill a page; at least one.
pub fn page<T>(all: Vec<T>, from: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = PAGE;
    let fits = |one: &T| {
        let fits = left > 0;
        left = left.saturating_sub(size(one));
        fits
    };
    all.into_iter().skip(from).take_while(fits).collect()
}

async fn records(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part((cluster, id)): Part<(String, String)>,
    Query(at): Query<Begin>,
) -> Answer<Vec<Record>> {
    let (engine, _) = served.engine(&cluster, peer, Right::View, "history").await?;
    let execution = ExecutionId::new(id);
    let wait = Duration::from_millis(at.wait).min(LONGEST_WAIT);
    // Who waits too long gets what there is: nothing.
    let _ = tokio::time::timeout(wait, more_than(&engine, &execution, at.from)).await;
    let all = engine.history(&execution).await.map_err(of_log)?;
    Ok(Json(page(all, at.from, |record| serde_json::to_vec(record).map_or(PAGE, |bytes| bytes.len()))))
}

/// Waits until a history has more events than these.
async fn more_than(engine: &Engine, execution: &ExecutionId, events: usize) -> Result<(), LogError> {
    let mut cursor = None;
    while engine.history(execution).await?.len() <= events {
        cursor = match engine.log().follow(cursor.as_ref()).await? {
            Followed::Records(_, cursor) => Some(cursor),
            Followed::TooOld => None,
        };
    }
    Ok(())
}

async fn bytes(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part((cluster, id)): Part<(String, String)>,
    Query(at): Query<Begin>,
) -> Answer<Vec<String>> {
    let (engine, _) = served.engine(&cluster, peer, Right::View, "export").await?;
    let all = engine.log().stored(&ExecutionId::new(id)).await.map_err(of_log)?;
    Ok(Json(page(all, at.from, Vec::len).iter().map(|bytes| BASE64.encode(bytes)).collect()))
}

async fn pause(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part((cluster, id)): Part<(String, String)>,
    Json(said): Json<Said>,
) -> Answer<()> {
    let (engine, known) = served.engine(&cluster, peer, Right::Operate, "pause").await?;
    let by = known.unwrap_or(said.by);
    // Whoever sits before the driving process is told, too.
    eprintln!("· {by} asks to pause: at the next place where the API is up");
    told(&engine, &ExecutionId::new(id), Word::Pause { by, reason: said.reason }).await
}

async fn roll_back(
    State(served): Served,
    Extension(peer): Extension<Peer>,
    Part((cluster, id)): Part<(String, String)>,
    Json(said): Json<Said>,
) -> Answer<()> {
    let (engine, known) = served.engine(&cluster, peer, Right::Operate, "rollback").await?;
    let by = known.unwrap_or(said.by);
    let execution = ExecutionId::new(id);
    let view = engine.view(&execution).await.map_err(|error| Error::Log(error.to_string()))?;
    if view.is_some_and(|view| break_glass::second(&view, said.leaked).is_some()) {
        return Err(break_glass::not_given());
    }
    eprintln!("· {by} asks to go back");
    told(&engine, &execution, Word::RollBack { by, reason: said.reason }).await
}

async fn told(engine: &Engine, execution: &ExecutionId, word: Word) -> Answer<()> {
    let Err(refused) = engine.say(execution, word).await else { return Ok(Json(())) };
    let view = engine.view(execution).await.ok().flatten();
    Err(Error::Word(view.map_or_else(|| refused.to_string(), |view| refusal(&view, &refused))))
}

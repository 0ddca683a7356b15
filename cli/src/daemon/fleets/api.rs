//! The routes of fleets.

use super::show::{Shown, shown};
use super::words::{self, Asker, Chosen, Done, Said, Wanted};
use super::{Fleets, progress::Progress};
use crate::daemon::api::LARGEST_BODY;
use crate::daemon::rights;
use crate::error::Error;
use crate::socket::Peer;
use crate::socket::routes::{Answer, Right};
use axum::extract::{DefaultBodyLimit, Extension, Path as Part, State};
use axum::routing::{get as reads, post as says};
use axum::{Json, Router};
use std::sync::Arc;

/// What means the last fleet.
pub const LAST: &str = "last";

/// See the file's sentence.
pub fn router(fleets: &Arc<Fleets>) -> Router {
    Router::new()
        .route("/fleets", reads(list).post(rotate))
        .route("/fleets/{id}", reads(show))
        .route("/fleets/{id}/{word}", says(say))
        .with_state(fleets.clone())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

type All = State<Arc<Fleets>>;

async fn asker(fleets: &Fleets, peer: Peer) -> Asker<'_> {
    let clusters = &**fleets.clusters();
    Asker { clusters, peer, who: clusters.who(peer).await }
}

async fn rotate(State(fleets): All, Extension(peer): Extension<Peer>, Json(wanted): Json<Wanted>) -> Answer<Chosen> {
    let asker = asker(&fleets, peer).await;
    words::rotate(&fleets, &asker, wanted).await.map(Json)
}

/// Those with a cluster that the user may look at, each with these clusters alone.
async fn list(State(fleets): All, Extension(peer): Extension<Peer>) -> Answer<Vec<Shown>> {
    let engine = match fleets.engine().await {
        Err(Error::NoRun(_)) => return Ok(Json(Vec::new())),
        engine => engine?,
    };
    let asker = asker(&fleets, peer).await;
    let mut all = Vec::new();
    for progress in words::all(&engine).await? {
        let shown = seen(&fleets, &asker, &progress).await?;
        all.extend(Some(shown).filter(|shown| !shown.rows.is_empty()));
    }
    Ok(Json(all))
}

async fn show(State(fleets): All, Extension(peer): Extension<Peer>, Part(id): Part<String>) -> Answer<Shown> {
    let engine = fleets.engine().await?;
    let progress = words::find(&engine, called(&id)).await?;
    let asker = asker(&fleets, peer).await;
    let shown = seen(&fleets, &asker, &progress).await?;
    if let (true, Some(first)) = (shown.rows.is_empty(), progress.fleet.clusters.first()) {
        asker.clusters.allowed(first, peer, Right::View, "show").await?;
    }
    Ok(Json(shown))
}

async fn seen(fleets: &Fleets, asker: &Asker<'_>, progress: &Progress) -> Result<Shown, Error> {
    let settings = asker.clusters.settings();
    shown(fleets, progress, |cluster| rights::may(&settings, cluster, &asker.who, Right::View)).await
}

async fn say(
    State(fleets): All,
    Extension(peer): Extension<Peer>,
    Part((id, word)): Part<(String, String)>,
    Json(said): Json<Said>,
) -> Answer<Done> {
    let asker = asker(&fleets, peer).await;
    words::say(&fleets, &asker, called(&id), &word, said).await.map(Json)
}

fn called(id: &str) -> Option<&str> {
    Some(id).filter(|id| *id != LAST)
}

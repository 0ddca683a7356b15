//! The routes that only the daemon has, beside those of each cluster.

use super::ask::{Answered, Ask, Driven};
use super::clusters::Clusters;
use super::keeper::name_of;
use super::rights;
use crate::approval;
use crate::audit;
use crate::confirm;
use crate::error::Error;
use crate::socket::Peer;
use crate::socket::routes::{self, Answer, Begin, Right, page};
use axum::extract::{DefaultBodyLimit, Extension, Path as Part, Query, State};
use axum::routing::{get as reads, post as says};
use axum::{Json, Router};
use k0rotate_engine::ids::ExecutionId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A request's body may be this large.
pub const LARGEST_BODY: usize = 64 << 10;

/// A cluster in the list of all.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What is driven.
    pub driving: Option<ExecutionId>,
    /// Why it is not open.
    pub problem: Option<String>,
}

/// All routes.
pub fn router(clusters: &Arc<Clusters>) -> Router {
    Router::new()
        .route("/health", reads(async || Json(true)))
        .route("/clusters", reads(list))
        .route("/clusters/{cluster}", reads(one))
        .route("/clusters/{cluster}/ask", says(ask))
        .route("/clusters/{cluster}/look", says(look))
        .route("/clusters/{cluster}/rest/{id}", reads(rest))
        .route("/clusters/{cluster}/audit/{id}/{events}", reads(audited))
        .with_state(clusters.clone())
        .merge(routes::router(clusters.clone()))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

type Daemon = State<Arc<Clusters>>;

/// Those that the user may look at.
async fn list(State(clusters): Daemon, Extension(peer): Extension<Peer>) -> Json<Vec<Listed>> {
    let (who, settings) = (clusters.who(peer).await, clusters.settings());
    let all = clusters.all();
    let seen = all.iter().filter(|cluster| rights::may(&settings, &cluster.name, &who, Right::View));
    let listed = seen.map(|cluster| {
        let status = cluster.status();
        let problem = status.failed.as_ref().map(Error::sentence);
        Listed { name: cluster.name.clone(), driving: status.driving.clone(), problem }
    });
    Json(listed.collect())
}

async fn one(
    State(clusters): Daemon,
    Extension(peer): Extension<Peer>,
    Part(name): Part<String>,
) -> Answer<confirm::Cluster> {
    let (cluster, _) = clusters.allowed(&name, peer, Right::View, "show").await?;
    let (known, failed) = {
        let status = cluster.status();
        (status.cluster.clone(), status.failed.clone())
    };
    known.map(Json).ok_or_else(|| failed.unwrap_or_else(|| Error::NoDaemon(format!("{name} is not open yet"))))
}

async fn ask(
    State(clusters): Daemon,
    Extension(peer): Extension<Peer>,
    Part(name): Part<String>,
    Json(ask): Json<Ask>,
) -> Answer<Answered> {
    let what = name_of(&ask.wish);
    let right = if approval::is_said(&ask.wish) { Right::Approve } else { Right::Operate };
    let (cluster, who) = clusters.allowed(&name, peer, right, what).await?;
    match cluster.ask(ask, clusters.called(&who)).await {
        // That it is one's own rotation is seen only there.
        Err(Error::NoRight(says)) => Err(clusters.refused(&name, (peer, &who), what, says)),
        answered => answered.map(Json),
    }
}

async fn look(
    State(clusters): Daemon,
    Extension(peer): Extension<Peer>,
    Part(name): Part<String>,
) -> Answer<crate::calendar::Look> {
    let (cluster, _) = clusters.allowed(&name, peer, Right::View, "inspect").await?;
    cluster.look().await.map(Json)
}

/// Lines of the audit for so many events of an execution, from the n-th of these lines on, a page. Whoever has no more right than to look
/// cannot read the file.
async fn audited(
    State(clusters): Daemon,
    Extension(peer): Extension<Peer>,
    Part((name, id, events)): Part<(String, String, usize)>,
    Query(at): Query<Begin>,
) -> Answer<Vec<String>> {
    let (cluster, _) = clusters.allowed(&name, peer, Right::View, "export").await?;
    let dir = clusters.dir(&cluster);
    // The files may be large, and others are answered meanwhile.
    let read = move || {
        let lines = audit::verify::part_of(&audit::parts::whole(&dir), &ExecutionId::new(id), events);
        lines.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = tokio::task::spawn_blocking(read).await.map_err(|e| Error::Log(e.to_string()))?;
    Ok(Json(page(lines, at.from, String::len)))
}

async fn rest(
    State(clusters): Daemon,
    Extension(peer): Extension<Peer>,
    Part((name, id)): Part<(String, String)>,
) -> Answer<Driven> {
    let (cluster, _) = clusters.allowed(&name, peer, Right::View, "show").await?;
    cluster.driven(&ExecutionId::new(id)).await.map(Json)
}

//! The clusters of the daemon as fleets ask them: for what `rotate`, `approve` and `finalize` ask, in the name of who asked the fleet.

use super::Shared;
use super::progress::Progress;
use crate::args::Options;
use crate::commands::Commands;
use crate::daemon::ask::{self, Answered, Ask};
use crate::daemon::cluster::Cluster;
use crate::error::Error;
use crate::outcome::Ended;
use crate::telemetry::spans::caller_of;
use crate::wish::{Say, Wish};
use async_trait::async_trait;
use k0rotate_activities::clusters::{Child, Clusters, How, Planned, Refused, short};
use k0rotate_engine::drive::Interruption;
use k0rotate_engine::event::StuckCause;
use k0rotate_engine::execution::Status;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::LogError;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::APPROVAL;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long somebody else who looks at a cluster is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// See the file's sentence.
pub struct Children(pub Arc<Shared>);

/// All that can be said of it is configured.
fn rotate(plan: Option<String>) -> Wish {
    Wish::Rotate { options: Box::new(Options::plain()), plan }
}

/// What is not looked at by a person, nor asked twice.
fn ask(wish: Wish, reason: String) -> Ask {
    Ask { wish, person: false, confirmed: true, reason, commands: Commands::default(), child: None }
}

#[async_trait]
impl Clusters for Children {
    async fn plan(&self, cluster: &str) -> Planned {
        // As for a person, but that it is not confirmed: all is looked at, and nothing begun.
        let looks = Ask { person: true, confirmed: false, ..ask(rotate(None), String::new()) };
        let unseen = || Planned::Refused { why: "not all of the cluster could be looked at".to_owned() };
        match self.asked(cluster, looks, String::new()).await {
            Ok(answered) => answered.ahead.and_then(|ahead| ahead.digest).map_or_else(unseen, |digest| Planned::Fits {
                digest,
                approval: self.0.clusters.settings().wants_approval(cluster),
            }),
            Err(error) => Planned::Refused { why: short(&error.sentence()) },
        }
    }

    async fn begin(&self, fleet: &ExecutionId, child: &Child) -> Result<(), Refused> {
        let view = self.view(fleet).await?;
        let reason = [view.reason.as_str(), &format!("(fleet {fleet})")].join(" ").trim().to_owned();
        let caller = caller_of(fleet, &view.trace_id);
        let of = ask::Child { execution: child.execution.clone(), caller };
        let asks = Ask { child: Some(of), ..ask(rotate(Some(child.plan.clone())), reason) };
        self.asked(&child.cluster, asks, view.by).await.map(drop).map_err(refused)
    }

    async fn finalize(&self, fleet: &ExecutionId, child: &Child) -> Result<(), Refused> {
        let view = self.view(fleet).await?;
        let wish = Wish::Word { run: Some(child.execution.to_string()), say: Say::Finalize, plan: None, leaked: false };
        self.asked(&child.cluster, ask(wish, view.reason), view.by).await.map(drop).map_err(refused)
    }

    async fn look(&self, child: &Child) -> Result<Option<How>, Failure> {
        let Some(cluster) = self.0.clusters.get(&child.cluster) else { return Ok(None) };
        let found = found(&cluster, &child.execution).await;
        Ok(found?.map(|(view, ended)| how(&view, ended.as_ref())))
    }
}

impl Children {
    /// The history in whose name something is asked.
    async fn view(&self, fleet: &ExecutionId) -> Result<ExecutionView, Refused> {
        let unread = || Refused::because("the fleet's history cannot be read");
        let engine = self.0.engine().clone().ok_or_else(unread)?;
        engine.view(fleet).await.ok().flatten().ok_or_else(unread)
    }

    /// What a cluster answers. One that ends with the daemon gives no answer that may be recorded.
    async fn asked(&self, cluster: &str, ask: Ask, by: String) -> Result<Answered, Error> {
        let known = self.0.clusters.get(cluster);
        let known = known.ok_or_else(|| Error::Usage(format!("{cluster} is not configured any more")))?;
        let begun = Instant::now();
        loop {
            let answered = known.ask(ask.clone(), by.clone()).await;
            if self.0.is_leaving() {
                return std::future::pending().await;
            }
            // Who looks is soon done; who drives is not.
            let looks = matches!(answered, Err(Error::Held(_))) && known.status().driving.is_none();
            if !looks || begun.elapsed() > PATIENCE {
                return answered;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn refused(error: Error) -> Refused {
    match error {
        Error::Digest { .. } => Refused::OtherPlan,
        error => Refused::because(&error.sentence()),
    }
}

/// A child as its history has it, and how its last drive ended; no end while it is driven.
pub async fn found(cluster: &Cluster, child: &ExecutionId) -> Result<Option<(ExecutionView, Option<Ended>)>, Failure> {
    let closed = || Failure::new("cluster-not-open").with("cluster", &cluster.name);
    let engine = cluster.engine().map_err(|_| closed())?;
    // Asked before its history: what came of a drive that ends meanwhile is seen at the next look.
    let ended = {
        let status = cluster.status();
        let driven = status.driving.as_ref() == Some(child) || engine.drives(child);
        if driven { None } else { Some(status.ends.get(child).cloned()) }
    };
    match engine.view(child).await {
        Ok(view) => Ok(view.map(|view| {
            let ended = ended.map(|known| known.unwrap_or_else(|| Ended::of_view(&view)));
            (view, ended)
        })),
        Err(Interruption::Log(LogError::NotFound(_))) => Ok(None),
        Err(_) => Err(closed()),
    }
}

/// What that means to a fleet; without an end it is driven.
pub fn how(view: &ExecutionView, ended: Option<&Ended>) -> How {
    let Some(ended) = ended else { return How::Runs };
    match (&view.state.status, ended) {
        (Status::Completed, _) => How::Finalized,
        (Status::RolledBack, _) => How::RolledBack,
        // Whoever paused it has not forgotten it.
        (Status::Stuck { cause: StuckCause::Paused { .. }, .. }, _) => How::Runs,
        (Status::Waiting { name, .. }, _) if name == "finalize" => How::Verified,
        (Status::Stuck { .. }, _)
        | (_, Ended::Parked { .. } | Ended::Foreign(_) | Ended::Elsewhere(_) | Ended::Log { .. }) => How::Stuck,
        _ => How::Runs,
    }
}

/// Says in each rotation that waits for it what was said of its wave, by whom and why. One that is not as it was planned is not approved:
/// it goes on waiting, for somebody to read its plan or take it back.
pub async fn approve(shared: &Arc<Shared>, progress: &Progress) {
    let children = Children(shared.clone());
    for cluster in progress.begun.keys() {
        let (Some(child), Some((by, reason))) = (progress.child(cluster), progress.approval_of(cluster)) else {
            continue;
        };
        let Some(known) = shared.clusters.get(cluster) else { continue };
        let Ok(Some((view, Some(_)))) = found(&known, &child.execution).await else { continue };
        let waits = matches!(&view.state.status, Status::Waiting { name, .. } if name == APPROVAL);
        if !waits || !shared.may_approve(&child.execution) {
            continue;
        }
        let (run, plan) = (Some(child.execution.to_string()), Some(child.plan.clone()));
        let wish = Wish::Word { run, say: Say::Approve, plan, leaked: false };
        let reason = [reason, &format!("(fleet {})", progress.view.execution)].join(" ").trim().to_owned();
        if let Err(error) = children.asked(cluster, ask(wish, reason), by.to_owned()).await {
            shared.not_approved(&child.execution, &error);
            tracing::warn!(cluster, execution = %child.execution, "is not approved with its wave: {}", error.sentence());
        }
    }
}

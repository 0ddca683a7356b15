//! What can be asked of fleets, and what each wants: rights on their clusters, a state in which it means something, another person.

use super::Fleets;
use super::children::{found, how};
use super::progress::{Progress, WaitsFor};
use super::show::plan_of_wave;
use crate::daemon::clusters::Clusters;
use crate::daemon::rights::Who;
use crate::error::Error;
use crate::plan::agreed::{beginning, insist};
use crate::socket::Peer;
use crate::socket::routes::Right;
use k0rotate_activities::clusters::{Child, How};
use k0rotate_engine::drive::{Engine, Start, Word};
use k0rotate_engine::execution::Status;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_engine::workflow::Workflow;
use k0rotate_workflows::waves::{FinalizeAll, Fit, Size, Waves};
use serde::{Deserialize, Serialize};

/// What is rotated, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wanted {
    /// Labels that a cluster must have.
    pub selector: String,
    /// The sizes of the waves.
    pub waves: Vec<Size>,
    /// At so many failures no new one begins.
    pub max_failed: usize,
    /// Rotations at the same time.
    pub at_once: usize,
    /// Why.
    pub reason: String,
    /// Whether it is begun; else it is only said what would be.
    pub confirmed: bool,
}

/// What a selector chose, and the fleet if it was begun.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Chosen {
    /// Clusters by wave, as if none were refused.
    pub waves: Vec<Vec<String>>,
    /// Those that somebody else must approve.
    pub approval: Vec<String>,
    /// Its id.
    pub fleet: Option<ExecutionId>,
}

/// A word about a fleet.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Said {
    /// Why.
    pub reason: String,
    /// Which wave it is about.
    #[serde(default)]
    pub wave: Option<usize>,
    /// How the digest of the wave's plans begins, where that is insisted on.
    #[serde(default)]
    pub plan: Option<String>,
    /// Whether it is done; else it is only said what would be. Of `finalize` alone.
    #[serde(default)]
    pub confirmed: bool,
}

/// What a word was about.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Done {
    /// The fleet.
    pub fleet: ExecutionId,
    /// The clusters.
    pub clusters: Vec<String>,
}

/// Who asks: as the kernel knows the peer, and as events name the user.
pub struct Asker<'a> {
    /// All clusters, which know who may do what.
    pub clusters: &'a Clusters,
    /// The peer.
    pub peer: Peer,
    /// The user.
    pub who: Who,
}

impl Asker<'_> {
    async fn may(&self, clusters: &[String], right: Right, what: &str) -> Result<(), Error> {
        for cluster in clusters {
            self.clusters.allowed(cluster, self.peer, right, what).await?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.clusters.called(&self.who)
    }
}

/// Begins a fleet, or says what it would be.
pub async fn rotate(fleets: &Fleets, asker: &Asker<'_>, wanted: Wanted) -> Result<Chosen, Error> {
    let settings = asker.clusters.settings();
    let labels = labels(&wanted.selector)?;
    let has = |cluster: &&str| {
        let own = settings.labels(cluster);
        labels.iter().all(|(name, value)| own.get(name) == Some(value))
    };
    let clusters: Vec<String> = settings.names().filter(has).map(str::to_owned).collect();
    if clusters.is_empty() {
        return Err(Error::Usage(format!("no cluster has the labels {}", wanted.selector)));
    }
    if wanted.waves.is_empty() || wanted.max_failed == 0 || wanted.at_once == 0 {
        return Err(Error::Usage("a fleet has at least one wave, and may fail and begin at least once".into()));
    }
    asker.may(&clusters, Right::Operate, "rotate").await?;
    let (waves, max_failed, at_once) = (wanted.waves, wanted.max_failed, wanted.at_once);
    let fleet = Waves { selector: wanted.selector, clusters, waves, max_failed, at_once };
    let mut chosen = chosen(&fleet, |cluster| settings.wants_approval(cluster));
    if !wanted.confirmed {
        return Ok(chosen);
    }
    let engine = fleets.opened().await?;
    in_no_other(&engine, &fleet.clusters).await?;
    let start = Start { subject: fleet.selector.clone(), by: asker.name(), reason: wanted.reason };
    chosen.fleet = Some(begin(fleets, &engine, &fleet, start).await?);
    Ok(chosen)
}

async fn begin<W: Workflow>(fleets: &Fleets, engine: &Engine, what: &W, start: Start) -> Result<ExecutionId, Error> {
    if fleets.is_leaving() {
        return Err(Error::NoDaemon("it ends, and begins nothing more".into()));
    }
    tracing::info!(by = start.by, reason = start.reason, "is asked: {} {}", W::NAME, start.subject);
    let id = engine.start(what, start).await.map_err(|e| Error::Log(e.to_string()))?;
    fleets.look();
    Ok(id)
}

fn labels(selector: &str) -> Result<Vec<(String, String)>, Error> {
    let wrong = || Error::Usage(format!("{selector:?} is no selector, for example env=prod or env=prod,site=fra"));
    let label = |part: &str| {
        let (name, value) = part.split_once('=')?;
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    selector.split(',').map(|part| label(part.trim()).ok_or_else(wrong)).collect()
}

fn chosen(fleet: &Waves, wants: impl Fn(&str) -> bool) -> Chosen {
    let fit = |cluster: &String| Fit { cluster: cluster.clone(), plan: String::new(), approval: wants(cluster) };
    let waves = fleet.cut(fleet.clusters.iter().map(fit).collect());
    let approval = waves.iter().flatten().filter(|fit| fit.approval).map(|fit| fit.cluster.clone()).collect();
    let names = |wave: Vec<Fit>| wave.into_iter().map(|fit| fit.cluster).collect();
    Chosen { waves: waves.into_iter().map(names).collect(), approval, fleet: None }
}

/// Two fleets with one cluster would each find it held by the other.
async fn in_no_other(engine: &Engine, clusters: &[String]) -> Result<(), Error> {
    for progress in all(engine).await? {
        let shared = progress.fleet.clusters.iter().find(|cluster| clusters.contains(cluster));
        if let (Some(cluster), false) = (shared, progress.view.state.status.ended()) {
            let fleet = &progress.view.execution;
            return Err(Error::Open(format!(
                "{cluster} is in fleet {fleet}, which has not ended: k0rotate fleet show {fleet}"
            )));
        }
    }
    Ok(())
}

/// All fleets, oldest first.
pub async fn all(engine: &Engine) -> Result<Vec<Progress>, Error> {
    Ok(views(engine).await?.iter().filter_map(Progress::of).collect())
}

async fn views(engine: &Engine) -> Result<Vec<ExecutionView>, Error> {
    let log = |e: &dyn std::fmt::Display| Error::Log(e.to_string());
    let mut views = Vec::new();
    for head in engine.log().heads().await.map_err(|e| log(&e))? {
        views.extend(engine.view(&head.execution).await.map_err(|e| log(&e))?);
    }
    Ok(views)
}

/// The fleet that is meant by its id or the beginning of it; the last one by none.
pub async fn find(engine: &Engine, called: Option<&str>) -> Result<Progress, Error> {
    let mut fits = all(engine).await?;
    let Some(called) = called else {
        return fits.pop().ok_or_else(|| Error::NoRun("of a fleet yet".into()));
    };
    fits.retain(|progress| progress.view.execution.as_str().starts_with(called));
    match fits.len() {
        1 => Ok(fits.remove(0)),
        0 => Err(Error::NoRun(format!("of a fleet is {called}"))),
        several => Err(Error::NoRun(format!("is meant by {called}: {several} begin so"))),
    }
}

/// Says a word about a fleet.
pub async fn say(
    fleets: &Fleets,
    asker: &Asker<'_>,
    called: Option<&str>,
    word: &str,
    said: Said,
) -> Result<Done, Error> {
    let engine = fleets.engine().await?;
    let progress = find(&engine, called).await?;
    let fleet = progress.view.execution.clone();
    let (by, reason) = (asker.name(), said.reason.clone());
    let clusters = match word {
        "approve" | "decline" => answer(&engine, asker, &progress, word, &said).await?,
        "finalize" => {
            asker.may(&progress.fleet.clusters, Right::Operate, "finalize").await?;
            finalize(fleets, &engine, &progress, &by, &said).await?
        }
        "pause" => {
            asker.may(&progress.fleet.clusters, Right::Operate, "pause").await?;
            // In this order: who is called back looks whether something lies on the desk.
            let called = async { fleets.reach.call_back(&fleet) };
            let (paused, ()) = futures_util::future::join(engine.say(&fleet, Word::Pause { by, reason }), called).await;
            paused.map_err(|_| not_now(&progress, word))?;
            progress.fleet.clusters.clone()
        }
        "resume" => {
            asker.may(&progress.fleet.clusters, Right::Operate, "resume").await?;
            let word = match (&progress.view.state.status, progress.waits_for()) {
                (_, Some((WaitsFor::Limit, name))) => Word::EndWait { name: name.to_owned(), by, reason },
                (Status::Stuck { .. }, _) => Word::Resume { by, reason },
                _ => return Err(not_now(&progress, word)),
            };
            engine.say(&fleet, word).await.map_err(|_| not_now(&progress, "resume"))?;
            progress.fleet.clusters.clone()
        }
        other => return Err(Error::Usage(format!("{other} is no word about a fleet"))),
    };
    fleets.look();
    Ok(Done { fleet, clusters })
}

fn not_now(progress: &Progress, word: &str) -> Error {
    let (fleet, state) = (&progress.view.execution, super::show::state(progress));
    Error::Word(format!("{word} means nothing now: fleet {fleet} {state}"))
}

/// An approval or a decline of the wave that waits for it.
async fn answer(
    engine: &Engine,
    asker: &Asker<'_>,
    progress: &Progress,
    word: &str,
    said: &Said,
) -> Result<Vec<String>, Error> {
    let (wave, name) = match (progress.waits_for(), said.wave) {
        (Some((WaitsFor::Approval(wave), name)), Some(of)) if wave == of => (wave, name.to_owned()),
        _ => return Err(not_now(progress, word)),
    };
    let begin = progress.about_to_begin(wave);
    let wanting: Vec<String> = begin.iter().filter(|cluster| progress.wants_approval(cluster)).cloned().collect();
    let by = asker.name();
    if wanting.is_empty() {
        asker.may(&begin, Right::Operate, word).await?;
    } else {
        asker.may(&wanting, Right::Approve, word).await?;
        if word == "approve" && progress.view.by == by {
            let says = format!("{by} asked for fleet {}: somebody else must approve it", progress.view.execution);
            return Err(asker.clusters.refused(&wanting[0], (asker.peer, &asker.who), word, says));
        }
    }
    if let Some(plan) = &said.plan {
        insist(&beginning(plan)?, &plan_of_wave(progress, wave))?;
    }
    let (fleet, reason) = (&progress.view.execution, said.reason.clone());
    let refused = |_| not_now(progress, word);
    let about = if word == "approve" { begin } else { progress.declined_by(wave) };
    if word == "decline" {
        // First: a crash between the two leaves a wave that is asked for, and begins nothing.
        let hosts = about.clone();
        let left = Word::LeaveBehind { hosts, by: by.clone(), reason: crate::approval::declined(&reason) };
        engine.say(fleet, left).await.map_err(refused)?;
    }
    engine.say(fleet, Word::EndWait { name, by, reason }).await.map_err(refused)?;
    Ok(about)
}

/// Begins the end of all rotations that wait for it, or says which do.
async fn finalize(
    fleets: &Fleets,
    engine: &Engine,
    progress: &Progress,
    by: &str,
    said: &Said,
) -> Result<Vec<String>, Error> {
    let fleet = &progress.view.execution;
    if let Some(other) = finalizing(engine, fleet).await? {
        return Err(Error::Word(format!("{} finalizes it already, for {}", other.execution, other.by)));
    }
    let mut children: Vec<Child> = Vec::new();
    for cluster in &progress.fleet.clusters {
        let (Some(child), Some(known)) = (progress.child(cluster), fleets.clusters().get(cluster)) else { continue };
        let waits = match found(&known, &child.execution).await {
            Ok(Some((view, ended))) => how(&view, ended.as_ref()) == How::Verified,
            _ => false,
        };
        children.extend(waits.then_some(child));
    }
    let clusters: Vec<String> = children.iter().map(|child| child.cluster.clone()).collect();
    if clusters.is_empty() {
        return Err(Error::Word(format!("no rotation of fleet {fleet} waits for finalize")));
    }
    if said.confirmed {
        let start = Start { subject: progress.fleet.selector.clone(), by: by.to_owned(), reason: said.reason.clone() };
        begin(fleets, engine, &FinalizeAll { fleet: fleet.clone(), children }, start).await?;
    }
    Ok(clusters)
}

/// The execution that finalizes a fleet, while there is one.
pub async fn finalizing(engine: &Engine, fleet: &ExecutionId) -> Result<Option<ExecutionView>, Error> {
    let of_it = |view: &ExecutionView| {
        let all = view.input.decode::<FinalizeAll>().ok().filter(|_| view.workflow == FinalizeAll::NAME);
        !view.state.status.ended() && all.is_some_and(|all| all.fleet == *fleet)
    };
    Ok(views(engine).await?.into_iter().find(of_it))
}

//! The verb `plan --rollback`: what the way back of an execution would do to the cluster as it is today.

mod since;
mod text;

use super::agreed::{beginning, insist, refuse};
use super::digest;
use super::forecast::{Forecast, NoForecast, Way};
use super::look::{self, Eyes};
use super::result::Refusal;
use super::{command, exit};
use crate::args::Global;
use crate::beside;
use crate::break_glass;
use crate::error::Error;
use crate::exit::Exit;
use crate::look::print;
use crate::open;
use crate::report::{self, outputs};
use crate::source::Source;
use crate::survey::Survey;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::stop::Stop;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::host::ssh::HostKeys;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::Side;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use since::Today;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is planned of a way back.
#[derive(Clone, Debug, Serialize)]
pub struct BackPlan {
    /// The cluster's name here.
    pub cluster: String,
    /// Which execution.
    pub execution: String,
    /// Where it is.
    pub state: String,
    /// Hosts that it works on.
    pub hosts: Vec<String>,
    /// Whether the control plane goes down once more; not where it was never stopped.
    pub outage: bool,
    /// What it is expected to take at most: the way back from the wait for finalize.
    pub forecast: Option<Way>,
    /// Why there is no forecast.
    pub no_forecast: Option<String>,
    /// What is to be said a second time, and why.
    pub second: Option<String>,
    /// What would keep it from starting, or from coming through.
    pub refusals: Vec<Refusal>,
    /// What has changed since the rotation looked, and what becomes of it.
    pub since: Vec<since::Change>,
    /// What was handed out since and stops working.
    pub breaks: Vec<String>,
    /// What `rollback --plan` wants.
    pub digest: Option<String>,
    /// What the digest covers.
    pub covers: &'static str,
    /// The command that goes on.
    pub go_on: Option<String>,
}

const COVERS: &str = "the execution and how far it came, its hosts, k0s, units and trust as they are now, and the Nodes; not times or Leases";

/// What the execution knew when it looked, and how far it came.
pub struct Then {
    pub(super) rotate: Rotate,
    pub(super) hosts: BTreeMap<String, HostFacts>,
    pub(super) cluster: ClusterFacts,
    /// Controllers whose stop was begun.
    pub(super) stopped: BTreeSet<String>,
    /// Hosts that nobody waits for any more.
    pub(super) left: Vec<String>,
    zone: Zone,
}

impl Then {
    /// From its history; an execution that has no way back is an error.
    pub fn of(view: &ExecutionView) -> Result<Self, Error> {
        let no = |why: &str| Error::Word(format!("{} has no way back to plan: {why}", view.execution));
        if view.workflow != "rotate" {
            return Err(no("it is no rotation"));
        }
        if view.state.status.ended() || view.state.side() == Side::Back || view.state.zone() == Zone::Final {
            return Err(no(&report::state(view)));
        }
        let rotate: Rotate = view.input.decode().map_err(|e| Error::Log(format!("its input: {e}")))?;
        let hosts: BTreeMap<String, HostFacts> = outputs::<CheckHost, HostFacts>(view).into_iter().collect();
        let cluster = outputs::<CheckCluster, ClusterFacts>(view).pop().map(|(_, facts)| facts);
        let stops = view.steps().filter(|step| step.activity == Stop::NAME).map(|step| step.target.clone());
        Ok(Self {
            stopped: stops.collect(),
            left: view.state.not_held(),
            zone: view.state.zone(),
            cluster: cluster.unwrap_or_default(),
            hosts,
            rotate,
        })
    }

    /// What was asked for.
    pub fn rotate(&self) -> &Rotate {
        &self.rotate
    }

    /// Whether the control plane was ever stopped.
    pub fn was_down(&self) -> bool {
        self.zone != Zone::Free
    }

    /// Whether it was seen to work with the new trust: from then on others could join.
    pub fn was_verified(&self) -> bool {
        self.zone.rank() >= Zone::Held.rank()
    }
}

/// The verb.
pub async fn run(global: &Global, state: &Path, inventory: &Inventory, run: &str) -> Result<Exit, Error> {
    let source = Source::of(global, state, inventory).await?;
    // RUN may be the cluster's name, as everywhere.
    let run = Some(run).filter(|run| *run != inventory.name);
    let (execution, _, view) = source.find(run).await?;
    drop(source);
    let (hosts, rehearsal) = open::hosts(&global.settings, inventory, HostKeys::Known)?;
    let eyes =
        Eyes { inventory, hosts: &hosts, rehearsal: rehearsal.as_ref(), at_once: open::at_once(global, inventory) };
    let then = Then::of(&view)?;
    let survey = eyes.look(&then.rotate).await?;
    let mut plan = make(inventory, &view, &then, &survey).await;
    if let Some(refusal) = look::beside(global, state, inventory, beside::BESIDE_A_ROTATION).await? {
        plan.refusals.insert(0, refusal);
        plan.digest = None;
    }
    plan.go_on = plan.digest.as_ref().map(|digest| command::roll_back(global, execution.as_str(), digest));
    let value = serde_json::to_value(&plan).map_err(|e| Error::Usage(e.to_string()))?;
    print(global.output, &value, || text::table(&plan))?;
    Ok(exit(&plan.refusals))
}

/// The plan of the way back, from what was recorded and what is seen now.
pub async fn make(inventory: &Inventory, view: &ExecutionView, then: &Then, survey: &Survey) -> BackPlan {
    let today = Today::of(inventory, then, survey);
    let refusals = since::refusals(view.execution.as_str(), then, &today, survey);
    let digest = refusals.is_empty().then(|| digest_of(view.execution.as_str(), then, survey));
    let (mut forecast, mut no_forecast) = (None, None);
    if then.was_down() {
        let here = |name: &String| !today.gone.contains(name);
        let known = then.rotate.hosts.iter().filter_map(|member| then.hosts.get(&member.name));
        let facts = known.filter(|facts| here(&facts.host.name)).chain(&today.joined).cloned().collect::<Vec<_>>();
        match Forecast::of(&facts, &then.cluster, &then.rotate).await {
            Ok(both) => forecast = Some(if view.down_since().is_some() { both.back.from_down() } else { both.back }),
            Err(none) => no_forecast = Some(none.to_string()),
        }
    }
    BackPlan {
        cluster: inventory.name.clone(),
        execution: view.execution.to_string(),
        state: report::state(view),
        hosts: then.rotate.hosts.iter().map(|member| member.name.clone()).collect(),
        outage: then.was_down(),
        forecast,
        no_forecast,
        second: break_glass::second(view, false),
        refusals,
        since: if then.was_down() { since::changes(inventory, then, &today, survey) } else { Vec::new() },
        breaks: since::breaks(then, survey),
        digest,
        covers: COVERS,
        go_on: None,
    }
}

/// What the way back of a rotation whose controllers were stopped is expected to take at most, by what the execution itself saw.
pub async fn forecast(then: &Then) -> Result<Way, NoForecast> {
    let known = then.rotate.hosts.iter().filter_map(|member| then.hosts.get(&member.name));
    let facts: Vec<HostFacts> = known.cloned().collect();
    Forecast::of(&facts, &then.cluster, &then.rotate).await.map(|both| both.back)
}

/// Holds a roll-back to the plan that was agreed on, if one is named.
pub async fn agreed(eyes: &Eyes<'_>, view: &ExecutionView, plan: Option<&str>) -> Result<(), Error> {
    let Some(asked) = plan.map(beginning).transpose()? else { return Ok(()) };
    let then = Then::of(view)?;
    let survey = eyes.look(&then.rotate).await?;
    let today = Today::of(eyes.inventory, &then, &survey);
    refuse(&since::refusals(view.execution.as_str(), &then, &today, &survey))?;
    insist(&asked, &digest_of(view.execution.as_str(), &then, &survey))
}

#[derive(Serialize)]
struct Covered<'a> {
    format: u32,
    execution: &'a str,
    options: Rotate,
    zone: u8,
    left: &'a [String],
    stopped: &'a BTreeSet<String>,
    hosts: BTreeMap<&'a str, Result<k0rotate_activities::facts::Covered<'a>, &'a str>>,
    nodes: Option<BTreeSet<&'a String>>,
}

/// The digest of the way back of an execution from where it is, in the world as it is.
pub fn digest_of(execution: &str, then: &Then, survey: &Survey) -> String {
    let hosts = survey.hosts.iter().map(|(name, found)| {
        let seen = found.as_ref().map(HostFacts::covered).map_err(|failure| failure.code.as_str());
        (name.as_str(), seen)
    });
    digest::of(&Covered {
        format: 1,
        execution,
        options: digest::options(&then.rotate),
        zone: then.zone.rank(),
        left: &then.left,
        stopped: &then.stopped,
        hosts: hosts.collect(),
        nodes: survey.cluster.as_ref().ok().map(|cluster| cluster.nodes.iter().collect()),
    })
}

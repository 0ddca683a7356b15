//! What a rotation of a cluster is expected to do and to take: the real workflow, run on the model with throw-away keys.

use super::model::{Modelled, NotModelled};
use crate::error::Error;
use crate::runtime::Runtime;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::drive::{Rest, Start, Word};
use k0rotate_engine::event::{Event, Record, Zone};
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use k0rotate_engine::workflow::Workflow;
use k0rotate_workflows::rotate::Rotate;
use serde::Serialize;
use std::time::Duration;

/// Both ways, in the model's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// To the wait for finalize.
    pub forward: Way,
    /// From there to the first trust: the longest way back that there is.
    pub back: Way,
    /// How long no API server answers if etcd's leader, stopped with its peers, finds nobody to hand over to (lab §30); only where it
    /// has peers.
    pub api_down_worst_ms: Option<u64>,
}

/// One way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Its phases, in order.
    pub phases: Vec<Phase>,
    /// How long no API server answers.
    pub api_down_ms: u64,
    /// How long the control plane is not verified: the zone Down.
    pub down_ms: u64,
    /// From the stop of the first controller to the end.
    pub from_down_ms: u64,
    /// From the start to the end.
    pub total_ms: u64,
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Its frozen name.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// What a failure means in it: `free`, `down`, `held`.
    pub zone: &'static str,
    /// The hosts that it works on, in the order of the inventory; none if only the cluster as a whole is asked.
    pub hosts: Vec<String>,
    /// What does not work meanwhile.
    pub down: String,
    /// What it takes.
    pub expected_ms: u64,
    /// How long one try of its longest step may take.
    pub limit_seconds: u64,
}

/// Why there is none. It is never guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoForecast {
    /// The model has no such cluster.
    #[error("{0}")]
    NotModelled(NotModelled),
    /// The rotation does not come through on the model.
    #[error("on the model the rotation ends otherwise: {0}")]
    Otherwise(String),
}

impl Forecast {
    /// Runs the rotation on a cluster of the model like the one that was looked at.
    pub async fn of(facts: &[HostFacts], cluster: &ClusterFacts, rotate: &Rotate) -> Result<Self, NoForecast> {
        let modelled = Modelled::of(facts, cluster, rotate).map_err(NoForecast::NotModelled)?;
        // Two whole rotations: too large for the stack of everyone who may ask.
        Box::pin(Self::run(&modelled)).await
    }

    async fn run(modelled: &Modelled) -> Result<Self, NoForecast> {
        let otherwise = |what: &dyn std::fmt::Display| NoForecast::Otherwise(what.to_string());
        let (runtime, rehearsal) = rehearsed(&modelled.fleet).map_err(|e| otherwise(&e))?;
        let word = || ("plan".to_owned(), "forecast".to_owned());
        let start = Start { subject: "forecast".into(), by: word().0, reason: word().1 };
        let execution = runtime.engine.start(&modelled.rotate, start).await.map_err(|e| otherwise(&e))?;
        let gap = || rehearsal.stage(|stage| stage.world.api_gap());
        let rest = runtime.drive(&execution, None, |_, _| {}).await;
        let forward = history(&runtime, &execution).await?;
        if !matches!(rest, Rest::Waiting { .. }) {
            return Err(NoForecast::Otherwise(ended(&forward)));
        }
        let forward_gap = gap();
        let back = Word::RollBack { by: word().0, reason: word().1 };
        let rest = runtime.drive(&execution, Some(back), |_, _| {}).await;
        let both = history(&runtime, &execution).await?;
        if !matches!(rest, Rest::RolledBack { .. }) {
            return Err(NoForecast::Otherwise(ended(&both)));
        }
        Ok(Self {
            api_down_worst_ms: unlucky(modelled).await,
            forward: Way::of(&forward, forward_gap, modelled),
            back: Way::of(&both[forward.len()..], gap().saturating_sub(forward_gap), modelled),
        })
    }

    /// What a window must have room for when the first controller is stopped: the rest of the way, and all of the way back.
    pub fn room(&self) -> Duration {
        let unlucky = self.api_down_worst_ms.map_or(0, |worst| worst.saturating_sub(self.forward.api_down_ms));
        Duration::from_millis(self.forward.from_down_ms + self.back.total_ms + 2 * unlucky)
    }
}

/// The API's gap of a stop that goes badly: the rotation until its control plane is verified.
async fn unlucky(modelled: &Modelled) -> Option<u64> {
    let fleet = FleetPlan { stop_race: true, ..modelled.fleet.clone() };
    if fleet.hosts.iter().filter(|host| host.role.is_controller()).count() < 2 {
        return None;
    }
    let (runtime, rehearsal) = rehearsed(&fleet).ok()?;
    let start = Start { subject: "forecast".into(), by: "plan".into(), reason: "forecast".into() };
    let execution = runtime.engine.start(&modelled.rotate, start).await.ok()?;
    let mut verified = false;
    let until_held = |record: &Record, _| {
        if matches!(record.event, Event::ZoneEntered { zone: Zone::Held, .. }) {
            verified = true;
            runtime.engine.interrupt(&execution);
        }
    };
    runtime.drive(&execution, None, until_held).await;
    verified.then(|| millis(rehearsal.stage(|stage| stage.world.api_gap())))
}

fn rehearsed(fleet: &FleetPlan) -> Result<(Runtime, Rehearsal), Error> {
    Runtime::rehearsed(fleet, Stage::new(fleet), "plan@model")
}

async fn history(runtime: &Runtime, execution: &ExecutionId) -> Result<Vec<Record>, NoForecast> {
    runtime.engine.history(execution).await.map_err(|e| NoForecast::Otherwise(e.to_string()))
}

/// How it ended, and the failures that led there.
fn ended(history: &[Record]) -> String {
    let Ok(Some(view)) = ExecutionView::of(history) else { return "without a history".to_owned() };
    let failures = view.steps().filter_map(|step| Some(format!("{} {}", step.step, step.failure.as_ref()?)));
    let failures: Vec<String> = failures.take(3).collect();
    format!("{} ({})", crate::report::state(&view), failures.join("; "))
}

impl Way {
    /// Reads one way of a history.
    fn of(records: &[Record], gap: Duration, modelled: &Modelled) -> Self {
        let mut way = Self { api_down_ms: millis(gap), ..Self::default() };
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return way };
        way.total_ms = millis(last.time.since(first.time));
        let (mut zone, mut since, mut down) = ("free", first.time, None);
        for record in records {
            match &record.event {
                Event::ZoneEntered { zone: entered, .. } => {
                    zone = name(*entered);
                    match (zone, down) {
                        ("down", None) => down = Some(record.time),
                        ("held", Some(from)) => way.down_ms = millis(record.time.since(from)),
                        _ => {}
                    }
                }
                Event::PhaseStarted { slug, title } => {
                    way.end_phase(since, record.time);
                    since = record.time;
                    let (slug, title) = (slug.clone(), title.clone());
                    let down = what_is_down(&slug, modelled);
                    let (hosts, expected_ms, limit_seconds) = (Vec::new(), 0, 0);
                    way.phases.push(Phase { slug, title, zone, hosts, down, expected_ms, limit_seconds });
                }
                event => way.note(event, modelled),
            }
        }
        way.end_phase(since, last.time);
        way.from_down_ms = down.map_or(0, |from| millis(last.time.since(from)));
        way.in_order(modelled);
        way
    }

    /// The same where the API is down before it begins.
    #[must_use]
    pub fn from_down(mut self) -> Self {
        self.phases.iter_mut().filter(|phase| phase.zone == "free").for_each(|phase| {
            phase.zone = "down";
            "API on all controllers, as it is now".clone_into(&mut phase.down);
        });
        self
    }

    fn end_phase(&mut self, since: Timestamp, now: Timestamp) {
        if let Some(phase) = self.phases.last_mut() {
            phase.expected_ms = millis(now.since(since));
        }
    }

    fn note(&mut self, event: &Event, modelled: &Modelled) {
        let (Event::StepStarted { activity, target, input, .. }, Some(phase)) = (event, self.phases.last_mut()) else {
            return;
        };
        if let Some(retry) = Rotate::activities().retry_of(activity, input) {
            phase.limit_seconds = phase.limit_seconds.max(retry.deadline.as_secs());
        }
        let host = modelled.name(target);
        if target != "cluster" && !phase.hosts.contains(&host) {
            phase.hosts.push(host);
        }
    }

    /// Hosts of the inventory's order, controllers among them as well.
    fn in_order(&mut self, modelled: &Modelled) {
        let order: Vec<String> = modelled.fleet.hosts.iter().map(|h| modelled.name(&h.name)).collect();
        for phase in &mut self.phases {
            phase.hosts.sort_by_key(|host| order.iter().position(|name| name == host));
        }
    }
}

fn what_is_down(slug: &str, modelled: &Modelled) -> String {
    let rotate = &modelled.rotate;
    let at_once = rotate.reboot_at_once.unwrap_or(0);
    let mut controllers = modelled.fleet.hosts.iter().filter(|host| host.role.is_controller());
    // The only API server goes down with its node.
    let alone = controllers.next().is_some_and(|host| host.role.has_workloads()) && controllers.next().is_none();
    let api = if alone { "the API, and " } else { "" };
    match slug {
        "hold" => "nothing; k0sctl is locked out",
        "revoke-tokens" => "nothing; nobody can join",
        "stop" | "swap" | "start" | "back-stop" | "back-swap" | "back-start" => "API on all controllers",
        "rejoin" | "back-nodes" => "kubelets while they restart; pods keep running",
        "refresh" if at_once > 0 => {
            return format!("{api}nodes while they boot: a controller, {at_once} workers at a time");
        }
        "refresh" | "back-refresh" => match rotate.refresh {
            Refresh::None => "konnectivity agents, one by one: logs and exec",
            Refresh::System => "what holds the CA in kube-system: a restart each",
            Refresh::All => "every pod that mounts the CA: a restart each",
        },
        "check-nodes" | "back-check" => "logs and exec, until k0s has signed: a node per 10 s",
        _ => "nothing",
    }
    .to_owned()
}

fn name(zone: Zone) -> &'static str {
    match zone {
        Zone::Free => "free",
        Zone::Down { .. } => "down",
        Zone::Held => "held",
        Zone::Final => "final",
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

//! What lies ahead of a change that a person is asked about: which cluster, how many nodes, what is down for how long and how that is known.

use crate::break_glass;
use crate::confirm::counted;
use crate::plan::back::{self, Then};
use crate::plan::forecast::{Forecast, NoForecast};
use crate::plan::text::about;
use crate::render::rfc3339;
use crate::report::outputs;
use crate::survey::Survey;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::facts::ClusterFacts;
use k0rotate_activities::fleet::Member;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::{Rejoin, Trust};
use k0rotate_workflows::rotate::Rotate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// See the file's sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ahead {
    /// UID of the namespace kube-system, if it is known.
    pub uid: Option<String>,
    /// Nodes that the cluster has, if it is known.
    pub nodes: Option<usize>,
    /// The digest of the plan that a rotation would go by, where all of the cluster was seen.
    #[serde(default)]
    pub digest: Option<String>,
    /// Which plan is approved, and who asked for it.
    #[serde(default)]
    pub plan: Option<String>,
    /// When the controllers are stopped; none if that is as soon as all is prepared.
    #[serde(default)]
    pub window: Option<String>,
    /// Whether somebody else has to approve, or that nothing is waited for.
    #[serde(default)]
    pub approval: Option<String>,
    /// What is to be said a second time, and why.
    #[serde(default)]
    pub second: Option<String>,
    /// What is down for how long, and how that is known.
    pub outage: String,
    /// What is so afterwards.
    pub then: String,
    /// How long the control plane is expected to be away, milliseconds; none where nothing was forecast, or nothing is stopped.
    pub down_ms: Option<u64>,
}

/// What was seen of a cluster before a rotation of it is started.
pub struct Seen {
    /// The look.
    pub survey: Survey,
    /// The digest of the plan; none if not all of the cluster was seen.
    pub digest: Option<String>,
    /// What the model made of it; none if not all of the cluster was seen.
    pub forecast: Option<Result<Forecast, NoForecast>>,
}

impl Ahead {
    /// Of a rotation; `seen` if it was looked at before.
    pub fn of_rotation(rotate: &Rotate, seen: Option<&Seen>) -> Self {
        let cluster = seen.and_then(|seen| seen.survey.cluster.as_ref().ok());
        let limit = about(rotate.max_outage_seconds * 1000);
        let expected = match seen.map(|seen| &seen.forecast) {
            Some(Some(Ok(forecast))) => format!(
                "{}, {} until the control plane is verified (forecast: this rotation, run on a model of the cluster as it was just seen)",
                api(forecast),
                about(forecast.forward.down_ms)
            ),
            Some(Some(Err(none))) => format!("the API is away; no forecast ({none})"),
            Some(None) => "the API is away; no forecast".to_owned(),
            None => "the API is away; not looked at before (k0rotate plan forecasts it)".to_owned(),
        };
        let down_ms = match seen.map(|seen| &seen.forecast) {
            Some(Some(Ok(forecast))) => Some(forecast.forward.down_ms),
            _ => None,
        };
        Self {
            outage: format!("{expected}; rolls back by itself after {limit}"),
            then: refused(rotate),
            window: window(rotate),
            digest: seen.and_then(|seen| seen.digest.clone()),
            down_ms,
            ..Self::of_cluster(cluster)
        }
    }

    /// How long the control plane is expected to be away.
    pub fn expected(&self) -> Option<Duration> {
        self.down_ms.map(Duration::from_millis)
    }

    /// Of the way back of an execution from where it stands. No machine is looked at: nobody is waited for if the API is down.
    pub async fn of_way_back(view: &ExecutionView) -> Self {
        let outage = match (Then::of(view), view.down_since()) {
            (Err(_), _) if view.workflow == "rejoin" => {
                "none: only the host that was to be let in is touched".to_owned()
            }
            (Err(_), Some(since)) => format!("the API is DOWN since {}", rfc3339(since)),
            (Err(_), None) => "none".to_owned(),
            (Ok(then), _) if !then.was_down() => "none: no controller was stopped yet".to_owned(),
            (Ok(then), down) => {
                let begun = down.map(|since| format!("the API is DOWN since {}; ", rfc3339(since)));
                format!("{}{}", begun.unwrap_or_default(), back_outage(&then).await)
            }
        };
        let then = match view.input.decode::<Rejoin>().ok().filter(|_| view.workflow == "rejoin") {
            Some(rejoin) => taken_back(&rejoin),
            None if break_glass::of(view).is_some() => {
                "THE LEAKED TRUST is in use again, the new keys are gone from the hosts".to_owned()
            }
            None => "the first trust is in use again, the new keys are gone from the hosts".to_owned(),
        };
        Self { outage, then, second: break_glass::second(view, false), ..Self::of_view(view) }
    }

    /// Of the end of a rotation.
    pub fn of_finalize(view: &ExecutionView) -> Self {
        let left = view.state.not_held();
        let is_in = |host: &&Member| !left.contains(&host.name);
        let hosts = view.input.decode::<Rotate>().map(|rotate| rotate.hosts.iter().filter(is_in).count());
        let hosts = hosts.unwrap_or_default();
        let then = format!(
            "a new k0s backup is taken, and the old keys on {} and the sealed copies here are destroyed for good: no way back",
            counted(hosts, "host")
        );
        Self { outage: "none: all is verified again first".to_owned(), then, ..Self::of_view(view) }
    }

    /// Of letting these hosts in.
    pub fn of_rejoin(view: &ExecutionView, hosts: &str) -> Self {
        let then = format!("k0s of {hosts} was restarted with the trust of the cluster; the others stay up; {TOKENS}");
        Self::of_no_outage(view, &then)
    }

    /// Of something that leaves the API up.
    pub fn of_no_outage(view: &ExecutionView, then: &str) -> Self {
        Self { outage: "none of the API".to_owned(), then: then.to_owned(), ..Self::of_view(view) }
    }

    /// As the execution saw it.
    fn of_view(view: &ExecutionView) -> Self {
        Self::of_cluster(outputs::<CheckCluster, ClusterFacts>(view).pop().map(|(_, facts)| facts).as_ref())
    }

    fn of_cluster(cluster: Option<&ClusterFacts>) -> Self {
        Self {
            uid: cluster.map(|facts| facts.uid.clone()),
            nodes: cluster.map(|facts| facts.nodes.len()),
            ..Self::default()
        }
    }
}

/// A rejoin knows tokens by when they were minted, not by whom.
const TOKENS: &str = "join tokens minted meanwhile, by whomever, are revoked";

/// When the controllers of a rotation may be stopped.
fn window(rotate: &Rotate) -> Option<String> {
    let from = rotate.not_before.map(|from| format!("not before {}", rfc3339(from)));
    let room = about(rotate.room_seconds * 1000);
    let until = rotate.not_after.map(|until| format!("not unless both ways, {room}, end by {}", rfc3339(until)));
    let said = [from, until].into_iter().flatten().collect::<Vec<_>>();
    (!said.is_empty()).then(|| format!("the controllers are stopped {}", said.join(", and ")))
}

/// What a rotation of these roots makes refused.
fn refused(rotate: &Rotate) -> String {
    let all = Rotate::of(rotate.hosts.clone()).roots;
    if all.iter().all(|root| rotate.roots.contains(root)) {
        return "every old credential is refused".to_owned();
    }
    let named = rotate.roots.iter().map(|root| root.name()).collect::<Vec<_>>().join(" and ");
    format!("what the old {named} issued is refused; what the other roots issued stays valid")
}

/// What the way back of a rejoin leaves.
fn taken_back(rejoin: &Rejoin) -> String {
    let host = &rejoin.host.name;
    let stays = match rejoin.trust {
        Trust::New(_) => "it stays out",
        Trust::First(_) => "what it got of the first trust, which is in use, stays",
    };
    format!("what was begun on {host} is taken back; {stays}; {TOKENS}")
}

fn api(forecast: &Forecast) -> String {
    let expected = forecast.forward.api_down_ms;
    let worst = forecast.api_down_worst_ms.filter(|worst| *worst > expected);
    let worst = worst.map_or_else(String::new, |ms| format!(" ({} if etcd's leader finds no heir)", about(ms)));
    format!("the API is away for about {}{worst}", about(expected))
}

async fn back_outage(then: &Then) -> String {
    match back::forecast(then).await {
        Ok(way) => format!(
            "the API is away for about {} once more (forecast: the whole way back, run on a model of the cluster as the execution saw it)",
            about(way.api_down_ms)
        ),
        Err(none) => format!("the API is away once more; no forecast ({none})"),
    }
}

#[cfg(test)]
mod tests {
    //! Shows what is said to be refused afterwards.

    use super::refused;
    use k0rotate_activities::fleet::{Role, Root};
    use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
    use k0rotate_workflows::rotate::Rotate;

    /// Goal: all roots that a cluster has are all of them: `single` has no etcd CA, and nothing of it stays valid.
    #[test]
    fn all_that_there_are_is_every_one() {
        for role in [Role::Single, Role::Controller] {
            let plan = FleetPlan::of(&[("c1", role)]);
            let rotate = Rotate::of(plan.hosts.iter().map(PlannedHost::member).collect());
            assert_eq!(refused(&rotate), "every old credential is refused", "{role:?}");
            let some = Rotate { roots: vec![Root::ServiceAccount], ..rotate };
            assert!(refused(&some).contains("what the other roots issued stays valid"), "{role:?}");
        }
    }
}

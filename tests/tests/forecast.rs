//! What a plan forecasts for each way of refreshing nodes, against what the same rotation of the same fleet then does.

use k0rotate::plan::affected::Affected;
use k0rotate::plan::forecast::{Forecast, Way};
use k0rotate::report::forward_outputs;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::Role::{Controller, ControllerWorker, Worker};
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::view::ExecutionView;
use k0rotate_tests::harness::{Bench, block_on, say};
use k0rotate_workflows::rotate::Rotate;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rotation there and back, and what was forecast for it from its own first looks.
struct Both {
    bench: Bench,
    forecast: Forecast,
    affected: Affected,
    forward: Vec<Record>,
    back: Vec<Record>,
    forward_gap: Duration,
    back_gap: Duration,
}

impl Both {
    fn of(plan: FleetPlan, change: impl FnOnce(&mut Rotate)) -> Self {
        let bench = Bench::new(plan);
        let mut rotate = bench.rotate();
        change(&mut rotate);
        let id = bench.start(&rotate);
        bench.drive(&id, None).expect("nothing crashes it");
        let (forward, forward_gap) = (bench.history(&id), gap(&bench));
        bench.drive(&id, Some(say::roll_back())).expect("nothing crashes it");
        let back = bench.history(&id)[forward.len()..].to_vec();
        let view = ExecutionView::of(&forward).expect("it is whole").expect("it was started");
        let mut facts: Vec<HostFacts> =
            forward_outputs::<CheckHost, HostFacts>(&view).into_iter().map(|(_, facts)| facts).collect();
        facts.sort_by_key(|f| bench.plan.hosts.iter().position(|host| host.name == f.host.name));
        let (_, cluster) = forward_outputs::<CheckCluster, ClusterFacts>(&view).remove(0);
        let forecast = block_on(Forecast::of(&facts, &cluster, &rotate)).expect("the model knows it");
        let affected = Affected::of(&facts, &cluster, &rotate);
        let back_gap = gap(&bench).saturating_sub(forward_gap);
        Self { bench, forecast, affected, forward, back, forward_gap, back_gap }
    }

    /// Its phases in order, each with the hosts that it worked on, in the order of the inventory.
    fn phases(&self, records: &[Record]) -> Vec<(String, Vec<String>)> {
        let order: Vec<&String> = self.bench.plan.hosts.iter().map(|host| &host.name).collect();
        let mut phases: Vec<(String, Vec<String>)> = Vec::new();
        for record in records {
            match &record.event {
                Event::PhaseStarted { slug, .. } => phases.push((slug.clone(), Vec::new())),
                Event::StepStarted { target, .. } if order.contains(&target) => {
                    let (_, hosts) = phases.last_mut().expect("a step is of a phase");
                    hosts.push(target.clone());
                }
                _ => {}
            }
        }
        for (_, hosts) in &mut phases {
            hosts.sort_by_key(|host| order.iter().position(|name| *name == host));
            hosts.dedup();
        }
        phases
    }

    /// How long a phase took.
    fn took(&self, slug: &str) -> Duration {
        let starts = |r: &&Record| matches!(&r.event, Event::PhaseStarted { .. });
        let mut from = self
            .forward
            .iter()
            .filter(starts)
            .skip_while(|r| !matches!(&r.event, Event::PhaseStarted { slug: found, .. } if found == slug));
        let began = from.next().expect("it was entered").time;
        from.next().expect("another follows").time.since(began)
    }
}

fn gap(bench: &Bench) -> Duration {
    bench.fleet.stage(|stage| stage.world.api_gap())
}

fn near(expected_ms: u64, real: Duration) -> bool {
    let (expected, real) = (i128::from(expected_ms), i128::try_from(real.as_millis()).expect("it ended"));
    (expected - real).abs() <= real / 10
}

fn forecast_of(way: &Way) -> Vec<(String, Vec<String>)> {
    way.phases.iter().map(|phase| (phase.slug.clone(), phase.hosts.clone())).collect()
}

fn mixed() -> FleetPlan {
    let hosts = [("a", ControllerWorker), ("b", Controller), ("c", ControllerWorker), ("v", Worker), ("w", Worker)];
    FleetPlan { worker_tokens: 1, pods_per_node: 3, ..FleetPlan::of(&hosts) }
}

/// Goal: for every way of refreshing, phases, their hosts and order, the API's gap and the refresh itself are forecast as they then are.
#[test]
fn each_way_of_refreshing_is_forecast_as_it_is() {
    type Change = fn(&mut Rotate);
    let ways: [(&str, Change); 5] = [
        ("none", |r| r.refresh = Refresh::None),
        ("system", |_| {}),
        ("all", |r| r.refresh = Refresh::All),
        ("reboot", |r| r.reboot_at_once = Some(1)),
        ("reboot 2", |r| r.reboot_at_once = Some(2)),
    ];
    let mut took = BTreeMap::new();
    for (name, change) in ways {
        let both = Both::of(mixed(), change);
        assert_eq!(forecast_of(&both.forecast.forward), both.phases(&both.forward), "{name}");
        assert_eq!(forecast_of(&both.forecast.back), both.phases(&both.back), "{name}");
        let Forecast { forward, back, .. } = &both.forecast;
        assert!(near(forward.api_down_ms, both.forward_gap), "{name}: {:?} {forward:?}", both.forward_gap);
        assert!(near(back.api_down_ms, both.back_gap), "{name}: {:?} {back:?}", both.back_gap);
        let refresh = forward.phases.iter().find(|phase| phase.slug == "refresh").expect("it is forecast");
        assert!(near(refresh.expected_ms, both.took("refresh")), "{name}: {:?} {refresh:?}", both.took("refresh"));
        took.insert(name, refresh.expected_ms);
    }
    assert!(took["reboot"] > took["reboot 2"] && took["reboot 2"] > took["system"], "{took:?}");
}

/// Goal: a controller is rebooted alone, before the workers, of which so many go at once.
#[test]
fn reboots_come_in_the_order_that_is_told() {
    for (at_once, together) in [(1, false), (2, true)] {
        let both = Both::of(mixed(), |r| r.reboot_at_once = Some(at_once));
        let mut spans: BTreeMap<String, (Timestamp, Timestamp)> = BTreeMap::new();
        for record in &both.forward {
            match &record.event {
                Event::StepStarted { activity, target, .. } if activity == "reboot-host" => {
                    spans.insert(target.clone(), (record.time, record.time));
                }
                Event::StepSucceeded { step, .. } if step.as_str().starts_with("refresh/reboot-host@") => {
                    let host = step.as_str().rsplit('@').next().expect("it has a target");
                    spans.get_mut(host).expect("it was started").1 = record.time;
                }
                _ => {}
            }
        }
        assert_eq!(spans.keys().collect::<Vec<_>>(), ["a", "c", "v", "w"], "b is no node");
        let after = |one: &str, other: &str| spans[one].1 <= spans[other].0;
        assert!(after("a", "c") && after("c", "v") && after("c", "w"), "{spans:?}");
        assert_eq!(!after("v", "w") && !after("w", "v"), together, "{spans:?}");
        let refresh = both.forecast.forward.phases.iter().find(|p| p.slug == "refresh").expect("it is forecast");
        assert_eq!(refresh.down, format!("nodes while they boot: a controller, {at_once} workers at a time"));
    }
}

/// Goal: the only API server goes down with its node: the gap of a reboot is forecast, and the plan says what is down.
#[test]
fn the_only_controller_takes_the_api_with_it() {
    let alone = || FleetPlan::of(&[("cw1", ControllerWorker)]);
    let (without, with) = (Both::of(alone(), |_| {}), Both::of(alone(), |r| r.reboot_at_once = Some(1)));
    assert!(with.forecast.forward.api_down_ms > without.forecast.forward.api_down_ms, "{:?}", with.forecast.forward);
    assert!(near(with.forecast.forward.api_down_ms, with.forward_gap), "{:?}", with.forward_gap);
    let refresh = with.forecast.forward.phases.iter().find(|p| p.slug == "refresh").expect("it is forecast");
    assert!(refresh.down.starts_with("the API, and nodes while they boot"), "{}", refresh.down);
}

/// Containers of the pods outside of kube-system that run now, by pod.
fn containers(bench: &Bench) -> BTreeMap<String, String> {
    let objects = bench.fleet.stage(|s| s.world.objects());
    let own = objects.into_iter().filter(|(path, _)| path.contains("/namespaces/shop/pods/"));
    own.map(|(path, pod)| (path, pod["status"]["containerStatuses"][0]["containerID"].to_string())).collect()
}

/// Goal: pods are told to be restarted afterwards only where the rotation does not restart them, all of them, itself.
#[test]
fn pods_that_the_rotation_restarts_are_not_left_to_people() {
    for (refresh, reboot, restarted) in
        [(Refresh::System, None, false), (Refresh::All, None, true), (Refresh::System, Some(1), true)]
    {
        let bench = Bench::new(mixed());
        let before = containers(&bench);
        let both = Both::of(mixed(), |r| (r.refresh, r.reboot_at_once) = (refresh, reboot));
        let mut rotate = bench.rotate();
        (rotate.refresh, rotate.reboot_at_once) = (refresh, reboot);
        let id = bench.start(&rotate);
        bench.drive(&id, None).expect("nothing crashes it");
        let after = containers(&bench);
        assert_eq!(both.affected.own_pods() as usize, before.len(), "{refresh:?} {reboot:?}");
        assert_eq!(both.affected.pods_restarted, restarted);
        let stayed = before.iter().filter(|(pod, container)| after.get(*pod) == Some(*container)).count();
        assert_eq!(stayed, if restarted { 0 } else { before.len() }, "{refresh:?} {reboot:?}");
    }
}

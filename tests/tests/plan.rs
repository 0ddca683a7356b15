//! The forecast of a plan against what the same rotation then takes, and the digest against what changes and what does not.

use k0rotate::plan::forecast::{Forecast, NoForecast};
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::{ClusterFacts, HostFacts, Storage};
use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_tests::harness::{Bench, block_on, say};
use serde::de::DeserializeOwned;
use std::time::Duration;

fn topologies() -> Vec<(&'static str, FleetPlan)> {
    use Role::{Controller, ControllerWorker, Single};
    vec![
        ("1+0", FleetPlan::of(&[("c1", Controller)])),
        ("single", FleetPlan::of(&[("s1", Single)])),
        ("controller+worker", FleetPlan::of(&[("cw1", ControllerWorker)])),
        ("3+2", FleetPlan::sized(3, 2)),
    ]
}

/// What the steps of an activity found.
fn found<A: Activity, O: DeserializeOwned>(bench: &Bench, execution: &ExecutionId) -> Vec<O> {
    let prefix = format!("check-hosts/{}@", A::NAME);
    let outputs = bench.history(execution).into_iter().filter_map(move |record| match record.event {
        Event::StepSucceeded { step, output } if step.as_str().starts_with(&prefix) => output.decode().ok(),
        _ => None,
    });
    outputs.collect()
}

/// A rotation to its wait, what its looks found, and the API's gap.
fn rotated(plan: FleetPlan) -> (Bench, ExecutionId, Vec<HostFacts>, ClusterFacts) {
    let bench = Bench::new(plan);
    let execution = bench.start(&bench.rotate());
    bench.drive(&execution, None).expect("nothing crashes it");
    let facts = found::<CheckHost, HostFacts>(&bench, &execution);
    let cluster = found::<CheckCluster, ClusterFacts>(&bench, &execution).remove(0);
    (bench, execution, facts, cluster)
}

fn gap(bench: &Bench) -> Duration {
    bench.fleet.stage(|stage| stage.world.api_gap())
}

/// Goal: what is forecast for the API, there and back, is what the same rotation of the same fleet takes.
#[test]
fn the_forecast_comes_true() {
    for (name, plan) in topologies() {
        let (bench, execution, facts, cluster) = rotated(plan);
        let forecast = block_on(Forecast::of(&facts, &cluster, &bench.rotate())).expect("the model knows it");
        let forward = gap(&bench);
        bench.drive(&execution, Some(say::roll_back())).expect("nothing crashes it");
        let back = gap(&bench).saturating_sub(forward);
        let near = |expected: u64, real: Duration| {
            let (expected, real) = (i128::from(expected), i128::try_from(real.as_millis()).unwrap());
            (expected - real).abs() <= real / 10
        };
        assert!(near(forecast.forward.api_down_ms, forward), "{name}: {forward:?} {:?}", forecast.forward);
        assert!(near(forecast.back.api_down_ms, back), "{name}: {back:?} {:?}", forecast.back);
        assert!(forecast.forward.api_down_ms > 0 && forecast.forward.down_ms >= forecast.forward.api_down_ms, "{name}");
        let slugs: Vec<&str> = forecast.forward.phases.iter().map(|p| p.slug.as_str()).collect();
        assert!(slugs.contains(&"stop") && slugs.last() == Some(&"prove"), "{name}: {slugs:?}");
        let down: Vec<&str> =
            forecast.forward.phases.iter().filter(|p| p.zone == "down").map(|p| p.slug.as_str()).collect();
        assert_eq!(down, ["stop", "swap", "start"], "{name}");
    }
}

/// Goal: what the model has nothing like is said, never guessed.
#[test]
fn a_datastore_that_is_not_modelled_has_no_forecast() {
    let (bench, _, mut facts, cluster) = rotated(FleetPlan::of(&[("c1", Role::Controller)]));
    facts[0].storage = Some(Storage::KineRemote);
    let none = block_on(Forecast::of(&facts, &cluster, &bench.rotate())).unwrap_err();
    assert!(matches!(none, NoForecast::NotModelled(_)));
    assert_eq!(none.to_string(), "the model has no kine on a database server, as c1 has it");
}

//! The facts about k0s that everything here relies on, asked of the model and, on a machine of its own, of the stand-in or a real one.

use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::clock::SystemClock;
use k0rotate_tests::contract::{self, Ground, Told};
use k0rotate_tests::harness::{Bench, block_on};
use k0rotate_tests::lab::Lab;
use k0rotate_tests::lab::fleet::Machines;
use k0rotate_tests::tier::{Tier, not_in};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A real k0s with its components beside it takes the place of the stand-in.
const K0S_BINARY: &str = "K0S_BINARY";

fn hold(told: &[Told]) {
    told.iter().for_each(|(name, result)| println!("{name}: {result:?}"));
    let wrong: Vec<_> = told.iter().filter(|(_, result)| result.is_err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn told_by_the_model(version: &str) -> Vec<Told> {
    let bench = Bench::new(FleetPlan { version: version.to_owned(), ..FleetPlan::sized(1, 1) });
    let (controller, worker) = (bench.fleet.host("h1"), bench.fleet.host("h2"));
    let ground = Ground { controller, worker, clock: bench.fleet.clock() };
    block_on(bench.fleet.paced(contract::all(&ground))).expect("nothing crashes it")
}

/// Goal: each fact is true of the model of every minor that a real k0s was asked of, and docs/k0s-contract.md lists the same facts in the same order.
#[test]
fn of_the_model() {
    let told = told_by_the_model("v1.36.3+k0s.2");
    hold(&told);
    hold(&told_by_the_model("v1.32.13+k0s.0"));
    let listed = include_str!("../../docs/k0s-contract.md");
    let listed = listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(listed.collect::<Vec<_>>(), told.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// Goal: each fact is true of the stand-in on real machines, or of the k0s that was named.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_machine() {
    const TEST: &str = "of_a_machine";
    if not_in(Tier::Normal) {
        return;
    }
    let real = std::env::var_os(K0S_BINARY).map(PathBuf::from);
    let k0s = real.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_k0s-standin")));
    let Some(lab) = Lab::boot(TEST, "1+1", Some(k0s)) else { return };
    Machines::new(&lab, 1, 1).healthy().await;
    let hosts = [1, 2].map(|n| Arc::new(lab.host(n)));
    let [controller, worker] = hosts;
    let ground = Ground { controller, worker, clock: Arc::new(SystemClock::default()) };
    hold(&contract::all(&ground).await);
}

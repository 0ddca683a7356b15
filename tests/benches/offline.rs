//! A bare stop and start, the documented way by hand, and `k0rotate rotate`, beside each other on the machines of a lab; see docs/performance.md.

use k0rotate_tests::lab::Lab;
use k0rotate_tests::offline::{HEAD, measure};
use std::path::Path;

fn main() {
    // The stand-in takes as long for each thing as a real k0s was seen to.
    let scale = [("K0S_TIME_SCALE", "1")];
    let k0s = Path::new(env!("CARGO_BIN_EXE_k0s-standin"));
    let Some(lab) = Lab::boot_with("bench-offline", "3+2", Some(k0s), &scale) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let figures = runtime.block_on(measure(&lab, Path::new(env!("CARGO_BIN_EXE_k0rotate-in-test"))));
    println!("{HEAD}");
    figures.iter().for_each(|figures| println!("{figures}"));
}

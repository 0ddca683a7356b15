//! How long the API is away in a rotation, beside a bare stop and start of all controllers; see docs/performance.md.

use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_tests::gap::{Gap, measure};

fn main() {
    const BAR: f64 = 1.15;
    let mut kept = true;
    println!("| fleet | bare stop and start | rotation | way back | bar |\n|---|---|---|---|---|");
    for (controllers, workers) in [(1, 0), (3, 0), (3, 2), (5, 10)] {
        let gap = measure(&FleetPlan::sized(controllers, workers));
        let Gap { bare, rotation, back } = gap;
        let seconds = |d: std::time::Duration| format!("{:.2} s", d.as_secs_f64());
        let against = |d, ratio: f64| format!("{}, {ratio:.2} x", seconds(d));
        let (forward, back) = (against(rotation, gap.forward_ratio()), against(back, gap.back_ratio()));
        println!("| {controllers}+{workers} | {} | {forward} | {back} | {BAR} x |", seconds(bare));
        kept &= gap.forward_ratio() <= BAR && gap.back_ratio() <= BAR;
    }
    if !kept {
        std::process::exit(1);
    }
}

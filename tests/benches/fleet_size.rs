//! What a rotation takes on 50 hosts and on 5, phase by phase, in the time of the model; see docs/performance.md.

use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_tests::size::Took;
use k0rotate_workflows::phases::CHECK_NODES;
use std::time::Duration;

fn main() {
    const BAR: f64 = 1.3;
    let (few, many) = (Took::by(FleetPlan::sized(3, 2)), Took::by(FleetPlan::sized(3, 47)));
    let row = |what: &str, few: Duration, many: Duration| {
        let (few, many) = (few.as_secs_f64(), many.as_secs_f64());
        println!("| {what} | {few:.1} s | {many:.1} s | {:.2} x |", many / few);
        many / few
    };
    println!("| phase | 3+2 | 3+47 | ratio |\n|---|---|---|---|");
    for ((slug, short), (_, long)) in few.phases().zip(many.phases()) {
        row(slug, short, long);
    }
    // k0s approves one serving certificate in ten seconds, which this phase waits for.
    let rest = |took: &Took| took.all().saturating_sub(took.phase(CHECK_NODES.0));
    row("all", few.all(), many.all());
    let ratio = row("all but `check-nodes`", rest(&few), rest(&many));
    if ratio > BAR {
        println!("all but `check-nodes` must not take more than {BAR} x");
        std::process::exit(1);
    }
}

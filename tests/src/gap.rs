//! How long the API is away in a rotation, beside a bare stop and start of all controllers, in the time of the model.

use crate::harness::{Bench, block_on};
use futures_util::future::join_all;
use k0rotate_activities::host::Command;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use std::time::Duration;

/// What is the least that a stop of the whole control plane costs, and what a rotation costs.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// `systemctl stop` on all controllers at once, then, when all have ended, `systemctl start` on all at once.
    pub bare: Duration,
    /// From the first moment without an API to the last.
    pub rotation: Duration,
    /// The same on the way back from the wait.
    pub back: Duration,
}

impl Gap {
    /// The rotation against the bare stop and start.
    pub fn forward_ratio(&self) -> f64 {
        self.rotation.as_secs_f64() / self.bare.as_secs_f64()
    }

    /// The way back against it.
    pub fn back_ratio(&self) -> f64 {
        self.back.as_secs_f64() / self.bare.as_secs_f64()
    }
}

/// Measures all three on fleets of this shape.
pub fn measure(plan: &FleetPlan) -> Gap {
    let rotated = Bench::new(plan.clone());
    let execution = rotated.start(&rotated.rotate());
    let rest = rotated.drive(&execution, None);
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");
    let rotation = gap(&rotated);
    let rest = rotated.drive(&execution, Some(crate::harness::say::roll_back()));
    assert!(matches!(rest, Ok(Rest::RolledBack { .. })), "{rest:?}");
    Gap { bare: bare(plan), rotation, back: gap(&rotated).checked_sub(rotation).expect("a sum grows") }
}

fn gap(bench: &Bench) -> Duration {
    bench.fleet.stage(|stage| stage.world.api_gap())
}

/// By the same hosts and with the same latencies as a rotation has.
fn bare(plan: &FleetPlan) -> Duration {
    let bench = Bench::new(plan.clone());
    let clock = bench.fleet.clock();
    let systemctl = |verb: &'static str| {
        let controllers = bench.plan.hosts.iter().filter(|host| host.role.is_controller());
        join_all(controllers.map(|host| {
            let host = bench.fleet.host(&host.name);
            async move {
                let done = host.exec(Command::new("systemctl", [verb, "k0scontroller"])).await;
                assert!(matches!(&done, Ok(output) if output.ok()), "{verb}: {done:?}");
            }
        }))
    };
    let stop_and_start = async {
        let before = gap(&bench);
        systemctl("stop").await;
        assert!(!bench.fleet.stage(|stage| stage.world.api_up_anywhere()), "all controllers are stopped");
        systemctl("start").await;
        while !bench.fleet.stage(|stage| stage.world.api_up_anywhere()) {
            clock.sleep(Duration::from_millis(1)).await;
        }
        gap(&bench).checked_sub(before).expect("a sum grows")
    };
    block_on(bench.fleet.paced(stop_and_start)).expect("nothing crashes it")
}

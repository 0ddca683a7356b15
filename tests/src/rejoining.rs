//! A rejoin of a host that a rotation went on without, as an operator's verb makes it from the rotation's history.

use crate::harness::Bench;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::facts::{HostFacts, K0sHost};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::{ExecutionId, StepId};
use k0rotate_workflows::rejoin::{Beside, Rejoin, Trust};

/// The number of the first change of an undisturbed rotation that reads like this, on one of these hosts.
pub fn change_of(plan: &FleetPlan, one_of: &[&str], at: &str) -> u64 {
    let probe = Bench::new(plan.clone());
    let undisturbed = probe.start(&probe.rotate());
    probe.drive(&undisturbed, None).expect("nothing crashes it");
    let log = probe.fleet.stage(|stage| stage.faults.log.clone());
    let first = log
        .iter()
        .position(|line| line.contains(at) && one_of.iter().any(|name| line.starts_with(&format!("{name} "))));
    u64::try_from(first.expect("there is such a change")).expect("a small number") + 1
}

/// Hosts that were left.
pub fn left(history: &[Record]) -> Vec<String> {
    let target = |record: &Record| match &record.event {
        Event::StepLeft { target, .. } => Some(target.clone()),
        _ => None,
    };
    let mut left: Vec<String> = history.iter().filter_map(target).collect();
    left.dedup();
    left
}

/// What brings a host back to the new trust of this rotation.
pub fn of(plan: &FleetPlan, history: &[Record], id: &ExecutionId, name: &str, beside: Beside) -> Rejoin {
    let new: NewTrust = output::<MakeTrust>(history, "make-trust", "cluster");
    let host = host(history, name);
    let pairs = new.of(name).into_iter().map(|(root, pair)| (root, pair.clone())).collect();
    let names = plan.hosts.iter().filter(|h| h.role.is_controller() && h.name != name);
    Rejoin {
        trust: Trust::New(if host.role.is_controller() { pairs } else { Vec::new() }),
        host,
        controllers: names.map(|h| self::host(history, &h.name)).collect(),
        ca: new.shared[&Root::KubernetesCa].public.clone(),
        rotation: id.to_string(),
        beside,
        nodes: 2,
    }
}

fn host(history: &[Record], name: &str) -> K0sHost {
    let facts: HostFacts = output::<CheckHost>(history, "check-hosts", name);
    facts.host
}

/// What a step of the rotation ended with.
fn output<A: Activity>(history: &[Record], phase: &str, target: &str) -> A::Output {
    let wanted = StepId::of(phase, A::NAME, target);
    let mut outputs = history.iter().filter_map(|record| match &record.event {
        Event::StepSucceeded { step, output } if *step == wanted => Some(output.clone()),
        _ => None,
    });
    outputs.next_back().expect("the step succeeded").decode().expect("its output is readable")
}

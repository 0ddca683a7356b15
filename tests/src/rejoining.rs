//! A rejoin of a host that a rotation went on without, as an operator's verb makes it from the rotation's history.

use crate::harness::{Bench, block_on, say};
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::drive::{Rest, Start};
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::{ExecutionId, StepId};
use k0rotate_workflows::rejoin::{Beside, Rejoin, Trust};
use std::collections::BTreeMap;
use std::time::Duration;

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

/// Drives a rotation in which one of these hosts loses its power at such a change, gives the power back at the end, and says
/// which host was left: changes of hosts at work in the same moment come in any order.
pub fn rotate_without(bench: &Bench, one_of: &[&str], at: &str) -> (ExecutionId, String) {
    let first = change_of(&bench.plan, one_of, at);
    let id = bench.start(&bench.rotate());
    let dead = Fault::PowerCut(None);
    bench.fleet.stage(|stage| stage.faults.plan.insert(first, dead));
    let mut rest = bench.drive(&id, None);
    for _ in 0..3 {
        if matches!(rest, Ok(Rest::Stuck { .. })) {
            rest = bench.drive(&id, Some(say::resume()));
        }
    }
    assert!(matches!(rest, Ok(Rest::Waiting { .. })), "{rest:?}");
    let left = left(&bench.history(&id));
    assert!(left.len() == 1 && one_of.contains(&left[0].as_str()), "{left:?}");
    bench.fleet.stage(|stage| stage.world.power_on(&left[0]));
    bench.fleet.idle(Duration::from_secs(90));
    (id, left[0].clone())
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

/// What brings a host to the new trust of this rotation.
pub fn of(plan: &FleetPlan, history: &[Record], id: &ExecutionId, host: K0sHost, beside: Beside) -> Rejoin {
    let new: NewTrust = output::<MakeTrust>(history, "make-trust", "cluster");
    let pairs = new.of(&host.name).into_iter().map(|(root, pair)| (root, pair.clone())).collect();
    let others = plan.hosts.iter().filter(|h| h.role.is_controller() && h.name != host.name);
    let nodes = plan.hosts.iter().filter(|h| h.role.has_workloads()).count();
    Rejoin {
        trust: Trust::New(if host.role.is_controller() { pairs } else { Vec::new() }),
        controllers: others.map(|h| found(history, &h.name)).collect(),
        ca: new.shared[&Root::KubernetesCa].public.clone(),
        rotation: id.to_string(),
        beside,
        nodes: u32::try_from(nodes).expect("a small fleet"),
        host,
        machines: BTreeMap::new(),
        uid: None,
    }
}

/// A host as the rotation found it.
pub fn found(history: &[Record], name: &str) -> K0sHost {
    output::<CheckHost>(history, "check-hosts", name).host
}

/// Lets the host in, beside the rotation or after it.
pub fn let_in(bench: &Bench, rejoin: &Rejoin) {
    let id = start(bench, rejoin);
    let rest = bench.drive(&id, None);
    let events: Vec<String> = bench.history(&id).iter().map(|r| format!("{:?}", r.event)).collect();
    assert!(matches!(rest, Ok(Rest::Completed { .. })), "{rest:?}\n{}", events.join("\n"));
}

/// Starts to let the host in; nothing is driven yet.
pub fn start(bench: &Bench, rejoin: &Rejoin) -> ExecutionId {
    let start = Start { subject: "rehearsal".into(), by: "test".into(), reason: "it is back".into() };
    block_on(bench.life().engine.start(rejoin, start)).expect("an empty history takes its first event")
}

/// What a step of the rotation ended with.
pub fn output<A: Activity>(history: &[Record], phase: &str, target: &str) -> A::Output {
    let wanted = StepId::of(phase, A::NAME, target);
    let mut outputs = history.iter().filter_map(|record| match &record.event {
        Event::StepSucceeded { step, output } if *step == wanted => Some(output.clone()),
        _ => None,
    });
    outputs.next_back().expect("the step succeeded").decode().expect("its output is readable")
}

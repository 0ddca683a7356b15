//! A rejoin of a host that a rotation went on without, as an operator's verb makes it from the rotation's history.

use crate::ends;
use crate::harness::{Bench, block_on, say};
use k0rotate::rejoin::rotation::Rotation;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::K0sHost;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::drive::{Rest, Start};
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::ids::{ExecutionId, StepId};
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;
use std::time::Duration;

/// How a host was lost.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// One of these.
    pub one_of: &'static [&'static str],
    /// At the first change of theirs that reads like this.
    pub at: &'static str,
    /// What became of the rotation before the host was there again.
    pub then: Then,
}

/// See [`Lost::then`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It waits for finalize.
    Rests,
    /// It was rolled back without the host.
    WentBack,
    /// It was finalized without it.
    Ended,
}

impl Then {
    /// Brings the rotation there.
    pub fn drive(self, bench: &Bench, rotation: &ExecutionId, lost: &str) {
        let words = match self {
            Self::Rests => vec![],
            Self::WentBack => vec![say::roll_back()],
            Self::Ended => vec![say::leave_behind(lost), say::finalize()],
        };
        let rests: Vec<Rest> =
            words.into_iter().map(|word| bench.drive(rotation, Some(word)).expect("nothing crashes it")).collect();
        let state = ends::state(bench, rotation).expect("its history is legal");
        let wanted = match self {
            Self::Rests => "Waiting",
            Self::WentBack => "RolledBack",
            Self::Ended => "Completed",
        };
        assert_eq!(state.status.name(), wanted, "{rests:?}");
    }
}

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

/// Drives a rotation in which one of these hosts loses its power at such a change, and says which host was left: changes of hosts at
/// work in the same moment come in any order.
pub fn lose(bench: &Bench, one_of: &[&str], at: &str) -> (ExecutionId, String) {
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
    // Lost while the controllers are told to stop, it may have gone back by itself.
    assert!(matches!(rest, Ok(Rest::Waiting { .. } | Rest::RolledBack { .. })), "{rest:?}");
    let left = left(&bench.history(&id));
    assert!(left.len() == 1 && one_of.contains(&left[0].as_str()), "{left:?}");
    (id, left[0].clone())
}

/// The host has power again, and has booted.
pub fn find(bench: &Bench, name: &str) {
    bench.fleet.stage(|stage| stage.world.power_on(name));
    bench.fleet.idle(Duration::from_secs(90));
}

/// Both.
pub fn rotate_without(bench: &Bench, one_of: &[&str], at: &str) -> (ExecutionId, String) {
    let (id, name) = lose(bench, one_of, at);
    find(bench, &name);
    (id, name)
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

/// What lets a host in that this rotation went on without.
pub fn of(history: &[Record], name: &str) -> Rejoin {
    of_newcomer(history, name, None)
}

/// The same of a host that was left from the start, and is looked at now.
pub fn of_newcomer(history: &[Record], name: &str, now: Option<K0sHost>) -> Rejoin {
    let view = ExecutionView::of(history).expect("it is legal").expect("it is not empty");
    let rotation = Rotation::of(&view).unwrap_or_else(|error| panic!("{}", error.sentence()));
    rotation.rejoin(name, now).unwrap_or_else(|error| panic!("{}", error.sentence()))
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

//! Every place where an execution can be hurt, one after another, and what must be true at the end of each.

use crate::harness::{Bench, Life, block_on, say};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Fault as WorldFault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::{Rest, Word};
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::State;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::faulty::{Fault as LogFault, FaultyLog};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where it is hurt, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurt {
    /// At the append of this number in this life.
    Commit(u64, LogFault),
    /// At the change of this number since the execution began.
    Change(u64, WorldFault),
}

/// What the operator says after it was hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Go on.
    Resume,
    /// Go back.
    RollBack,
}

/// Which way is hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the start to the wait.
    Forward,
    /// From the wait back.
    Back,
}

/// One case, named so that it can be run again.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which way.
    pub way: Way,
    /// Where and how.
    pub hurt: Hurt,
    /// And then.
    pub then: Then,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.way, self.hurt, self.then)
    }
}

/// Drives that one case may take: one that is hurt, some that resume.
const MOST_DRIVES: usize = 6;

/// How many commits and changes the way takes undisturbed.
pub fn measure(plan: &FleetPlan, stage: &Stage, way: Way) -> (u64, u64) {
    let (bench, execution) = begin(plan, stage, way);
    let (appends, changes) = (bench.store.appends(), bench.fleet.stage(|s| s.faults.changes));
    let rest = bench.drive(&execution, word(way)).expect("nothing crashes it");
    let fits = match way {
        Way::Forward => matches!(rest, Rest::Waiting { .. }),
        Way::Back => matches!(rest, Rest::RolledBack { .. }),
    };
    assert!(fits, "undisturbed it ends with {rest:?}");
    (bench.store.appends() - appends, bench.fleet.stage(|s| s.faults.changes) - changes)
}

fn begin(plan: &FleetPlan, stage: &Stage, way: Way) -> (Bench, ExecutionId) {
    let bench = Bench::on(plan.clone(), stage.clone());
    let execution = bench.start(&bench.rotate());
    if way == Way::Back {
        let rest = bench.drive(&execution, None).expect("nothing crashes it");
        assert!(matches!(rest, Rest::Waiting { .. }), "{rest:?}");
    }
    (bench, execution)
}

fn word(way: Way) -> Option<Word> {
    (way == Way::Back).then(say::roll_back)
}

/// Runs a case; an error says what is wrong at its end.
pub fn run(plan: &FleetPlan, stage: &Stage, case: Case) -> Result<(), String> {
    let (bench, execution) = begin(plan, stage, case.way);
    let old = bench.original.clone();
    hurt(&bench, &execution, case);
    let asked = case.then == Then::RollBack || case.way == Way::Back;
    let rest = go_on(&bench, &execution, asked)?;
    let now = roots(&bench);
    if now.len() != old.len() {
        return Err(format!("{} root files instead of {}", now.len(), old.len()));
    }
    match rest {
        Rest::Waiting { .. } | Rest::Completed { .. } => all_new(&old, &now),
        Rest::RolledBack { .. } => all_old(&old, &now),
        Rest::Stuck { ref cause, .. } => resting(&bench, &execution, &format!("{cause:?}")),
        other => Err(format!("it ends with {other:?}")),
    }
}

fn hurt(bench: &Bench, execution: &ExecutionId, case: Case) {
    match case.hurt {
        Hurt::Commit(at, fault) => {
            let mut faulty = None;
            let life = bench.life_on(|log| {
                let wrapped = Arc::new(FaultyLog::new(log, at, fault));
                faulty = Some(wrapped.clone());
                wrapped as Arc<dyn EventLog>
            });
            let faulty = faulty.expect("the life was made on it");
            crash_with(bench, &life, &faulty, execution, word(case.way));
        }
        Hurt::Change(at, fault) => {
            bench.fleet.stage(|s| {
                let at = s.faults.changes + at;
                s.faults.plan.insert(at, fault)
            });
            // Whether it crashes or rests, the next drive looks.
            let _ = bench.drive(execution, word(case.way));
        }
    }
}

fn crash_with(bench: &Bench, life: &Life, faulty: &FaultyLog, execution: &ExecutionId, word: Option<Word>) {
    let fleet = bench.fleet.clone();
    let crash = async {
        faulty.crashed().await;
        fleet.crash();
        std::future::pending::<()>().await;
    };
    let both = async {
        let (drive, crash) = (std::pin::pin!(life.driving(execution, word)), std::pin::pin!(crash));
        futures_util::future::select(drive, crash).await;
    };
    // The crash ends the pace; a drive that failed to append ends by itself.
    let _ = block_on(bench.fleet.paced(both));
}

/// Says the word once it is allowed, and drives until it rests for good.
fn go_on(bench: &Bench, execution: &ExecutionId, back: bool) -> Result<Rest, String> {
    let mut said = false;
    let mut last = String::new();
    for _ in 0..MOST_DRIVES {
        let state = state(bench, execution)?;
        if state.status.ended() {
            return Ok(rest_of(&state));
        }
        let going_back = state.status.name() == "RollingBack" || state.status.name() == "Stuck/back";
        let word = if back && !going_back && !said { say::roll_back() } else { say::resume() };
        said = true;
        let rest = bench.drive(execution, Some(word)).map_err(|_| "crashed twice".to_owned())?;
        match rest {
            Rest::Completed { .. } | Rest::RolledBack { .. } => return Ok(rest),
            Rest::Waiting { .. } if !back => return Ok(rest),
            Rest::Stuck { .. } | Rest::Interrupted { .. } | Rest::Waiting { .. } => last = format!("{rest:?}"),
            Rest::Refused(refused) => {
                last = format!("refused: {refused}");
                let rest = bench.drive(execution, None).map_err(|_| "crashed twice".to_owned())?;
                if matches!(rest, Rest::Waiting { .. }) && !back {
                    return Ok(rest);
                }
            }
            other => return Err(format!("it ends with {other:?}")),
        }
        // What was late has landed by the time that an operator looks again.
        bench.fleet.idle(Duration::from_secs(60));
    }
    Err(format!("it does not come to an end: {last}"))
}

fn rest_of(state: &State) -> Rest {
    match state.status.name() {
        "Completed" => Rest::Completed { output: k0rotate_engine::event::Json("null".into()), left: Vec::new() },
        _ => Rest::RolledBack { left: Vec::new() },
    }
}

fn state(bench: &Bench, execution: &ExecutionId) -> Result<State, String> {
    let history = bench.history(execution);
    State::of(history.iter().map(|r| &r.event)).map_err(|e| e.to_string())
}

/// At rest an API must be up, whatever the reason.
fn resting(bench: &Bench, execution: &ExecutionId, cause: &str) -> Result<(), String> {
    let up = bench.fleet.stage(|s| s.world.api_up_anywhere());
    let state = state(bench, execution)?;
    let down = matches!(state.zone(), Zone::Down { .. });
    if up && !down { Ok(()) } else { Err(format!("at rest ({cause}) with the API up: {up}, zone down: {down}")) }
}

/// Hash of each file that is a root, by host and path.
pub type Roots = BTreeMap<(String, String), String>;

/// The root files of all controllers as they lie there now.
pub fn roots(bench: &Bench) -> Roots {
    const FILES: [&str; 8] = [
        "/pki/ca.crt",
        "/pki/ca.key",
        "/pki/etcd/ca.crt",
        "/pki/etcd/ca.key",
        "/pki/front-proxy-ca.crt",
        "/pki/front-proxy-ca.key",
        "/pki/sa.key",
        "/pki/sa.pub",
    ];
    let mut roots = Roots::new();
    for host in bench.plan.hosts.iter().filter(|h| h.role.is_controller()) {
        for file in FILES {
            let path = format!("{}{file}", bench.plan.data_dir);
            let bytes = bench.fleet.stage(|s| s.world.read(&host.name, &path));
            if let Some(bytes) = bytes {
                roots.insert((host.name.clone(), file.to_owned()), k0rotate_activities::pki::sha256_hex(&bytes));
            }
        }
    }
    roots
}

fn all_new(old: &Roots, now: &Roots) -> Result<(), String> {
    let same: Vec<String> = now
        .iter()
        .filter(|(place, hash)| old.get(*place) == Some(hash))
        .map(|(place, _)| format!("{place:?}"))
        .collect();
    let shared = |file: &str| {
        now.iter().filter(|((_, f), _)| f == file).map(|(_, h)| h).collect::<std::collections::BTreeSet<_>>().len()
    };
    let split = ["/pki/ca.crt", "/pki/sa.key", "/pki/etcd/ca.crt"].iter().find(|file| shared(file) > 1);
    match (same.is_empty(), split) {
        (true, None) => Ok(()),
        (false, _) => Err(format!("said to be done, but still of the old trust: {}", same.join(" "))),
        (_, Some(file)) => Err(format!("said to be done, but controllers differ in {file}")),
    }
}

fn all_old(old: &Roots, now: &Roots) -> Result<(), String> {
    let other: Vec<String> = now
        .iter()
        .filter(|(place, hash)| old.get(*place) != Some(hash))
        .map(|(place, _)| format!("{place:?}"))
        .collect();
    if other.is_empty() {
        Ok(())
    } else {
        Err(format!("said to be rolled back, but not as before: {}", other.join(" ")))
    }
}

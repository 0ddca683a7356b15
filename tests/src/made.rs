//! Tells a change that was made twice from one that the end of an attempt made necessary again.

use crate::course::plain;
use crate::harness::Bench;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_engine::execution::State;
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use std::collections::BTreeMap;

/// Differences that are told.
const TOLD: usize = 8;

/// One change, as it is counted.
struct Made {
    number: u64,
    step: String,
    attempt: u32,
    what: String,
}

/// How often each step makes each change where nothing hurts it: the most on any way that was driven undisturbed.
#[derive(Clone, Debug, Default)]
pub struct Usual(BTreeMap<(String, String), usize>);

impl Usual {
    /// Of what was done here, undisturbed.
    pub fn of(bench: &Bench, execution: &ExecutionId) -> Self {
        let mut counts = BTreeMap::new();
        all(bench, execution).into_iter().for_each(|m| *counts.entry((m.step, m.what)).or_default() += 1);
        Self(counts)
    }

    /// Takes in what is done on another way.
    pub fn and(&mut self, other: Self) {
        for (change, count) in other.0 {
            let most = self.0.entry(change).or_default();
            *most = count.max(*most);
        }
    }

    /// A step that is not known, or was never seen to make a change, may make it once.
    fn most(&self, step: &str, what: &str) -> usize {
        self.0.get(&(step.to_owned(), what.to_owned())).copied().unwrap_or(1)
    }
}

/// The steps that were hurt: what an attempt of theirs did is done again by the next.
#[derive(Debug, Default)]
pub struct Wounds {
    by_step: BTreeMap<String, Vec<Wound>>,
    /// Number of a change that was counted and not carried out.
    not_made: Option<u64>,
}

/// What hurt a step.
#[derive(Clone, Debug)]
enum Wound {
    /// The client ended while it was open.
    Crash,
    /// One of its changes went wrong on this host.
    Change(Fault, String),
}

impl Wounds {
    /// The step that makes this change was hurt by this. Where the client ended, it is one of those that are open.
    pub fn change(&mut self, bench: &Bench, number: u64, fault: Fault) {
        let at = usize::try_from(number - 1).expect("a log lies in memory");
        let made = bench.fleet.stage(|s| Some((s.faults.log.get(at)?.clone(), s.faults.by.get(at)?.attempt.clone())));
        let Some((change, attempt)) = made.filter(|_| !matches!(fault, Fault::CrashBefore | Fault::CrashAfter)) else {
            return;
        };
        let host = change.split(' ').next().unwrap_or_default().to_owned();
        self.by_step.entry(parts(&attempt).0).or_default().push(Wound::Change(fault, host));
        if matches!(fault, Fault::Refuse | Fault::Tear | Fault::Delay(_)) {
            self.not_made = Some(number);
        }
    }

    /// The client may have ended: that hurt all steps that are open now.
    pub fn crash(&mut self, state: &State) {
        state.leg().open_steps().for_each(|step| self.by_step.entry(step.to_string()).or_default().push(Wound::Crash));
    }

    fn of(&self, step: &str) -> &[Wound] {
        self.by_step.get(step).map_or(&[], Vec::as_slice)
    }

    /// Whether a step was hurt, and so that this could come of it.
    pub fn explain(&self, step: &str, failure: Option<&Failure>) -> bool {
        let Some(failure) = failure else { return !self.of(step).is_empty() };
        let code = failure.code.as_str();
        self.of(step).iter().any(|wound| match wound {
            Wound::Crash => code == "interrupted",
            Wound::Change(fault, host) => {
                let there = failure.fields.get("host").is_none_or(|named| named == host);
                there && codes(*fault).contains(&code)
            }
        })
    }
}

/// What may be said of a step of which one change went wrong.
fn codes(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::Refuse => &["change-failed", "effect-absent"],
        _ => &["link-lost"],
    }
}

/// A step's name, and which attempt of it.
pub fn parts(attempt: &str) -> (String, u32) {
    let (step, number) = attempt.rsplit_once('#').expect("an attempt is named by its step and number");
    (step.to_owned(), number.parse().expect("attempts are numbered"))
}

/// Everything that this execution did.
fn all(bench: &Bench, execution: &ExecutionId) -> Vec<Made> {
    let (log, by) = bench.fleet.stage(|s| (s.faults.log.clone(), s.faults.by.clone()));
    let made = (1..).zip(log.iter().zip(by)).filter(|(_, (_, by))| by.execution == execution.as_str());
    let made = made.map(|(number, (change, by))| {
        let (step, attempt) = parts(&by.attempt);
        Made { number, step, attempt, what: what(change) }
    });
    made.collect()
}

/// No change is made twice, on no way and after no crash:
///
/// * a step that was not hurt makes each of its changes as often as where nothing is hurt: once;
/// * one that was hurt makes them once more for each time that it was, and no attempt of it more than once;
/// * what an attempt had begun does not land once the next has begun to act.
pub fn once(usual: &Usual, bench: &Bench, execution: &ExecutionId, wounds: &Wounds) -> Result<(), String> {
    let (mut sums, mut singles): (BTreeMap<_, usize>, BTreeMap<_, usize>) = (BTreeMap::new(), BTreeMap::new());
    let mut acts: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Made { number, step, attempt, what } in all(bench, execution) {
        let last = acts.entry(step.clone()).or_default();
        if attempt < *last && !may_land_late(&what) {
            wrong.push(format!("{step}: {what} of attempt {attempt} lands after attempt {last} had begun"));
        }
        *last = attempt.max(*last);
        if wounds.not_made != Some(number) {
            *sums.entry((step.clone(), what.clone())).or_default() += 1;
            *singles.entry((step, attempt, what)).or_default() += 1;
        }
    }
    for ((step, what), count) in sums {
        let most = usual.most(&step, &what) * (1 + wounds.of(&step).len());
        if count > most {
            wrong.push(format!("{step}: {what}: {count} times, and at most {most}"));
        }
    }
    for ((step, attempt, what), count) in singles {
        if count > usual.most(&step, &what) {
            wrong.push(format!("{step}: {what}: {count} times in attempt {attempt}"));
        }
    }
    wrong.truncate(TOLD);
    if wrong.is_empty() { Ok(()) } else { Err(format!("made twice:\n    {}", wrong.join("\n    "))) }
}

/// Nodes mint side by side and do not fence each other's controllers; whoever takes the tokens away does.
fn may_land_late(what: &str) -> bool {
    what.contains("/k0s token create ")
}

/// A change as it is counted. What changes the cluster is the same through whichever controller, and tokens are named by chance.
fn what(change: &str) -> String {
    let plain = plain(change);
    if plain.contains("/k0s token invalidate ") {
        return "token invalidate".to_owned();
    }
    let of_cluster = ["/k0s token ", "/k0s kubectl "].iter().any(|verb| plain.contains(verb));
    let own = plain.split_once(' ').filter(|_| of_cluster).map(|(_, rest)| rest.to_owned());
    own.unwrap_or(plain)
}

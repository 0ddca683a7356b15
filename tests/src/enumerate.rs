//! Every place where an execution can be hurt, one after another, and how such a case is run.

use crate::course::{Course, Stand, plain};
use crate::ends::{self, End};
use crate::harness::{Bench, Image, Life, block_on, say};
use crate::made::{self, Usual, Wounds, parts};
use crate::reasons;
use k0rotate_activities::rehearsal::stage::faults::Fault as WorldFault;
use k0rotate_engine::drive::Word;
use k0rotate_engine::event::{Event, Record};
use k0rotate_engine::execution::State;
use k0rotate_engine::ids::StepId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::faulty::{Fault as LogFault, FaultyLog};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where it is hurt, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurt {
    /// At the commit of this number on its way.
    Commit(usize, LogFault),
    /// At the change of this number on its way.
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

/// The second crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At the second commit of the drive that follows.
    Commit(LogFault),
    /// At its third change.
    Change(WorldFault),
}

/// Which way is hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the start to the wait.
    Forward,
    /// Back to the first trust.
    Back,
    /// From the wait to the end, where the old keys are destroyed.
    End,
}

impl Way {
    /// What begins it; the way forward needs no word.
    pub fn word(self) -> Option<Word> {
        match self {
            Self::Forward => None,
            Self::Back => Some(say::roll_back()),
            Self::End => Some(say::finalize()),
        }
    }
}

/// One case, named so that it can be run again.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Where and how.
    pub hurt: Hurt,
    /// A second crash, some commits or changes into the drive that follows.
    pub again: Option<Again>,
    /// And then.
    pub then: Then,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.hurt)?;
        if let Some(again) = self.again {
            write!(f, "again {again:?} ")?;
        }
        write!(f, "{:?}", self.then)
    }
}

const CRASHES: [LogFault; 2] = [LogFault::CrashBefore, LogFault::CrashAfter];
const CRASHES_AT_CHANGES: [WorldFault; 2] = [WorldFault::CrashBefore, WorldFault::CrashAfter];
const LATE: Duration = Duration::from_secs(20);
/// Which commit of the drive after a crash is hurt by the second one.
const TWO_COMMITS_LATER: u64 = 2;
/// Which change of it.
const THREE_CHANGES_LATER: u64 = 3;

/// What is done to a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Crashes at every commit and every change.
    Crashes,
    /// And every fault of every change.
    All,
    /// Every crash, and a second one after it.
    Twice,
}

/// All cases of a way.
pub fn cases(course: &Course, harm: Harm) -> Vec<Case> {
    let faults = [WorldFault::Refuse, WorldFault::Tear, WorldFault::Delay(LATE), WorldFault::LoseReply];
    let thens = if course.way == Way::Back { vec![Then::Resume] } else { vec![Then::Resume, Then::RollBack] };
    let commits = (1..=course.photos.len()).flat_map(|n| CRASHES.map(|fault| Hurt::Commit(n, fault)));
    let changes = (1..=course.changes()).flat_map(|n| {
        let faults = faults.iter().filter(|_| harm == Harm::All);
        CRASHES_AT_CHANGES.iter().chain(faults).map(move |fault| Hurt::Change(n, *fault)).collect::<Vec<_>>()
    });
    let second = CRASHES.map(Again::Commit).into_iter().chain(CRASHES_AT_CHANGES.map(Again::Change));
    let again: Vec<Option<Again>> = if harm == Harm::Twice { second.map(Some).collect() } else { vec![None] };
    let mut all = Vec::new();
    for hurt in commits.chain(changes) {
        for then in &thens {
            all.extend(again.iter().map(|again| Case { hurt, again: *again, then: *then }));
        }
    }
    all
}

/// What all cases of a topology are compared with.
pub struct Measure<'m> {
    /// A fleet before anything was done.
    pub stand: &'m Stand,
    /// The way forward, or to the end, for what a good end looks like.
    pub done: &'m Course,
    /// What each step does where nothing hurts it.
    pub usual: &'m Usual,
}

/// How a case ended.
#[derive(Debug)]
pub struct Ended {
    /// Where.
    pub end: End,
    /// Activities whose undo was in place, forgotten, and done again.
    pub undone_again: BTreeSet<String>,
}

/// Runs a case; an error says what is wrong at its end.
pub fn run(measure: &Measure, course: &Course, case: Case) -> Result<Ended, String> {
    let Measure { stand, done, usual } = measure;
    let to = if case.then == Then::RollBack { Way::Back } else { course.way };
    let (bench, mut wounds) = hurt(stand, course, case.hurt)?;
    if bench.outlived() {
        return Err(format!("hurt, it neither ends nor rests: {}", ends::last_words(&bench, &stand.execution)));
    }
    if let Some(again) = case.again {
        crash_again(stand, &bench, again, to)?;
        wounds.crash(&ends::state(&bench, &stand.execution)?);
    }
    let rest = ends::go_on(&bench, &stand.execution, to)?;
    made::once(usual, &bench, &stand.execution, &wounds)?;
    let history = bench.history(&stand.execution);
    reasons::hold(&history, &wounds)?;
    let undone_again = if case.again.is_none() { undone_again(course, case.hurt, &history)? } else { BTreeSet::new() };
    Ok(Ended { end: ends::compare(stand, done, &bench, &rest)?, undone_again })
}

/// Where the crash came when an undo was in place and before that was durable, it must have been called again.
fn undone_again(course: &Course, hurt: Hurt, history: &[Record]) -> Result<BTreeSet<String>, String> {
    let Hurt::Commit(n, LogFault::CrashBefore) = hurt else { return Ok(BTreeSet::new()) };
    let succeeded = course.photos[n - 1].events.iter().filter_map(|event| match event {
        Event::StepSucceeded { step, .. } => Some(step),
        _ => None,
    });
    let forgotten: BTreeSet<&StepId> = succeeded.collect();
    let mut activities = BTreeSet::new();
    for record in history {
        if let Event::StepStarted { step, activity, undo: true, .. } = &record.event
            && forgotten.contains(step)
        {
            let again = |r: &Record| matches!(&r.event, Event::StepRetried { step: again, .. } if again == step);
            if !history.iter().any(again) {
                return Err(format!("{step} was not done again"));
            }
            activities.insert(activity.clone());
        }
    }
    Ok(activities)
}

/// The world once it was hurt, and which steps were.
fn hurt(stand: &Stand, course: &Course, hurt: Hurt) -> Result<(Bench, Wounds), String> {
    let mut wounds = Wounds::default();
    // Whoever drove before had ended there too.
    wounds.crash(&ends::state(&Bench::of(&course.start), &stand.execution)?);
    let bench = match hurt {
        Hurt::Commit(n, fault) => {
            let photo = &course.photos[n - 1];
            Bench::of(if fault == LogFault::CrashBefore { &photo.before } else { &photo.after })
        }
        Hurt::Change(n, fault) => {
            let number = course.number(n);
            let bench = hurt_change(stand, course, course.nearest(number), number, fault);
            // Where the shorter way did not come to the same change, the whole way does.
            let came = |bench: &Bench| is_same(course, bench, number);
            let whole = || hurt_change(stand, course, &course.start, number, fault);
            let bench = Some(bench).filter(came).unwrap_or_else(whole);
            wounds.change(&bench, number, fault);
            bench
        }
    };
    wounds.crash(&ends::state(&bench, &stand.execution)?);
    Ok((bench, wounds))
}

/// The same change, made by the same step.
fn is_same(course: &Course, bench: &Bench, number: u64) -> bool {
    let at = usize::try_from(number - 1).expect("a log lies in memory");
    let here = bench.fleet.stage(|s| Some((plain(s.faults.log.get(at)?), parts(&s.faults.by.get(at)?.attempt).0)));
    here == course.log.get(at).map(|change| plain(change)).zip(course.steps.get(at).cloned())
}

fn hurt_change(stand: &Stand, course: &Course, from: &Image, number: u64, fault: WorldFault) -> Bench {
    let bench = Bench::of(from);
    bench.fleet.stage(|s| s.faults.plan.insert(number, fault));
    let state = ends::state(&bench, &stand.execution);
    let word = course.way.word().filter(|_| state.is_ok_and(|state| begins(course.way, &state)));
    // Whether it crashes or rests, the next drive looks.
    let _ = bench.drive(&stand.execution, word);
    bench
}

/// Whether the word that leads this way has not been said yet.
pub fn begins(way: Way, state: &State) -> bool {
    match way {
        Way::Forward => false,
        Way::Back => !matches!(state.status.name(), "RollingBack" | "Stuck/back"),
        Way::End => state.status.name() == "Waiting",
    }
}

/// The next drive crashes too, unless it ends before.
fn crash_again(stand: &Stand, bench: &Bench, again: Again, to: Way) -> Result<(), String> {
    let state = ends::state(bench, &stand.execution)?;
    if state.status.ended() {
        return Ok(());
    }
    let word = to.word().filter(|_| begins(to, &state)).unwrap_or_else(say::resume);
    match again {
        Again::Commit(fault) => crash_at_commit(stand, bench, fault, word),
        Again::Change(fault) => {
            bench.fleet.stage(|s| s.faults.plan.insert(s.faults.changes + THREE_CHANGES_LATER, fault));
            // Whether it crashes or rests before, the next drive looks.
            let _ = bench.drive(&stand.execution, Some(word));
            bench.fleet.stage(|s| s.faults.forget_plans());
        }
    }
    if bench.outlived() {
        return Err(format!("after a crash it neither ends nor rests: {}", ends::last_words(bench, &stand.execution)));
    }
    Ok(())
}

fn crash_at_commit(stand: &Stand, bench: &Bench, fault: LogFault, word: Word) {
    let mut faulty = None;
    let life = bench.life_on(|log| {
        let wrapped = Arc::new(FaultyLog::new(log, TWO_COMMITS_LATER, fault));
        faulty = Some(wrapped.clone());
        wrapped as Arc<dyn EventLog>
    });
    bench.limit_drive();
    crash_with(stand, bench, &life, &faulty.expect("the life was made on it"), Some(word));
}

fn crash_with(stand: &Stand, bench: &Bench, life: &Life, faulty: &FaultyLog, word: Option<Word>) {
    let fleet = bench.fleet.clone();
    let crash = async {
        faulty.crashed().await;
        fleet.crash();
        std::future::pending::<()>().await;
    };
    let both = async {
        let (drive, crash) = (std::pin::pin!(life.driving(&stand.execution, word)), std::pin::pin!(crash));
        futures_util::future::select(drive, crash).await;
    };
    // The crash ends the pace; a drive that failed to append ends by itself.
    let _ = block_on(bench.fleet.paced(both));
}

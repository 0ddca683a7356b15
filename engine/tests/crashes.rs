//! Crashes, enumerated: at every append and at every change of the world, then resume, and then the way back.

mod common;

use common::toy::{Toy, first_world};
use common::world::{Settings, WorldFault};
use common::{Bench, end_wait, resume, roll_back};
use k0rotate_engine::drive::{Refused, Rest, Word};
use k0rotate_engine::event::Event;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::faulty::{Fault, FaultyLog};
use std::sync::Arc;

fn toy() -> Toy {
    Toy::of(3, 2)
}

struct Case {
    bench: Bench,
    id: ExecutionId,
    first: Settings,
    name: String,
}

impl Case {
    fn new(name: String) -> Self {
        let bench = Bench::default();
        first_world(&bench.world, &toy());
        let first = bench.world.settings();
        let id = bench.start(&toy());
        Self { bench, id, first, name }
    }

    /// Brings it forward without faults, up to where a way back is to be tested from.
    fn forward_to_wait(&self) {
        let rest = self.bench.drive(&self.id, None);
        assert!(matches!(rest, Rest::Waiting { .. }), "{}: {rest:?}", self.name);
    }

    fn say(&self, rest: &Rest) -> String {
        format!("{}: {rest:?}\n{:#?}\n{:#?}", self.name, self.bench.events(&self.id), self.bench.world.broken_rules())
    }

    /// Drives with the word to the end of its leg; the truth must be told by the world, and nothing was made twice.
    fn ends_as_asked(&self, word: Word) {
        let back = matches!(word, Word::RollBack { .. });
        let mut rest = self.bench.drive(&self.id, Some(word));
        if matches!(rest, Rest::Refused(Refused::Illegal(_))) {
            // It had ended, and the crash came after that.
            rest = self.bench.drive(&self.id, None);
        }
        for _ in 0..3 {
            rest = match rest {
                Rest::Waiting { .. } => self.bench.drive(&self.id, Some(end_wait())),
                other => {
                    rest = other;
                    break;
                }
            };
        }
        // What is on its way lands before the world is looked at.
        common::clock::block_on(&self.bench.clock, async {
            use k0rotate_engine::clock::Clock;
            self.bench.clock.sleep(std::time::Duration::from_secs(60)).await;
        });
        match &rest {
            Rest::Completed { .. } if !back => self.is_new(&rest),
            Rest::RolledBack { .. } => self.is_first(&rest),
            _ => panic!("{}", self.say(&rest)),
        }
        assert!(self.bench.world.broken_rules().is_empty(), "{}", self.say(&rest));
    }

    /// At most one a step and one a retry, two a wait, and two.
    fn syncs_are_few(&self) {
        let history = self.bench.history(&self.id);
        let count = |is: fn(&Event) -> bool| history.iter().filter(|r| is(&r.event)).count() as u64;
        let steps = count(|e| matches!(e, Event::StepStarted { .. } | Event::StepRetried { .. }));
        let waits = count(|e| matches!(e, Event::WaitStarted { .. }));
        let syncs = self.bench.store.appends();
        assert!(syncs <= steps + 2 * waits + 2, "{}: {syncs} syncs, {steps} steps", self.name);
    }

    fn is_new(&self, rest: &Rest) {
        let settings = self.bench.world.settings();
        let count = |item: &str, value: &str| settings.iter().filter(|((_, i), v)| i == item && *v == value).count();
        let counts = (count("trust", "new"), count("old", "gone"), count("up", "yes"));
        assert_eq!(counts, (5, 5, 3), "{}", self.say(rest));
    }

    fn is_first(&self, rest: &Rest) {
        let mut settings = self.bench.world.settings();
        settings.retain(|(_, item), _| !item.starts_with("clean"));
        assert_eq!(settings, self.first, "{}", self.say(rest));
    }
}

fn final_reached(bench: &Bench, id: &ExecutionId) -> bool {
    let final_zone = |e: &Event| matches!(e, Event::ZoneEntered { zone: k0rotate_engine::event::Zone::Final, .. });
    bench.history(id).iter().any(|r| final_zone(&r.event))
}

/// Runs the whole way forward with the fault at append `at`; false if there was no such append.
fn crash_forward(case: &Case, at: u64, fault: Fault) -> bool {
    match case.bench.drive_faulty(&case.id, None, at, fault) {
        None => true,
        Some(Rest::Waiting { .. }) => false,
        Some(rest) => panic!("{}", case.say(&rest)),
    }
}

/// Goal: after a crash at any append on the way to the wait, resume ends it and roll-back gives the first world again.
#[test]
fn crash_at_every_append_then_both_words() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for word in [resume(), roll_back()] {
            let mut at = 0;
            loop {
                at += 1;
                let case = Case::new(format!("{fault:?} at {at}, then {word:?}"));
                if !crash_forward(&case, at, fault) {
                    break;
                }
                case.ends_as_asked(word.clone());
            }
            assert!(at > 15, "only {at} appends");
        }
    }
}

/// Goal: the same with a second crash two appends later.
#[test]
fn a_second_crash_two_appends_later() {
    for word in [resume(), roll_back()] {
        for at in 1.. {
            let case = Case::new(format!("crash at {at}, {word:?}, crash two later"));
            if !crash_forward(&case, at, Fault::CrashAfter) {
                break;
            }
            if case.bench.drive_faulty(&case.id, Some(word.clone()), 2, Fault::CrashAfter).is_none() {
                case.ends_as_asked(word.clone());
            }
        }
    }
}

/// Goal: the same at every change of the world; what was on its way when the process ended lands late.
#[test]
fn crash_at_every_change_then_both_words() {
    for fault in [WorldFault::CrashBefore, WorldFault::CrashLate, WorldFault::CrashAfter] {
        for word in [resume(), roll_back()] {
            for at in 1.. {
                let case = Case::new(format!("{fault:?} at change {at}, then {word:?}"));
                case.bench.world.fail_at(at, fault);
                let log = Arc::new(FaultyLog::new(Arc::new(case.bench.store.open()), u64::MAX, Fault::CrashBefore));
                if let Some(rest) = case.bench.drive_crashing(&case.id, None, &log) {
                    assert!(matches!(rest, Rest::Waiting { .. }) && at > 15, "{}", case.say(&rest));
                    break;
                }
                case.bench.world.mend();
                case.ends_as_asked(word.clone());
            }
        }
    }
}

/// Goal: crashes on the way back, from the wait: at every append and every change; going on ends at the first world.
#[test]
fn crash_everywhere_on_the_way_back() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for at in 1.. {
            let case = Case::new(format!("way back, {fault:?} at {at}"));
            case.forward_to_wait();
            match case.bench.drive_faulty(&case.id, Some(roll_back()), at, fault) {
                None => case.ends_as_asked(roll_back()),
                Some(_) => break,
            }
        }
    }
    for fault in [WorldFault::CrashBefore, WorldFault::CrashLate, WorldFault::CrashAfter] {
        for at in 1.. {
            let case = Case::new(format!("way back, {fault:?} at change {at}"));
            case.forward_to_wait();
            case.bench.world.fail_at(at, fault);
            let log = Arc::new(FaultyLog::new(Arc::new(case.bench.store.open()), u64::MAX, Fault::CrashBefore));
            if case.bench.drive_crashing(&case.id, Some(roll_back()), &log).is_some() {
                break;
            }
            case.bench.world.mend();
            case.ends_as_asked(roll_back());
        }
    }
}

/// Goal: refuse, delay, repeat, lose the reply, hang or panic at every change: it ends, or goes back, and tells the truth; never Down at rest.
#[test]
fn every_fault_of_the_world() {
    use WorldFault::{Again, Hang, Late, Lie, LoseReply, Panic, Refuse};
    for fault in [Refuse, Lie, LoseReply, Late, Again, Panic, Hang] {
        for at in 1.. {
            let case = Case::new(format!("{fault:?} at change {at}"));
            case.bench.world.fail_at(at, fault);
            let rest = case.bench.drive(&case.id, None);
            assert!(matches!(rest, Rest::Waiting { .. }), "{}", case.say(&rest));
            case.syncs_are_few();
            if case.bench.world.mended() {
                assert!(at > 15, "only {at} changes");
                break;
            }
            case.ends_as_asked(end_wait());
        }
    }
}

/// Goal: an append that fails ends the drive, nothing further is started, and the next drive goes on.
#[test]
fn a_failed_append_ends_the_drive() {
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        for at in 1.. {
            let case = Case::new(format!("{fault:?} at {at}"));
            let rest = case.bench.drive_faulty(&case.id, None, at, fault).expect("no crash");
            if matches!(rest, Rest::Waiting { .. }) {
                break;
            }
            let log = matches!(rest, Rest::Interrupted { why: k0rotate_engine::drive::Interruption::Log(_), .. });
            assert!(log, "{}", case.say(&rest));
            case.ends_as_asked(resume());
        }
    }
}

/// Goal: wherever the process ends, the history never holds a failure without what follows from it.
#[test]
fn a_failure_and_what_follows_are_one_commit() {
    for item in ["staged", "trust"] {
        for at in 1.. {
            let case = Case::new(format!("{item} fails, crash at {at}"));
            for worker in ["w1", "w2"] {
                case.bench.world.make_stubborn(worker, item);
            }
            let rest = case.bench.drive_faulty(&case.id, None, at, Fault::CrashAfter);
            let history = case.bench.history(&case.id);
            let failed = history.iter().rposition(|r| matches!(r.event, Event::StepFailed { .. }));
            if let Some(failed) = failed {
                let turned = |e: &Event| matches!(e, Event::Stuck { .. } | Event::RollBackStarted { .. });
                assert!(history[failed..].iter().any(|r| turned(&r.event)), "{}", case.name);
            }
            if rest.is_some() {
                assert!(failed.is_some(), "{}", case.name);
                break;
            }
        }
    }
}

/// Goal: from Final there is only the way forward: crash at every append behind the wait, then resume.
#[test]
fn crash_in_final() {
    for at in 1.. {
        let case = Case::new(format!("Final, crash at {at}"));
        case.forward_to_wait();
        if case.bench.drive_faulty(&case.id, Some(end_wait()), at, Fault::CrashAfter).is_some() {
            assert!(final_reached(&case.bench, &case.id));
            break;
        }
        let rest = case.bench.drive(&case.id, Some(roll_back()));
        if final_reached(&case.bench, &case.id) {
            assert!(matches!(rest, Rest::Refused(_) | Rest::Completed { .. }), "{}", case.say(&rest));
        }
        if !matches!(rest, Rest::RolledBack { .. }) {
            case.ends_as_asked(resume());
        }
    }
}

//! Runs cases on two threads, tells where it is, and ends a run that hangs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Threads; what CI has cores.
const AT_ONCE: usize = 2;
/// Between two lines of a run that goes on.
const TOLD_EVERY: Duration = Duration::from_secs(20);
/// A case that takes longer by the clock on the wall hangs: the longest take some seconds on a busy machine. Its drives are bounded
/// in the time of the model; this ends what loops without letting that pass.
const LONGEST_CASE: Duration = Duration::from_secs(300);
/// How often the crew is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How cases ended: how many in each way, and what is wrong with the others.
#[derive(Debug, Default)]
pub struct Report {
    /// By the name of the end.
    pub ends: BTreeMap<String, usize>,
    /// Case and what is wrong.
    pub wrong: Vec<String>,
}

struct Board<'c, C> {
    name: &'c str,
    cases: &'c [C],
    next: AtomicUsize,
    now: Mutex<[Option<(usize, Instant)>; AT_ONCE]>,
    report: Mutex<Report>,
}

/// Runs all cases. Each wrong one is told at once.
pub fn run_all<C: Display + Sync>(
    name: &str,
    cases: &[C],
    run: impl Fn(&C) -> Result<String, String> + Sync,
) -> Report {
    let board = Board { name, cases, next: AtomicUsize::new(0), now: Mutex::default(), report: Mutex::default() };
    std::thread::scope(|scope| {
        let crew: Vec<_> = (0..AT_ONCE)
            .map(|who| {
                scope.spawn({
                    let (board, run) = (&board, &run);
                    move || board.work(who, run)
                })
            })
            .collect();
        let mut told = Instant::now();
        while !crew.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(LOOK_EVERY);
            board.end_what_hangs();
            if told.elapsed() >= TOLD_EVERY {
                board.tell();
                told = Instant::now();
            }
        }
    });
    board.report.into_inner().expect("no case panics while it reports")
}

impl<C: Display> Board<'_, C> {
    fn work(&self, who: usize, run: &impl Fn(&C) -> Result<String, String>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::SeqCst);
            let Some(case) = self.cases.get(at) else { break };
            self.now.lock().expect("nothing panics with it")[who] = Some((at, Instant::now()));
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(case)));
            let end = end.unwrap_or_else(|_| Err("it panicked".to_owned()));
            let mut report = self.report.lock().expect("nothing panics with it");
            match end {
                Ok(end) => *report.ends.entry(end).or_default() += 1,
                Err(why) => {
                    println!("{}: {case}: {why}", self.name);
                    report.wrong.push(format!("{}: {case}: {why}", self.name));
                }
            }
        }
        self.now.lock().expect("nothing panics with it")[who] = None;
    }

    fn tell(&self) {
        let begun = self.next.load(Ordering::SeqCst).min(self.cases.len());
        let now = *self.now.lock().expect("nothing panics with it");
        let at: Vec<String> = now.iter().flatten().map(|(at, _)| self.cases[*at].to_string()).collect();
        let wrong = self.report.lock().expect("nothing panics with it").wrong.len();
        println!("{}: {begun} of {} cases begun, {wrong} wrong; now {}", self.name, self.cases.len(), at.join(" and "));
    }

    /// The thread of a test cannot be ended, so the whole run is.
    fn end_what_hangs(&self) {
        let now = *self.now.lock().expect("nothing panics with it");
        let hangs = now.iter().flatten().find(|(_, since)| since.elapsed() > LONGEST_CASE);
        if let Some((at, _)) = hangs {
            println!("{}: {}: hangs for {} s", self.name, self.cases[*at], LONGEST_CASE.as_secs());
            std::process::exit(101);
        }
    }
}

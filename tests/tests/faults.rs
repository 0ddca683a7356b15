//! Crashes and faults at every commit and every change of the world, then the word to go on or to go back.

use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::event::Event;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::crew::{Report, run_all};
use k0rotate_tests::enumerate::{Case, Harm, Way, cases, run};
use k0rotate_tests::harness::{Bench, Image};
use k0rotate_tests::tier::{Tier, not_in, tier};
use std::sync::Arc;
use std::time::Instant;

/// Only cases that hold this text are run, for example `Change(13, CrashAfter) RollBack`.
const ONE_CASE: &str = "K0ROTATE_CASE";

/// Only ways whose name holds this text, for example `back from held, twice`.
const ONE_WAY: &str = "K0ROTATE_WAY";

/// Of crashes that are followed by a second one, the usual tier takes one of so many: a minute's worth on all fleets.
const TWICE: usize = 61;
/// And the fast tier.
const TWICE_FAST: usize = 7;

/// A topology, and how much of it is run.
struct Enumeration {
    name: &'static str,
    stand: Stand,
    forward: Arc<Course>,
    every: usize,
    wrong: Vec<String>,
    count: usize,
}

impl Enumeration {
    fn new(name: &'static str, plan: FleetPlan, every: usize) -> Self {
        let stand = Stand::new(&Bench::new(plan));
        let forward = Arc::new(Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward));
        Self { name, stand, forward, every, wrong: Vec::new(), count: 0 }
    }

    /// Every case of a way, or one of so many, spread over it.
    fn run(&mut self, what: &str, course: &Course, harm: Harm) {
        let (one, way) = [ONE_CASE, ONE_WAY].map(|name| std::env::var(name).unwrap_or_default()).into();
        if !what.contains(&way) {
            return;
        }
        let every = if harm == Harm::Twice { self.every * one_of(TWICE_FAST, TWICE) } else { self.every };
        let all = cases(course, harm).into_iter().step_by(every);
        let all: Vec<Case> = all.filter(|case| case.to_string().contains(&one)).collect();
        let (name, since) = (format!("{} {what}", self.name), Instant::now());
        let (stand, forward) = (&self.stand, &self.forward);
        let report = run_all(&name, &all, |case| run(stand, forward, course, *case).map(|end| format!("{end:?}")));
        let Report { ends, wrong } = report;
        let (commits, changes) = (course.photos.len(), course.changes());
        println!(
            "{name}: {} cases of {commits} commits and {changes} changes in {} s: {ends:?}, {} wrong",
            all.len(),
            since.elapsed().as_secs(),
            wrong.len()
        );
        self.count += all.len();
        self.wrong.extend(wrong);
    }

    fn run_forward(&mut self, harm: Harm) {
        let course = self.forward.clone();
        self.run(if harm == Harm::Twice { "forward, twice" } else { "forward" }, &course, harm);
    }

    fn run_back(&mut self, from: &str, start: Image, harm: Harm) {
        let course = Course::drive(&self.stand, start, Way::Back);
        self.run(&format!("back from {from}"), &course, harm);
        self.run(&format!("back from {from}, twice"), &course, Harm::Twice);
    }

    fn end(self) {
        let Self { name, wrong, count, .. } = self;
        println!("{name}: {count} cases, {} wrong", wrong.len());
        assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// The world after the first commit that holds such an event.
    fn after(&self, wanted: impl Fn(&Event) -> bool) -> Image {
        let photo = self.forward.photos.iter().find(|photo| photo.events.iter().any(&wanted));
        Bench::of(&photo.expect("the way forward holds it").after).image()
    }

    /// The world once the first old root was renamed away.
    fn first_rename(&self) -> Image {
        let from = usize::try_from(self.forward.changes_before).expect("a log lies in memory");
        let mut changes = self.forward.log.iter().enumerate().skip(from);
        let (at, _) = changes.find(|(_, c)| c.contains(" rename ") && c.contains("/pki/")).expect("the swap renames");
        let number = at as u64 + 1;
        let bench = Bench::of(self.forward.nearest(number));
        bench.fleet.stage(|s| s.faults.plan.insert(number, Fault::CrashAfter));
        let crashed = bench.drive(&self.stand.execution, None);
        assert!(crashed.is_err(), "the crash comes at the rename");
        bench.image()
    }

    /// The world at the wait.
    fn waiting(&self) -> Image {
        let bench = Bench::of(&self.stand.image);
        bench.drive(&self.stand.execution, None).expect("nothing crashes it");
        bench.image()
    }
}

fn step_of(phase: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepStarted { step, .. } if step.as_str().starts_with(&format!("{phase}/")))
}

fn enumerate(name: &'static str, plan: FleetPlan, every: usize) {
    let mut all = Enumeration::new(name, plan, every);
    all.run_forward(Harm::All);
    all.run_forward(Harm::Twice);
    let waiting = all.waiting();
    all.run_back("waiting", waiting, Harm::All);
    let starts = [
        ("free", all.after(step_of("copy-keys"))),
        ("down", all.after(step_of("stop"))),
        ("the first rename", all.first_rename()),
        ("held", all.after(step_of("clean-up"))),
    ];
    for (from, start) in starts {
        all.run_back(from, start, Harm::Crashes);
    }
    all.end();
}

/// The full tier takes every case; the others take one of so many, spread over both ways.
fn one_of(fast: usize, normal: usize) -> usize {
    match tier() {
        Tier::Fast => fast,
        Tier::Normal => normal,
        Tier::Full => 1,
    }
}

/// Join tokens that whoever added hosts has left behind: revoked, shown, and given back.
fn with_tokens(plan: FleetPlan) -> FleetPlan {
    FleetPlan { worker_tokens: 1, controller_tokens: 1, ..plan }
}

/// Goal: one controller comes to a good end wherever it is hurt.
#[test]
fn one_controller() {
    enumerate("1+0", with_tokens(FleetPlan::of(&[("c1", Role::Controller)])), one_of(97, 1));
}

/// Goal: so does a controller that is a node too.
#[test]
fn one_controller_with_workloads() {
    if not_in(Tier::Normal) {
        return;
    }
    enumerate("controller+worker", with_tokens(FleetPlan::of(&[("cw1", Role::ControllerWorker)])), one_of(97, 1));
}

/// Goal: so do three controllers and two workers.
#[test]
fn three_controllers_and_two_workers() {
    if not_in(Tier::Normal) {
        return;
    }
    enumerate("3+2", with_tokens(FleetPlan::sized(3, 2)), one_of(997, 1));
}

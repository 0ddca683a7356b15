//! Crashes and faults at every commit and every change of the world, then the word to go on or to go back.

use k0rotate_activities::fleet::{Role, Root};
use k0rotate_activities::rehearsal::stage::faults::Fault;
use k0rotate_activities::rehearsal::world::FleetPlan;
use k0rotate_engine::drive::Rest;
use k0rotate_engine::event::Event;
use k0rotate_engine::log::faulty::Fault as LogFault;
use k0rotate_tests::course::{Course, Stand};
use k0rotate_tests::crew::{Report, run_all};
use k0rotate_tests::enumerate::{Case, Ended, Harm, Hurt, Measure, Way, cases, run};
use k0rotate_tests::harness::{Bench, Image, say};
use k0rotate_tests::made::Usual;
use k0rotate_tests::rejoining::{Lost, Then};
use k0rotate_tests::tier::{Tier, not_in, tier};
use k0rotate_workflows::rotate::Rotate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Only cases that hold this text are run, for example `Change(13, CrashAfter) RollBack`.
const ONE_CASE: &str = "K0ROTATE_CASE";

/// Only ways whose name holds this text, for example `back from held, twice`.
const ONE_WAY: &str = "K0ROTATE_WAY";

/// Only one case of so many, spread over each way.
const ONE_OF: &str = "K0ROTATE_ONE_OF";

/// Of crashes that are followed by a second one, each tier takes one of so many: all of them would be some hours' worth.
const TWICE: [(Tier, usize); 3] = [(Tier::Fast, 7), (Tier::Normal, 61), (Tier::Full, 7)];

/// Of fleets with many cases the usual tier takes one of so many. A change is hurt in twelve ways: this has nothing in common with twelve,
/// so that all of them come in turn.
const LARGE: usize = 5;

/// Of 100 cases of a way, so many must at least end where the operator wanted it.
const LEAST: usize = 95;
/// The same where a host is let in and the operator wants it out again: where no crash came it is in by then, which is an end.
const LEAST_BACK_OUT: usize = 20;

/// The same on the way to the end, on half of which nobody can go back any more.
const LEAST_BACK_AT_THE_END: usize = 10;

/// A topology, and how much of it is run.
struct Enumeration {
    name: &'static str,
    stand: Stand,
    forward: Arc<Course>,
    usual: Usual,
    every: usize,
    least_back: usize,
    wrong: Vec<String>,
    count: usize,
    undone_again: Mutex<BTreeSet<String>>,
}

impl Enumeration {
    fn new(name: &'static str, stand: Stand, every: usize) -> Self {
        let forward = Arc::new(Course::drive(&stand, Bench::of(&stand.image).image(), Way::Forward));
        let (usual, wrong, undone_again) = (forward.usual.clone(), Vec::new(), Mutex::default());
        Self { name, stand, forward, usual, every, least_back: LEAST, wrong, count: 0, undone_again }
    }

    /// Every case of a way, or one of so many, spread over it.
    fn run(&mut self, what: &str, course: &Course, harm: Harm) {
        let (one, way) = [ONE_CASE, ONE_WAY].map(|name| std::env::var(name).unwrap_or_default()).into();
        if !what.contains(&way) {
            return;
        }
        let sparse = std::env::var(ONE_OF).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        let every = sparse * if harm == Harm::Twice { self.every_twice() } else { self.every };
        let asked = |case: &Case| case.to_string().contains(&one);
        let taken =
            |at: usize, case: &Case| at.is_multiple_of(every) || sparse == 1 && repeats_an_undo(course.way, case);
        let all = cases(course, harm).into_iter().enumerate();
        let all: Vec<Case> = all.filter(|(at, case)| asked(case) && taken(*at, case)).map(|(_, case)| case).collect();
        let (name, since) = (format!("{} {what}", self.name), Instant::now());
        let done = if course.way == Way::End { course } else { &*self.forward };
        let measure = Measure { stand: &self.stand, done, usual: &self.usual };
        let report = run_all(&name, &all, |case| {
            let Ended { end, undone_again } = run(&measure, course, *case)?;
            self.undone_again.lock().expect("nothing panics with it").extend(undone_again);
            Ok(format!("{:?}: {end:?}", case.then))
        });
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
        // One of so many of the few cases of the end is hardly one that goes back.
        let too_few_to_share = tier() == Tier::Fast && course.way == Way::End;
        if one.is_empty() && !too_few_to_share {
            self.wrong.extend(shares(&name, course.way, self.least_back, &ends));
        }
    }

    /// Second crashes: the fast tier takes one of so many of the few first ones that it takes.
    fn every_twice(&self) -> usize {
        let (_, twice) = TWICE.into_iter().find(|(of, _)| *of == tier()).expect("each tier is there");
        if tier() == Tier::Fast { self.every * twice } else { twice }
    }

    fn run_forward(&mut self, harm: Harm) {
        let course = self.forward.clone();
        self.run(if harm == Harm::Twice { "forward, twice" } else { "forward" }, &course, harm);
    }

    /// From the wait: until the old keys go there is a way back.
    fn run_end(&mut self, waiting: Image) {
        let course = Course::drive(&self.stand, waiting, Way::End);
        self.usual.and(course.usual.clone());
        self.run("end", &course, Harm::All);
        self.run("end, twice", &course, Harm::Twice);
    }

    fn run_back(&mut self, from: &str, start: Image, harm: Harm) {
        let course = Course::drive(&self.stand, start, Way::Back);
        self.run(&format!("back from {from}"), &course, harm);
        self.all_undone_again(from, &course);
        self.run(&format!("back from {from}, twice"), &course, Harm::Twice);
    }

    /// Each activity that is undone on this way was undone once more, after a crash between its effect and its record.
    fn all_undone_again(&mut self, from: &str, course: &Course) {
        let undone = course.photos.iter().flat_map(|photo| &photo.events).filter_map(|event| match event {
            Event::StepStarted { activity, undo: true, .. } => Some(activity.clone()),
            _ => None,
        });
        let undone: BTreeSet<String> = undone.collect();
        let again = self.undone_again.lock().expect("nothing panics with it").clone();
        println!("{}: back from {from}: undone {undone:?}, and again {again:?}", self.name);
        let asked = [ONE_CASE, ONE_WAY, ONE_OF].iter().any(|name| std::env::var_os(name).is_some());
        if tier() != Tier::Fast && !asked {
            self.wrong
                .extend(undone.difference(&again).map(|name| format!("back from {from}: {name} was not undone again")));
        }
    }

    fn end(self) {
        let Self { name, wrong, count, .. } = self;
        println!("{name}: {count} cases, {} wrong", wrong.len());
        assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// The world after the first commit that holds such an event.
    fn after(&self, wanted: impl Fn(&Event) -> bool) -> Image {
        Bench::of(&self.forward.first(wanted).after).image()
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

    /// How the way back from there goes where nothing hurts it.
    fn learn_back(&mut self, start: &Image) {
        let bench = Bench::of(start);
        let rest = bench.drive(&self.stand.execution, Some(say::roll_back()));
        assert!(matches!(rest, Ok(Rest::RolledBack { .. })), "undisturbed it ends with {rest:?}");
        self.usual.and(Usual::of(&bench, &self.stand.execution));
    }

    /// The world when all steps of Free had been started, and nothing was down yet.
    fn last_of_free(&self) -> Image {
        let up = |event: &Event| matches!(event, Event::ZoneEntered { .. });
        Bench::of(&self.forward.first(up).before).image()
    }

    /// The world at the wait.
    fn waiting(&self) -> Image {
        let bench = Bench::of(&self.stand.image);
        bench.drive(&self.stand.execution, None).expect("nothing crashes it");
        bench.image()
    }
}

/// On the way back a crash before a commit forgets an undo that is in place, and all of them are to be called again.
fn repeats_an_undo(way: Way, case: &Case) -> bool {
    let forgets = matches!(case, Case { hurt: Hurt::Commit(_, LogFault::CrashBefore), again: None, .. });
    way == Way::Back && forgets && tier() != Tier::Fast
}

/// What the cases of a way must end with, by far the most of them: an enumeration in which all end the same way shows nothing.
fn shares(name: &str, way: Way, least_back: usize, ends: &BTreeMap<String, usize>) -> Vec<String> {
    let expected = match way {
        Way::Forward => &[("Resume: Done", LEAST), ("RollBack: Back", least_back)][..],
        Way::Back => &[("Resume: Back", LEAST)],
        Way::End => &[("Resume: Done", LEAST), ("RollBack: Back", LEAST_BACK_AT_THE_END)],
    };
    let too_few = |(end, least): &&(&str, usize)| {
        let then = end.split(' ').next().unwrap_or_default();
        let all: usize = ends.iter().filter(|(e, _)| e.starts_with(then)).map(|(_, count)| count).sum();
        ends.get(*end).copied().unwrap_or(0) * 100 < all.max(1) * least
    };
    let told = |(end, least): &(&str, usize)| format!("{name}: fewer than {least} of 100 are {end}: {ends:?}");
    expected.iter().filter(too_few).map(told).collect()
}

fn step_of(phase: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepStarted { step, .. } if step.as_str().starts_with(&format!("{phase}/")))
}

fn enumerate(name: &'static str, plan: FleetPlan, every: usize) {
    enumerate_all(Enumeration::new(name, Stand::new(&Bench::new(plan)), every));
}

fn enumerate_all(mut all: Enumeration) {
    let starts = [
        ("waiting", all.waiting(), Harm::All),
        ("free", all.last_of_free(), Harm::Crashes),
        ("down", all.after(step_of("stop")), Harm::Crashes),
        ("the first rename", all.first_rename(), Harm::Crashes),
        ("held", all.after(step_of("clean-up")), Harm::Crashes),
    ];
    starts.iter().for_each(|(_, start, _)| all.learn_back(start));
    all.run_forward(Harm::All);
    all.run_forward(Harm::Twice);
    all.run_end(all.waiting());
    for (from, start, harm) in starts {
        all.run_back(from, start, harm);
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
    enumerate("3+2", with_tokens(FleetPlan::sized(3, 2)), one_of(997, LARGE));
}

/// Goal: so do three whose etcd CA stays: what is left of a control plane that was half stopped still has a quorum then.
#[test]
fn three_controllers_that_keep_their_etcd_ca() {
    if not_in(Tier::Normal) {
        return;
    }
    let bench = Bench::new(with_tokens(FleetPlan::sized(3, 0)));
    let rotate = Rotate { roots: vec![Root::KubernetesCa, Root::ServiceAccount], ..bench.rotate() };
    enumerate_all(Enumeration::new("3+0 two roots", Stand::of(&bench, &rotate), one_of(997, 7)));
}

/// A host that a rotation went on without is let in.
fn enumerate_rejoin(name: &'static str, plan: FleetPlan, lost: Lost, every: usize) {
    if not_in(Tier::Normal) {
        return;
    }
    let mut all = Enumeration::new(name, Stand::of_rejoin(plan, &lost), every);
    all.least_back = LEAST_BACK_OUT;
    all.run_forward(Harm::All);
    let start = all.last_of_free();
    all.run_back("free", start, Harm::Crashes);
    all.end();
}

/// A worker is lost before its files are touched, and when they are away.
const WORKER: (&[&str], [&str; 2]) = (&["h2"], ["systemctl stop", "/kubelet-bootstrap.conf"]);
/// So is a controller.
const CONTROLLER: (&[&str], [&str; 2]) = (&["h1", "h2", "h3"], ["systemctl stop", "rename /var/lib/k0s/pki/ca.key"]);

/// Goal: a worker that was left comes in wherever that is hurt, or stays out as it was.
#[test]
fn a_worker_let_in() {
    let lost = Lost { one_of: &["h4", "h5"], at: "systemctl stop", then: Then::Rests };
    enumerate_rejoin("a worker let in", FleetPlan::sized(3, 2), lost, 1);
}

/// Goal: so does a controller.
#[test]
fn a_controller_let_in() {
    let lost = Lost { one_of: CONTROLLER.0, at: CONTROLLER.1[1], then: Then::Rests };
    enumerate_rejoin("a controller let in", FleetPlan::sized(3, 2), lost, one_of(1, LARGE));
}

/// Goal: so does a controller that is a node too.
#[test]
fn a_controller_with_workloads_let_in() {
    let three: Vec<(&str, Role)> = CONTROLLER.0.iter().map(|name| (*name, Role::ControllerWorker)).collect();
    let lost = Lost { one_of: CONTROLLER.0, at: CONTROLLER.1[1], then: Then::Rests };
    enumerate_rejoin("a controller+worker let in", FleetPlan::of(&three), lost, one_of(1, LARGE));
}

/// Goal: so does a worker once the rotation was rolled back or finalized without it, whether its files were touched or not.
#[test]
fn a_worker_let_in_afterwards() {
    for (at, then) in [(0, Then::WentBack), (1, Then::WentBack), (1, Then::Ended)] {
        let lost = Lost { one_of: WORKER.0, at: WORKER.1[at], then };
        enumerate_rejoin("a worker let in afterwards", FleetPlan::sized(1, 1), lost, 1);
    }
}

/// Goal: so does a controller. Nobody goes back from the wait without one whose files were touched: that is refused.
#[test]
fn a_controller_let_in_afterwards() {
    for (at, then) in [(0, Then::WentBack), (1, Then::Ended)] {
        let lost = Lost { one_of: CONTROLLER.0, at: CONTROLLER.1[at], then };
        enumerate_rejoin("a controller let in afterwards", FleetPlan::sized(3, 0), lost, one_of(1, LARGE));
    }
}

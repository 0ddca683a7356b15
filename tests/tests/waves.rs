//! A fleet on clusters that a test makes up: waves, limits, pauses, approvals, plans that no longer fit, and a crash before and after each append.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../../engine/tests/common/clock.rs"]
mod clock;

use async_trait::async_trait;
use clock::{TestClock, block_on};
use futures_util::future::{Either, join, select};
use k0rotate_activities::clusters::{Child, Clusters, How, Planned, Reach, Refused};
use k0rotate_engine::drive::{Engine, Rest, Start, Word};
use k0rotate_engine::event::{Event, StuckCause};
use k0rotate_engine::failure::Failure;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::faulty::{Fault, FaultyLog};
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::registry::Registry;
use k0rotate_workflows::waves::{FinalizeAll, Size, Waves};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

/// A cluster as a test wants it.
#[derive(Clone)]
struct One {
    plan: &'static str,
    approval: bool,
    refuses_plan: bool,
    refuses_to_begin: bool,
    /// How its rotation comes to its rest, after so many looks.
    end: How,
    looks: u32,
    child: Option<ExecutionId>,
}

/// What its rotations come to.
const VERIFIED: One = One {
    plan: "p",
    approval: false,
    refuses_plan: false,
    refuses_to_begin: false,
    end: How::Verified,
    looks: 3,
    child: None,
};

/// All clusters, and what was asked of them.
#[derive(Default)]
struct World {
    all: Mutex<BTreeMap<String, One>>,
    begun: Mutex<Vec<String>>,
    /// The most that ran at the same time.
    most: Mutex<usize>,
}

impl World {
    fn change(&self, cluster: &str, change: impl FnOnce(&mut One)) {
        change(self.all.lock().unwrap().get_mut(cluster).unwrap());
    }

    fn begun(&self) -> String {
        self.begun.lock().unwrap().join(" ")
    }
}

#[async_trait]
impl Clusters for World {
    async fn plan(&self, cluster: &str) -> Planned {
        let one = self.all.lock().unwrap()[cluster].clone();
        if one.refuses_plan {
            return Planned::Refused { why: "unreachable".into() };
        }
        Planned::Fits { digest: one.plan.into(), approval: one.approval }
    }

    async fn begin(&self, _: &ExecutionId, child: &Child) -> Result<(), Refused> {
        let mut all = self.all.lock().unwrap();
        let one = all.get_mut(&child.cluster).unwrap();
        if one.refuses_to_begin {
            return Err(Refused::because("held"));
        }
        if one.plan != child.plan {
            return Err(Refused::OtherPlan);
        }
        assert_eq!(one.child, None, "{} is begun twice", child.cluster);
        one.child = Some(child.execution.clone());
        let running = all.values().filter(|one| one.child.is_some() && one.looks > 0).count();
        let mut most = self.most.lock().unwrap();
        *most = running.max(*most);
        self.begun.lock().unwrap().push(child.cluster.clone());
        Ok(())
    }

    async fn finalize(&self, _: &ExecutionId, child: &Child) -> Result<(), Refused> {
        let mut all = self.all.lock().unwrap();
        let one = all.get_mut(&child.cluster).unwrap();
        if one.refuses_to_begin {
            return Err(Refused::because("held"));
        }
        (one.end, one.looks) = (How::Finalized, 2);
        Ok(())
    }

    async fn look(&self, child: &Child) -> Result<Option<How>, Failure> {
        let mut all = self.all.lock().unwrap();
        let one = all.get_mut(&child.cluster).unwrap();
        if one.child.as_ref() != Some(&child.execution) {
            return Ok(None);
        }
        one.looks = one.looks.saturating_sub(1);
        Ok(Some(if one.looks == 0 { one.end } else { How::Runs }))
    }
}

/// A fleet of these clusters, with a store that outlives its processes.
struct Bench {
    store: MemoryStore,
    clock: Arc<TestClock>,
    world: Arc<World>,
    id: ExecutionId,
}

fn waves(clusters: &[(&str, One)], waves: &[Size]) -> Waves {
    Waves {
        selector: "env=prod".into(),
        clusters: clusters.iter().map(|(name, _)| (*name).into()).collect(),
        waves: waves.to_vec(),
        max_failed: 1,
        at_once: 2,
    }
}

impl Bench {
    fn new(clusters: &[(&str, One)], sizes: &[Size]) -> Self {
        Self::of(clusters, &waves(clusters, sizes))
    }

    fn of(clusters: &[(&str, One)], fleet: &Waves) -> Self {
        let world = Arc::new(World::default());
        world.all.lock().unwrap().extend(clusters.iter().map(|(name, one)| ((*name).to_owned(), one.clone())));
        let (store, clock) = (MemoryStore::new(), Arc::new(TestClock::default()));
        let engine = Engine::new(Arc::new(store.open()), clock.clone()).with_draw(|| 7);
        let start = Start { subject: "env=prod".into(), by: "alice".into(), reason: "CHG-1".into() };
        let id = block_on(&clock, engine.start(fleet, start)).unwrap();
        Self { store, clock, world, id }
    }

    fn engine_on(&self, log: Arc<dyn EventLog>) -> Engine {
        Engine::new(log, self.clock.clone()).with_draw(|| 8)
    }

    fn reach(&self) -> Arc<Reach> {
        Arc::new(Reach::new(self.world.clone()))
    }

    /// Drives in a process of its own, to its rest.
    fn drive(&self, word: Option<Word>) -> Rest {
        let engine = self.engine_on(Arc::new(self.store.open()));
        block_on(&self.clock, engine.drive(&self.id, self.reach(), &registry(), word))
    }

    /// The same until the log crashes: none then.
    fn crashed(&self, at: u64, fault: Fault) -> Option<Rest> {
        let log = Arc::new(FaultyLog::new(Arc::new(self.store.open()), at, fault));
        let engine = self.engine_on(log.clone());
        let (registry, reach) = (registry(), self.reach());
        block_on(&self.clock, async {
            match select(pin!(engine.drive(&self.id, reach, &registry, None)), pin!(log.crashed())).await {
                Either::Left((rest, _)) => Some(rest),
                Either::Right(_) => None,
            }
        })
    }

    fn say(&self, word: Word) {
        let engine = self.engine_on(Arc::new(self.store.open()));
        block_on(&self.clock, engine.say(&self.id, word)).unwrap();
    }

    fn waits_for(&self, wanted: &str) {
        match self.drive(None) {
            Rest::Waiting { name, until: None } => assert_eq!(name, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }

    fn ends(&self, begun: usize, failed: usize) {
        match self.drive(None) {
            Rest::Completed { output, .. } => {
                assert_eq!(output.0, format!("{{\"begun\":{begun},\"failed\":{failed}}}"));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn registry() -> Registry<Reach> {
    Registry::new().with::<Waves>().with::<FinalizeAll>()
}

fn end_wait(name: &str) -> Word {
    Word::EndWait { name: name.into(), by: "bob".into(), reason: "read it".into() }
}

/// Goal: the canary first, then wave after wave, each begun once the one before it has ended; never more at the same time than may be.
#[test]
fn wave_after_wave() {
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, VERIFIED));
    let bench = Bench::new(&names, &[Size::Of(1), Size::Of(3), Size::Rest]);
    bench.ends(7, 0);
    assert_eq!(bench.world.begun(), "a b c d e f g");
    assert_eq!(*bench.world.most.lock().unwrap(), 2);
    let engine = bench.engine_on(Arc::new(bench.store.open()));
    let history = block_on(&bench.clock, engine.history(&bench.id)).unwrap();
    let phases = history.iter().filter_map(|record| match &record.event {
        Event::PhaseStarted { slug, .. } => Some(slug.as_str()),
        _ => None,
    });
    assert_eq!(phases.collect::<Vec<_>>(), ["plan", "wave-1", "wave-2", "wave-3"]);
}

/// Goal: without a last wave of the rest, what is left is not begun.
#[test]
fn what_is_in_no_wave_is_not_begun() {
    let bench = Bench::new(&["a", "b", "c"].map(|name| (name, VERIFIED)), &[Size::Of(1), Size::Of(1)]);
    bench.ends(2, 0);
    assert_eq!(bench.world.begun(), "a b");
}

/// Goal: at as many as may fail (stuck, gone back, refused when it was to begin) no new one begins, though there is room, until a person says so; then as many more may.
#[test]
fn at_the_limit_nothing_begins() {
    for bad in [
        One { end: How::Stuck, ..VERIFIED },
        One { end: How::RolledBack, ..VERIFIED },
        One { refuses_to_begin: true, ..VERIFIED },
    ] {
        let runs = One { looks: 40, ..VERIFIED };
        let clusters = [("a", VERIFIED), ("b", runs), ("c", bad.clone()), ("d", VERIFIED), ("e", bad), ("f", VERIFIED)];
        let bench = Bench::new(&clusters, &[Size::Of(1), Size::Rest]);
        let refused = clusters[2].1.refuses_to_begin;
        bench.waits_for("limit-1");
        let known = if refused { "a b" } else { "a b c" };
        assert_eq!(bench.world.begun(), known);
        assert!(bench.world.all.lock().unwrap()["b"].looks > 1, "the other one runs on");
        bench.waits_for("limit-1");
        bench.say(end_wait("limit-1"));
        bench.waits_for("limit-2");
        assert_eq!(bench.world.begun(), if refused { "a b d" } else { "a b c d e" });
        bench.say(end_wait("limit-2"));
        bench.ends(if refused { 4 } else { 6 }, 2);
    }
}

/// Goal: a canary that fails keeps the next wave from being asked for.
#[test]
fn a_wave_that_fails_is_the_last() {
    let wanted = One { approval: true, ..VERIFIED };
    let bench = Bench::new(&[("a", One { end: How::Stuck, ..VERIFIED }), ("b", wanted)], &[Size::Of(1), Size::Rest]);
    bench.waits_for("limit-1");
    assert_eq!(bench.world.begun(), "a");
    bench.say(end_wait("limit-1"));
    bench.waits_for("approval-wave-2");
}

/// Goal: who is refused when all are planned is in no wave and does not count.
#[test]
fn refused_at_the_start() {
    let bad = One { refuses_plan: true, ..VERIFIED };
    let bench = Bench::new(&[("a", bad), ("b", VERIFIED), ("c", VERIFIED)], &[Size::Of(1), Size::Rest]);
    bench.ends(2, 0);
    assert_eq!(bench.world.begun(), "b c");
}

/// Goal: a wave in which a cluster wants an approval is begun after it, the others without; a decline keeps that wave and those after it from being begun.
#[test]
fn waves_are_approved_or_declined() {
    let wanted = One { approval: true, ..VERIFIED };
    let clusters = [("a", VERIFIED), ("b", wanted.clone()), ("c", VERIFIED), ("d", wanted), ("e", VERIFIED)];
    let bench = Bench::new(&clusters, &[Size::Of(1), Size::Of(2), Size::Of(1), Size::Rest]);
    bench.waits_for("approval-wave-2");
    assert_eq!(bench.world.begun(), "a");
    bench.say(end_wait("approval-wave-2"));
    bench.waits_for("approval-wave-3");
    assert_eq!(bench.world.begun(), "a b c");
    bench.say(Word::LeaveBehind { hosts: vec!["d".into(), "e".into()], by: "bob".into(), reason: "freeze".into() });
    bench.waits_for("approval-wave-3");
    bench.say(end_wait("approval-wave-3"));
    bench.ends(3, 0);
    assert_eq!(bench.world.begun(), "a b c");
}

/// Goal: a cluster that is not as it was planned is not begun; once the others have ended it is planned again and asked for again, also where nobody has to approve it.
#[test]
fn a_plan_that_no_longer_fits() {
    let bench =
        Bench::new(&[("a", VERIFIED), ("b", One { approval: true, ..VERIFIED }), ("c", VERIFIED)], &[Size::Rest]);
    bench.waits_for("approval-wave-1");
    bench.world.change("a", |one| one.plan = "q");
    bench.say(end_wait("approval-wave-1"));
    bench.waits_for("approval-wave-1-round-2");
    assert_eq!(bench.world.begun(), "b c");
    bench.say(end_wait("approval-wave-1-round-2"));
    bench.ends(3, 0);
    assert_eq!(bench.world.begun(), "b c a");
}

/// Goal: a pause is durable at once, whatever runs; nothing begins until it is resumed, and what runs goes on meanwhile.
#[test]
fn paused_nothing_begins() {
    let runs = One { looks: 5000, ..VERIFIED };
    let bench = Bench::new(&[("a", runs), ("b", VERIFIED)], &[Size::Of(1), Size::Rest]);
    let engine = bench.engine_on(Arc::new(bench.store.open()));
    let (reach, registry) = (bench.reach(), registry());
    let said = async {
        k0rotate_engine::clock::Clock::sleep(&*bench.clock, std::time::Duration::from_secs(60)).await;
        let word = Word::Pause { by: "alice".into(), reason: "lunch".into() };
        join(engine.say(&bench.id, word), async { reach.call_back(&bench.id) }).await.0
    };
    let (rest, said) = block_on(&bench.clock, join(engine.drive(&bench.id, reach.clone(), &registry, None), said));
    said.unwrap();
    assert!(matches!(rest, Rest::Stuck { cause: StuckCause::Paused { .. }, .. }), "{rest:?}");
    assert!(bench.world.all.lock().unwrap()["a"].looks > 4900);
    assert!(matches!(bench.drive(None), Rest::Stuck { .. }));
    bench.world.change("a", |one| one.looks = 1);
    assert_eq!(bench.world.begun(), "a");
    bench.say(Word::Resume { by: "alice".into(), reason: String::new() });
    bench.ends(2, 0);
}

/// Goal: a fleet has no way back.
#[test]
fn it_never_goes_back() {
    let bench = Bench::new(&[("a", One { approval: true, ..VERIFIED })], &[Size::Rest]);
    bench.waits_for("approval-wave-1");
    let word = Word::RollBack { by: "bob".into(), reason: String::new() };
    assert!(matches!(bench.drive(Some(word)), Rest::Refused(_)));
}

/// Goal: a crash before or after each append, and driven on: each cluster is begun once (the world says so), in the same order, and the end is the same.
#[test]
fn a_crash_begins_nothing_twice() {
    let bad = One { end: How::Stuck, ..VERIFIED };
    let clusters = [
        ("a", VERIFIED),
        ("b", VERIFIED),
        ("c", bad),
        ("d", VERIFIED),
        ("e", One { refuses_to_begin: true, ..VERIFIED }),
    ];
    let fleet = Waves { max_failed: 3, ..waves(&clusters, &[Size::Of(1), Size::Rest]) };
    let mut crashes = 0;
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for at in 1.. {
            let bench = Bench::of(&clusters, &fleet);
            let ended = bench.crashed(at, fault).is_some();
            bench.ends(4, 2);
            assert_eq!(bench.world.begun(), "a b c d", "{fault:?} {at}");
            if ended {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 20, "{crashes}");
}

/// Goal: all that wait are finalized; one that says no is counted, and keeps no other.
#[test]
fn all_are_finalized() {
    let bench = Bench::new(&["a", "b", "c"].map(|name| (name, VERIFIED)), &[Size::Rest]);
    bench.ends(3, 0);
    bench.world.change("b", |one| one.refuses_to_begin = true);
    let child = |cluster: &str| Child {
        cluster: cluster.into(),
        execution: bench.world.all.lock().unwrap()[cluster].child.clone().unwrap(),
        plan: "p".into(),
    };
    let all = FinalizeAll { fleet: bench.id.clone(), children: ["a", "b", "c"].map(child).into() };
    let engine = bench.engine_on(Arc::new(bench.store.open()));
    let start = Start { subject: "env=prod".into(), by: "bob".into(), reason: String::new() };
    let id = block_on(&bench.clock, engine.start(&all, start)).unwrap();
    let rest = block_on(&bench.clock, engine.drive(&id, bench.reach(), &registry(), None));
    assert!(matches!(&rest, Rest::Completed { output, .. } if output.0 == "1"), "{rest:?}");
    let ends: Vec<How> = bench.world.all.lock().unwrap().values().map(|one| one.end).collect();
    assert_eq!(ends, [How::Finalized, How::Verified, How::Finalized]);
}

//! A small world for the engine's tests: hosts with settings, time that jumps, commands that land late, and one workflow.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(dead_code, reason = "each test file uses its part")]

pub mod clock;
pub mod toy;
pub mod world;

use clock::{TestClock, block_on};
use futures_util::future::{Either, select};
use k0rotate_engine::drive::{Engine, Rest, Start, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::faulty::{Fault, FaultyLog};
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::registry::Registry;
use std::pin::pin;
use std::sync::Arc;
use toy::Toy;
use world::World;

/// A store, a world and a clock that outlive the processes of a test.
pub struct Bench {
    pub store: MemoryStore,
    pub world: Arc<World>,
    pub clock: Arc<TestClock>,
}

impl Default for Bench {
    fn default() -> Self {
        let clock = Arc::new(TestClock::default());
        Self { store: MemoryStore::new(), world: Arc::new(World::new(clock.clone())), clock }
    }
}

pub fn registry() -> Registry<World> {
    Registry::new().with::<Toy>()
}

impl Bench {
    pub fn engine(&self) -> Engine {
        self.engine_on(Arc::new(self.store.open()))
    }

    pub fn engine_on(&self, log: Arc<dyn EventLog>) -> Engine {
        Engine::new(log, self.clock.clone()).with_draw(|| 7)
    }

    pub fn start(&self, toy: &Toy) -> ExecutionId {
        let start = Start { subject: "toy".into(), by: "test".into(), reason: "test".into() };
        block_on(&self.clock, self.engine().start(toy, start)).expect("it starts")
    }

    /// Drives in a process of its own, to its rest.
    pub fn drive(&self, id: &ExecutionId, word: Option<Word>) -> Rest {
        let engine = self.engine();
        block_on(&self.clock, engine.drive(id, self.world.clone(), &registry(), word))
    }

    /// Drives until the fault; `None` if the process crashed. Counts appends from the start of this drive.
    pub fn drive_faulty(&self, id: &ExecutionId, word: Option<Word>, at: u64, fault: Fault) -> Option<Rest> {
        let log = Arc::new(FaultyLog::new(Arc::new(self.store.open()), at, fault));
        self.drive_crashing(id, word, &log)
    }

    /// Drives until the fault of the log or of the world.
    pub fn drive_crashing(&self, id: &ExecutionId, word: Option<Word>, log: &Arc<FaultyLog>) -> Option<Rest> {
        let engine = self.engine_on(log.clone());
        let registry = registry();
        let crash = async { select(pin!(log.crashed()), pin!(self.world.crashed())).await.factor_first().0 };
        let drive = engine.drive(id, self.world.clone(), &registry, word);
        let end = block_on(&self.clock, async { select(pin!(drive), pin!(crash)).await.first() });
        self.world.forget_crash();
        end
    }

    pub fn history(&self, id: &ExecutionId) -> Vec<Record> {
        block_on(&self.clock, self.engine().history(id)).expect("there is a history")
    }

    pub fn events(&self, id: &ExecutionId) -> Vec<String> {
        self.history(id).iter().map(short).collect()
    }
}

trait FirstOnly<T> {
    fn first(self) -> Option<T>;
}

impl<A, B, F, G> FirstOnly<A> for Either<(A, F), (B, G)> {
    fn first(self) -> Option<A> {
        match self {
            Either::Left((a, _)) => Some(a),
            Either::Right(_) => None,
        }
    }
}

/// One line of a history.
pub fn short(record: &Record) -> String {
    use k0rotate_engine::event::Event as E;
    let name = record.event.name();
    match &record.event {
        E::PhaseStarted { slug, .. } => format!("{name} {slug}"),
        E::ZoneEntered { zone, .. } => format!("{name} {zone:?}"),
        E::StepStarted { step, .. } | E::StepSucceeded { step, .. } => format!("{name} {step}"),
        E::StepRetried { step, ended, .. } => format!("{name} {step} {ended:?}"),
        E::StepFailed { step, failure, effect } => format!("{name} {step} {failure} {effect:?}"),
        E::StepLeft { step, why, .. } => format!("{name} {step} {why:?}"),
        E::Stuck { cause } => format!("{name} {cause:?}"),
        E::RollBackStarted { cause } => format!("{name} {cause:?}"),
        _ => name.to_owned(),
    }
}

pub fn resume() -> Word {
    Word::Resume { by: "test".into(), reason: "test".into() }
}

pub fn roll_back() -> Word {
    Word::RollBack { by: "test".into(), reason: "test".into() }
}

pub fn end_wait() -> Word {
    Word::EndWait { name: "finalize".into(), by: "test".into(), reason: "test".into() }
}

//! One execution on the rehearsal fleet: the store and the world outlive the process that drives it.

use crate::ends::{Roots, roots};
use k0rotate_activities::fleet::{Fleet, KeyKind};
use k0rotate_activities::host::Host;
use k0rotate_activities::rehearsal::fleet::{Crashed, Rehearsal};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_activities::secret::Secret;
use k0rotate_activities::vault::{Vault, make_identity};
use k0rotate_engine::drive::{Engine, Rest, Start, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::EventLog;
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::registry::Registry;
use k0rotate_workflows::rejoin::Rejoin;
use k0rotate_workflows::rotate::Rotate;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long one drive may take in the time of the model: a rotation of five hosts takes some minutes, and the longest limit of
/// an outage five.
pub const LONGEST_DRIVE: Duration = Duration::from_secs(2 * 3600);

/// A fleet, a store, and an identity that opens what is sealed.
pub struct Bench {
    /// The fleet.
    pub fleet: Rehearsal,
    /// The store.
    pub store: MemoryStore,
    /// What the fleet was made of.
    pub plan: FleetPlan,
    /// The root files before anything was done.
    pub original: Roots,
    /// Opens what is sealed, and its recipient.
    pub identity: Arc<(Secret, String)>,
}

/// A world and a store as they are at one moment; benches are made of copies of it.
pub struct Image {
    // A stage can be sent to another thread but not looked at from two.
    stage: Mutex<Stage>,
    store: MemoryStore,
    plan: FleetPlan,
    original: Roots,
    identity: Arc<(Secret, String)>,
}

/// One life of the tool: one opening of the store.
pub struct Life {
    /// The engine.
    pub engine: Engine,
    env: Arc<Fleet>,
    registry: Registry<Fleet>,
}

impl Bench {
    /// A healthy fleet.
    pub fn new(plan: FleetPlan) -> Self {
        let stage = Stage::new(&plan);
        Self::on(plan, stage)
    }

    /// A fleet as it stands: enumerations make one and copy it.
    pub fn on(plan: FleetPlan, stage: Stage) -> Self {
        let fleet = Rehearsal::new(stage);
        let (store, original, identity) = (MemoryStore::new(), Roots::new(), Arc::new(make_identity()));
        let mut bench = Self { fleet, store, plan, original, identity };
        bench.original = roots(&bench);
        bench
    }

    /// The same bench once more, for whoever looks at it while it is driven.
    #[must_use]
    pub fn beside(&self) -> Self {
        let (fleet, store, original) = (self.fleet.clone(), self.store.clone(), self.original.clone());
        Self { fleet, store, plan: self.plan.clone(), original, identity: self.identity.clone() }
    }

    /// What the world and the store are now. Whoever drives goes on.
    pub fn image(&self) -> Image {
        let stage = Mutex::new(self.fleet.stage(|stage| stage.clone()));
        let (plan, identity) = (self.plan.clone(), self.identity.clone());
        Image { stage, store: self.store.copied(), plan, original: self.original.clone(), identity }
    }

    /// A copy of what was there then, driven by nobody.
    pub fn of(image: &Image) -> Self {
        let stage = image.stage.lock().expect("no code panics while it holds this lock").clone();
        let (plan, identity) = (image.plan.clone(), image.identity.clone());
        let original = image.original.clone();
        Self { fleet: Rehearsal::new(stage), store: image.store.copied(), plan, original, identity }
    }

    /// What is asked for if nothing else is: all four roots, everything by default.
    pub fn rotate(&self) -> Rotate {
        k0rotate::demo::rotation(&self.plan)
    }

    /// Opens the store as a new process would.
    pub fn life(&self) -> Life {
        self.life_on(|log| log)
    }

    /// The same, with something between the engine and the store.
    pub fn life_on(&self, wrap: impl FnOnce(Arc<dyn EventLog>) -> Arc<dyn EventLog>) -> Life {
        self.life_through(wrap(Arc::new(self.store.open())), |host| host)
    }

    /// The same on any store, with something between the activities and the hosts.
    pub fn life_through(&self, log: Arc<dyn EventLog>, wrap: impl Fn(Arc<dyn Host>) -> Arc<dyn Host>) -> Life {
        let hosts = self.plan.hosts.iter().map(|h| (h.name.clone(), wrap(self.fleet.host(&h.name)))).collect();
        let recipients = [self.identity.1.clone()];
        let vault = Vault::open(log.clone(), &recipients, &self.identity.0).expect("the identity is its own recipient");
        let env = Fleet {
            hosts,
            members: self.plan.hosts.iter().map(PlannedHost::member).collect(),
            clock: self.fleet.clock(),
            secrets: Arc::new(vault),
            by: "test@here".to_owned(),
            keys: KeyKind::P256,
        };
        let registry = Registry::new().with::<Rotate>().with::<Rejoin>();
        Life { engine: Engine::new(log, self.fleet.clock()), env: Arc::new(env), registry }
    }

    /// Starts a rotation in a life of its own; nothing is driven yet.
    pub fn start(&self, rotate: &Rotate) -> ExecutionId {
        let life = self.life();
        let start = Start { subject: "rehearsal".into(), by: "test".into(), reason: "to see".into() };
        block_on(life.engine.start(rotate, start)).expect("an empty history takes its first event")
    }

    /// Drives it in a new life until it rests, or a planned crash comes, or it has driven for [`LONGEST_DRIVE`].
    pub fn drive(&self, execution: &ExecutionId, word: Option<Word>) -> Result<Rest, Crashed> {
        self.limit_drive();
        self.life().drive(&self.fleet, execution, word)
    }

    /// Ends whoever drives next after [`LONGEST_DRIVE`].
    pub fn limit_drive(&self) {
        self.fleet.stage(|s| s.faults.client_until = Some(s.now().plus(LONGEST_DRIVE)));
    }

    /// Whether the last drive was ended because it drove for too long.
    pub fn outlived(&self) -> bool {
        self.fleet.stage(|s| s.faults.outlived(s.now()))
    }

    /// What was recorded so far.
    pub fn history(&self, execution: &ExecutionId) -> Vec<Record> {
        block_on(self.store.open().read(execution, 0)).expect("a store in memory answers")
    }
}

impl Life {
    /// Drives it until it rests, or a planned crash comes.
    pub fn drive(&self, fleet: &Rehearsal, execution: &ExecutionId, word: Option<Word>) -> Result<Rest, Crashed> {
        block_on(fleet.paced(self.driving(execution, word)))
    }

    /// The drive itself, to be paced with something beside it.
    pub async fn driving(&self, execution: &ExecutionId, word: Option<Word>) -> Rest {
        self.engine.drive(execution, self.env.clone(), &self.registry, word).await
    }
}

/// Runs a future on a runtime of one thread.
pub fn block_on<F: std::future::Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread");
    runtime.block_on(future)
}

/// The operator's words, said by a test.
pub mod say {
    use k0rotate_engine::drive::Word;

    /// Go on.
    pub fn resume() -> Word {
        Word::Resume { by: "test".into(), reason: "to see".into() }
    }

    /// Go back.
    pub fn roll_back() -> Word {
        Word::RollBack { by: "test".into(), reason: "to see".into() }
    }

    /// Go on without this host.
    pub fn leave_behind(host: &str) -> Word {
        Word::LeaveBehind { hosts: vec![host.to_owned()], by: "test".into(), reason: "it is dead".into() }
    }

    /// End the wait for finalize.
    pub fn finalize() -> Word {
        Word::EndWait { name: "finalize".into(), by: "test".into(), reason: "to see".into() }
    }
}

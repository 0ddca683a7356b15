//! One opening of an event log with a fleet: drives executions and shows what happens.

use crate::error::Error;
use crate::socket::Serving;
use crate::telemetry::Telemetry;
use k0rotate_activities::fleet::{Fleet, KeyKind};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::{FleetPlan, PlannedHost};
use k0rotate_activities::vault::{Vault, make_identity};
use k0rotate_engine::drive::{Engine, Rest, Word};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::log::memory::MemoryStore;
use k0rotate_engine::log::{Cursor, EventLog, Followed, LogError};
use k0rotate_engine::registry::Registry;
use k0rotate_engine::view::ExecutionView;
use k0rotate_workflows::rejoin::Rejoin;
use k0rotate_workflows::rotate::Rotate;
use std::pin::pin;
use std::sync::Arc;

/// All workflows that this program has code for.
pub fn registry() -> Registry<Fleet> {
    Registry::new().with::<Rotate>().with::<Rejoin>()
}

/// See the file's sentence.
pub struct Runtime {
    /// What carries the histories to collectors. Its last moment comes first: others are still answered then.
    pub telemetry: Option<Telemetry>,
    /// What other processes are told meanwhile. Its socket must be gone before the store is closed.
    pub serving: Option<Serving>,
    /// The engine.
    pub engine: Engine,
    /// What activities reach.
    pub fleet: Arc<Fleet>,
    /// The rehearsal fleet, if the hosts are simulated: whoever waits for them must let it jump.
    pub rehearsal: Option<Rehearsal>,
}

impl Runtime {
    /// On a fleet in this process, with a log in memory and keys that live as long as it.
    pub fn rehearsed(plan: &FleetPlan, stage: Stage, by: &str) -> Result<(Self, Rehearsal), Error> {
        let rehearsal = Rehearsal::new(stage);
        let log: Arc<dyn EventLog> = Arc::new(MemoryStore::new().open());
        let (identity, recipient) = make_identity();
        let vault = Vault::open(log.clone(), &[recipient], &identity).map_err(|e| Error::Identity(e.to_string()))?;
        let fleet = Fleet {
            hosts: plan.hosts.iter().map(|h| (h.name.clone(), rehearsal.host(&h.name))).collect(),
            members: plan.hosts.iter().map(PlannedHost::member).collect(),
            clock: rehearsal.clock(),
            secrets: Arc::new(vault),
            by: by.to_owned(),
            keys: KeyKind::P256,
        };
        let engine = Engine::new(log, rehearsal.clock());
        Ok((
            Self { telemetry: None, serving: None, engine, fleet: Arc::new(fleet), rehearsal: Some(rehearsal.clone()) },
            rehearsal,
        ))
    }

    /// Drives an execution until it rests; `show` gets each record as it becomes durable, those from before this drive with `false`.
    pub async fn drive(
        &self,
        execution: &ExecutionId,
        word: Option<Word>,
        mut show: impl FnMut(&Record, bool),
    ) -> Rest {
        let known = self.engine.history(execution).await.unwrap_or_default();
        known.iter().for_each(|record| show(record, false));
        if let Some(telemetry) = &self.telemetry {
            telemetry.called(execution, known.len() as u64);
        }
        let mut show = |record: &Record, new| {
            show(record, new);
            self.telemetry.iter().for_each(Telemetry::nudge);
        };
        let mut shown = known.len() as u64;
        let registry = registry();
        let both = async {
            let mut driving = pin!(self.engine.drive(execution, self.fleet.clone(), &registry, word));
            let mut follower = Follower::new(self.engine.log().clone());
            loop {
                let next = pin!(follower.next());
                match futures_util::future::select(&mut driving, next).await {
                    futures_util::future::Either::Left((rest, _)) => break rest,
                    futures_util::future::Either::Right((Ok(records), _)) => {
                        let first = shown;
                        for record in records.iter().filter(|r| r.execution == *execution && r.seq >= first) {
                            show(record, true);
                            shown = record.seq + 1;
                        }
                    }
                    // Who cannot follow is told at the end; the drive goes on.
                    futures_util::future::Either::Right((Err(_), _)) => break driving.await,
                }
            }
        };
        let rest = match &self.rehearsal {
            Some(rehearsal) => rehearsal.paced(both).await.unwrap_or_else(|_| interrupted()),
            None => both.await,
        };
        let late = self.engine.history(execution).await.unwrap_or_default();
        late.iter().filter(|record| record.seq >= shown).for_each(|record| show(record, true));
        rest
    }

    /// What its history says now.
    pub async fn view(&self, execution: &ExecutionId) -> Option<ExecutionView> {
        let history = self.engine.history(execution).await.ok()?;
        ExecutionView::of(&history).ok().flatten()
    }
}

/// The process that served the rehearsal fleet has ended. A planned crash is a kill, so it never comes here.
fn interrupted() -> Rest {
    eprintln!("· the rehearsal fleet is gone");
    Rest::Interrupted { why: k0rotate_engine::drive::Interruption::Asked, down: false }
}

/// Records as they become durable.
struct Follower {
    log: Arc<dyn EventLog>,
    cursor: Option<Cursor>,
}

impl Follower {
    fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, cursor: None }
    }

    async fn next(&mut self) -> Result<Vec<Record>, LogError> {
        match self.log.follow(self.cursor.as_ref()).await? {
            Followed::Records(records, cursor) => {
                self.cursor = Some(cursor);
                Ok(records)
            }
            Followed::TooOld => {
                self.cursor = None;
                Ok(Vec::new())
            }
        }
    }
}

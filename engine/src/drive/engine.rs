//! The engine: starts executions, drives them, and takes an operator's words.

use super::desk::Desk;
use super::journal::Journal;
use super::pass::Drive;
use super::rest::{Interruption, Rest};
use super::words::{Refused, Word};
use crate::clock::Clock;
use crate::event::{Event, Json, Record};
use crate::execution::{State, Status};
use crate::ids::{ExecutionId, Seq};
use crate::log::{Append, Appended, EventLog, LogError};
use crate::registry::Registry;
use crate::view::ExecutionView;
use crate::workflow::Workflow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use ulid::Ulid;

type Draw = dyn Fn() -> u128 + Send + Sync;

/// One engine on one opening of an event log.
#[derive(Clone)]
pub struct Engine {
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    draw: Arc<Draw>,
    at_once: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    drives: AtomicU64,
    driven: Mutex<BTreeMap<ExecutionId, Arc<Desk>>>,
}

impl Shared {
    fn driven(&self) -> MutexGuard<'_, BTreeMap<ExecutionId, Arc<Desk>>> {
        self.driven.lock().expect("no code panics while it holds this lock")
    }
}

/// Of what, by whom and why an execution is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is about, for example a cluster's name.
    pub subject: String,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Takes a drive off the list, however it ended.
struct Driven<'e> {
    shared: &'e Shared,
    execution: &'e ExecutionId,
}

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        let desk = self.shared.driven().remove(self.execution);
        if let Some(desk) = desk {
            desk.close();
        }
    }
}

impl Engine {
    /// On this log, with this time.
    pub fn new(log: Arc<dyn EventLog>, clock: Arc<dyn Clock>) -> Self {
        let draw: Arc<Draw> = Arc::new(|| Ulid::generate().random());
        Self { log, clock, draw, at_once: usize::MAX, shared: Arc::default() }
    }

    /// Members of a group that act at the same time are at most so many, whatever the workflow allows. In Down it does not hold: a
    /// control plane may come up only as a whole, and nobody is waited for there.
    #[must_use]
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    /// Draws ids from elsewhere, for tests.
    #[must_use]
    pub fn with_draw(self, draw: impl Fn() -> u128 + Send + Sync + 'static) -> Self {
        Self { draw: Arc::new(draw), ..self }
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// Where time comes from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Begins a history; durable when it answers. Nothing runs until it is driven.
    pub async fn start<W: Workflow>(&self, workflow: &W, start: Start) -> Result<ExecutionId, Interruption> {
        let execution = ExecutionId::new(Ulid::from_parts(self.clock.now().0, (self.draw)()).to_string());
        self.start_as(&execution, workflow, start).await?;
        Ok(execution)
    }

    /// The same under an id that was known before: where that history is there already it stays as it is, and this is a conflict.
    pub async fn start_as<W: Workflow>(
        &self,
        execution: &ExecutionId,
        workflow: &W,
        start: Start,
    ) -> Result<(), Interruption> {
        let input = Json::of(workflow).map_err(|e| LogError::Unknown(format!("the input cannot be encoded: {e}")))?;
        let event = Event::ExecutionStarted {
            workflow: W::NAME.to_owned(),
            version: W::VERSION,
            subject: start.subject,
            input,
            by: start.by,
            reason: start.reason,
            trace_id: format!("{:032x}", (self.draw)()),
        };
        self.append(execution, 0, vec![event]).await
    }

    /// The whole history.
    pub async fn history(&self, execution: &ExecutionId) -> Result<Vec<Record>, LogError> {
        let _busy = self.clock.busy();
        self.log.read(execution, 0).await
    }

    /// What the history says; `None` if there is none.
    pub async fn view(&self, execution: &ExecutionId) -> Result<Option<ExecutionView>, Interruption> {
        Ok(ExecutionView::of(&self.history(execution).await?)?)
    }

    /// Whether this engine drives it now.
    pub fn drives(&self, execution: &ExecutionId) -> bool {
        self.shared.driven().contains_key(execution)
    }

    /// Drives an execution, with an operator's word if there is one, until it rests or must be left as it is.
    ///
    /// Dropping the future is the same as a crash of the process: the next drive goes on.
    pub async fn drive<E: Send + Sync + 'static>(
        &self,
        execution: &ExecutionId,
        env: Arc<E>,
        registry: &Registry<E>,
        word: Option<Word>,
    ) -> Rest {
        let desk = Arc::new(Desk::default());
        {
            let mut driven = self.shared.driven();
            if driven.contains_key(execution) {
                return Rest::Interrupted { why: Interruption::Driven, down: false };
            }
            driven.insert(execution.clone(), desk.clone());
        }
        let _driven = Driven { shared: &self.shared, execution };
        let journal = match self.open(execution).await {
            Ok(journal) => journal,
            Err(why) => return Rest::Interrupted { why, down: false },
        };
        let down = journal.state.is_down();
        match Drive::new(journal, env, registry, desk, self.at_once) {
            Ok(drive) => drive.drive(word).await,
            Err(why) => Rest::Parked { why, down },
        }
    }

    /// Claims a history and reads it.
    async fn open(&self, execution: &ExecutionId) -> Result<Journal, Interruption> {
        let _busy = self.clock.busy();
        let owner = self.log.claim(execution).await?;
        let records = self.log.read(execution, 0).await?;
        let drive = self.shared.drives.fetch_add(1, Ordering::SeqCst) + 1;
        let (log, clock) = (self.log.clone(), self.clock.clone());
        Ok(Journal::new(log, clock, owner, drive, execution.clone(), &records)?)
    }

    /// Says a word of an execution. One that this engine drives gets it as a request to its driver; one that rests has it recorded
    /// without being driven. Answers when it is durable.
    pub async fn say(&self, execution: &ExecutionId, word: Word) -> Result<(), Refused> {
        let desk = self.shared.driven().get(execution).cloned();
        if let Some(desk) = desk {
            return desk.ask(word).await;
        }
        let records = self.history(execution).await?;
        let state = State::of(records.iter().map(|r| &r.event))?;
        let rests = matches!(state.status, Status::Waiting { .. } | Status::Stuck { .. });
        // A roll-back is looked at by the workflow first, which needs a drive.
        let rests = rests && !matches!(word, Word::RollBack { .. });
        let event = word.event(&self.log.incarnations().0);
        let event = event.filter(|_| rests || state.status.ended()).ok_or(Refused::NotDriven)?;
        state.apply(&event)?;
        match self.append(execution, records.len() as Seq, vec![event]).await {
            Ok(()) => Ok(()),
            Err(Interruption::Fenced(owner)) => Err(Refused::Fenced(owner)),
            Err(Interruption::Log(error)) => Err(Refused::Log(error)),
            Err(_) => Err(Refused::Driven),
        }
    }

    /// Ends the drive as if the process had ended. False if nobody here drives it.
    pub fn interrupt(&self, execution: &ExecutionId) -> bool {
        let desk = self.shared.driven().get(execution).cloned();
        desk.map(|desk| desk.interrupt()).is_some()
    }

    /// Ends the drive as soon as the control plane is up, running steps having ended; at once only if it rests in a wait.
    /// Nothing is recorded of it. False if nobody here drives it.
    pub fn leave_when_up(&self, execution: &ExecutionId) -> bool {
        let desk = self.shared.driven().get(execution).cloned();
        desk.map(|desk| desk.leave_when_up()).is_some()
    }

    async fn append(&self, execution: &ExecutionId, expected: Seq, events: Vec<Event>) -> Result<(), Interruption> {
        let _busy = self.clock.busy();
        let owner = self.log.claim(execution).await?;
        let append = Append { execution: execution.clone(), expected, owner, time: self.clock.now(), events };
        match self.log.append(append).await? {
            Appended::Appended(_) => Ok(()),
            Appended::Fenced { owner } => Err(Interruption::Fenced(owner)),
            Appended::Conflict { actual } => Err(Interruption::Conflict { actual, known: expected }),
        }
    }
}

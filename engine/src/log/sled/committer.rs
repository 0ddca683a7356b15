//! The one thread that owns the store: it groups appends, syncs once for all of them, and only then answers.

use super::anchor::{Anchor, Mark};
use super::opening::Timed;
use super::store::{self, End, Store};
use super::tail::Tail;
use super::{Reply, look};
use crate::event::{Event, Record};
use crate::ids::{ExecutionId, Incarnation, Seq};
use crate::log::envelope::{self, Chain, Place};
use crate::log::{Append, Appended, Head, LogError, MAX_APPEND, Owner};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Bytes that one sync may cover. Far below sled's segment of 512 KiB: sled reuses a segment two segments later, and
/// what replaces it must have been synced by us before.
const GROUP: usize = 128 * 1024;

/// What the thread is asked.
pub enum Request {
    /// Add events.
    Append(Append, Reply<Appended>),
    /// A whole history, checked, with the bytes of each record.
    Read(ExecutionId, Reply<Vec<(Vec<u8>, envelope::Opened)>>),
    /// The length of each history.
    Heads(Reply<Vec<Head>>),
    /// The right to write a history.
    Claim(ExecutionId, Reply<Owner>),
}

/// The thread's state.
pub struct Committer {
    pub(super) store: Store,
    pub(super) anchor: Anchor,
    pub(super) tail: Arc<Tail>,
    pub(super) incarnation: Incarnation,
    /// The end of each history, with what is staged.
    pub(super) ends: BTreeMap<ExecutionId, End>,
    pub(super) owners: BTreeMap<ExecutionId, Owner>,
    /// The last term that was given.
    pub(super) term: u64,
    /// What the anchor should hold, with what is staged.
    pub(super) mark: Mark,
    pub(super) staged: Vec<Staged>,
    pub(super) commits: Option<Timed>,
    /// Why nothing is written any more: after a failed sync nobody knows what is on the disk.
    pub(super) broken: Option<String>,
}

/// An append that is in the store but not yet synced.
pub struct Staged {
    records: Vec<Record>,
    reply: Reply<Appended>,
    bytes: usize,
}

/// The records of an append, their stored bytes, and where the history ends then.
type Sealed = (Vec<Record>, Vec<Vec<u8>>, End);

impl Committer {
    /// Serves until every sender is gone, then closes the store.
    pub fn serve(mut self, requests: &mpsc::Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            self.handle(first);
            while self.staged_bytes() < GROUP {
                let Ok(next) = requests.try_recv() else { break };
                self.handle(next);
            }
            self.commit();
        }
        if self.broken.is_none() {
            // Nobody is left to tell; the unsynced slot holds the same.
            let _ = self.anchor.sync(&self.mark);
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Append(append, reply) => self.append(&append, reply),
            other => {
                // What they are told must be durable.
                self.commit();
                self.answer(other);
            }
        }
    }

    /// A caller who went away misses the answer; that is its own choice.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Append(..) => {}
            Request::Read(execution, reply) => drop(reply.send(self.read(&execution))),
            Request::Heads(reply) => {
                let head = |(execution, end): (&ExecutionId, &End)| Head { execution: execution.clone(), len: end.len };
                let _ = reply.send(self.usable().map(|()| self.ends.iter().map(head).collect()));
            }
            Request::Claim(execution, reply) => {
                self.term += 1;
                let owner = Owner { incarnation: self.incarnation.clone(), term: self.term };
                self.owners.insert(execution, owner.clone());
                let _ = reply.send(self.usable().map(|()| owner));
            }
        }
    }

    fn usable(&self) -> Result<(), LogError> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(LogError::Unknown(why.clone())))
    }

    fn read(&self, execution: &ExecutionId) -> Result<Vec<(Vec<u8>, envelope::Opened)>, LogError> {
        self.usable()?;
        let Some(end) = self.ends.get(execution) else { return Ok(Vec::new()) };
        look::history(&self.store, execution, end)
    }

    fn append(&mut self, append: &Append, reply: Reply<Appended>) {
        match self.decide(append) {
            Ok(None) => self.stage(append, reply),
            Ok(Some(answer)) => drop(reply.send(Ok(answer))),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    /// The answer, unless it is to be written.
    fn decide(&mut self, append: &Append) -> Result<Option<Appended>, LogError> {
        self.usable()?;
        let nobody = Owner { incarnation: self.incarnation.clone(), term: 0 };
        let owner = self.owners.get(&append.execution).unwrap_or(&nobody);
        if append.owner != *owner {
            return Ok(Some(Appended::Fenced { owner: owner.clone() }));
        }
        let len = self.ends.get(&append.execution).map_or(0, |end| end.len);
        if append.expected == len && !append.events.is_empty() {
            return Ok(None);
        }
        if append.expected < len && !append.events.is_empty() {
            self.commit();
            self.usable()?;
            if let Some(records) = self.standing(append)? {
                return Ok(Some(Appended::Appended(records)));
            }
        }
        Ok(Some(Appended::Conflict { actual: len }))
    }

    /// The records of an earlier append of the very same events at the very same place.
    fn standing(&self, append: &Append) -> Result<Option<Vec<Record>>, LogError> {
        let records = self.read(&append.execution)?.into_iter().map(|(_, opened)| opened.record);
        let first = usize::try_from(append.expected).unwrap_or(usize::MAX);
        let records: Vec<Record> = records.skip(first).take(append.events.len()).collect();
        Ok(records.iter().map(|r| &r.event).eq(&append.events).then_some(records))
    }

    fn stage(&mut self, append: &Append, reply: Reply<Appended>) {
        let (records, sealed, end) = match self.seal(append) {
            Ok(sealed) => sealed,
            Err(e) => return drop(reply.send(Err(e))),
        };
        let value = store::pack(&sealed);
        if value.len() > MAX_APPEND {
            return drop(reply.send(Err(LogError::TooLarge(value.len()))));
        }
        self.mark = Mark { commit: end.place.commit, total: end.place.total, chain: end.chain, ..self.mark };
        self.ends.insert(append.execution.clone(), end);
        let put = self.store.put(&append.execution, append.expected, &value);
        self.staged.push(Staged { records, reply, bytes: value.len() });
        if let Err(e) = put {
            self.fail(&e);
        }
    }

    fn seal(&self, append: &Append) -> Result<Sealed, LogError> {
        let before = self.ends.get(&append.execution);
        let time = before.map_or(append.time, |end| end.time.max(append.time));
        let place = Place { commit: self.mark.commit + 1, total: self.mark.total + append.events.len() as u64 };
        let mut chain = before.map_or(Chain::default(), |end| end.chain);
        let (mut records, mut sealed) = (Vec::new(), Vec::new());
        for (seq, event) in (append.expected..).zip(&append.events) {
            let record = self.record(append, seq, time, event);
            let (bytes, next) = envelope::seal(&record, place, chain).map_err(|_| LogError::TooLarge(usize::MAX))?;
            chain = next;
            records.push(record);
            sealed.push(bytes);
        }
        let ended = append.events.last().is_some_and(store::ends_history);
        let len = append.expected + records.len() as Seq;
        Ok((records, sealed, End { len, chain, time, place, ended }))
    }

    fn record(&self, append: &Append, seq: Seq, time: crate::clock::Timestamp, event: &Event) -> Record {
        let (execution, incarnation) = (append.execution.clone(), self.incarnation.clone());
        Record { execution, seq, time, incarnation, event: event.clone() }
    }

    fn staged_bytes(&self) -> usize {
        self.staged.iter().map(|s| s.bytes).sum()
    }

    /// Syncs what is staged, notes it, publishes it and answers.
    fn commit(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let begun = Instant::now();
        if let Err(e) = self.store.sync() {
            return self.fail(&e);
        }
        let rest = self.staged.iter().flat_map(|s| &s.records).any(|r| anchors(&r.event));
        if let Err(e) = self.anchor.note(&self.mark, false) {
            return self.fail(&e);
        }
        for staged in std::mem::take(&mut self.staged) {
            self.tail.publish(&staged.records);
            let _ = staged.reply.send(Ok(Appended::Appended(staged.records)));
        }
        if let Some(timed) = &self.commits {
            timed(begun.elapsed());
        }
        // After the answers: whoever waits for them need not wait for a second sync.
        if rest && let Err(e) = self.anchor.sync(&self.mark) {
            self.fail(&e);
        }
    }

    /// Never again after a failed write or sync: the kernel may have dropped what it could not write.
    fn fail(&mut self, e: &LogError) {
        let why = e.to_string();
        for staged in std::mem::take(&mut self.staged) {
            let _ = staged.reply.send(Err(LogError::Unknown(why.clone())));
        }
        self.broken = Some(why);
    }
}

/// Whether the anchor is synced after this event: phase starts, and wherever an execution rests.
fn anchors(event: &Event) -> bool {
    use Event::{Completed, ExecutionStarted, PhaseStarted, RollBackStarted, RolledBack, Stuck, WaitStarted};
    matches!(
        event,
        ExecutionStarted { .. }
            | PhaseStarted { .. }
            | WaitStarted { .. }
            | Stuck { .. }
            | RollBackStarted { .. }
            | RolledBack { .. }
            | Completed { .. }
    )
}

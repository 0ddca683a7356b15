//! The only place where a drive writes: what rides waits here for the next intent, and nothing is written that may not follow.

use super::fences::Fences;
use super::rest::{Interruption, Parked};
use crate::book::{self, Book};
use crate::clock::{Clock, Timestamp};
use crate::event::{Event, Json, Record, RollBackCause, StuckCause, Zone};
use crate::execution::{Illegal, State};
use crate::ids::{ExecutionId, Incarnation, Seq};
use crate::log::{Append, Appended, EventLog, MAX_APPEND, Owner};
use std::sync::Arc;
use std::time::Duration;

/// Larger lists of events that need not stand together are appended in pieces.
const PIECE: usize = MAX_APPEND * 3 / 4;

/// What ends a pass of the code; the reason stands in the journal, so that no workflow can read it.
#[derive(Debug)]
pub(crate) enum Halted {
    /// A consequence was recorded; the state says which.
    Turned,
    /// History and code do not match.
    Parked(Parked),
    /// The engine must end.
    Interrupted(Interruption),
}

/// A history that is being written.
pub(crate) struct Journal {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) execution: ExecutionId,
    pub(crate) owner: Owner,
    pub(crate) book: Book,
    pub(crate) state: State,
    pub(crate) fences: Arc<Fences>,
    /// What the way forward ended with.
    pub(crate) output: Option<Json>,
    /// What began it.
    pub(crate) first: Option<Event>,
    /// Events that are durable.
    len: Seq,
    /// Events that ride: they count as having happened, and a crash forgets them.
    riding: Vec<Event>,
    /// Syncs that may be spent on results alone, one a step and one a retry being the limit.
    credit: i64,
    /// When Down was entered, or this drive began in it.
    down_since: Option<Duration>,
}

impl Journal {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        owner: Owner,
        drive: u64,
        execution: ExecutionId,
        records: &[Record],
    ) -> Result<Self, Illegal> {
        let fences = Arc::new(Fences::new(log.incarnations().1.len(), drive));
        let mut book = Book::default();
        for record in records {
            book.add(record.seq, record.time, &record.event);
        }
        let state = State::of(records.iter().map(|r| &r.event))?;
        let len = records.len() as Seq;
        fences.grow(len);
        let down_since = state.is_down().then(|| clock.monotonic());
        let first = records.first().map(|r| r.event.clone());
        let output = match records.last().map(|r| &r.event) {
            Some(Event::Completed { output, .. }) => Some(output.clone()),
            _ => None,
        };
        let (riding, credit) = (Vec::new(), 0);
        Ok(Self { log, clock, execution, owner, book, state, fences, output, first, len, riding, credit, down_since })
    }

    pub(crate) fn incarnation(&self) -> &Incarnation {
        &self.owner.incarnation
    }

    /// The trace of the execution, as its first event names it.
    pub(crate) fn trace_id(&self) -> &str {
        match &self.first {
            Some(Event::ExecutionStarted { trace_id, .. }) => trace_id,
            _ => "",
        }
    }

    /// Whether the table allows the event now.
    pub(crate) fn allows(&self, event: &Event) -> Result<(), Illegal> {
        self.state.clone().apply(event).map(|_| ())
    }

    /// What is left of the outage that is allowed; `None` where there is no limit.
    pub(crate) fn outage_left(&self) -> Option<Duration> {
        match (self.state.back.is_some(), self.state.zone(), self.down_since) {
            (false, Zone::Down { max_outage, .. }, Some(since)) => {
                Some(max_outage.saturating_sub(self.clock.monotonic().saturating_sub(since)))
            }
            _ => None,
        }
    }

    fn apply(&mut self, event: &Event) -> Result<(), Halted> {
        let state = std::mem::take(&mut self.state);
        self.state = state.apply(event).map_err(|illegal| Halted::Interrupted(illegal.into()))?;
        if matches!(event, Event::ZoneEntered { zone: Zone::Down { .. }, .. }) {
            self.down_since = Some(self.clock.monotonic());
        }
        Ok(())
    }

    /// An event that is committed together with the next intent.
    pub(crate) fn ride(&mut self, event: Event) -> Result<(), Halted> {
        self.apply(&event)?;
        self.book.add(self.len + self.riding.len() as Seq, Timestamp::default(), &event);
        self.riding.push(event);
        Ok(())
    }

    /// Commits what rides, before the engine waits or rests.
    pub(crate) async fn flush(&mut self) -> Result<(), Halted> {
        let riding = std::mem::take(&mut self.riding);
        self.write_in_pieces(riding).await
    }

    /// Commits what rides if a sync may be spent on it.
    pub(crate) async fn flush_on_credit(&mut self) -> Result<(), Halted> {
        if self.riding.is_empty() || self.credit < 1 {
            return Ok(());
        }
        self.flush().await
    }

    /// Commits intents, and what rides with them. They need not stand in one append.
    pub(crate) async fn intend(&mut self, intents: Vec<Event>) -> Result<(), Halted> {
        self.begin(&intents)?;
        let mut events = std::mem::take(&mut self.riding);
        events.extend(intents);
        self.write_in_pieces(events).await
    }

    /// Commits events that stand or fall together, and what rides before them.
    pub(crate) async fn commit(&mut self, events: Vec<Event>) -> Result<(), Halted> {
        if size(&self.riding) + size(&events) > PIECE {
            self.flush().await?;
        }
        self.begin(&events)?;
        let mut all = std::mem::take(&mut self.riding);
        all.extend(events);
        self.write(all).await
    }

    /// Asserts before the write that each may follow.
    fn begin(&mut self, events: &[Event]) -> Result<(), Halted> {
        for (event, seq) in events.iter().zip(self.len + self.riding.len() as Seq..) {
            self.apply(event)?;
            if book::rides(event) {
                self.book.add(seq, Timestamp::default(), event);
            }
        }
        Ok(())
    }

    async fn write_in_pieces(&mut self, events: Vec<Event>) -> Result<(), Halted> {
        let mut piece = Vec::new();
        let mut bytes = 0;
        for event in events {
            let more = size(std::slice::from_ref(&event));
            if bytes + more > PIECE && !piece.is_empty() {
                self.write(std::mem::take(&mut piece)).await?;
                bytes = 0;
            }
            bytes += more;
            piece.push(event);
        }
        if piece.is_empty() { Ok(()) } else { self.write(piece).await }
    }

    /// Appends; whatever is not clearly durable ends the drive.
    async fn write(&mut self, events: Vec<Event>) -> Result<(), Halted> {
        let intents =
            events.iter().filter(|e| matches!(e, Event::StepStarted { .. } | Event::StepRetried { .. })).count();
        let append = Append {
            execution: self.execution.clone(),
            expected: self.len,
            owner: self.owner.clone(),
            time: self.clock.now(),
            events,
        };
        let busy = self.clock.busy();
        let appended = self.log.append(append).await;
        drop(busy);
        let records = match appended {
            Ok(Appended::Appended(records)) => records,
            Ok(Appended::Fenced { owner }) => return Err(Halted::Interrupted(Interruption::Fenced(owner))),
            Ok(Appended::Conflict { actual }) => {
                return Err(Halted::Interrupted(Interruption::Conflict { actual, known: self.len }));
            }
            Err(error) => return Err(Halted::Interrupted(error.into())),
        };
        for record in &records {
            self.book.written(record);
        }
        self.len += records.len() as Seq;
        self.fences.grow(self.len);
        self.credit += i64::try_from(intents).unwrap_or(i64::MAX) - 1;
        Ok(())
    }

    /// Commits a way back, or a wait for an operator, with the events that it follows from.
    pub(crate) async fn turn(&mut self, mut events: Vec<Event>, turn: Turn) -> Halted {
        events.push(match turn {
            Turn::Stuck(cause) => Event::Stuck { cause },
            Turn::Back(cause) => Event::RollBackStarted { cause },
        });
        self.commit(events).await.err().unwrap_or(Halted::Turned)
    }
}

/// What an execution turns to.
pub(crate) enum Turn {
    Stuck(StuckCause),
    Back(RollBackCause),
}

fn size(events: &[Event]) -> usize {
    events.iter().map(|event| Json::of(event).map_or(0, |json| json.0.len())).sum()
}

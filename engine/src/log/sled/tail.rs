//! The newest records, kept in memory for those who follow.

use crate::event::Record;
use crate::ids::Incarnation;
use crate::log::{Cursor, Followed, LogError};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Records kept; a follower that lags further reads the histories again.
const KEPT: usize = 4096;
/// Records given at once.
const AT_ONCE: usize = 256;

/// Records of this opening in the order in which they were written.
pub struct Tail {
    incarnation: Incarnation,
    kept: Mutex<Kept>,
    /// How many records there were in all; its receivers wake at a change.
    count: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// The number of the first record that is kept.
    first: u64,
    records: VecDeque<Record>,
}

impl Tail {
    /// Nothing was written yet.
    pub fn new(incarnation: Incarnation) -> Self {
        Self { incarnation, kept: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Adds records that are durable.
    pub fn publish(&self, records: &[Record]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.extend(records.iter().cloned());
        while kept.records.len() > KEPT {
            kept.records.pop_front();
            kept.first += 1;
        }
        let count = kept.first + kept.records.len() as u64;
        drop(kept);
        self.count.send_replace(count);
    }

    /// Waits for records after the cursor.
    pub async fn follow(&self, after: Option<&Cursor>) -> Result<Followed, LogError> {
        let mut count = self.count.subscribe();
        let next = match after {
            None => None,
            Some(cursor) => match self.number(cursor) {
                None => return Ok(Followed::TooOld),
                next => next,
            },
        };
        loop {
            if let Some(found) = self.after(next) {
                return Ok(found);
            }
            let closed = |_| LogError::Unknown("the event log was closed".into());
            count.changed().await.map_err(closed)?;
        }
    }

    fn after(&self, next: Option<u64>) -> Option<Followed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.unwrap_or(kept.first);
        let Some(skip) = next.checked_sub(kept.first) else { return Some(Followed::TooOld) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let records: Vec<_> = kept.records.iter().skip(skip).take(AT_ONCE).cloned().collect();
        if records.is_empty() {
            return None;
        }
        let cursor = Cursor(format!("{}:{}", self.incarnation, next + records.len() as u64));
        Some(Followed::Records(records, cursor))
    }

    /// Records of another opening are not kept, so a cursor of another opening is too old.
    fn number(&self, cursor: &Cursor) -> Option<u64> {
        let (incarnation, number) = cursor.0.rsplit_once(':')?;
        if incarnation == self.incarnation.as_str() { number.parse().ok() } else { None }
    }
}

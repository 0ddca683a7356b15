//! Time behind a trait, so that tests and the rehearsal fleet own it.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime};

/// A wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time and a bit.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Held while work is done that no clock sees, for example an append or the sealing of a file.
///
/// A clock that jumps when everything sleeps does not jump while one of these lives.
pub type Busy = Box<dyn Send + Sync>;

/// Where the engine and the activities take time from, and the only way they wait for it.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock; may jump.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start; never goes back. Deadlines are measured with it.
    fn monotonic(&self) -> Duration;
    /// Waits.
    fn sleep(&self, d: Duration) -> BoxFuture<'_, ()>;
    /// Says that work is going on which this clock does not see.
    fn busy(&self) -> Busy {
        Box::new(())
    }
}

/// The clock of the machine we run on.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}

//! Requests that were refused, as lines of an audit beside the stores, for no history has them. A thread writes them: a slow disk delays
//! nobody who asks.

use crate::audit::file::Audit;
use crate::audit::{BY_THE_DAEMON, Entry};
use k0rotate_engine::ids::ExecutionId;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may wait to be written.
const MOST_WAITING: usize = 256;
/// Lines that one user gets in [`A_WHILE`]: whoever may not, may not fill the disk either. The next line says how many more there were.
const MOST_OF_ONE_USER: u64 = 60;
/// See [`MOST_OF_ONE_USER`].
const A_WHILE: Duration = Duration::from_secs(60);

/// See the file's sentence.
pub struct Refusals {
    lines: SyncSender<Entry>,
    users: Mutex<BTreeMap<u32, (Instant, u64)>>,
}

impl Refusals {
    /// Beside the stores in this folder.
    pub fn begin(state: &Path) -> Result<Self, String> {
        let audit = Audit::open(state)?;
        let (lines, waiting) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new().name("refusals".into());
        thread.spawn(move || write(audit, &waiting)).map_err(|e| e.to_string())?;
        Ok(Self { lines, users: Mutex::default() })
    }

    /// Adds a line; never waits.
    pub fn add(&self, uid: u32, cluster: &str, who: String, what: &str, says: &str) {
        let Some(more) = self.turn_of(uid, Instant::now()) else { return };
        let why = (more > 0).then(|| format!("and {more} more in the minute before"));
        let nothing = Entry::outside(cluster, who);
        let line = Entry { why, about: Some(what.to_owned()), failure: Some(says.to_owned()), ..nothing };
        if self.lines.try_send(line).is_err() {
            tracing::error!(
                cluster,
                what,
                "was refused, and has no line in the audit: they come faster than they are written"
            );
        }
    }

    /// Whether this user gets a line now, and how many got none before it.
    fn turn_of(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = users.entry(uid).or_insert((now, 0));
        let mut more = 0;
        if now.duration_since(*since) >= A_WHILE {
            more = count.saturating_sub(MOST_OF_ONE_USER);
            (*since, *count) = (now, 0);
        }
        *count += 1;
        (*count <= MOST_OF_ONE_USER).then_some(more)
    }
}

fn write(mut audit: Audit, waiting: &Receiver<Entry>) {
    while let Ok(line) = waiting.recv() {
        if let Err(error) = audit.add(vec![line]) {
            tracing::error!("a refused request has no line in the audit: {error}");
        }
    }
}

impl Entry {
    /// About what is in no history.
    fn outside(cluster: &str, who: String) -> Self {
        Self {
            time: jiff::Timestamp::now().to_string(),
            cluster: cluster.to_owned(),
            execution: ExecutionId::new(String::new()),
            workflow: String::new(),
            event: 0,
            what: "refused".to_owned(),
            who,
            authenticated: Some(BY_THE_DAEMON.to_owned()),
            why: None,
            about: None,
            host: None,
            step: None,
            attempt: None,
            outcome: Some("refused".to_owned()),
            failure: None,
            plan: None,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            trace_id: String::new(),
            incarnation: String::new(),
            head: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that a user's lines are counted.

    use super::{A_WHILE, MOST_OF_ONE_USER, Refusals};
    use std::time::Instant;

    /// Goal: a user gets so many lines a minute, another one its own; the first of the next minute says how many had none.
    #[test]
    fn a_user_gets_so_many() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let refusals = Refusals::begin(dir.path()).expect("it is ours");
        let now = Instant::now();
        let got = (0..MOST_OF_ONE_USER + 5).filter(|_| refusals.turn_of(7, now).is_some()).count();
        assert_eq!(got as u64, MOST_OF_ONE_USER);
        assert_eq!((refusals.turn_of(8, now), refusals.turn_of(7, now + A_WHILE)), (Some(0), Some(5)));
    }
}

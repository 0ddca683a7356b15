//! Tells what histories say, behind a cursor: what happened while the daemon was away, or died, is told by the next one.

use super::command::tell;
use super::notice::Notice;
use crate::audit::Entry;
use crate::audit::entries::entries;
use crate::telemetry::courier::{Courier, Load};
use crate::telemetry::sent::Sent;
use async_trait::async_trait;
use k0rotate_engine::clock::Timestamp;
use k0rotate_engine::ids::{ExecutionId, Seq};
use k0rotate_engine::log::EventLog;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The cursor's name in the folder of the store.
const FILE: &str = "told.json";
/// What is older is nobody's news.
const NEWS: Duration = Duration::from_hours(24);

/// See the file's sentence.
struct Histories {
    command: PathBuf,
    /// Who may approve.
    approvers: Vec<String>,
    sent: Sent,
    /// What is older is nobody's news.
    since: Timestamp,
}

/// Begins to tell a command of the histories of the store in this folder; where that was never done, of what happens from now on.
pub fn begin(
    (command, approvers): (&Path, &[String]),
    dir: &Path,
    log: &Arc<dyn EventLog>,
    now: Timestamp,
) -> Option<Courier> {
    let (command, approvers, cursor) = (command.to_owned(), approvers.to_vec(), dir.join(FILE));
    let news = if cursor.exists() { NEWS } else { Duration::ZERO };
    let since = Timestamp(now.0.saturating_sub(u64::try_from(news.as_millis()).unwrap_or(0)));
    let load = move || Ok(Histories { command, approvers, sent: Sent::read(&cursor), since });
    Courier::send("notices", Arc::downgrade(log), load)
}

impl Histories {
    /// What is new: notices with the place after each, and at last the end of what was read. Before all of them, where the news of a history
    /// begins that was never told of: a daemon that dies while it tells the first leaves the next one that.
    async fn news(&self, log: &dyn EventLog) -> Result<Vec<(ExecutionId, Seq, Option<Notice>)>, String> {
        let (mut begins, mut all) = (Vec::new(), Vec::new());
        for head in log.heads().await.map_err(|e| e.to_string())? {
            let from = self.sent.of(&head.execution);
            if from >= head.len {
                continue;
            }
            let stored = log.stored(&head.execution).await.map_err(|e| e.to_string())?;
            let len = stored.len() as Seq;
            let entries = entries(&stored).map_err(|e| e.to_string())?;
            let is_old = |entry: &Entry| millis(&entry.time) < self.since.0;
            let first = entries.iter().find(|entry| !is_old(entry)).map_or(len, |entry| entry.event);
            begins.extend((from == 0).then(|| (head.execution.clone(), first, None)));
            let news = entries.into_iter().filter(|entry| entry.event >= from.max(first));
            let notices = news.filter_map(|entry| Some((entry.event + 1, Notice::of(entry, &self.approvers)?)));
            all.extend(notices.map(|(after, notice)| (head.execution.clone(), after, Some(notice))));
            all.push((head.execution, len, None));
        }
        begins.extend(all);
        Ok(begins)
    }
}

fn millis(time: &str) -> u64 {
    let at = time.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    at.unwrap_or(u64::MAX)
}

#[async_trait]
impl Load for Histories {
    const REST: u32 = 1;

    async fn carry(&mut self, log: &Weak<dyn EventLog>) -> Result<(), String> {
        // The store is not held open while the command runs.
        let Some(log) = log.upgrade() else { return Ok(()) };
        let news = self.news(&*log).await?;
        drop(log);
        for (execution, after, notice) in news {
            if let Some(notice) = notice {
                tell(&self.command, &notice).await;
            }
            self.sent.move_to(&execution, after)?;
        }
        Ok(())
    }
}

//! Takes away blobs that nobody needs: no history names them, for a process that was killed had stored them before it could say so, or only
//! histories that are over.

use super::{EventLog, LogError};
use crate::view::ExecutionView;
use std::collections::BTreeSet;

/// So long is a hash in hex.
const HASH_LEN: usize = 64;

/// Removes them and says how many there were. Nothing may be driven meanwhile: a step stores bytes before its result names them.
pub async fn remove(log: &dyn EventLog, is_over: impl Fn(&ExecutionView) -> bool) -> Result<usize, LogError> {
    let mut named = BTreeSet::new();
    for head in log.heads().await? {
        let history = log.read(&head.execution, 0).await?;
        if ExecutionView::of(&history).ok().flatten().is_some_and(|view| is_over(&view)) {
            continue;
        }
        for record in history {
            let text = serde_json::to_string(&record.event).map_err(|e| LogError::Damaged(e.to_string()))?;
            let words = text.split(|c: char| !c.is_ascii_hexdigit());
            named.extend(words.filter(|word| word.len() == HASH_LEN).map(str::to_owned));
        }
    }
    let orphans: Vec<_> = log.blobs().await?.into_iter().filter(|blob| !named.contains(&blob.0)).collect();
    for orphan in &orphans {
        log.remove_blob(orphan).await?;
    }
    Ok(orphans.len())
}

#[cfg(test)]
mod tests {
    //! Shows what stays and what goes.

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Event, Json};
    use crate::ids::{ExecutionId, StepId};
    use crate::log::memory::MemoryStore;
    use crate::log::{Append, BlobHash};

    async fn append(log: &dyn EventLog, execution: &str, event: Event) {
        let execution = ExecutionId::new(execution);
        let owner = log.claim(&execution).await.unwrap();
        let append = Append { execution, expected: 0, owner, time: Timestamp(1), events: vec![event] };
        log.append(append).await.unwrap();
    }

    fn names(hash: &BlobHash) -> Json {
        Json::of(&serde_json::json!({"pair": {"key": hash}})).unwrap()
    }

    /// Goal: a blob that a history names stays, wherever in an event it stands; one that none names goes, and one that only those name that are over.
    #[tokio::test]
    async fn what_nobody_needs_is_taken_away() {
        let log = MemoryStore::new().open();
        let named = log.put_blob(b"a key that is in use").await.unwrap();
        let spent = log.put_blob(b"a key of an execution that is over").await.unwrap();
        let orphan = log.put_blob(b"a key that was sealed by a process killed before it could say so").await.unwrap();
        let step = StepId::new("make-trust/make-trust@cluster");
        append(&log, "x", Event::StepSucceeded { step, output: names(&named) }).await;
        let [workflow, subject, by, reason, trace_id] = ["rotate", "c", "ada", "why", "0"].map(str::to_owned);
        let started =
            Event::ExecutionStarted { workflow, version: 1, subject, input: names(&spent), by, reason, trace_id };
        append(&log, "y", started).await;

        assert_eq!(remove(&log, |_| false).await.unwrap(), 1);
        assert!(log.get_blob(&orphan).await.is_err() && log.get_blob(&spent).await.is_ok());
        assert_eq!(remove(&log, |view| view.execution.as_str() == "y").await.unwrap(), 1);
        assert!(log.get_blob(&spent).await.is_err() && log.get_blob(&named).await.is_ok());
    }
}

//! Takes away blobs that no history names: a process that was killed had stored them before it could say so.

use super::{EventLog, LogError};
use std::collections::BTreeSet;

/// So long is a hash in hex.
const HASH_LEN: usize = 64;

/// Removes them and says how many there were. Nothing may be driven meanwhile: a step stores bytes before its result names them.
pub async fn remove(log: &dyn EventLog) -> Result<usize, LogError> {
    let mut named = BTreeSet::new();
    for head in log.heads().await? {
        for record in log.read(&head.execution, 0).await? {
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

//! Tells what is in no history: refused requests, clusters that cannot be opened, executions that are parked. A queue that is short, and
//! full where the command is slow: what does not fit is dropped, which the log says.

use super::command::tell;
use super::command_of;
use super::notice::Notice;
use crate::config::Settings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Notices that may wait.
const MOST_WAITING: usize = 32;
/// Of each user a refusal is told once in this time: whoever may not, may not fill the queue either. The log has all.
const ONE_REFUSAL: Duration = Duration::from_secs(60);

/// See the file's sentence.
#[derive(Clone)]
pub struct Bell {
    queue: mpsc::Sender<(PathBuf, Notice)>,
    refused: Arc<Mutex<BTreeMap<u32, Instant>>>,
}

impl Bell {
    /// Must be called on a runtime.
    pub fn begin() -> Self {
        let (queue, mut waiting) = mpsc::channel::<(PathBuf, Notice)>(MOST_WAITING);
        tokio::spawn(async move {
            while let Some((command, notice)) = waiting.recv().await {
                tell(&command, &notice).await;
            }
        });
        Self { queue, refused: Arc::default() }
    }

    /// Tells it, if the cluster has somebody to tell. Never waits.
    pub fn ring(&self, settings: &Settings, notice: Notice) {
        let Some(command) = command_of(settings, &notice.cluster) else { return };
        if let Err(error) = self.queue.try_send((command, notice)) {
            let (_, notice) = error.into_inner();
            tracing::error!(cluster = notice.cluster, what = notice.what, "was not told: the queue is full");
        }
    }

    /// Tells that a request was refused.
    pub fn refused(&self, settings: &Settings, uid: u32, notice: Notice) {
        let now = Instant::now();
        {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.retain(|_, last| now.duration_since(*last) < ONE_REFUSAL);
            if refused.contains_key(&uid) {
                return;
            }
            refused.insert(uid, now);
        }
        self.ring(settings, notice);
    }
}

#[cfg(test)]
mod tests {
    //! Shows that the queue is short, and what fills it.

    use super::{Bell, MOST_WAITING};
    use crate::config::Settings;
    use crate::daemon::notify::notice::Notice;
    use std::fs;

    /// Goal: nobody who rings waits; what does not fit is dropped. A user who may not is heard once in a while, another one beside it; a cluster with nobody to tell takes no place.
    #[tokio::test]
    async fn the_queue_is_short() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("clusters")).expect("it is ours");
        fs::write(dir.path().join("clusters/red.toml"), "inventory = \"k\"\n").expect("it is ours");
        let blue = "inventory = \"k\"\n[notify]\ncommand = \"/nowhere\"\n";
        fs::write(dir.path().join("clusters/blue.toml"), blue).expect("it is ours");
        let settings = Settings::read(dir.path()).expect("it is right");
        let notice = |cluster| Notice::new(cluster, "parked", String::new());
        // Nothing is taken out meanwhile: this is the runtime's only thread.
        let (bell, waiting) = (Bell::begin(), |bell: &Bell| MOST_WAITING - bell.queue.capacity());
        bell.ring(&settings, notice("red"));
        assert_eq!(waiting(&bell), 0);
        (0..5).for_each(|_| bell.refused(&settings, 7, notice("blue")));
        bell.refused(&settings, 8, notice("blue"));
        assert_eq!(waiting(&bell), 2);
        (0..2 * MOST_WAITING).for_each(|_| bell.ring(&settings, notice("blue")));
        assert_eq!(waiting(&bell), MOST_WAITING);
    }
}

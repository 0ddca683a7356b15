//! A thread of its own that carries what is new, so that nothing that is slow or away outside delays a drive. There is no queue: what is
//! to be carried is read from the histories.

use async_trait::async_trait;
use k0rotate_engine::log::EventLog;
use std::sync::{Weak, mpsc as std_mpsc};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// How long is waited after a round: what comes meanwhile goes together.
const PAUSE: Duration = Duration::from_secs(1);
/// After a failure it is tried again this much later at the earliest, then twice as late, up to [`LATEST`].
const AGAIN: Duration = Duration::from_secs(5);
/// See [`AGAIN`].
const LATEST: Duration = Duration::from_secs(60);
/// How long the end of a process is held up by a last round. What is not carried by then is carried by the next process.
pub const LAST_MOMENT: Duration = Duration::from_secs(2);

/// What a courier carries.
#[async_trait]
pub trait Load: Send + 'static {
    /// A round that took long is followed by a pause so many times as long: reading a long history must not keep the store busy.
    const REST: u32 = 10;

    /// Carries all that is new. It must be safe to carry it once more.
    async fn carry(&mut self, log: &Weak<dyn EventLog>) -> Result<(), String>;
}

/// See the file's sentence. Dropped, it gets a last moment.
pub struct Courier {
    what: &'static str,
    nudges: mpsc::Sender<()>,
    end: Option<oneshot::Sender<()>>,
    ended: Option<Instant>,
    done: std_mpsc::Receiver<Result<(), String>>,
}

impl Courier {
    /// Sends one on its way; what was missed is carried at once. `load` is made on its thread.
    pub fn send<L: Load>(
        what: &'static str,
        log: Weak<dyn EventLog>,
        load: impl FnOnce() -> Result<L, String> + Send + 'static,
    ) -> Option<Self> {
        let (nudges, heard) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let (say, done) = std_mpsc::channel();
        let thread = std::thread::Builder::new().name(what.to_owned());
        let begun = thread.spawn(move || {
            // Nobody listens where the process did not wait.
            let _ = say.send(run(&log, load, heard, ended));
        });
        match begun {
            Ok(_) => Some(Self { what, nudges, end: Some(end), ended: None, done }),
            Err(error) => {
                eprintln!("· no {what} are sent: {error}");
                None
            }
        }
    }

    /// Something new is there. One nudge that waits is enough.
    pub fn nudge(&self) {
        let _ = self.nudges.try_send(());
    }
}

impl Courier {
    /// Its last moment begins: of several, all at the same time.
    pub fn end(&mut self) {
        drop(self.end.take());
        self.ended.get_or_insert_with(Instant::now);
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.end();
        let left = self.ended.map_or(LAST_MOMENT, |ended| LAST_MOMENT.saturating_sub(ended.elapsed()));
        let said = match self.done.recv_timeout(left) {
            Ok(said) => said,
            Err(_) => Err("no answer yet".to_owned()),
        };
        if let Err(why) = said {
            let what = self.what;
            eprintln!("· not all {what} were taken ({why}); the next verb that drives this cluster sends the rest");
        }
    }
}

fn run<L: Load>(
    log: &Weak<dyn EventLog>,
    load: impl FnOnce() -> Result<L, String>,
    nudged: mpsc::Receiver<()>,
    ended: oneshot::Receiver<()>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let load = load()?;
        serve(log, load, nudged, ended).await
    })
}

/// Rounds until the end, and one more. Gives what became of the last.
async fn serve<L: Load>(
    log: &Weak<dyn EventLog>,
    mut load: L,
    mut nudged: mpsc::Receiver<()>,
    mut ended: oneshot::Receiver<()>,
) -> Result<(), String> {
    let mut failed = 0;
    loop {
        let begun = Instant::now();
        let carried = load.carry(log).await;
        let pause = match &carried {
            Ok(()) => {
                failed = 0;
                PAUSE.max(begun.elapsed() * L::REST)
            }
            Err(why) => {
                tracing::debug!(why, "not carried; tried again later");
                failed += 1;
                AGAIN.saturating_mul(1 << (failed - 1).min(8)).min(LATEST)
            }
        };
        tokio::select! {
            biased;
            _ = &mut ended => break,
            () = sleep(pause) => {}
        }
        if carried.is_err() {
            continue;
        }
        tokio::select! {
            biased;
            _ = &mut ended => break,
            _ = nudged.recv() => {}
        }
    }
    let last = Instant::now() + LAST_MOMENT;
    timeout_at(last, load.carry(log)).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

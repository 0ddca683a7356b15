//! The process of the tool that is to be killed: one at a time, and none for ever.

use crate::demo::stand::Stand;
use crate::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One process may take so long, by the clock on the wall.
pub const MOST_TIME: Duration = Duration::from_mins(3);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// SIGKILL.
const KILL: i32 = 9;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Killed where it was planned.
    Killed,
    /// By itself.
    By(ExitStatus),
    /// It took too long, and was killed for that.
    TooLate,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::By(status) => write!(f, "{status}"),
            Self::TooLate => f.write_str("took too long"),
        }
    }
}

/// See the file's sentence.
#[derive(Default)]
pub struct Tool(Arc<Mutex<Option<Child>>>);

fn locked(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tool {
    /// Kills it when called.
    pub fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let child = self.0.clone();
        move || {
            // One that has just ended by itself needs no kill.
            let _ = locked(&child).as_mut().map(Child::kill);
        }
    }

    /// Runs a verb until it ends, is killed, or takes longer than a process may or than is `left`.
    pub async fn run(&self, stand: &Stand, verb: &str, left: Duration) -> Result<End, Error> {
        let failed = |e: std::io::Error| Error::File("our own binary".into(), e.to_string());
        let binary = std::env::current_exe().map_err(failed)?;
        let said = stand.dir().join("said");
        let said = OpenOptions::new().create(true).append(true).mode(0o600).open(said).map_err(failed)?;
        let mut command = Command::new(binary);
        command.args(stand.flags()).args([verb, "--yes", "--reason", "chaos"]).stdin(Stdio::null());
        command.stdout(said.try_clone().map_err(failed)?).stderr(said);
        let begun = Instant::now();
        {
            // Held until the process is known: a kill that comes early waits for it.
            let mut child = locked(&self.0);
            *child = Some(command.spawn().map_err(failed)?);
        }
        loop {
            if let Some(status) = self.ended().map_err(failed)? {
                return Ok(if status.signal() == Some(KILL) { End::Killed } else { End::By(status) });
            }
            if begun.elapsed() > MOST_TIME.min(left) {
                self.killer()();
                let gone = locked(&self.0).as_mut().map(Child::wait).transpose();
                return gone.map(|_| End::TooLate).map_err(failed);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn ended(&self) -> std::io::Result<Option<ExitStatus>> {
        locked(&self.0).as_mut().map(Child::try_wait).transpose().map(Option::flatten)
    }
}

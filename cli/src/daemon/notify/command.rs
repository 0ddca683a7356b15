//! Runs the command that is told: JSON on its standard input, nothing of our environment, and a limit after which it is ended.

use super::notice::Notice;
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long the command may take; then it is ended, with all that it began.
pub const LONGEST_COMMAND: Duration = Duration::from_secs(10);
/// How long one that was ended is waited for.
const LAST: Duration = Duration::from_secs(1);
/// So many run at the same time, of all clusters.
const AT_ONCE: usize = 4;
/// Where it finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Tells it once. That it failed, or took too long, is told in the log and is nobody's error.
pub async fn tell(command: &Path, notice: &Notice) {
    let Ok(_turn) = TURNS.acquire().await else { return };
    let what = &notice.what;
    if let Err(why) = told(command, notice).await {
        let command = command.display();
        tracing::error!(cluster = notice.cluster, what, %command, "the command of [notify] was not told: {why}");
    }
}

async fn told(command: &Path, notice: &Notice) -> Result<(), String> {
    let mut line = serde_json::to_vec(notice).map_err(|e| e.to_string())?;
    line.push(b'\n');
    let mut command = Command::new(command);
    // What is set for us may hold what is not theirs: headers of collectors, paths of credentials.
    command.env_clear().env("PATH", PATH).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let stdin = child.stdin.take();
    let heard = async {
        if let Some(mut stdin) = stdin {
            // One that does not read has its reasons: its exit status says what came of it.
            let _ = stdin.write_all(&line).await;
            drop(stdin);
        }
        child.wait().await
    };
    match timeout(LONGEST_COMMAND, heard).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            end(&mut child).await;
            Err(format!("it was ended after {} s", LONGEST_COMMAND.as_secs()))
        }
    }
}

async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // It may have ended just now.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = timeout(LAST, child.wait()).await;
}

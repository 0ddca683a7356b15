//! Starts programs over one multiplexed SSH connection, opened when needed and again when lost.

use super::config::{self, HostKeys, SshDir, SshOptions};
use super::link::{As, Link, Started};
use crate::host::HostError;
use async_trait::async_trait;
use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder, Stdio};
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// How long ssh waits for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take in all, bastions and authentication included; below the grace of a look.
const OPEN_TIMEOUT: Duration = Duration::from_secs(18);
/// How often an idle connection is looked at; three silent looks end it.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a connection outlives us; the library's default is for ever.
const PERSIST_SECONDS: NonZeroUsize = NonZeroUsize::new(60).expect("60 is not 0");
/// Programs at once on a connection: sshd allows 10 by default.
const AT_ONCE: usize = 8;
/// A busy sshd counts sessions that have ended for a moment longer (seen on a real k0s): so often it is asked again, after a pause.
const REFUSALS: u32 = 20;
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A host over SSH.
pub struct Ssh {
    options: SshOptions,
    dir: Arc<SshDir>,
    open: Mutex<Option<Open>>,
    slots: Arc<Semaphore>,
}

#[derive(Clone)]
struct Open {
    session: Arc<Session>,
    sudo: bool,
}

impl Ssh {
    /// Connects when first asked.
    pub fn new(options: SshOptions, dir: Arc<SshDir>) -> Self {
        Self { options, dir, open: Mutex::new(None), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The connection, opened anew if it is gone. Holding the lock, so that one of many callers opens it.
    async fn session(&self) -> Result<Open, HostError> {
        let mut open = self.open.lock().await;
        if let Some(known) = open.as_ref()
            && known.session.check().await.is_ok()
        {
            return Ok(known.clone());
        }
        *open = None;
        let fresh = timeout(OPEN_TIMEOUT, self.connect()).await.map_err(|_| HostError::Unreachable)??;
        Ok(open.insert(fresh).clone())
    }

    async fn connect(&self) -> Result<Open, HostError> {
        let config = self.write_config()?;
        let destination = config::destination(&self.options)?;
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(match self.options.host_keys {
                HostKeys::Known => KnownHosts::Strict,
                HostKeys::AcceptNew => KnownHosts::Add,
            })
            .config_file(&config)
            .control_directory(self.dir.path())
            .control_persist(ControlPersist::IdleFor(PERSIST_SECONDS))
            .connect_timeout(CONNECT_TIMEOUT)
            .server_alive_interval(ALIVE_INTERVAL);
        let session = builder.connect_mux(destination).await;
        let _ = std::fs::remove_file(&config);
        let session = Arc::new(session.map_err(|e| not_connected(&e))?);
        let sudo = !is_root(&session).await?;
        Ok(Open { session, sudo })
    }

    /// A file of its own for each connection; ssh has read it when the connection stands.
    fn write_config(&self) -> Result<PathBuf, HostError> {
        let text = config::text(&self.options)?;
        let file = tempfile::Builder::new().prefix("config-").tempfile_in(self.dir.path());
        let kept = file.and_then(|mut f| {
            std::io::Write::write_all(&mut f, text.as_bytes())?;
            Ok(f.keep()?.1)
        });
        kept.map_err(|_| HostError::Refused("ssh-config".to_owned()))
    }

    /// Forgets a connection that failed, unless another stands in its place already.
    async fn forget(&self, failed: &Arc<Session>) {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|o| Arc::ptr_eq(&o.session, failed)) {
            *open = None;
        }
    }
}

/// Whether we are root there; a login that prints more than the number is understood too.
async fn is_root(session: &Session) -> Result<bool, HostError> {
    let output = session.command("id").arg("-u").output().await.map_err(|_| HostError::Unreachable)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().map(|uid| uid.trim() == "0").ok_or(HostError::Denied)
}

/// Why there is no connection; nothing was sent.
fn not_connected(error: &openssh::Error) -> HostError {
    let openssh::Error::Connect(io) = error else { return HostError::Unreachable };
    let text = io.to_string();
    if text.contains("Host key verification failed") || text.contains("host key is known") {
        HostError::HostKey
    } else if io.kind() == ErrorKind::PermissionDenied || text.contains("Permission denied") {
        HostError::Denied
    } else {
        HostError::Unreachable
    }
}

/// Whether sshd said no to one more session, before any program.
fn no_session(error: &openssh::Error) -> bool {
    matches!(error, openssh::Error::SshMux(e) if format!("{e:?}").starts_with("RequestFailure"))
}

/// Whether a program was not started, or may have been.
fn not_started(error: &openssh::Error) -> HostError {
    match error {
        error if no_session(error) => HostError::Unreachable,
        openssh::Error::InvalidCommand => HostError::Refused("argument".to_owned()),
        _ => HostError::Lost,
    }
}

#[async_trait]
impl Link for Ssh {
    async fn start(&self, who: As, argv: &[&str]) -> Result<Started, HostError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let open = self.session().await?;
        let sudo: &[&str] = if who == As::Root && open.sudo { &["sudo", "-n", "--"] } else { &[] };
        let all: Vec<&str> = sudo.iter().chain(argv).copied().collect();
        let mut tries = 0;
        let mut child = loop {
            let mut command = Arc::clone(&open.session).arc_command(all[0]);
            command.args(&all[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            match command.spawn().await {
                Ok(child) => break child,
                Err(error) if no_session(&error) && tries < REFUSALS => {
                    tries += 1;
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                Err(error) => {
                    self.forget(&open.session).await;
                    return Err(not_started(&error));
                }
            }
        };
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        Ok(Started {
            stdin: Box::new(stdin.expect("it is piped")),
            stdout: Box::new(stdout.expect("it is piped")),
            stderr: Box::new(stderr.expect("it is piped")),
            keep: Box::new((child, slot)),
        })
    }
}

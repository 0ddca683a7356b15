//! A host that notes what passes through it: secrets to learn, and what others on the machine could see.

use super::Marked;
use async_trait::async_trait;
use k0rotate_activities::host::{
    Change, Command, Fence, FileInfo, Host, HostError, Mark, Output, Process, TlsRequest, TlsSeen,
};
use k0rotate_activities::secret::Secret;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was noted of all hosts.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Notes>>);

/// The notes.
#[derive(Default)]
pub struct Notes {
    /// Every secret that went to a host or came from one.
    pub marked: Marked,
    /// Program and arguments of every command: others on the host can see them.
    pub argv: String,
    /// `Debug` of all that was asked and answered, and of every error.
    pub debug: String,
}

impl Seen {
    /// What was noted so far.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, command: &Command) {
        let mut notes = self.notes();
        notes.marked.learn(command.stdin.expose());
        let _ = writeln!(notes.argv, "{} {}", command.program, command.args.join(" "));
        let _ = writeln!(notes.debug, "{command:?}");
    }

    fn change(&self, change: &Change) {
        match change {
            Change::Write { bytes, .. } => self.notes().marked.learn(bytes.expose()),
            Change::Run(command) => self.command(command),
            _ => {}
        }
        let _ = writeln!(self.notes().debug, "{change:?}");
    }

    fn answer<T: std::fmt::Debug>(
        &self,
        answer: Result<T, HostError>,
        secret: impl Fn(&T) -> &[u8],
    ) -> Result<T, HostError> {
        let mut notes = self.notes();
        let _ = match &answer {
            Ok(answer) => {
                notes.marked.learn(secret(answer));
                writeln!(notes.debug, "{answer:?}")
            }
            Err(error) => writeln!(notes.debug, "{error:?} {error}"),
        };
        answer
    }
}

/// The host and the notes.
pub struct Watched(pub Arc<dyn Host>, pub Seen);

#[async_trait]
impl Host for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }
    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        self.1.command(&command);
        self.1.answer(self.0.exec(command).await, |output| &output.stdout)
    }
    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        self.1.answer(self.0.read(path).await, |read| read.as_ref().map_or(&[], Secret::expose))
    }
    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        self.0.files(roots).await
    }
    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        self.0.processes().await
    }
    async fn boot_id(&self) -> Result<String, HostError> {
        self.0.boot_id().await
    }
    async fn clock(&self) -> Result<u64, HostError> {
        self.0.clock().await
    }
    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        {
            let mut notes = self.1.notes();
            let key = request.identity.as_ref().map(|identity| &identity.key);
            key.into_iter().chain(&request.bearer).for_each(|secret| notes.marked.learn(secret.expose()));
            let _ = writeln!(notes.debug, "{request:?}");
        }
        self.1.answer(self.0.tls(request).await, |_| &[])
    }
    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        self.1.answer(self.0.tar_out(paths).await, Secret::expose)
    }
    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        self.0.mark().await
    }
    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        self.0.mark_replace(expected, new).await
    }
    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        changes.iter().for_each(|change| self.1.change(change));
        self.1.answer(self.0.change(fence, changes).await, |output| &output.stdout)
    }
    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError> {
        self.0.units_below(fence).await
    }
    async fn stop_unit(&self, name: &str) -> Result<(), HostError> {
        self.0.stop_unit(name).await
    }
}

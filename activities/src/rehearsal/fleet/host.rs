//! A simulated machine behind the trait that SSH stands behind too.

use super::Rehearsal;
use crate::host::{Change, Command, Fence, FileInfo, Host, HostError, Mark, Output, Process, TlsRequest, TlsSeen};
use crate::rehearsal::stage::ask::{Answer, OneChange, Question};
use crate::rehearsal::stage::{FlightId, LOOK};
use crate::secret::Secret;
use async_trait::async_trait;
use k0rotate_engine::clock::Clock;

pub(super) struct SimHost {
    fleet: Rehearsal,
    name: String,
}

impl SimHost {
    pub(super) fn new(fleet: Rehearsal, name: &str) -> Self {
        Self { fleet, name: name.to_owned() }
    }

    /// One look: a round trip, then what is found; unreachable hosts answer at once.
    async fn look(&self, question: Question) -> Result<Answer, HostError> {
        self.fleet.sleep(LOOK).await;
        self.fleet.ask(&self.name, question).await
    }

    async fn begin(&self, question: Question) -> Result<FlightId, HostError> {
        match self.look(question).await? {
            Answer::Begun(id) => Ok(id),
            _ => Err(odd()),
        }
    }
}

/// The stage answers each question in its own form; another one means that two versions talk to each other.
fn odd() -> HostError {
    HostError::Refused("odd-answer".to_owned())
}

#[async_trait]
impl Host for SimHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        let id = self.begin(Question::Exec(command)).await?;
        self.fleet.ended(id).await
    }

    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        match self.look(Question::Read(path.to_owned())).await? {
            Answer::Bytes(bytes) => Ok(bytes.map(|sent| sent.0)),
            _ => Err(odd()),
        }
    }

    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        match self.look(Question::Files(roots.to_vec())).await? {
            Answer::Files(files) => Ok(files),
            _ => Err(odd()),
        }
    }

    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        match self.look(Question::Processes).await? {
            Answer::Processes(processes) => Ok(processes),
            _ => Err(odd()),
        }
    }

    async fn boot_id(&self) -> Result<String, HostError> {
        match self.look(Question::BootId).await? {
            Answer::Text(id) => Ok(id),
            _ => Err(odd()),
        }
    }

    async fn clock(&self) -> Result<u64, HostError> {
        match self.look(Question::Clock).await? {
            Answer::Number(ms) => Ok(ms),
            _ => Err(odd()),
        }
    }

    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        match self.look(Question::Tls(request)).await? {
            Answer::Tls(seen) => Ok(seen),
            _ => Err(odd()),
        }
    }

    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        match self.look(Question::TarOut(paths.to_vec())).await? {
            Answer::Bytes(Some(sent)) => Ok(sent.0),
            _ => Err(odd()),
        }
    }

    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        match self.look(Question::Mark).await? {
            Answer::Mark(mark) => Ok(mark),
            _ => Err(odd()),
        }
    }

    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        self.look(Question::MarkReplace(expected.cloned(), new.cloned())).await.map(drop)
    }

    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        let changes = changes.into_iter().map(OneChange).collect();
        let id = self.begin(Question::Change(fence.clone(), changes)).await?;
        self.fleet.ended(id).await
    }

    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError> {
        match self.look(Question::UnitsBelow(fence.clone())).await? {
            Answer::Names(names) => Ok(names),
            _ => Err(odd()),
        }
    }

    async fn stop_unit(&self, name: &str) -> Result<(), HostError> {
        self.look(Question::StopUnit(name.to_owned())).await.map(drop)
    }
}

//! A simulated machine behind the trait that SSH stands behind too.

use super::Rehearsal;
use crate::host::{Change, Command, Fence, FileInfo, Host, HostError, Mark, Output, Process, TlsRequest, TlsSeen};
use crate::rehearsal::stage::{LOOK, Stage};
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
    async fn look<T>(&self, look: impl FnOnce(&mut Stage) -> Result<T, HostError>) -> Result<T, HostError> {
        self.fleet.sleep(LOOK).await;
        self.fleet.stage(|stage| {
            stage.reach(&self.name)?;
            look(stage)
        })
    }
}

#[async_trait]
impl Host for SimHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        let id = self.look(|stage| Ok(stage.begin_command(&self.name, &command))).await?;
        self.fleet.ended(id).await
    }

    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        self.look(|stage| Ok(stage.read(&self.name, path)?.map(Secret::new))).await
    }

    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        self.look(|stage| stage.files(&self.name, roots)).await
    }

    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        self.look(|stage| stage.processes(&self.name)).await
    }

    async fn boot_id(&self) -> Result<String, HostError> {
        self.look(|stage| Ok(stage.world.boot_id(&self.name))).await
    }

    async fn clock(&self) -> Result<u64, HostError> {
        self.look(|stage| Ok(stage.world.clock(&self.name))).await
    }

    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        self.look(|stage| stage.tls(&self.name, &request)).await
    }

    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        self.look(|stage| Ok(Secret::new(stage.world.tar_out(&self.name, paths)))).await
    }

    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        self.look(|stage| Ok(stage.mark(&self.name))).await
    }

    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        self.look(|stage| stage.mark_replace(&self.name, expected, new)).await
    }

    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        let id = self.look(|stage| Ok(stage.begin_change(&self.name, fence, changes))).await?;
        self.fleet.ended(id).await
    }

    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError> {
        self.look(|stage| Ok(stage.units_below(&self.name, fence))).await
    }

    async fn stop_unit(&self, name: &str) -> Result<(), HostError> {
        self.look(|stage| {
            stage.stop_unit(&self.name, name);
            Ok(())
        })
        .await
    }
}

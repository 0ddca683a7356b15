//! What is asked of a host in an attempt, as live spans below it: the host, the program and its exit status, never an argument.

use super::live::TARGET;
use super::names;
use super::spans::attempt_of;
use async_trait::async_trait;
use k0rotate_activities::host::{
    Change, Command, Fence, FileInfo, Host, HostError, Mark, Output, Process, TlsRequest, TlsSeen,
};
use k0rotate_activities::secret::Secret;
use k0rotate_engine::trying::Trying;
use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};
use std::sync::Arc;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A host of which is told what it is asked.
pub fn told(host: Arc<dyn Host>, address: &str) -> Arc<dyn Host> {
    Arc::new(Told { host, address: address.to_owned() })
}

struct Told {
    host: Arc<dyn Host>,
    address: String,
}

impl Told {
    /// A span of a program, or of what else is asked. Outside of an attempt nothing is told: it would be in no trace.
    fn begin(&self, asked: &'static str, program: Option<&str>) -> Span {
        let Some(trying) = Trying::now() else { return Span::none() };
        let program = program.map(|path| path.rsplit('/').next().unwrap_or_default());
        let span = tracing::debug_span!(
            target: TARGET, parent: None, "command", otel.name = program.unwrap_or(asked), otel.kind = "client"
        );
        // An error says that nobody takes spans.
        if span.set_parent(Context::new().with_remote_span_context(attempt_of(&trying))).is_ok() {
            program.into_iter().for_each(|program| span.set_attribute(names::PROGRAM, program.to_owned()));
            span.set_attribute(names::ASKED, asked);
            span.set_attribute(names::HOST, self.host.name().to_owned());
            span.set_attribute(names::ADDRESS, self.address.clone());
            span.set_attribute(names::STEP, trying.step.to_string());
        }
        span
    }

    async fn tell<T>(
        &self,
        asked: &'static str,
        program: Option<&str>,
        answer: impl Future<Output = Result<T, HostError>>,
        status: impl Fn(&T) -> Option<i32>,
    ) -> Result<T, HostError> {
        let span = self.begin(asked, program);
        let answer = answer.await;
        match &answer {
            Ok(answered) => {
                // A status that is not 0 is an answer to most looks, and what came of the attempt says whether it was an error.
                let status = status(answered).map(i64::from);
                status.into_iter().for_each(|status| span.set_attribute(names::EXIT_CODE, status));
            }
            Err(error) => {
                span.set_attribute(names::ERROR, code(error));
                span.set_status(Status::error(error.to_string()));
            }
        }
        answer
    }

    async fn look<T>(
        &self,
        asked: &'static str,
        answer: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        self.tell(asked, None, answer, |_| None).await
    }
}

/// As a failure calls it.
fn code(error: &HostError) -> &'static str {
    match error {
        HostError::Unreachable => "host-unreachable",
        HostError::Lost => "link-lost",
        HostError::Deadline => "host-slow",
        HostError::Fenced(_) => "host-fenced",
        HostError::Denied => "access-denied",
        HostError::HostKey => "host-key-unknown",
        HostError::Refused(_) => "host-refused",
    }
}

/// The program that a list of changes ends with.
fn program_of(changes: &[Change]) -> Option<String> {
    changes.iter().rev().find_map(|change| match change {
        Change::Run(command) => Some(command.program.clone()),
        _ => None,
    })
}

#[async_trait]
impl Host for Told {
    fn name(&self) -> &str {
        self.host.name()
    }

    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        let program = command.program.clone();
        self.tell("exec", Some(&program), self.host.exec(command), |output| Some(output.status)).await
    }

    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        self.look("read", self.host.read(path)).await
    }

    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        self.look("files", self.host.files(roots)).await
    }

    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        self.look("processes", self.host.processes()).await
    }

    async fn boot_id(&self) -> Result<String, HostError> {
        self.look("boot-id", self.host.boot_id()).await
    }

    async fn clock(&self) -> Result<u64, HostError> {
        self.look("clock", self.host.clock()).await
    }

    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        self.look("tls", self.host.tls(request)).await
    }

    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        self.look("tar", self.host.tar_out(paths)).await
    }

    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        self.look("mark", self.host.mark()).await
    }

    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        self.look("mark-replace", self.host.mark_replace(expected, new)).await
    }

    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        let program = program_of(&changes);
        let answer = self.host.change(fence, changes);
        self.tell("change", program.as_deref(), answer, |output| Some(output.status)).await
    }

    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError> {
        self.look("units", self.host.units_below(fence)).await
    }

    async fn stop_unit(&self, name: &str) -> Result<(), HostError> {
        self.look("stop-unit", self.host.stop_unit(name)).await
    }
}

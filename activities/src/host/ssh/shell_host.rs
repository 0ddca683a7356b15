//! A host asked through `sh`, whatever the way to it.

use super::link::Link;
use super::{Local, Ssh, SshDir, SshOptions, changes, frame, listing, mark, tls};
use crate::host::{
    COMMAND_DEADLINE, Change, Command, Fence, FileInfo, Host, HostError, Mark, Output, Process, TlsRequest, TlsSeen,
};
use crate::layout;
use crate::secret::Secret;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const READ: &str = include_str!("read.sh");
const FILES: &str = include_str!("files.sh");
const PROCESSES: &str = include_str!("processes.sh");
const TAR: &str = include_str!("tar.sh");
const MARK: &str = include_str!("mark.sh");

/// How long a listing with hashes, or an archive, may take.
const BULK_DEADLINE: Duration = Duration::from_secs(300);
/// How long a unit has to end by itself when it is stopped.
const UNIT_STOP_SECONDS: u64 = 5;

/// How a list of changes is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    /// As a transient unit of systemd.
    Systemd,
    /// As it is: where a test has no systemd.
    #[cfg(test)]
    Without,
}

/// A host asked through `sh`.
pub struct ShellHost<L> {
    name: String,
    link: L,
    home: String,
    units: Units,
    calls: AtomicU64,
}

impl ShellHost<Ssh> {
    /// A host over SSH; connects when first asked.
    pub fn over_ssh(name: &str, options: SshOptions, dir: Arc<SshDir>) -> Self {
        Self::new(name, Ssh::new(options, dir), layout::HOME, Units::Systemd)
    }
}

impl ShellHost<Local> {
    /// The machine that we run on.
    pub fn here(name: &str) -> Self {
        Self::new(name, Local, layout::HOME, Units::Systemd)
    }
}

impl<L: Link> ShellHost<L> {
    pub(super) fn new(name: &str, link: L, home: &str, units: Units) -> Self {
        Self { name: name.to_owned(), link, home: home.to_owned(), units, calls: AtomicU64::new(0) }
    }

    fn mark_path(&self) -> String {
        format!("{}/mark", self.home)
    }

    /// Runs one of our scripts, which fails only where the machine does.
    async fn script(&self, script: &str, args: &[&str], stdin: &[u8], limit: Duration) -> Result<Vec<u8>, HostError> {
        let command: Vec<&str> = ["sh", "-c", script, "k0rotate"].iter().chain(args).copied().collect();
        let output = frame::run(&self.link, &command, stdin, limit).await?;
        match output.status {
            0 => Ok(output.stdout),
            124 => Err(HostError::Deadline),
            _ => Err(HostError::Refused(changes::code(&output.stderr))),
        }
    }

    async fn look(&self, argv: &[&str]) -> Result<Output, HostError> {
        frame::run(&self.link, argv, &[], COMMAND_DEADLINE).await
    }

    async fn became(&self, nonce: &str, output: &Output) -> Result<Output, HostError> {
        match changes::decode(nonce, output) {
            changes::Became::Done(output) => Ok(output),
            changes::Became::Failed(code) => Err(HostError::Refused(code)),
            changes::Became::Fenced => Err(HostError::Fenced(self.mark().await.ok().flatten().map(Box::new))),
            changes::Became::Unknown if output.status == 124 => Err(HostError::Deadline),
            // systemd-run itself said no: a unit of this name still runs, or there is no systemd.
            changes::Became::Unknown if output.stdout.is_empty() && output.err_text().contains("Failed to connect") => {
                Err(HostError::Refused("no-systemd".to_owned()))
            }
            changes::Became::Unknown => Err(HostError::Lost),
        }
    }

    /// The command that carries a list out.
    fn carrier(&self, fence: &Fence, nonce: &str, limit: Duration) -> Vec<String> {
        let path = self.mark_path();
        let shell = |script: &str| ["sh", "-c", script, "k0rotate", nonce, &path].map(str::to_owned);
        match self.units {
            #[cfg(test)]
            Units::Without => shell(changes::SCRIPT).to_vec(),
            Units::Systemd => {
                let unit = changes::unit(fence, self.calls.fetch_add(1, Ordering::Relaxed));
                let mut argv = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"].map(str::to_owned).to_vec();
                argv.extend([
                    format!("--unit={unit}"),
                    format!("--description=k0rotate, fence {}", fence.number),
                    format!("--property=RuntimeMaxSec={}", limit.as_secs()),
                    format!("--property=TimeoutStopSec={UNIT_STOP_SECONDS}"),
                    // Keys pass through it.
                    "--property=LimitCORE=0".to_owned(),
                    "--".to_owned(),
                ]);
                // systemd expands `$` in arguments.
                argv.extend(shell(&changes::SCRIPT.replace('$', "$$")));
                argv
            }
        }
    }
}

#[async_trait]
impl<L: Link> Host for ShellHost<L> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn exec(&self, command: Command) -> Result<Output, HostError> {
        let argv: Vec<&str> =
            std::iter::once(command.program.as_str()).chain(command.args.iter().map(String::as_str)).collect();
        frame::run(&self.link, &argv, command.stdin.expose(), command.deadline).await
    }

    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError> {
        let mut bytes = self.script(READ, &[path], &[], COMMAND_DEADLINE).await?;
        if bytes == b"none\n" {
            return Ok(None);
        }
        if !bytes.starts_with(b"there\n") {
            return Err(HostError::Refused("read".to_owned()));
        }
        bytes.drain(..b"there\n".len());
        Ok(Some(Secret::new(bytes)))
    }

    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
        // A file that went away between listing and hashing makes the script complain; what it printed is whole.
        let argv: Vec<&str> = ["sh", "-c", FILES, "k0rotate"].iter().chain(&roots).copied().collect();
        let output = frame::run(&self.link, &argv, &[], BULK_DEADLINE).await?;
        if output.status == 124 { Err(HostError::Deadline) } else { listing::files(&output.stdout) }
    }

    async fn processes(&self) -> Result<Vec<Process>, HostError> {
        let argv = ["sh", "-c", PROCESSES, "k0rotate"];
        let output = self.look(&argv).await?;
        if output.status == 124 { Err(HostError::Deadline) } else { listing::processes(&output.stdout) }
    }

    async fn boot_id(&self) -> Result<String, HostError> {
        let output = self.look(&["cat", "/proc/sys/kernel/random/boot_id"]).await?;
        if output.ok() { Ok(output.text().trim().to_owned()) } else { Err(HostError::Refused("boot-id".to_owned())) }
    }

    async fn clock(&self) -> Result<u64, HostError> {
        let output = self.look(&["date", "+%s%3N"]).await?;
        output.text().trim().parse().map_err(|_| HostError::Refused("clock".to_owned()))
    }

    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError> {
        tls::ask(&self.link, &request).await
    }

    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError> {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.script(TAR, &paths, &[], BULK_DEADLINE).await.map(Secret::new)
    }

    async fn mark(&self) -> Result<Option<Mark>, HostError> {
        let Some(text) = self.read(&self.mark_path()).await? else { return Ok(None) };
        mark::from_text(&String::from_utf8_lossy(text.expose())).map(Some)
    }

    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        let line = |mark: Option<&Mark>| mark.map(mark::to_text).transpose().map(Option::unwrap_or_default);
        let input = format!("{}\n{}\n", BASE64.encode(line(expected)?), BASE64.encode(line(new)?));
        let said = self.script(MARK, &[&self.home], input.as_bytes(), COMMAND_DEADLINE).await?;
        let text = String::from_utf8_lossy(&said);
        if text.trim() == "replaced" {
            return Ok(());
        }
        let found = text.strip_prefix("fenced\n").ok_or_else(|| HostError::Refused("mark".to_owned()))?;
        if found.is_empty() {
            return Err(HostError::Fenced(None));
        }
        Err(HostError::Fenced(Some(Box::new(mark::from_text(found)?))))
    }

    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError> {
        let nonce = frame::nonce();
        let list = changes::encode(fence, &changes)?;
        let limit = changes::deadline(&changes);
        let argv = self.carrier(fence, &nonce, limit);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let output = frame::run(&self.link, &argv, list.expose(), limit).await?;
        self.became(&nonce, &output).await
    }

    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError> {
        let prefix = changes::unit_prefix(fence);
        let argv = ["systemctl", "list-units", "--all", "--no-legend", "--plain", "--full", &format!("{prefix}*")];
        let output = self.look(&argv).await?;
        if !output.ok() {
            return Err(HostError::Refused("units".to_owned()));
        }
        let running = |line: &str| {
            let mut words = line.split_whitespace();
            let (unit, _, active) = (words.next()?, words.next()?, words.next()?);
            let lower = changes::number_of(unit, &prefix).is_some_and(|n| n < fence.number);
            (lower && active != "inactive" && active != "failed").then(|| unit.to_owned())
        };
        Ok(output.text().lines().filter_map(running).collect())
    }

    async fn stop_unit(&self, name: &str) -> Result<(), HostError> {
        if !name.starts_with("k0rotate-") {
            return Err(HostError::Refused("unit".to_owned()));
        }
        // Its status does not matter: a unit that is gone by now is not known any more.
        self.look(&["systemctl", "stop", "--", name]).await?;
        let output = self.look(&["systemctl", "is-active", "--", name]).await?;
        match output.text().trim() {
            "inactive" | "failed" | "unknown" => Ok(()),
            _ => Err(HostError::Refused("unit".to_owned())),
        }
    }
}

//! Starts programs on the machine that we run on.

use super::link::{As, Link, Started};
use crate::host::HostError;
use async_trait::async_trait;
use std::process::Stdio;
use tokio::process::Command;

/// The machine that we run on.
pub struct Local;

#[async_trait]
impl Link for Local {
    async fn start(&self, who: As, argv: &[&str]) -> Result<Started, HostError> {
        let root = we_are_root();
        let sudo: &[&str] = if who == As::Root && !root { &["sudo", "-n", "--"] } else { &[] };
        let all: Vec<&str> = sudo.iter().chain(argv).copied().collect();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C is for us to handle, as it would be over SSH.
        command.process_group(0);
        let mut child = command.spawn().map_err(|_| HostError::Refused("shell".to_owned()))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Started {
            stdin: Box::new(stdin.expect("it is piped")),
            stdout: Box::new(stdout.expect("it is piped")),
            stderr: Box::new(stderr.expect("it is piped")),
            keep: Box::new(child),
        })
    }
}

fn we_are_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

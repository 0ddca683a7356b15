//! Commands that run on a host: begun now, ended later.

use super::World;
use crate::host::{Command, Output};
use k0rotate_engine::clock::Timestamp;

/// A command that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A command that runs or has ended.
#[derive(Clone, Debug)]
pub(super) struct Running {
    host: usize,
    command: Command,
    began: Timestamp,
    due: Timestamp,
    output: Option<Output>,
}

impl Running {
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.output.is_none().then_some(self.due)
    }
}

impl World {
    pub(super) fn begin_on(&mut self, host: usize, command: &Command) -> Ticket {
        self.tickets += 1;
        let running = Running { host, command: command.clone(), began: self.now, due: self.now, output: None };
        self.running.insert(self.tickets, running);
        Ticket(self.tickets)
    }

    /// Whether a command has ended and was not taken yet.
    pub fn has_ended(&self, ticket: Ticket) -> bool {
        self.running.get(&ticket.0).is_some_and(|running| running.output.is_some())
    }

    pub(super) fn take_output(&mut self, ticket: Ticket) -> Option<Output> {
        self.running.get(&ticket.0)?.output.as_ref()?;
        self.running.remove(&ticket.0)?.output
    }

    pub(super) fn step_commands(&mut self) {
        let now = self.now;
        for running in self.running.values_mut().filter(|r| r.due().is_some_and(|due| due <= now)) {
            running.output = Some(unknown(&running.command));
        }
    }
}

/// Loud, so that a test fails on the first command line that the model does not know.
fn unknown(command: &Command) -> Output {
    let line = format!("model: unknown command: {} {}\n", command.program, command.args.join(" "));
    Output { status: 127, stdout: Vec::new(), stderr: line.into_bytes() }
}

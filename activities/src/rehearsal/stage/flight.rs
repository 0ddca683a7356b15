//! A list of changes under way on a host: a transient unit, as systemd would run it.

use super::Stage;
use super::faults::{Fault, Link};
use crate::host::{Change, Fence, HostError, Mark, Output, OwnerIds};
use crate::layout;
use crate::rehearsal::world::Ticket;
use crate::secret::Secret;
use k0rotate_engine::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Names something that was begun on a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlightId(pub u64);

impl fmt::Display for FlightId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Exit status of a command that was ended at its deadline.
pub const TIMED_OUT: i32 = 124;

/// What the start of a unit takes (lab §36), and each file in it.
const UNIT: Duration = Duration::from_millis(26);
const FILE: Duration = Duration::from_millis(2);

/// See the file's sentence.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what the unit did and what its client was told are apart, in any mix"
)]
pub(super) struct Flight {
    pub host: String,
    pub fence: Fence,
    changes: VecDeque<Change>,
    /// When it goes on; `None` while a program runs.
    at: Option<Timestamp>,
    began: bool,
    running: Option<(Ticket, Timestamp)>,
    output: Output,
    ended: bool,
    /// The client gets no answer but this.
    lost: bool,
    /// For the client, once.
    pub reply: Option<Result<Output, HostError>>,
    answered: bool,
}

impl Flight {
    pub(super) fn new(host: &str, fence: &Fence, changes: Vec<Change>, now: Timestamp) -> Self {
        Self {
            host: host.to_owned(),
            fence: fence.clone(),
            changes: changes.into(),
            at: Some(now.plus(UNIT)),
            began: false,
            running: None,
            output: Output { status: 0, stdout: Vec::new(), stderr: Vec::new() },
            ended: false,
            lost: false,
            reply: None,
            answered: false,
        }
    }

    /// Whether the unit runs (one that is still on its way does not).
    pub(super) fn runs_on(&self, host: &str) -> bool {
        self.host == host && self.began && !self.ended
    }

    /// Whether nothing of it is left to be done or told.
    pub(super) fn over(&self) -> bool {
        self.ended && self.answered && self.reply.is_none()
    }

    pub(super) fn nobody_waits(&mut self) {
        self.answered = true;
        self.reply = None;
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        match (&self.running, self.ended) {
            (_, true) => None,
            (Some((_, deadline)), false) => Some(*deadline),
            (None, false) => self.at,
        }
    }

    /// Ends the unit as `systemctl stop` does: the program that runs is killed, the rest is not begun.
    pub(super) fn end_it(&mut self) {
        self.output.status = 143;
        self.finish();
    }

    /// Goes on as far as it can now.
    pub(super) fn step(&mut self, stage: &mut Stage) {
        while !self.ended {
            if !self.answered && self.began && stage.reach(&self.host).is_err() {
                self.lose();
            }
            if self.began && !stage.world.has_power(&self.host) {
                self.answer(Err(HostError::Lost));
                self.ended = true;
                return;
            }
            if let Some((ticket, deadline)) = self.running {
                if !self.program_ended(stage, ticket, deadline) {
                    return;
                }
                continue;
            }
            if self.at.is_some_and(|at| stage.now() < at) {
                return;
            }
            self.go_on(stage);
        }
    }

    fn program_ended(&mut self, stage: &mut Stage, ticket: Ticket, deadline: Timestamp) -> bool {
        if let Some(output) = stage.world.take(ticket) {
            self.output = output;
        } else if stage.now() >= deadline {
            self.output = Output { status: TIMED_OUT, stdout: Vec::new(), stderr: Vec::new() };
        } else {
            return false;
        }
        self.running = None;
        self.at = Some(stage.now());
        if self.output.status != 0 || self.changes.is_empty() {
            self.finish();
        }
        true
    }

    fn go_on(&mut self, stage: &mut Stage) {
        if !self.began
            && let Err(error) = self.begin(stage)
        {
            self.answer(Err(error));
            self.ended = true;
            return;
        }
        let Some(change) = self.changes.front().cloned() else { return self.finish() };
        let fault = stage.faults.count(format!("{} {}", self.host, name(&change)), &self.fence);
        match fault {
            Some(fault) => self.go_wrong(stage, fault, &change),
            None => self.carry_out(stage, &change),
        }
    }

    /// The mark decides, once, as the condition of a unit does.
    fn begin(&mut self, stage: &Stage) -> Result<(), HostError> {
        if !stage.world.has_power(&self.host) {
            return Err(HostError::Unreachable);
        }
        self.began = true;
        let mark = stage.mark(&self.host);
        let fits = mark.as_ref().is_some_and(|m| {
            let ours = m.execution == self.fence.execution && m.incarnation == self.fence.incarnation;
            ours && m.fence <= self.fence.number
        });
        if fits { Ok(()) } else { Err(HostError::Fenced(mark.map(Box::new))) }
    }

    fn carry_out(&mut self, stage: &mut Stage, change: &Change) {
        self.changes.pop_front();
        if let Change::Run(command) = change {
            let ticket = stage.world.begin(&self.host, command);
            self.running = Some((ticket, stage.now().plus(command.deadline)));
            return;
        }
        if let Err(code) = stage.world.apply(&self.host, change) {
            self.answer(Err(HostError::Refused(code)));
            self.ended = true;
        } else if self.changes.is_empty() {
            self.finish();
        } else {
            self.at = Some(stage.now().plus(FILE));
        }
    }

    fn go_wrong(&mut self, stage: &mut Stage, fault: Fault, change: &Change) {
        let now = stage.now();
        match fault {
            Fault::Refuse => {
                self.output.status = 1;
                self.finish();
            }
            Fault::Tear => {
                tear(stage, &self.host, change);
                self.lose();
                self.finish();
            }
            Fault::Delay(late) => {
                self.lose();
                self.began = false;
                self.at = Some(now.plus(late));
            }
            Fault::LoseReply => {
                self.lost = true;
                self.carry_out(stage, change);
            }
            Fault::CrashBefore => {
                stage.faults.crashed = true;
                self.carry_out(stage, change);
            }
            Fault::CrashAfter => {
                self.carry_out(stage, change);
                stage.faults.crashed = true;
            }
            Fault::Cut(long) => {
                stage.faults.links.insert(self.host.clone(), Link { back: Some(now.plus(long)) });
                self.lose();
                self.carry_out(stage, change);
            }
            Fault::PowerCut(back) => {
                stage.world.power_off(&self.host);
                if let Some(after) = back {
                    stage.faults.power_back.insert(self.host.clone(), now.plus(after));
                }
            }
        }
    }

    /// Tells the client at once that the link is lost; what is begun goes on.
    fn lose(&mut self) {
        self.lost = true;
        self.answer(Err(HostError::Lost));
    }

    fn finish(&mut self) {
        self.ended = true;
        let output = self.output.clone();
        let reply = if self.lost { Err(HostError::Lost) } else { Ok(output) };
        self.answer(reply);
    }

    fn answer(&mut self, reply: Result<Output, HostError>) {
        if !self.answered {
            self.answered = true;
            self.reply = Some(reply);
        }
    }
}

/// What a change leaves when it is cut in the middle: a temporary file with half of the content; a program that was not started.
fn tear(stage: &mut Stage, host: &str, change: &Change) {
    let Change::Write { path, bytes, mode, owner } = change else { return };
    let half = bytes.expose()[..bytes.expose().len() / 2].to_vec();
    let torn = Change::Write { path: layout::beside(path), bytes: Secret::new(half), mode: *mode, owner: *owner };
    // A full disk tears nothing more.
    let _ = stage.world.apply(host, &torn);
}

/// What a change is, for a report: no content.
fn name(change: &Change) -> String {
    match change {
        Change::Write { path, .. } => format!("write {path}"),
        Change::Rename { to, .. } => format!("rename {to}"),
        Change::Copy { to, .. } => format!("copy {to}"),
        Change::MakeDir { path, .. } => format!("make-dir {path}"),
        Change::Remove { path } => format!("remove {path}"),
        Change::Signal { process, signal } => format!("signal {} {signal}", process.comm),
        Change::Run(command) => format!("run {} {}", command.program, command.args.join(" ")),
    }
}

/// The change that writes a mark.
pub(super) fn write_mark(mark: &Mark) -> Change {
    let bytes = serde_json::to_vec(mark).expect("a mark is plain data");
    let owner = OwnerIds { uid: 0, gid: 0 };
    Change::Write { path: layout::MARK.to_owned(), bytes: Secret::new(bytes), mode: 0o600, owner }
}

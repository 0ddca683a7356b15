//! Commands that run on a host: begun now, ended later.

use super::World;
use super::systemctl::{self, Asked};
use crate::host::{Command, Output};
use crate::rehearsal::k0s::cli::{self, Outcome};
use crate::rehearsal::k0s::times;
use k0rotate_engine::clock::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

/// A command that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A command that runs or has ended.
#[derive(Clone, Debug)]
pub(super) struct Running {
    host: usize,
    program: String,
    args: Vec<String>,
    stdin: Vec<u8>,
    due: Timestamp,
    /// Ended by then with status 124.
    until: Timestamp,
    /// A stop that was asked for and has not ended, and whether a start follows.
    waits: Option<Asked>,
    output: Option<Output>,
}

/// Between looks of a command that waits.
const LOOK_EVERY_MS: u64 = 50;

impl Running {
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.output.is_none().then_some(self.due)
    }
}

/// How long a command takes that only looks or tells: its effect comes at the end of this.
fn latency(program: &str, args: &[String]) -> u64 {
    match (program, args.first().map(String::as_str)) {
        ("k0s", Some("kubectl" | "kc")) => 90,
        ("k0s", Some("token")) => 120,
        ("k0s", Some("backup")) => 600,
        ("k0s", Some("controller")) => 750,
        ("k0s", _) => 60,
        ("systemctl", _) => 15,
        _ => 5,
    }
}

impl World {
    pub(super) fn begin_on(&mut self, host: usize, command: &Command) -> Ticket {
        self.tickets += 1;
        let mut words: Vec<String> = std::iter::once(command.program.clone()).chain(command.args.clone()).collect();
        let limit = unwrap(&mut words).map_or(command.deadline, |limit| limit.min(command.deadline));
        let program = if words.is_empty() { String::new() } else { words.remove(0) };
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        let due = Timestamp(self.now.0 + latency(&program, &words));
        let running = Running {
            host,
            program,
            args: words,
            stdin: command.stdin.expose().to_vec(),
            due,
            until: self.now.plus(limit),
            waits: None,
            output: None,
        };
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

    /// Takes the next step of a command that is due.
    pub(super) fn step_command(&mut self, ticket: u64) {
        let Some(mut running) = self.running.remove(&ticket) else { return };
        if !self.hosts[running.host].up(self.now) {
            running.output = Some(output(255, "", "connection closed\n"));
        } else if let Some(stderr) = self.go_on(&mut running) {
            running.due = Timestamp((self.now.0 + LOOK_EVERY_MS).min(running.until.0.max(self.now.0 + 1)));
            if self.now >= running.until {
                running.output = Some(Output { status: 124, stdout: Vec::new(), stderr });
            }
        }
        self.running.insert(ticket, running);
    }

    /// `None`: it has ended. Else it waits, and has said that on standard error.
    fn go_on(&mut self, running: &mut Running) -> Option<Vec<u8>> {
        let host = running.host;
        if let Some(asked) = &running.waits {
            if !self.stop_done(host) {
                return Some(Vec::new());
            }
            if *asked == Asked::Restart {
                self.start_unit(host);
            }
            running.output = Some(output(0, "", ""));
            return None;
        }
        let done = match running.program.as_str() {
            "k0s" => {
                let version = self.hosts[host].version.clone();
                match self.view(host, 0, |m| cli::run(m, &version, &running.args, &running.stdin)) {
                    Outcome::Done(output) => Some(output),
                    Outcome::Waits(stderr) => return Some(stderr),
                    Outcome::Unknown => None,
                }
            }
            "systemctl" => match self.systemctl(host, &running.args) {
                systemctl::Answer::Done(output) => Some(output),
                systemctl::Answer::Waits(asked) => {
                    running.waits = Some(asked);
                    return Some(Vec::new());
                }
                systemctl::Answer::Unknown => None,
            },
            "sleep" => {
                let seconds = running.args.first().and_then(|arg| arg.parse::<f64>().ok()).unwrap_or_default();
                "true".clone_into(&mut running.program);
                running.due = self.now.plus(Duration::from_secs_f64(seconds.max(0.0)));
                running.until = running.until.max(self.now);
                if running.due > running.until {
                    running.output = Some(output(124, "", ""));
                }
                return None;
            }
            program => self.small(host, program, &running.args),
        };
        running.output = Some(done.unwrap_or_else(|| unknown(running)));
        None
    }

    /// Programs of every Linux.
    fn small(&mut self, host: usize, program: &str, args: &[String]) -> Option<Output> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let sim = &mut self.hosts[host];
        Some(match (program, args.as_slice()) {
            ("true", _) => output(0, "", ""),
            ("hostname", [] | ["-s"]) => output(0, &format!("{}\n", sim.name), ""),
            ("id", ["-u"]) => output(0, "0\n", ""),
            ("uname", ["-s"]) => output(0, "Linux\n", ""),
            ("cat", [path]) => match sim.files.read(path) {
                Some(bytes) => Output { status: 0, stdout: bytes.to_vec(), stderr: Vec::new() },
                None => output(1, "", &format!("cat: {path}: No such file or directory\n")),
            },
            ("touch", ["-m", "-d", date, path]) => {
                let seconds: u64 = date.trim_start_matches('@').parse().ok()?;
                if sim.files.raw(path).is_none() {
                    sim.files.write(path, b"", 0o644, super::ROOT).ok()?;
                }
                sim.files.touch(path, Timestamp(seconds * 1000));
                output(0, "", "")
            }
            ("stat", ["-c", "%Y", path]) => match sim.files.entry(path) {
                Some(entry) => output(0, &format!("{}\n", entry.modified.0 / 1000), ""),
                None => output(1, "", &format!("stat: cannot statx '{path}': No such file or directory\n")),
            },
            ("ln", ["-s", target, path]) => {
                sim.files.replace(path, super::Kind::Link((*target).to_owned()), 0o777, super::ROOT);
                output(0, "", "")
            }
            ("journalctl", ["-u", unit, rest @ ..]) => sim.journalctl(unit, rest)?,
            _ => return None,
        })
    }
}

impl super::host::SimHost {
    fn journalctl(&self, unit: &str, args: &[&str]) -> Option<Output> {
        let (mut since, mut plain) = (0, false);
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match *arg {
                "--since" | "-S" => since = rest.next()?.trim_start_matches('@').parse::<u64>().ok()? * 1000,
                "-o" => plain = *rest.next()? == "cat",
                "-n" => drop(rest.next()?),
                "--no-pager" | "-q" | "--quiet" => {}
                _ => return None,
            }
        }
        if unit.trim_end_matches(".service") != self.unit.name {
            return Some(output(0, "-- No entries --\n", ""));
        }
        let mut text = String::new();
        for (at, line) in self.journal.iter().filter(|(at, _)| at.0 >= since) {
            let message = line.split_once(": ").map_or(line.as_str(), |(_, message)| message);
            let head = if plain { String::new() } else { format!("{} {} ", times::journal(*at), self.name) };
            let _ = writeln!(text, "{head}{}", if plain { message } else { line });
        }
        Some(output(0, &text, ""))
    }
}

/// Takes `timeout N` and `sudo -n` away; the limit, if there is one.
fn unwrap(words: &mut Vec<String>) -> Option<Duration> {
    let mut limit = None;
    loop {
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["timeout", seconds, _, ..] => {
                let seconds: f64 = seconds.trim_end_matches('s').parse().ok()?;
                limit = Some(Duration::from_secs_f64(seconds));
                words.drain(..2);
            }
            ["sudo", "-n", _, ..] => drop(words.drain(..2)),
            _ => return limit,
        }
    }
}

pub(super) fn output(status: i32, stdout: &str, stderr: &str) -> Output {
    Output { status, stdout: stdout.as_bytes().to_vec(), stderr: stderr.as_bytes().to_vec() }
}

/// Loud, so that a test fails on the first command line that the model does not know. Arguments hold no secrets (see [`Command`]).
fn unknown(running: &Running) -> Output {
    output(127, "", &format!("model: unknown command: {} {}\n", running.program, running.args.join(" ")))
}

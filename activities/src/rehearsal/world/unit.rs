//! The systemd unit of k0s on a machine.

use super::World;
use crate::rehearsal::k0s::Program;
use crate::rehearsal::k0s::controller::Controller;
use crate::rehearsal::k0s::setup::Setup;
use crate::rehearsal::k0s::worker;
use crate::{fleet::KeyKind, k0s};
use k0rotate_engine::clock::Timestamp;
use std::sync::Arc;

/// `RestartSec=10`.
const RESTART_MS: u64 = 10_000;
/// systemd's `DefaultTimeoutStopSec`.
const STOP_MS: u64 = 90_000;

/// What systemd thinks of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Active {
    Inactive,
    Running,
    /// Told to end; killed at that time.
    Stopping(Timestamp),
    /// `activating (auto-restart)` until then.
    Restarting(Timestamp),
    Failed,
}

/// The unit.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub name: &'static str,
    pub active: Active,
    pub main: Option<u32>,
    pub restarts: u32,
    pub started: Option<Timestamp>,
    pub status: i32,
    /// `success`, `exit-code`, `signal`, `timeout`.
    pub result: &'static str,
    pub enabled: bool,
    /// The unit and its drop-ins as they were when they were last loaded.
    pub loaded: Vec<String>,
    pub invocation: String,
    /// A start waits for the end of a stop.
    pub start_again: bool,
}

impl Unit {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            active: Active::Inactive,
            main: None,
            restarts: 0,
            started: None,
            status: 0,
            result: "success",
            enabled: true,
            loaded: Vec::new(),
            invocation: String::new(),
            start_again: false,
        }
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.active {
            Active::Stopping(at) | Active::Restarting(at) => Some(at),
            _ => None,
        }
    }

    pub(super) fn power_lost(&mut self) {
        *self = Self { enabled: self.enabled, ..Self::new(self.name) };
    }

    /// Paths whose existence keeps it from starting, in the drop-ins that are loaded.
    fn held_by(&self) -> impl Iterator<Item = &str> {
        self.loaded
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| line.trim().strip_prefix("ConditionPathExists=!"))
    }

    fn args(&self) -> Vec<String> {
        k0s::exec_start(self.loaded.iter().map(String::as_str)).unwrap_or_default()
    }
}

impl World {
    /// `daemon-reload`, and what a boot does too.
    pub(super) fn reload(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        let unit = format!("/etc/systemd/system/{}.service", host.unit.name);
        let drop_ins = host.files.list(&format!("{unit}.d"));
        let paths = std::iter::once(unit.clone()).chain(drop_ins.iter().map(|name| format!("{unit}.d/{name}")));
        let texts =
            paths.filter_map(|path| host.files.read(&path)).map(|text| String::from_utf8_lossy(&text).into_owned());
        host.unit.loaded = texts.collect();
    }

    /// `systemctl start`: returns at once; a condition that is not met is no error (lab §36).
    pub(super) fn start_unit(&mut self, host: usize) {
        let now = self.now;
        let sim = &mut self.hosts[host];
        match sim.unit.active {
            Active::Running => return,
            Active::Stopping(_) => {
                sim.unit.start_again = true;
                return;
            }
            Active::Inactive | Active::Restarting(_) | Active::Failed => {}
        }
        let held = sim.unit.held_by().find(|path| sim.files.raw(path).is_some()).map(str::to_owned);
        if let Some(path) = held {
            sim.unit.active = Active::Inactive;
            let line = format!(
                "{0}.service - k0s - Zero Friction Kubernetes was skipped because of an unmet condition check (ConditionPathExists=!{path}).",
                sim.unit.name
            );
            sim.log(now, &format!("systemd[1]: {line}"));
            return;
        }
        if !matches!(sim.unit.active, Active::Restarting(_)) {
            sim.unit.restarts = 0;
        }
        let args = sim.unit.args();
        let line = format!("systemd[1]: Started {}.service - k0s - Zero Friction Kubernetes.", sim.unit.name);
        sim.log(now, &line);
        let invocation = self.uuid().replace('-', "");
        let version = self.hosts[host].version.clone();
        let setup = Arc::new(self.view(host, 0, |m| Setup::of(m, &version, &args, KeyKind::P256)));
        let program = if setup.controller {
            Program::Controller(Box::new(Controller::new(&setup)))
        } else {
            Program::Worker(Box::new(worker::Main::new(&setup)))
        };
        let sim = &mut self.hosts[host];
        let pid = sim.spawn(program, now);
        let unit = &mut sim.unit;
        *unit = Unit {
            active: Active::Running,
            main: Some(pid),
            started: Some(now),
            result: "success",
            status: 0,
            invocation,
            start_again: false,
            ..unit.clone()
        };
    }

    /// `systemctl stop`: tells the main process to end; [`World::stop_done`] says when it has.
    pub(super) fn stop_unit(&mut self, host: usize) {
        let now = self.now;
        let sim = &mut self.hosts[host];
        sim.unit.start_again = false;
        match (sim.unit.active, sim.unit.main) {
            (Active::Running, Some(main)) => {
                sim.unit.active = Active::Stopping(Timestamp(now.0 + STOP_MS));
                sim.signal(main, 15, now);
            }
            (Active::Restarting(_), _) => sim.unit.active = Active::Inactive,
            _ => {}
        }
    }

    /// Whether a stop that was asked for has come to its end.
    pub(super) fn stop_done(&self, host: usize) -> bool {
        !matches!(self.hosts[host].unit.active, Active::Stopping(_))
    }

    /// What systemd does when the main process has ended.
    pub(super) fn main_ended(&mut self, host: usize, status: i32, by_signal: bool) {
        let now = self.now;
        let sim = &mut self.hosts[host];
        let stopping = matches!(sim.unit.active, Active::Stopping(_));
        let failed = status != 0;
        sim.unit.main = None;
        sim.unit.status = status;
        sim.unit.result = if by_signal {
            "signal"
        } else if failed {
            "exit-code"
        } else {
            "success"
        };
        if failed && !by_signal {
            let line = format!(
                "systemd[1]: {0}.service: Main process exited, code=exited, status={status}/FAILURE",
                sim.unit.name
            );
            sim.log(now, &line);
        }
        if !stopping {
            sim.unit.active = Active::Restarting(Timestamp(now.0 + RESTART_MS));
            return;
        }
        sim.unit.active = if failed { Active::Failed } else { Active::Inactive };
        if std::mem::take(&mut sim.unit.start_again) {
            self.start_unit(host);
        }
    }

    /// A stop that took too long, or a restart that is due.
    pub(super) fn step_unit(&mut self, host: usize) {
        match self.hosts[host].unit.active {
            Active::Restarting(at) if at <= self.now => {
                let restarts = self.hosts[host].unit.restarts + 1;
                self.hosts[host].unit.restarts = restarts;
                self.start_unit(host);
            }
            // Only the main process is killed (KillMode=process).
            Active::Stopping(at) if at <= self.now => {
                if let Some(main) = self.hosts[host].unit.main {
                    self.hosts[host].reap(main);
                }
                self.main_ended(host, 9, true);
                self.hosts[host].unit.active = Active::Failed;
                self.hosts[host].unit.result = "timeout";
            }
            _ => {}
        }
    }
}

//! One simulated machine: its files, its processes, its power.

use super::files::{Files, Kind};
use super::unit::Unit;
use super::{FleetPlan, PlannedHost, ROOT};
use crate::fleet::Role;
use crate::host::{Change, Process};
use crate::layout;
use crate::rehearsal::k0s::Program;
use crate::rehearsal::machine::Listener;
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    /// Clock ticks since boot.
    pub start: u64,
    pub comm: &'static str,
    pub exe: String,
    pub managed: bool,
    /// What it runs; taken out while it is stepped.
    pub program: Option<Program>,
    pub due: Option<Timestamp>,
    pub told_to_end: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct SimHost {
    pub name: String,
    pub role: Role,
    pub address: String,
    pub version: String,
    pub data: String,
    pub files: Files,
    pub procs: BTreeMap<u32, Proc>,
    pub listeners: BTreeMap<u16, Listener>,
    pub unit: Unit,
    pub journal: Vec<(Timestamp, String)>,
    pub boot_id: String,
    pub skew: i64,
    /// When it has booted; `None` without power.
    pub up_from: Option<Timestamp>,
    /// Whether the boot has been gone through.
    pub booted: bool,
    next_pid: u32,
}

/// A nspawn machine or a small virtual one boots within this.
const BOOT_MS: u64 = 3000;
/// Lines of the journal that are kept.
const JOURNAL: usize = 2000;

impl SimHost {
    pub(super) fn new(plan: &FleetPlan, host: &PlannedHost) -> Self {
        Self {
            name: host.name.clone(),
            role: host.role,
            address: host.address.clone(),
            version: host.version.clone().unwrap_or_else(|| plan.version.clone()),
            data: plan.data_dir.clone(),
            files: Files::default(),
            procs: BTreeMap::new(),
            listeners: BTreeMap::new(),
            unit: Unit::new(if host.role.is_controller() { "k0scontroller" } else { "k0sworker" }),
            journal: Vec::new(),
            boot_id: String::new(),
            skew: 0,
            up_from: None,
            booted: false,
            next_pid: 300,
        }
    }

    pub(super) fn up(&self, now: Timestamp) -> bool {
        self.up_from.is_some_and(|from| from <= now)
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        let shown = self.procs.iter().filter(|(pid, proc)| proc.managed || self.unit.main == Some(**pid));
        let process = |(pid, p): (&u32, &Proc)| Process {
            pid: *pid,
            start: p.start,
            comm: p.comm.to_owned(),
            exe: p.exe.clone(),
        };
        shown.map(process).collect()
    }

    /// The next process that wants to be stepped.
    pub(super) fn next_process(&self) -> Option<(Timestamp, u32)> {
        self.procs.iter().filter_map(|(pid, proc)| proc.due.map(|due| (due, *pid))).min()
    }

    pub(super) fn spawn(&mut self, program: Program, now: Timestamp) -> u32 {
        self.next_pid += 1;
        let (comm, exe) = program.names();
        let folder = if exe == "k0s" { "/usr/local/bin".to_owned() } else { format!("{}/bin", self.data) };
        let since_boot = now.0 - self.up_from.map_or(now.0, |from| from.0.min(now.0));
        let managed = program.managed();
        let proc = Proc {
            start: since_boot / 10 + 200,
            comm,
            exe: format!("{folder}/{exe}"),
            managed,
            program: Some(program),
            due: Some(now),
            told_to_end: false,
        };
        self.procs.insert(self.next_pid, proc);
        self.next_pid
    }

    /// Takes a process away with the ports that it served.
    pub(super) fn reap(&mut self, pid: u32) {
        self.procs.remove(&pid);
        self.listeners.retain(|_, listener| listener.pid != pid);
    }

    /// SIGKILL ends a process now, SIGTERM tells it to end.
    pub(super) fn signal(&mut self, pid: u32, signal: i32, now: Timestamp) {
        if signal == 9 {
            return self.reap(pid);
        }
        if let Some(proc) = self.procs.get_mut(&pid) {
            proc.told_to_end = true;
            proc.due = Some(now);
        }
    }

    pub(super) fn log(&mut self, now: Timestamp, line: &str) {
        if self.journal.len() >= JOURNAL {
            self.journal.drain(..JOURNAL / 2);
        }
        self.journal.push((now, line.to_owned()));
    }

    pub(super) fn power_off(&mut self) {
        self.up_from = None;
        self.booted = false;
        self.procs.clear();
        self.listeners.clear();
        self.files.remove("/run");
        self.unit.power_lost();
    }

    pub(super) fn power_on(&mut self, now: Timestamp, boot_id: String) {
        if self.up_from.is_none() {
            self.up_from = Some(Timestamp(now.0 + BOOT_MS));
            self.boot_id = boot_id;
        }
    }

    pub(super) fn apply(&mut self, change: &Change, now: Timestamp) -> Result<(), &'static str> {
        match change {
            Change::Write { path, bytes, mode, owner } => {
                self.files.write_over(path, bytes.expose(), *mode, *owner).map_err(|_| "no-space")?;
                self.files.remove(&layout::beside(path));
                Ok(())
            }
            Change::Rename { from, to } => self.files.rename(from, to),
            Change::Copy { from, to } => self.files.copy(from, to),
            Change::MakeDir { path, mode } => self.make_dir(path, *mode),
            Change::Remove { path } => {
                self.files.remove(path);
                self.files.remove(&layout::beside(path));
                Ok(())
            }
            Change::Signal { process, signal } => {
                self.signal_seen(process, *signal, now);
                Ok(())
            }
            Change::Run(_) => Err("not-a-file-change"),
        }
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> Result<(), &'static str> {
        let owner = match self.files.raw(path) {
            Some(entry) if entry.kind != Kind::Dir => return Err("not-a-directory"),
            Some(_) => None,
            None if self.files.full => return Err("no-space"),
            None => Some(ROOT),
        };
        self.files.make_dir(path, mode, owner);
        Ok(())
    }

    /// Signals a process if it is still the one that was seen; another one, or none, is success.
    fn signal_seen(&mut self, seen: &Process, signal: i32, now: Timestamp) {
        if self.procs.get(&seen.pid).is_some_and(|p| p.start == seen.start && p.exe == seen.exe) {
            self.signal(seen.pid, signal, now);
        }
    }
}

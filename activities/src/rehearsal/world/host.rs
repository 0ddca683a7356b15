//! One simulated machine: its files, its processes, its power.

use super::files::{Files, Kind};
use super::{FleetPlan, PlannedHost, ROOT};
use crate::fleet::Role;
use crate::host::{Change, Process};
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    pub start: u64,
    pub comm: String,
    pub exe: String,
    pub managed: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct SimHost {
    pub name: String,
    pub role: Role,
    pub files: Files,
    pub procs: BTreeMap<u32, Proc>,
    pub main: Option<u32>,
    pub boot_id: String,
    pub skew: i64,
    /// When it has booted; `None` without power.
    pub up_from: Option<Timestamp>,
}

/// A nspawn machine or a small virtual one boots within this.
const BOOT_MS: u64 = 3000;

impl SimHost {
    pub(super) fn new(plan: &FleetPlan, host: &PlannedHost) -> Self {
        Self {
            name: host.name.clone(),
            role: host.role,
            files: Files::default(),
            procs: BTreeMap::new(),
            main: None,
            boot_id: String::new(),
            skew: 0,
            up_from: Some(plan.start),
        }
    }

    pub(super) fn up(&self, now: Timestamp) -> bool {
        self.up_from.is_some_and(|from| from <= now)
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        let shown = self.procs.iter().filter(|(pid, proc)| proc.managed || self.main == Some(**pid));
        shown.map(|(pid, p)| Process { pid: *pid, start: p.start, comm: p.comm.clone(), exe: p.exe.clone() }).collect()
    }

    pub(super) fn power_off(&mut self) {
        self.up_from = None;
        self.procs.clear();
        self.main = None;
        self.files.remove("/run");
    }

    pub(super) fn power_on(&mut self, now: Timestamp, boot_id: String) {
        self.up_from = Some(Timestamp(now.0 + BOOT_MS));
        self.boot_id = boot_id;
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), String> {
        let done = match change {
            Change::Write { path, bytes, mode, owner } => {
                self.files.write_over(path, bytes.expose(), *mode, *owner).map_err(|_| "no-space")
            }
            Change::Rename { from, to } => self.files.rename(from, to),
            Change::Copy { from, to } => self.files.copy(from, to),
            Change::MakeDir { path, mode } => match self.files.raw(path) {
                Some(entry) if entry.kind != Kind::Dir => Err("not-a-directory"),
                Some(_) => Ok(self.files.make_dir(path, *mode, None)),
                None if self.files.full => Err("no-space"),
                None => Ok(self.files.make_dir(path, *mode, Some(ROOT))),
            },
            Change::Remove { path } => Ok(self.files.remove(path)),
            Change::Signal { process, signal } => Ok(self.signal_seen(process, *signal)),
            Change::Run(_) => Err("not-a-file-change"),
        };
        done.map_err(str::to_owned)
    }

    /// Signals a process if it is still the one that was seen; another one, or none, is success.
    fn signal_seen(&mut self, seen: &Process, signal: i32) {
        let same = self.procs.get(&seen.pid).is_some_and(|p| p.start == seen.start && p.exe == seen.exe);
        if same && signal == 9 {
            self.procs.remove(&seen.pid);
        }
    }
}

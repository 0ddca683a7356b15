//! All machines of a rehearsal fleet, the network between them, and the time that they live in.
//!
//! Deterministic and synchronous: nothing happens but in [`World::advance_to`], [`World::begin`], [`World::apply`] and the faults.
//! Whether a machine can be reached is not asked here; whether it has power is.

mod commands;
mod files;
mod host;

use crate::fleet::Role;
use crate::host::{Change, Command, FileInfo, Output, OwnerIds, Process, TlsRequest, TlsSeen};
use commands::Running;
use host::SimHost;
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;

pub use commands::Ticket;
pub use files::{Entry, Kind};

/// A host that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHost {
    /// Its name, also its hostname.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its address.
    pub address: String,
    /// Its own version of k0s, if it is not the fleet's.
    pub version: Option<String>,
}

/// A fleet that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPlan {
    /// In the order of the inventory.
    pub hosts: Vec<PlannedHost>,
    /// As `k0s version` prints it.
    pub version: String,
    /// `--enable-dynamic-config`.
    pub dynamic_config: bool,
    /// `--data-dir`; passed to k0s only if it is not `/var/lib/k0s`.
    pub data_dir: String,
    /// `--kubelet-root-dir`, if it is not below the data directory.
    pub kubelet_root: Option<String>,
    /// Pods on each node besides k0s' own.
    pub pods_per_node: usize,
    /// Service-account token Secrets of the old kind.
    pub legacy_secrets: usize,
    /// Users whose certificate `k0s kubeconfig create` left in `pki/` of the first controller.
    pub user_certs: Vec<String>,
    /// Controllers stopped in the same moment run into the bad race: the etcd leader finds nobody to hand over to (lab §30).
    pub stop_race: bool,
    /// What the model draws from; certificates are random all the same.
    pub seed: u64,
    /// When the world begins.
    pub start: Timestamp,
}

/// 2026-11-24T12:00:00Z.
const START: Timestamp = Timestamp(1_795_521_600_000);

impl FleetPlan {
    /// Hosts of these names and roles at 10.77.0.11 and on, all else as a fresh install of v1.36.3+k0s.2.
    pub fn of(hosts: &[(&str, Role)]) -> Self {
        let hosts = hosts.iter().enumerate().map(|(i, (name, role))| PlannedHost {
            name: (*name).to_owned(),
            role: *role,
            address: format!("10.77.0.{}", 11 + i),
            version: None,
        });
        Self {
            hosts: hosts.collect(),
            version: "v1.36.3+k0s.2".to_owned(),
            dynamic_config: false,
            data_dir: "/var/lib/k0s".to_owned(),
            kubelet_root: None,
            pods_per_node: 2,
            legacy_secrets: 1,
            user_certs: Vec::new(),
            stop_race: false,
            seed: 1,
            start: START,
        }
    }

    /// So many controllers (h1, h2, …) and then workers.
    pub fn sized(controllers: usize, workers: usize) -> Self {
        let names: Vec<String> = (1..=controllers + workers).map(|i| format!("h{i}")).collect();
        let role = |i| if i < controllers { Role::Controller } else { Role::Worker };
        Self::of(&names.iter().enumerate().map(|(i, name)| (name.as_str(), role(i))).collect::<Vec<_>>())
    }
}

/// All machines.
#[derive(Clone, Debug)]
pub struct World {
    plan: FleetPlan,
    now: Timestamp,
    hosts: Vec<SimHost>,
    running: BTreeMap<u64, Running>,
    tickets: u64,
    random: u64,
}

impl World {
    /// The fleet installed, started and healthy.
    pub fn new(plan: &FleetPlan) -> Self {
        let hosts = plan.hosts.iter().map(|host| SimHost::new(plan, host)).collect();
        Self { plan: plan.clone(), now: plan.start, hosts, running: BTreeMap::new(), tickets: 0, random: plan.seed | 1 }
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When something happens next by itself, a command's end included.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.running.values().filter_map(|r| r.due()).min()
    }

    /// Lets time pass.
    pub fn advance_to(&mut self, t: Timestamp) {
        while let Some(due) = self.next_due().filter(|due| *due <= t) {
            self.now = self.now.max(due);
            self.step_commands();
        }
        self.now = self.now.max(t);
    }

    /// A file's content as root reads it, links followed.
    pub fn read(&self, host: &str, path: &str) -> Option<Vec<u8>> {
        self.host(host).files.read(path).map(|bytes| bytes.to_vec())
    }

    /// What lies at these roots and below, sorted by path; missing ones are passed over.
    pub fn files(&self, host: &str, roots: &[String]) -> Vec<FileInfo> {
        self.host(host).files.infos(roots)
    }

    /// Processes with `_K0S_MANAGED=yes`, and the main process of the unit.
    pub fn processes(&self, host: &str) -> Vec<Process> {
        self.host(host).processes()
    }

    /// The kernel's random boot id.
    pub fn boot_id(&self, host: &str) -> String {
        self.host(host).boot_id.clone()
    }

    /// The host's wall clock, milliseconds since the epoch.
    pub fn clock(&self, host: &str) -> u64 {
        self.now.0.saturating_add_signed(self.host(host).skew)
    }

    /// A request from a host; it takes no time.
    pub fn tls(&mut self, _host: &str, _request: &TlsRequest) -> TlsSeen {
        TlsSeen { chain: Vec::new(), end: crate::host::TlsEnd::Refused }
    }

    /// A tar archive of these paths; missing ones are passed over.
    pub fn tar_out(&self, host: &str, paths: &[String]) -> Vec<u8> {
        self.host(host).files.tar(paths)
    }

    /// Begins a command. Its effect and its end come with time; see [`World::take`].
    pub fn begin(&mut self, host: &str, command: &Command) -> Ticket {
        let host = self.index(host);
        self.begin_on(host, command)
    }

    /// What a command left, once it has ended.
    pub fn take(&mut self, ticket: Ticket) -> Option<Output> {
        self.take_output(ticket)
    }

    /// Carries out a change that is not a [`Change::Run`], at once, without asking for a fence.
    pub fn apply(&mut self, host: &str, change: &Change) -> Result<(), String> {
        let index = self.index(host);
        self.hosts[index].files.now = self.now;
        self.hosts[index].apply(change)
    }

    /// Whether the machine has power and has booted.
    pub fn has_power(&self, host: &str) -> bool {
        self.host(host).up(self.now)
    }

    /// Takes the power away: processes and /run are gone, files stay.
    pub fn power_off(&mut self, host: &str) {
        let index = self.index(host);
        self.hosts[index].power_off();
    }

    /// Gives it back; the machine boots.
    pub fn power_on(&mut self, host: &str) {
        let now = self.now;
        let boot_id = self.uuid();
        let index = self.index(host);
        self.hosts[index].power_on(now, boot_id);
    }

    /// Both.
    pub fn reboot(&mut self, host: &str) {
        self.power_off(host);
        self.power_on(host);
    }

    /// Sets how far the host's clock is ahead of the true time, milliseconds.
    pub fn set_clock_skew(&mut self, host: &str, ms: i64) {
        let index = self.index(host);
        self.hosts[index].skew = ms;
    }

    /// Whether writes on the host fail for want of space.
    pub fn fill_disk(&mut self, host: &str, full: bool) {
        let index = self.index(host);
        self.hosts[index].files.full = full;
    }

    fn host(&self, name: &str) -> &SimHost {
        &self.hosts[self.index(name)]
    }

    fn index(&self, name: &str) -> usize {
        self.hosts.iter().position(|host| host.name == name).expect("callers ask for hosts of the plan only")
    }

    /// The next draw (splitmix64).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0xfff,
            b & 0xffff_ffff_ffff
        )
    }
}

/// Root.
const ROOT: OwnerIds = OwnerIds { uid: 0, gid: 0 };

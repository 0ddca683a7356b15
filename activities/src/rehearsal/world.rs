//! All machines of a rehearsal fleet, the network between them, and the time that they live in.
//!
//! Deterministic and synchronous: nothing happens but in [`World::advance_to`], [`World::begin`], [`World::apply`] and the faults.
//! Whether a machine can be reached is not asked here; whether it has power is.

mod commands;
mod files;
mod host;
mod install;
mod net;
mod objects;
mod plan;
mod report;
mod systemctl;
#[cfg(test)]
mod tests;
mod unit;
mod view;

use super::k0s::client;
use super::machine::{Call, Next};
use crate::fleet::Role;
use crate::host::{Change, Command, FileInfo, Output, OwnerIds, Process, TlsEnd, TlsRequest, TlsSeen};
use commands::Running;
use host::SimHost;
use k0rotate_engine::clock::Timestamp;
use net::{Quorums, Trust};
use objects::Objects;
use std::collections::BTreeMap;

pub use commands::Ticket;
pub use files::{Entry, Kind, append};
pub use plan::{FleetPlan, PlannedHost};
pub use report::TrustFiles;

/// Something that happens at a time; of what is due at the same time the first here goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Boot(usize),
    Unit(usize),
    Process(usize, u32),
    Command(u64),
}

/// All machines.
#[derive(Clone, Debug)]
pub struct World {
    plan: FleetPlan,
    now: Timestamp,
    hosts: Vec<SimHost>,
    objects: Objects,
    /// Members of etcd with their peer URLs; none with kine.
    members: Vec<(String, String)>,
    leader: Option<usize>,
    /// Which etcds served their peers when quorums were last looked at.
    etcds: Vec<Option<u32>>,
    quorums: Quorums,
    trust: Trust,
    /// The load balancer's address, in front of several controllers.
    balancer: String,
    turn: usize,
    running: BTreeMap<u64, Running>,
    tickets: u64,
    random: u64,
    gap: report::Gap,
}

impl World {
    /// The fleet installed, started and healthy.
    pub fn new(plan: &FleetPlan) -> Self {
        let hosts = plan.hosts.iter().map(|host| SimHost::new(plan, host)).collect();
        let etcds = plan.hosts.iter().filter(|host| matches!(host.role, Role::Controller | Role::ControllerWorker));
        let mut world = Self {
            plan: plan.clone(),
            now: plan.start,
            hosts,
            objects: Objects::default(),
            members: etcds.map(|host| (host.name.clone(), format!("https://{}:2380", host.address))).collect(),
            leader: None,
            etcds: Vec::new(),
            quorums: Quorums::default(),
            trust: Trust::default(),
            balancer: "10.77.0.1".to_owned(),
            turn: 0,
            running: BTreeMap::new(),
            tickets: 0,
            random: plan.seed | 1,
            gap: report::Gap::default(),
        };
        world.install();
        world
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When something happens next by itself, a command's end included.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_item().map(|(due, _)| due)
    }

    /// Lets time pass; all that is due until then happens in its order.
    pub fn advance_to(&mut self, t: Timestamp) {
        while let Some((due, item)) = self.next_item().filter(|(due, _)| *due <= t) {
            self.now = self.now.max(due);
            match item {
                Item::Boot(host) => self.boot(host),
                Item::Unit(host) => self.step_unit(host),
                Item::Process(host, pid) => self.step_process(host, pid),
                Item::Command(ticket) => self.step_command(ticket),
            }
            self.settle();
        }
        self.now = self.now.max(t);
    }

    fn next_item(&self) -> Option<(Timestamp, Item)> {
        let hosts = self.hosts.iter().enumerate().flat_map(|(i, host)| {
            let boot = host.up_from.filter(|_| !host.booted).map(|at| (at, Item::Boot(i)));
            let live = host.up(self.now);
            let unit = host.unit.due().filter(|_| live).map(|at| (at, Item::Unit(i)));
            let process = host.next_process().filter(|_| live).map(|(at, pid)| (at, Item::Process(i, pid)));
            [boot, unit, process].into_iter().flatten()
        });
        let commands = self.running.iter().filter_map(|(ticket, r)| Some((r.due()?, Item::Command(*ticket))));
        hosts.chain(commands).min()
    }

    /// systemd comes up: drop-ins are loaded, what is enabled is started.
    fn boot(&mut self, host: usize) {
        self.hosts[host].booted = true;
        self.hosts[host].files.make_dir("/run/lock", 0o755, None);
        self.reload(host);
        if self.hosts[host].unit.enabled {
            self.start_unit(host);
        }
    }

    fn step_process(&mut self, host: usize, pid: u32) {
        let Some(proc) = self.hosts[host].procs.get_mut(&pid) else { return };
        proc.due = None;
        let Some(mut program) = proc.program.take() else { return };
        let next = self.view(host, pid, |m| program.step(m));
        let now = self.now;
        let sim = &mut self.hosts[host];
        if let Next::Exit(status) = next {
            sim.reap(pid);
            if sim.unit.main == Some(pid) {
                self.main_ended(host, status, false);
            }
            return;
        }
        if let Some(proc) = sim.procs.get_mut(&pid) {
            proc.program = Some(program);
            if let Next::After(ms) = next {
                let at = Timestamp(now.0 + ms);
                proc.due = Some(proc.due.map_or(at, |due| due.min(at)));
            }
        }
    }

    /// After anything that may have ended processes or cut power: a killed main process, etcd's leader, the API's gap.
    fn settle(&mut self) {
        for host in 0..self.hosts.len() {
            let sim = &self.hosts[host];
            if sim.unit.main.is_some_and(|main| !sim.procs.contains_key(&main)) {
                self.main_ended(host, 9, true);
            }
        }
        let etcd = |host: &SimHost| host.listeners.get(&2380).filter(|_| host.up(self.now)).map(|l| l.pid);
        let etcds: Vec<Option<u32>> = self.hosts.iter().map(etcd).collect();
        if etcds != self.etcds {
            self.etcds = etcds;
            self.elect();
        }
        self.watch_api();
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

    /// Whether systemd runs k0s, or is about to start it again.
    pub fn is_to_run(&self, host: &str) -> bool {
        matches!(self.host(host).unit.active, unit::Active::Running | unit::Active::Restarting(_))
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
    pub fn tls(&mut self, host: &str, request: &TlsRequest) -> TlsSeen {
        let from = self.index(host);
        let broken = TlsSeen { chain: Vec::new(), end: TlsEnd::Broken };
        let mut call = Call {
            address: request.address.clone(),
            path: request.path.clone(),
            bearer: request.bearer.as_ref().map(|token| String::from_utf8_lossy(token.expose()).into_owned()),
            headers: request.headers.clone(),
            ..Call::default()
        };
        if !request.trust.is_empty() {
            let Some(trust) = client::pool(request.trust.as_bytes()) else { return broken };
            call.trust = Some(trust);
        }
        if let Some(identity) = &request.identity {
            // The kubelet keeps certificate and key in one file; the key is the last block.
            let key = identity.key.expose();
            let text = String::from_utf8_lossy(key);
            let at = text.rfind("-----BEGIN").unwrap_or(0);
            let Some(shows) = client::shown(identity.certificate.as_bytes(), &key[at..]) else { return broken };
            call.shows = Some(shows);
        }
        self.dial(from, &call).seen()
    }

    /// The cluster's objects, by path.
    pub fn objects(&self) -> Vec<(String, std::sync::Arc<serde_json::Value>)> {
        use crate::rehearsal::k0s::api::Store;
        self.objects.below("/")
    }

    /// Members of etcd with their peer URLs; none with kine.
    pub fn members(&self) -> &[(String, String)] {
        &self.members
    }

    /// Somebody with `kubectl delete` takes an object away.
    pub fn delete_object(&mut self, path: &str) {
        use crate::rehearsal::k0s::api::Store;
        self.objects.delete(path);
    }

    /// Somebody with `k0s etcd leave --peer-address` takes this host's member away.
    pub fn remove_member(&mut self, host: &str) {
        self.members.retain(|(name, _)| name != host);
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
        let now = self.now;
        self.hosts[index].files.now = now;
        let done = self.hosts[index].apply(change, now).map_err(str::to_owned);
        self.settle();
        done
    }

    /// Whether there is such a machine.
    pub fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.name == host)
    }

    /// Whether the machine has power and has booted.
    pub fn has_power(&self, host: &str) -> bool {
        self.host(host).up(self.now)
    }

    /// Takes the power away: processes and /run are gone, files stay.
    pub fn power_off(&mut self, host: &str) {
        let index = self.index(host);
        self.hosts[index].power_off();
        self.settle();
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

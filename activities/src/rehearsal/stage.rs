//! The rehearsal fleet as something that can be asked: looks, commands and changes that take time, marks, links and faults.
//!
//! A stage is synchronous. Whoever holds it, in this process or behind a socket, asks and lets time pass; what a client began goes on
//! when the client is gone, and may land late.

pub mod ask;
pub mod faults;
mod flight;

use super::world::{FleetPlan, Ticket, World};
use crate::host::{Change, Command, Fence, FileInfo, HostError, Mark, Output, Process, TlsRequest, TlsSeen};
use crate::layout;
use faults::{Faults, Link};
use flight::Flight;
use k0rotate_engine::clock::Timestamp;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

pub use flight::FlightId;

/// What one look or the start of one command takes: a round trip on a local network and a little work.
pub const LOOK: Duration = Duration::from_millis(15);

/// The world, and what is under way in it.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The machines.
    pub world: World,
    /// What goes wrong.
    pub faults: Faults,
    /// Seconds that pass here in one of whoever asks from another process; `None`: as many as there are to pass.
    pub pace: Option<NonZeroU32>,
    flights: BTreeMap<FlightId, Flight>,
    next: u64,
    commands: BTreeMap<FlightId, (String, Ticket, Timestamp)>,
}

impl Stage {
    /// A fleet that is installed, started and healthy.
    pub fn new(plan: &FleetPlan) -> Self {
        let world = World::new(plan);
        Self {
            world,
            faults: Faults::default(),
            pace: None,
            flights: BTreeMap::new(),
            next: 1,
            commands: BTreeMap::new(),
        }
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// Whether the host can be reached now.
    pub fn reach(&self, host: &str) -> Result<(), HostError> {
        if !self.world.has(host) {
            return Err(HostError::Unreachable);
        }
        let cut = self.faults.links.get(host).is_some_and(|link| link.is_cut(self.now()));
        if cut || !self.world.has_power(host) { Err(HostError::Unreachable) } else { Ok(()) }
    }

    /// The mark that lies on the host's disk.
    pub fn mark(&self, host: &str) -> Option<Mark> {
        serde_json::from_slice(&self.world.read(host, layout::MARK)?).ok()
    }

    /// Compare and swap of the mark.
    pub fn mark_replace(&mut self, host: &str, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError> {
        let found = self.mark(host);
        if found.as_ref() != expected {
            return Err(HostError::Fenced(found.map(Box::new)));
        }
        let change = match new {
            Some(mark) => flight::write_mark(mark),
            None => Change::Remove { path: layout::MARK.to_owned() },
        };
        self.world.apply(host, &change).map_err(HostError::Refused)
    }

    /// Begins a list of changes.
    pub fn begin_change(&mut self, host: &str, fence: &Fence, changes: Vec<Change>) -> FlightId {
        let id = self.draw();
        let flight = Flight::new(host, fence, changes, self.now());
        self.flights.insert(id, flight);
        self.step_flights();
        id
    }

    /// Begins a command that changes nothing.
    pub fn begin_command(&mut self, host: &str, command: &Command) -> FlightId {
        let id = self.draw();
        let ticket = self.world.begin(host, command);
        self.commands.insert(id, (host.to_owned(), ticket, self.now().plus(command.deadline)));
        id
    }

    /// The end of what was begun, once it has ended; asked for once.
    pub fn take(&mut self, id: FlightId) -> Option<Result<Output, HostError>> {
        if let Some((host, ticket, deadline)) = self.commands.get(&id).cloned() {
            let ended = self.end_of_command(&host, ticket, deadline)?;
            self.commands.remove(&id);
            return Some(ended);
        }
        let flight = self.flights.get_mut(&id)?;
        flight.reply.take()
    }

    fn end_of_command(&mut self, host: &str, ticket: Ticket, deadline: Timestamp) -> Option<Result<Output, HostError>> {
        if self.reach(host).is_err() {
            return Some(Err(HostError::Lost));
        }
        if let Some(output) = self.world.take(ticket) {
            return Some(Ok(output));
        }
        let late = self.now() >= deadline;
        late.then(|| Ok(Output { status: flight::TIMED_OUT, stdout: Vec::new(), stderr: Vec::new() }))
    }

    /// Names of units of this execution below the fence's number that still run.
    pub fn units_below(&self, host: &str, fence: &Fence) -> Vec<String> {
        let below = self.flights.iter().filter(|(_, flight)| {
            flight.runs_on(host) && flight.fence.execution == fence.execution && flight.fence.number < fence.number
        });
        below.map(|(id, _)| format!("k0rotate-{id}")).collect()
    }

    /// Ends a unit.
    pub fn stop_unit(&mut self, host: &str, name: &str) {
        let flights = self.flights.iter_mut().filter(|(id, f)| f.host == host && format!("k0rotate-{id}") == name);
        flights.for_each(|(_, flight)| flight.end_it());
    }

    /// When something happens next by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let flights = self.flights.values().filter_map(Flight::due);
        let links = self.faults.links.values().filter_map(Link::due).filter(|t| *t > self.now());
        let deadlines = self.commands.values().map(|(_, _, deadline)| *deadline).filter(|t| *t > self.now());
        let power = self.faults.power_back.values().copied();
        self.world.next_due().into_iter().chain(flights).chain(links).chain(deadlines).chain(power).min()
    }

    /// Lets time pass until then, or until something that was begun has ended, whichever comes first.
    pub fn advance(&mut self, until: Option<Timestamp>) {
        let before = self.ended();
        while !self.faults.stands() {
            let due = self.next_due();
            let Some(next) = due.into_iter().chain(until).min() else { return };
            self.world.advance_to(next.max(self.now()));
            self.give_power_back();
            self.step_flights();
            self.faults.crashed |= self.faults.outlived(self.now());
            let reached = until.is_some_and(|t| self.now() >= t);
            if reached || self.ended() != before || self.faults.crashed {
                return;
            }
        }
    }

    /// Lets so much time pass, whatever ends meanwhile.
    pub fn pass(&mut self, long: Duration) {
        let until = self.now().plus(long);
        while self.now() < until {
            self.advance(Some(until));
        }
    }

    /// The client is gone: nobody takes what it began; changes go on.
    pub fn forget_client(&mut self) {
        self.commands.clear();
        self.flights.values_mut().for_each(Flight::nobody_waits);
        self.faults.crashed = false;
    }

    /// One of several clients is gone: nobody takes what it began; changes go on.
    pub fn forget(&mut self, begun: &[FlightId]) {
        self.commands.retain(|id, _| !begun.contains(id));
        let flights = self.flights.iter_mut().filter(|(id, _)| begun.contains(id));
        flights.for_each(|(_, flight)| flight.nobody_waits());
    }

    fn give_power_back(&mut self) {
        let now = self.now();
        let due: Vec<String> =
            self.faults.power_back.iter().filter(|(_, at)| **at <= now).map(|(host, _)| host.clone()).collect();
        for host in due {
            self.faults.power_back.remove(&host);
            self.world.power_on(&host);
        }
    }

    /// What has ended and was not asked for yet.
    fn ended(&mut self) -> usize {
        let now = self.now();
        let commands: Vec<_> = self.commands.values().cloned().collect();
        let over = commands.into_iter().filter(|(host, ticket, deadline)| {
            self.world.has_ended(*ticket) || now >= *deadline || self.reach(host).is_err()
        });
        let over = over.count();
        over + self.flights.values().filter(|f| f.reply.is_some()).count()
    }

    fn draw(&mut self) -> FlightId {
        self.next += 1;
        FlightId(self.next)
    }

    /// Moves every flight on as far as it goes now; those that ended and were asked for are forgotten.
    fn step_flights(&mut self) {
        let ids: Vec<FlightId> = self.flights.keys().copied().collect();
        for id in ids {
            let Some(mut flight) = self.flights.remove(&id) else { continue };
            flight.step(self);
            if !flight.over() {
                self.flights.insert(id, flight);
            }
        }
    }
}

/// Looks, each of which a host that cannot be reached refuses.
impl Stage {
    /// A file's content.
    pub fn read(&self, host: &str, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        self.reach(host).map(|()| self.world.read(host, path))
    }

    /// A listing.
    pub fn files(&self, host: &str, roots: &[String]) -> Result<Vec<FileInfo>, HostError> {
        self.reach(host).map(|()| self.world.files(host, roots))
    }

    /// Processes of k0s.
    pub fn processes(&self, host: &str) -> Result<Vec<Process>, HostError> {
        self.reach(host).map(|()| self.world.processes(host))
    }

    /// A request over TLS.
    pub fn tls(&mut self, host: &str, request: &TlsRequest) -> Result<TlsSeen, HostError> {
        self.reach(host)?;
        Ok(self.world.tls(host, request))
    }
}

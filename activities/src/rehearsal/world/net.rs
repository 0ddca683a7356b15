//! The network: who listens where, who trusts whom, and etcd's quorum over it.

use super::World;
use crate::pki::{CertInfo, Purpose, Untrusted, verify_chain, verify_name};
use crate::rehearsal::k0s::answer::answer;
use crate::rehearsal::k0s::api::Store;
use crate::rehearsal::k0s::apiserver::authenticate;
use crate::rehearsal::k0s::leases::{NODE_LEASES, renewed};
use crate::rehearsal::machine::{Call, End, Listener, Reply, Service};
use k0rotate_engine::clock::Timestamp;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A `k0s-ctrl` Lease that has not been renewed for so long is not counted.
const COUNTED_MS: u64 = 60_000;
/// How many verdicts are remembered.
const REMEMBERED: usize = 4096;

/// Verdicts on chains, remembered: signatures do not change, only the time does.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust(RefCell<HashMap<u64, (i64, i64)>>);

impl Trust {
    pub(super) fn verify(
        &self,
        chain: &[CertInfo],
        roots: &[CertInfo],
        now: Timestamp,
        purpose: Purpose,
    ) -> Result<(), Untrusted> {
        let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        let mut hasher = DefaultHasher::new();
        chain.iter().chain(roots).for_each(|c| c.fingerprint.hash(&mut hasher));
        (chain.len(), purpose == Purpose::Client).hash(&mut hasher);
        let key = hasher.finish();
        if self.0.borrow().get(&key).is_some_and(|(from, to)| (*from..=*to).contains(&now)) {
            return Ok(());
        }
        verify_chain(chain, roots, now, purpose)?;
        // While all of them are valid the verdict stands.
        let all = || chain.iter().chain(roots);
        let from = all().map(|c| c.not_before).max().unwrap_or(now);
        let to = all().map(|c| c.not_after).min().unwrap_or(now);
        let mut verdicts = self.0.borrow_mut();
        if verdicts.len() >= REMEMBERED {
            verdicts.clear();
        }
        verdicts.insert(key, (from, to));
        Ok(())
    }
}

impl World {
    /// A request from a machine to an address.
    pub(super) fn dial(&mut self, from: usize, call: &Call) -> Reply {
        let (name, port) = split(&call.address);
        let Some(to) = self.route(from, name, port) else { return Reply::failed(End::Unroutable) };
        if !self.hosts[to].up(self.now) {
            return Reply::failed(End::Unroutable);
        }
        let Some(listener) = self.hosts[to].listeners.get(&port).cloned() else { return Reply::failed(End::Refused) };
        self.handshake(from, to, &listener, name, call)
    }

    fn handshake(&mut self, from: usize, to: usize, listener: &Listener, name: &str, call: &Call) -> Reply {
        let reply = |end| Reply { chain: Some(listener.chain.clone()), end };
        if let Some(trust) = &call.trust {
            let judged = self.trust.verify(&listener.chain, trust, self.clock_of(from), Purpose::Server);
            if let Err(why) = judged
                .and_then(|()| listener.chain.first().map_or(Err(Untrusted::Empty), |leaf| verify_name(leaf, name)))
            {
                return reply(End::NotTrusted(why));
            }
        }
        if let Some(ca) = &listener.client_ca {
            let shown: &[CertInfo] = call.shows.as_deref().unwrap_or_default();
            if self.trust.verify(shown, ca, self.clock_of(to), Purpose::Client).is_err() {
                return reply(End::NotAccepted);
            }
        }
        if call.path.is_empty() {
            return reply(End::Handshake);
        }
        let end = match &listener.service {
            Service::Api(loaded) => {
                let (code, body) = self.view(to, listener.pid, |m| answer(loaded, m, call));
                End::Answer(code, body)
            }
            Service::Kubelet(ca) => {
                let shown: &[CertInfo] = call.shows.as_deref().unwrap_or_default();
                match self.trust.verify(shown, ca, self.clock_of(to), Purpose::Client) {
                    Ok(()) => End::Answer(200, b"ok".to_vec()),
                    Err(_) => End::Answer(401, b"Unauthorized".to_vec()),
                }
            }
            Service::Etcd => End::Answer(200, b"{\"etcdserver\":\"3.6.14\",\"etcdcluster\":\"3.6.0\"}".to_vec()),
            Service::Handshake | Service::Konnectivity(_) => End::Answer(404, b"404 page not found\n".to_vec()),
        };
        reply(end)
    }

    fn clock_of(&self, host: usize) -> Timestamp {
        Timestamp(self.now.0.saturating_add_signed(self.hosts[host].skew))
    }

    /// The machine behind a name or an address. The balancer hands connections out in turn to those that listen.
    fn route(&mut self, from: usize, name: &str, port: u16) -> Option<usize> {
        if matches!(name, "localhost" | "127.0.0.1" | "::1") {
            return Some(from);
        }
        if let Some(host) = self.hosts.iter().position(|host| host.address == name || host.name == name) {
            return Some(host);
        }
        if name != self.balancer {
            return None;
        }
        let listening: Vec<usize> = (0..self.hosts.len()).filter(|i| self.listens(*i, port)).collect();
        self.turn = self.turn.wrapping_add(1);
        let controllers = (0..self.hosts.len()).find(|i| self.hosts[*i].role.is_controller());
        listening.get(self.turn % listening.len().max(1)).copied().or(controllers)
    }

    fn listens(&self, host: usize, port: u16) -> bool {
        self.hosts[host].up(self.now) && self.hosts[host].listeners.contains_key(&port)
    }

    /// See [`crate::rehearsal::machine::Machine::tunnel`].
    pub(super) fn tunnel(&mut self, from: usize, pid: u32, call: &Call, node: &str) -> bool {
        let (name, port) = split(&call.address);
        let servers: Vec<usize> =
            (0..self.hosts.len()).filter(|i| self.listens(*i, port) && self.counted(*i)).collect();
        for to in servers {
            let listener = self.hosts[to].listeners[&port].clone();
            let Service::Konnectivity(agents) = &listener.service else { continue };
            if agents.get(node).is_some_and(|own| *own == pid) {
                continue;
            }
            if self.handshake(from, to, &listener, name, call).end != End::Handshake || !self.token_accepted(to, call) {
                continue;
            }
            if let Some(Listener { service: Service::Konnectivity(agents), .. }) =
                self.hosts[to].listeners.get_mut(&port)
            {
                agents.insert(node.to_owned(), pid);
                return true;
            }
        }
        false
    }

    /// The server asks its own API server for a TokenReview.
    fn token_accepted(&mut self, host: usize, call: &Call) -> bool {
        let Some(Listener { pid, service: Service::Api(loaded), .. }) = self.hosts[host].listeners.get(&6443).cloned()
        else {
            return false;
        };
        self.view(host, pid, |m| authenticate(&loaded, m, call).is_some())
    }

    fn counted(&self, host: usize) -> bool {
        let lease = self.objects.get(&format!("{NODE_LEASES}k0s-ctrl-{}", self.hosts[host].name));
        lease.and_then(|lease| renewed(&lease)).is_some_and(|at| self.now.0 < at + COUNTED_MS)
    }

    /// See [`crate::rehearsal::machine::Machine::tunnelled`].
    pub(super) fn tunnelled(&self, host: usize) -> bool {
        let Some(Listener { service: Service::Konnectivity(agents), .. }) = self.hosts[host].listeners.get(&8132)
        else {
            return false;
        };
        let connected = |node: &str, pid: u32| {
            self.hosts.iter().any(|h| h.name == node && h.up(self.now) && h.procs.contains_key(&pid))
        };
        agents.iter().any(|(node, pid)| connected(node, *pid))
    }

    /// Whether the store of this machine answers.
    pub(super) fn stored(&self, host: usize) -> bool {
        if self.members.is_empty() {
            return self.hosts[host].procs.values().any(|proc| proc.comm == "kine");
        }
        self.hosts[host].listeners.contains_key(&2379) && self.quorum(host)
    }

    /// Whether etcd here and enough of its peers accept each other.
    fn quorum(&self, host: usize) -> bool {
        if let Some(known) = self.quorums.borrow().get(&host) {
            return *known;
        }
        let together = self.members.iter().filter(|(name, _)| {
            self.hosts.iter().position(|h| h.name == *name).is_some_and(|peer| self.peers(host, peer))
        });
        let quorum = together.count() > self.members.len() / 2;
        self.quorums.borrow_mut().insert(host, quorum);
        quorum
    }

    /// Both ways: a peer is a client of the other.
    fn peers(&self, a: usize, b: usize) -> bool {
        let etcd = |host: usize| self.hosts[host].listeners.get(&2380).filter(|_| self.hosts[host].up(self.now));
        let (Some(one), Some(other)) = (etcd(a), etcd(b)) else { return false };
        let accepts = |server: &Listener, client: &Listener, at: usize| {
            let ca = server.client_ca.as_deref().unwrap_or_default();
            [Purpose::Client, Purpose::Server]
                .iter()
                .all(|p| self.trust.verify(&client.chain, ca, self.clock_of(at), *p).is_ok())
        };
        a == b || accepts(one, other, a) && accepts(other, one, b)
    }

    /// See [`crate::rehearsal::machine::Machine::hand_over`].
    pub(super) fn hand_over(&mut self, host: usize) -> bool {
        if self.leader != Some(host) {
            return true;
        }
        let alive: Vec<usize> =
            (0..self.hosts.len()).filter(|i| *i != host && self.listens(*i, 2380) && self.peers(host, *i)).collect();
        let ending = |i: &usize| self.hosts[*i].procs.values().any(|p| p.comm == "etcd" && p.told_to_end);
        let enough = alive.len() > self.members.len() / 2 && !self.plan.stop_race;
        let next = alive.iter().find(|i| !ending(i)).or_else(|| alive.first().filter(|_| enough)).copied();
        let quorum = self.quorum(host);
        match next.filter(|_| quorum) {
            Some(next) => {
                self.leader = Some(next);
                true
            }
            None => false,
        }
    }

    /// Chooses a leader of etcd if there is none, and forgets which machines had a quorum.
    pub(super) fn elect(&mut self) {
        self.quorums.borrow_mut().clear();
        if self.leader.is_some_and(|leader| self.listens(leader, 2380) && self.quorum(leader)) {
            return;
        }
        self.leader = (0..self.hosts.len()).find(|i| self.listens(*i, 2380) && self.quorum(*i));
    }
}

/// Remembered quorums.
pub(super) type Quorums = RefCell<BTreeMap<usize, bool>>;

fn split(address: &str) -> (&str, u16) {
    let (name, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (name.trim_matches(['[', ']']), port.parse().unwrap_or(0))
}

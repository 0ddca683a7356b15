//! A simulated machine as a program on it sees it.

use super::World;
use super::files::{Entry, Kind};
use super::objects::Objects;
use crate::host::OwnerIds;
use crate::pki::{CertInfo, Purpose, Untrusted};
use crate::rehearsal::k0s::Program;
use crate::rehearsal::k0s::api::Store;
use crate::rehearsal::machine::{Bytes, Call, Listener, Machine, Ms, NoSpace, Reply};
use k0rotate_engine::clock::Timestamp;

/// The world from one process of one machine.
pub(super) struct View<'a> {
    pub world: &'a mut World,
    pub host: usize,
    pub pid: u32,
}

impl World {
    /// Does something as a process of a machine.
    pub(super) fn view<T>(&mut self, host: usize, pid: u32, with: impl FnOnce(&mut dyn Machine) -> T) -> T {
        self.hosts[host].files.now = self.now;
        with(&mut View { world: self, host, pid })
    }
}

impl View<'_> {
    fn sim(&self) -> &super::host::SimHost {
        &self.world.hosts[self.host]
    }

    fn sim_mut(&mut self) -> &mut super::host::SimHost {
        &mut self.world.hosts[self.host]
    }
}

const fn owner(uid: u32) -> OwnerIds {
    OwnerIds { uid, gid: 0 }
}

impl Machine for View<'_> {
    fn hostname(&self) -> &str {
        &self.sim().name
    }

    fn address(&self) -> &str {
        &self.sim().address
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.world.now.0.saturating_add_signed(self.sim().skew))
    }

    fn ms(&self) -> Ms {
        self.world.now.0
    }

    fn word(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..length).map(|_| char::from(LETTERS[(self.world.draw() % 36) as usize])).collect()
    }

    fn read(&self, path: &str) -> Option<Bytes> {
        self.sim().files.read(path)
    }

    fn exists(&self, path: &str) -> bool {
        self.sim().files.raw(path).is_some() || self.sim().files.entry(path).is_some()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        self.sim().files.list(dir)
    }

    fn tree(&self, root: &str) -> Vec<(String, Entry)> {
        self.sim().files.tree(root).into_iter().map(|(path, entry)| (path, entry.clone())).collect()
    }

    fn write(&mut self, path: &str, bytes: &[u8], mode: u32, uid: u32) -> Result<(), NoSpace> {
        self.sim_mut().files.write(path, bytes, mode, owner(uid))
    }

    fn own(&mut self, path: &str, mode: u32, uid: u32) {
        self.sim_mut().files.own(path, mode, uid);
    }

    fn make_dir(&mut self, path: &str, mode: u32, uid: u32) {
        self.sim_mut().files.make_dir(path.trim_end_matches('/'), mode, Some(owner(uid)));
    }

    fn link(&mut self, path: &str, target: &str) {
        self.sim_mut().files.replace(path, Kind::Link(target.to_owned()), 0o777, owner(0));
    }

    fn socket(&mut self, path: &str, mode: u32, uid: u32) {
        self.sim_mut().files.replace(path, Kind::Socket, mode, owner(uid));
    }

    fn remove(&mut self, path: &str) {
        self.sim_mut().files.remove(path);
    }

    fn me(&self) -> u32 {
        self.pid
    }

    fn told_to_end(&self) -> bool {
        self.sim().procs.get(&self.pid).is_some_and(|proc| proc.told_to_end)
    }

    fn spawn(&mut self, program: Program) -> u32 {
        let now = self.world.now;
        self.sim_mut().spawn(program, now)
    }

    fn alive(&self, pid: u32) -> bool {
        self.sim().procs.contains_key(&pid)
    }

    fn comm(&self, pid: u32) -> Option<String> {
        self.sim().procs.get(&pid).map(|proc| proc.comm.to_owned())
    }

    fn signal(&mut self, pid: u32, signal: i32) {
        let now = self.world.now;
        self.sim_mut().signal(pid, signal, now);
    }

    fn listen(&mut self, port: u16, listener: Listener) {
        self.sim_mut().listeners.insert(port, listener);
    }

    fn listens(&self, port: u16) -> bool {
        self.sim().listeners.contains_key(&port)
    }

    fn verify(&self, chain: &[CertInfo], roots: &[CertInfo], purpose: Purpose) -> Result<(), Untrusted> {
        self.world.trust.verify(chain, roots, self.now(), purpose)
    }

    fn dial(&mut self, call: &Call) -> Reply {
        self.world.dial(self.host, call)
    }

    fn tunnel(&mut self, call: &Call, node: &str) -> bool {
        self.world.tunnel(self.host, self.pid, call, node)
    }

    fn tunnelled(&self) -> bool {
        self.world.tunnelled(self.host)
    }

    fn store(&mut self) -> Option<&mut dyn Store> {
        let available = self.world.stored(self.host);
        let objects: &mut Objects = &mut self.world.objects;
        available.then_some(objects as &mut dyn Store)
    }

    fn hand_over(&mut self) -> bool {
        self.world.hand_over(self.host)
    }

    fn members(&self) -> Vec<(String, String)> {
        self.world.members.clone()
    }

    fn log(&mut self, line: &str) {
        let now = self.now();
        let line = format!("k0s[{}]: {line}", self.pid);
        self.sim_mut().log(now, &line);
    }
}

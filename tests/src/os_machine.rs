//! The model of k0s on a real machine: real files, processes, TLS and etcd.

mod balance;
mod dial;
mod files;
mod http;
mod processes;
mod run;
mod seed;
mod serve;
mod store;
mod tls;

pub use balance::balance;
pub use dial::asked;
pub use processes::{STANDS, stand};
pub use run::{TASK, container, run};
pub use seed::seed;

use k0rotate_activities::pki::{CertInfo, Purpose, Untrusted, verify_chain};
use k0rotate_activities::rehearsal::k0s::Program;
use k0rotate_activities::rehearsal::k0s::api::Store;
use k0rotate_activities::rehearsal::k0s::apiserver::Loaded;
use k0rotate_activities::rehearsal::k0s::client::{load_pool, load_shown};
use k0rotate_activities::rehearsal::machine::{Bytes, Call, End, Listener, Machine, Ms, Next, NoSpace, Reply};
use k0rotate_activities::rehearsal::world::Entry;
use k0rotate_engine::clock::Timestamp;
use processes::{Known, MARKER, Processes};
use serve::{Ports, Tunnels};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Access, EtcdStore};

/// How much faster than a real k0s this one is: all its waits are divided by it. `tests/lab` writes `$K0S_TIME_SCALE` into it.
pub const TIME_SCALE: &str = "/etc/k0s-standin/scale";
/// All members of etcd, as `--initial-cluster` wants them; written when the machine is set up.
pub const CLUSTER: &str = "/etc/k0s-standin/cluster";
/// Where etcd is asked.
const ETCD_CLIENT: &str = "127.0.0.1:2379";
/// How soon a port that is not ours is known to be closed.
const LOOK: Duration = Duration::from_millis(300);

/// What all programs of one k0s process share.
struct Host {
    hostname: String,
    address: String,
    data: String,
    scale: u64,
    keys: Arc<tls::Keys>,
    processes: Processes,
    ports: Ports,
    tunnels: Tunnels,
    /// What the API server of this process loaded: konnectivity-server asks it who an agent is.
    api: Mutex<Option<Arc<Loaded>>>,
}

/// The machine as one program sees it.
pub struct OsMachine {
    host: Arc<Host>,
    me: u32,
    known: Option<Arc<Known>>,
    store: Option<EtcdStore>,
    /// Connections of an agent, kept open.
    connections: Vec<dial::Stream>,
}

fn trimmed(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl OsMachine {
    /// This machine; `data` is the data directory of k0s.
    pub fn here(data: &str) -> Self {
        let scale = trimmed(TIME_SCALE).parse().ok().filter(|s| *s > 0).unwrap_or(1);
        let host = Host {
            hostname: trimmed("/proc/sys/kernel/hostname"),
            address: trimmed("/etc/lab-address"),
            data: data.to_owned(),
            scale,
            keys: Arc::default(),
            processes: Processes::default(),
            ports: Ports::default(),
            tunnels: Tunnels::default(),
            api: Mutex::default(),
        };
        let me = std::process::id();
        let known = host.processes.enter(me);
        Self { host: Arc::new(host), me, known: Some(known), store: None, connections: Vec::new() }
    }

    /// The same machine as another program sees it.
    fn of(&self, pid: u32) -> Self {
        let known = self.host.processes.get(pid);
        Self { host: self.host.clone(), me: pid, known, store: None, connections: Vec::new() }
    }

    /// Drives a program to its end in the calling thread; its status.
    pub fn drive(&mut self, mut program: Program) -> i32 {
        loop {
            let known = self.known.clone();
            if known.as_ref().is_some_and(|k| k.dead()) {
                return 0;
            }
            let wait = match program.step(self) {
                Next::After(ms) => Some(Duration::from_millis(ms / self.host.scale + 1)),
                Next::Never => None,
                Next::Exit(status) => return status,
            };
            if let Some(known) = known {
                known.wait(wait);
            }
        }
    }

    /// Drives the main program; SIGTERM is passed on to it.
    pub fn drive_main(&mut self, program: Program) -> i32 {
        let known = self.host.processes.enter(self.me);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let kind = tokio::signal::unix::SignalKind::terminate();
                let mut terms = tokio::signal::unix::signal(kind).expect("a handler");
                while terms.recv().await.is_some() {
                    known.tell();
                }
            });
        });
        self.drive(program)
    }

    fn start(&mut self, program: Program) -> std::io::Result<u32> {
        let (_, exe) = program.names();
        let bin = format!("{}/bin", self.host.data);
        let host = self.host.clone();
        let ended = move |pid| host.ports.close_of(pid);
        if let Program::Etcd(_) = program {
            return self.host.processes.start(&mut self.etcd(), ended);
        }
        if let Program::Task(task) = &program {
            let mut command = processes::standing(&bin, exe, "stays")?;
            command.env_remove(STANDS).env_remove(MARKER).env(TASK, run::task_text(task));
            return self.host.processes.start(&mut command, ended);
        }
        let at_term = if matches!(program, Program::Shim) { "stays" } else { "ends" };
        let mut command = processes::standing(&bin, exe, at_term)?;
        command.env(MARKER, "yes");
        let pid = self.host.processes.start(&mut command, ended)?;
        let mut machine = self.of(pid);
        std::thread::spawn(move || {
            let status = machine.drive(program);
            machine.host.ports.close_of(pid);
            if let Some(known) = &machine.known {
                known.exit(status);
            }
        });
        Ok(pid)
    }

    fn etcd(&self) -> Command {
        let (address, name) = (&self.host.address, &self.host.hostname);
        let pki = |file: &str| format!("{}/pki/etcd/{file}", self.host.data);
        let mut command = Command::new("/usr/bin/etcd");
        command.env(MARKER, "yes").env_remove("ETCD_NAME").stderr(std::process::Stdio::null()).args([
            format!("--name={name}"),
            format!("--data-dir={}/etcd", self.host.data),
            format!("--listen-client-urls=https://{ETCD_CLIENT}"),
            format!("--advertise-client-urls=https://{ETCD_CLIENT}"),
            format!("--listen-peer-urls=https://{address}:2380"),
            format!("--initial-advertise-peer-urls=https://{address}:2380"),
            format!("--initial-cluster={}", trimmed(CLUSTER)),
            format!("--trusted-ca-file={}", pki("ca.crt")),
            format!("--cert-file={}", pki("server.crt")),
            format!("--key-file={}", pki("server.key")),
            "--client-cert-auth".to_owned(),
            format!("--peer-trusted-ca-file={}", pki("ca.crt")),
            format!("--peer-cert-file={}", pki("peer.crt")),
            format!("--peer-key-file={}", pki("peer.key")),
            "--peer-client-cert-auth".to_owned(),
        ]);
        command
    }

    fn access(&self) -> Option<Access> {
        let pki = |file: &str| format!("{}/pki/{file}", self.host.data);
        Some(Access {
            address: ETCD_CLIENT.to_owned(),
            trust: load_pool(self, &pki("etcd/ca.crt"))?,
            shows: load_shown(self, &pki("apiserver-etcd-client.crt"), &pki("apiserver-etcd-client.key"))?,
        })
    }
}

impl Machine for OsMachine {
    fn hostname(&self) -> &str {
        &self.host.hostname
    }

    fn address(&self) -> &str {
        &self.host.address
    }

    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn ms(&self) -> Ms {
        // The same for all processes of this machine.
        let uptime = trimmed("/proc/uptime");
        let (seconds, hundredths) = uptime.split(' ').next().and_then(|s| s.split_once('.')).unwrap_or(("0", "0"));
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        (number(seconds) * 1000 + number(hundredths) * 10) * self.host.scale
    }

    fn word(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut bytes = vec![0; length];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut bytes).expect("the system has randomness");
        bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
    }

    fn read(&self, path: &str) -> Option<Bytes> {
        let bytes = std::fs::read(path).ok()?;
        self.host.keys.remember(&bytes);
        Some(bytes.into())
    }

    fn exists(&self, path: &str) -> bool {
        std::fs::symlink_metadata(path).is_ok()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        files::list(dir)
    }

    fn tree(&self, root: &str) -> Vec<(String, Entry)> {
        files::tree(root)
    }

    fn write(&mut self, path: &str, bytes: &[u8], mode: u32, uid: u32) -> Result<(), NoSpace> {
        files::write(path, bytes, mode, uid)
    }

    fn own(&mut self, path: &str, mode: u32, uid: u32) {
        files::own(path, mode, uid);
    }

    fn make_dir(&mut self, path: &str, mode: u32, uid: u32) {
        files::make_dir(path, mode, uid);
    }

    fn link(&mut self, path: &str, target: &str) {
        files::link(path, target);
    }

    fn socket(&mut self, path: &str, mode: u32, uid: u32) {
        files::socket(path, mode, uid);
    }

    fn remove(&mut self, path: &str) {
        files::remove(path);
    }

    fn me(&self) -> u32 {
        self.me
    }

    fn told_to_end(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.told())
    }

    fn spawn(&mut self, program: Program) -> u32 {
        self.start(program).unwrap_or_else(|error| {
            eprintln!("standin: {error}");
            0
        })
    }

    fn alive(&self, pid: u32) -> bool {
        processes::alive(pid)
    }

    fn comm(&self, pid: u32) -> Option<String> {
        processes::comm(pid)
    }

    fn signal(&mut self, pid: u32, signal: i32) {
        processes::signal(pid, signal);
    }

    fn listen(&mut self, port: u16, listener: Listener) {
        serve::listen(self, port, listener);
    }

    fn listens(&self, port: u16) -> bool {
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), LOOK).is_ok()
    }

    fn verify(&self, chain: &[CertInfo], roots: &[CertInfo], purpose: Purpose) -> Result<(), Untrusted> {
        verify_chain(chain, roots, tls::seconds(), purpose)
    }

    fn dial(&mut self, call: &Call) -> Reply {
        dial::dial(&self.host.keys, call)
    }

    fn tunnel(&mut self, call: &Call, node: &str) -> bool {
        let (reply, stream) = dial::open(&self.host.keys, call);
        let (End::Handshake, Some(mut stream)) = (reply.end, stream) else { return false };
        let mut answer = String::new();
        let token = call.bearer.as_deref().unwrap_or_default();
        let said = stream.write_all(format!("{node}\n{token}\n").as_bytes()).and_then(|()| stream.flush());
        let heard = said.and_then(|()| BufReader::new(&mut stream).read_line(&mut answer));
        let new = heard.is_ok() && answer.trim() == "new";
        if new {
            self.connections.push(stream);
        }
        new
    }

    fn tunnelled(&self) -> bool {
        self.host.tunnels.any()
    }

    fn store(&mut self) -> Option<&mut dyn Store> {
        if self.store.is_none() {
            self.store = Some(EtcdStore::new(self.host.keys.clone(), self.access()?));
        }
        let refreshed = self.store.as_mut().and_then(EtcdStore::refresh);
        if refreshed.is_none() {
            // The next look takes today's certificates, as the next start of an API server would.
            self.store = None;
        }
        self.store.as_mut().map(|store| store as &mut dyn Store)
    }

    fn hand_over(&mut self) -> bool {
        true
    }

    fn members(&self) -> Vec<(String, String)> {
        let store = self.access().map(|access| EtcdStore::new(self.host.keys.clone(), access));
        store.and_then(|store| store.members()).unwrap_or_default()
    }

    fn log(&mut self, line: &str) {
        eprintln!("{line}");
    }
}

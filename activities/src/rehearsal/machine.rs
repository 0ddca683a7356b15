//! What k0s needs of a machine: files, processes, a clock, connections, a store.
//!
//! k0s is written once over this trait (`k0s/`) and runs on simulated machines (`world/`) and on real ones. Its programs never wait:
//! each is stepped, does what is due and says when it wants to be stepped again.

use super::k0s::Program;
use super::k0s::api::Store;
use super::world::Entry;
use crate::host::{TlsEnd, TlsSeen};
use crate::pki::{CertInfo, Purpose, Untrusted};
use k0rotate_engine::clock::Timestamp;
use std::sync::Arc;

/// Milliseconds on a clock that never jumps; programs measure with it.
pub type Ms = u64;

/// A file's content.
pub type Bytes = Arc<[u8]>;

/// Certificates that are trusted, as a process loaded them.
pub type Pool = Arc<[CertInfo]>;

/// A chain that a process shows, leaf first, as it loaded it; only made where the private key belongs to the leaf.
pub type Shown = Arc<[CertInfo]>;

/// When a program wants to be stepped again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After so many milliseconds, or when a signal arrives.
    After(Ms),
    /// Only when a signal arrives.
    Never,
    /// It has ended with this status.
    Exit(i32),
}

/// The disk is full: nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpace;

/// What a request wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    #[default]
    Get,
    /// Creates.
    Post,
    /// Replaces.
    Put,
    /// Changes a part (a merge patch).
    Patch,
    /// Changes a part (a list of operations).
    JsonPatch,
    /// Removes.
    Delete,
}

/// A request over TLS, with credentials as the calling process loaded them.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// `ip:port` or `name:port`, as seen from the caller.
    pub address: String,
    /// What it wants.
    pub verb: Verb,
    /// Path and query; empty for a handshake alone.
    pub path: String,
    /// What is sent.
    pub body: Vec<u8>,
    /// Whom the caller trusts; `None`: whoever answers.
    pub trust: Option<Pool>,
    /// Its client certificate.
    pub shows: Option<Shown>,
    /// Its bearer token.
    pub bearer: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// What came of a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The chain that the server showed, leaf first.
    pub chain: Option<Shown>,
    /// How it ended.
    pub end: End,
}

/// How a [`Call`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody listens there.
    Refused,
    /// The machine does not answer at all.
    Unroutable,
    /// The server does not accept the client's certificate.
    NotAccepted,
    /// The caller does not trust the server.
    NotTrusted(Untrusted),
    /// The handshake ended well, and no request was sent.
    Handshake,
    /// An HTTP answer.
    Answer(u16, Vec<u8>),
}

impl Reply {
    /// Without a connection.
    pub fn failed(end: End) -> Self {
        Self { chain: None, end }
    }

    /// The body of a 2xx answer.
    pub fn ok(self) -> Option<Vec<u8>> {
        match self.end {
            End::Answer(200..=299, body) => Some(body),
            _ => None,
        }
    }

    /// As a host reports it.
    pub fn seen(self) -> TlsSeen {
        let chain = self.chain.iter().flat_map(|chain| chain.iter()).map(|c| c.der.clone()).collect();
        let end = match self.end {
            End::Refused => TlsEnd::Refused,
            End::Unroutable => TlsEnd::Broken,
            End::NotAccepted => TlsEnd::NotAccepted,
            End::NotTrusted(_) => TlsEnd::NotTrusted,
            End::Handshake => TlsEnd::Handshake,
            End::Answer(status, body) => TlsEnd::Answer(status, body),
        };
        TlsSeen { chain, end }
    }
}

/// What a process serves on a port.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The process; the port closes with it.
    pub pid: u32,
    /// The chain it shows.
    pub chain: Shown,
    /// Client certificates must lead here; `None`: they are looked at, if at all, only when a request is answered.
    pub client_ca: Option<Pool>,
    /// Who answers requests.
    pub service: Service,
}

/// Who answers requests on a port.
#[derive(Clone, Debug)]
pub enum Service {
    /// Nobody: the handshake is all that is looked at (the join API).
    Handshake,
    /// etcd: what is stored is not asked for this way, its version is.
    Etcd,
    /// kube-apiserver, with the trust that it loaded at its start.
    Api(Arc<super::k0s::apiserver::Loaded>),
    /// konnectivity-server: agents that are connected, by node, with their process.
    Konnectivity(std::collections::BTreeMap<String, u32>),
    /// The kubelet: whom it accepts is in `client_ca` of its requests, loaded at its start.
    Kubelet(Pool),
}

/// What k0s needs of a machine. The process that calls is known to it.
pub trait Machine {
    /// The host name.
    fn hostname(&self) -> &str;
    /// Its address.
    fn address(&self) -> &str;
    /// Its wall clock.
    fn now(&self) -> Timestamp;
    /// Its monotonic clock.
    fn ms(&self) -> Ms;
    /// A random word of lower-case letters and digits.
    fn word(&mut self, length: usize) -> String;

    /// Reads a file; links are followed.
    fn read(&self, path: &str) -> Option<Bytes>;
    /// Whether something is there, be it a link that leads nowhere.
    fn exists(&self, path: &str) -> bool;
    /// An entry and all below it, by path.
    fn tree(&self, root: &str) -> Vec<(String, Entry)>;
    /// Names in a directory, sorted.
    fn list(&self, dir: &str) -> Vec<String>;
    /// Writes a file whole; missing directories are made with mode 0755. Group 0.
    fn write(&mut self, path: &str, bytes: &[u8], mode: u32, uid: u32) -> Result<(), NoSpace>;
    /// Changes the mode and the owner of what is there.
    fn own(&mut self, path: &str, mode: u32, uid: u32);
    /// Makes a directory, or sets the mode and owner of the one that is there.
    fn make_dir(&mut self, path: &str, mode: u32, uid: u32);
    /// Makes or replaces a symbolic link.
    fn link(&mut self, path: &str, target: &str);
    /// Makes a socket's file.
    fn socket(&mut self, path: &str, mode: u32, uid: u32);
    /// Removes a file or a tree.
    fn remove(&mut self, path: &str);

    /// The calling process.
    fn me(&self) -> u32;
    /// Whether SIGTERM was sent to the calling process.
    fn told_to_end(&self) -> bool;
    /// Starts a program; the answer is its pid. It carries `_K0S_MANAGED=yes`.
    fn spawn(&mut self, program: Program) -> u32;
    /// Whether this process lives.
    fn alive(&self, pid: u32) -> bool;
    /// Command name of a living process.
    fn comm(&self, pid: u32) -> Option<String>;
    /// Sends SIGTERM (15) or SIGKILL (9).
    fn signal(&mut self, pid: u32, signal: i32);

    /// Serves on a port.
    fn listen(&mut self, port: u16, listener: Listener);
    /// Whether a living process serves on this port here.
    fn listens(&self, port: u16) -> bool;
    /// Judges a chain at the machine's time.
    fn verify(&self, chain: &[CertInfo], roots: &[CertInfo], purpose: Purpose) -> Result<(), Untrusted>;
    /// Sends a request.
    fn dial(&mut self, call: &Call) -> Reply;
    /// The calling process, an agent of `node`, connects to a konnectivity-server behind that address to which it is not connected yet and
    /// that is counted (its `k0s-ctrl` Lease is fresh). False if there is none, or if one side does not accept the other.
    fn tunnel(&mut self, call: &Call, node: &str) -> bool;
    /// Whether any agent is connected to the konnectivity-server of this machine: if not the node's own, another one serves.
    fn tunnelled(&self) -> bool;

    /// The cluster's objects, if the store of this machine answers (etcd: it runs here and has a quorum).
    fn store(&mut self) -> Option<&mut dyn Store>;
    /// etcd of this machine is about to end: if it leads, it hands over. False if it leads and there is nobody to hand over to.
    fn hand_over(&mut self) -> bool;
    /// Members of etcd, by name, with their peer URLs.
    fn members(&self) -> Vec<(String, String)>;

    /// Writes a line into the journal of the unit.
    fn log(&mut self, line: &str);
}

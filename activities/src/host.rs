//! What an activity can ask of a machine: looks that change nothing, and fenced changes.

pub mod contract;
pub mod ssh;

use crate::secret::Secret;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A program and its arguments; never a shell string built from data.
#[derive(Clone, Debug)]
pub struct Command {
    /// A program's name or absolute path.
    pub program: String,
    /// Its arguments, as they are. No secret may stand here: it goes through `stdin`.
    pub args: Vec<String>,
    /// What it reads; `/dev/null` if empty.
    pub stdin: Secret,
    /// How long it may run on the host before it is ended there.
    pub deadline: Duration,
}

/// How long a command may run unless it says otherwise.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

impl Command {
    /// A command without input and with the usual deadline.
    pub fn new<I: Into<String>>(program: &str, args: impl IntoIterator<Item = I>) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            stdin: Secret::default(),
            deadline: COMMAND_DEADLINE,
        }
    }

    /// With something to read.
    #[must_use]
    pub fn stdin(mut self, stdin: Secret) -> Self {
        self.stdin = stdin;
        self
    }

    /// With another deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// What a command that ended left. Its text is parsed by an activity into a type and goes nowhere else.
#[derive(Clone)]
pub struct Output {
    /// Its exit status; 124 if it was ended at its deadline.
    pub status: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output(status {}, {} + {} bytes)", self.status, self.stdout.len(), self.stderr.len())
    }
}

impl Output {
    /// Whether the exit status is 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Standard output as text, lossy.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, lossy.
    pub fn err_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Who changes a host: hosts refuse a change whose fence number is below their mark's, or whose incarnation is not the mark's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The execution.
    pub execution: String,
    /// The opening of the store that drives it.
    pub incarnation: String,
    /// The attempt's number.
    pub number: u64,
    /// The step and attempt, for the unit's name; hashed, never shown.
    pub attempt: String,
}

/// A host's durable mark: who holds it, and the lowest fence number that it still obeys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The execution.
    pub execution: String,
    /// The opening of the store that drives it.
    pub incarnation: String,
    /// Commands with a lower number are refused.
    pub fence: u64,
    /// `forward` or `back`.
    pub direction: String,
    /// Slug of the phase in which the mark was last written; for people.
    pub phase: String,
    /// Who holds it, `user@machine`; for people.
    pub by: String,
}

/// A file's owner, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerIds {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What kind of file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file, with the SHA-256 of its content in hex and its size in bytes.
    File {
        /// SHA-256, hex.
        sha256: String,
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link and its target.
    Link {
        /// As it stands in the link.
        target: String,
    },
    /// A socket, a pipe or a device.
    Other,
}

/// A file as found on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Absolute path.
    pub path: String,
    /// Kind and content.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: OwnerIds,
}

/// A process of k0s: one with `_K0S_MANAGED=yes` in its environment, or the main process of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start: u64,
    /// Command name, at most 15 bytes.
    pub comm: String,
    /// Path of the executable.
    pub exe: String,
}

impl Process {
    /// The shim of a container: it stays by design when k0s is stopped (lab §16).
    pub fn is_shim(&self) -> bool {
        self.comm.starts_with("containerd-shim")
    }
}

/// One change of a host. A list of them is carried out in order and stops at the first that fails.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes a file whole: a temporary file beside it, sync, rename, sync of the directory. Missing directories are made with mode 0700.
    Write {
        /// Absolute path.
        path: String,
        /// Its content.
        bytes: Secret,
        /// Permission bits.
        mode: u32,
        /// Owner.
        owner: OwnerIds,
    },
    /// Renames within a file system, into a directory that is made if it has to be, and syncs both. `from` missing and `to` there is success.
    Rename {
        /// Absolute path.
        from: String,
        /// Absolute path.
        to: String,
    },
    /// Copies a file, a link or a tree with modes, owners and link targets kept, as a whole (by a temporary name); syncs it.
    Copy {
        /// Absolute path.
        from: String,
        /// Absolute path.
        to: String,
    },
    /// Makes a directory and its parents. Already there is success; the mode is set.
    MakeDir {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Removes a file, a link or a whole tree, and syncs the directory above. Already gone is success.
    Remove {
        /// Absolute path.
        path: String,
    },
    /// Sends a signal to a process if its start time and executable are still these.
    Signal {
        /// The process as it was seen.
        process: Process,
        /// 15 or 9.
        signal: i32,
    },
    /// Runs a program.
    Run(Command),
}

/// A client certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Certificate, PEM.
    pub certificate: String,
    /// Private key, PEM.
    pub key: Secret,
}

/// A request over TLS from the host itself to one of its own or another host's ports.
#[derive(Clone, Debug, Default)]
pub struct TlsRequest {
    /// `ip:port` as seen from the host.
    pub address: String,
    /// Path of a GET; empty for a TLS handshake alone.
    pub path: String,
    /// Whom to trust, PEM (one or several); empty: whoever answers.
    pub trust: String,
    /// Client certificate.
    pub identity: Option<ClientIdentity>,
    /// Bearer token.
    pub bearer: Option<Secret>,
    /// Further headers, for example X-Remote-User.
    pub headers: Vec<(String, String)>,
}

/// What came of a [`TlsRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// The chain that was served, DER, leaf first; empty if none was.
    pub chain: Vec<Vec<u8>>,
    /// How it ended.
    pub end: TlsEnd,
}

/// How a [`TlsRequest`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsEnd {
    /// Nobody listens there.
    Refused,
    /// The other side does not accept our certificate (an alert).
    NotAccepted,
    /// We do not trust the other side.
    NotTrusted,
    /// The handshake ended well, and no request was to be sent.
    Handshake,
    /// An HTTP answer: status and body (at most 1 MiB).
    Answer(u16, Vec<u8>),
    /// Anything else, for example a time-out.
    Broken,
}

/// Why a host could not be asked. Never says that a command failed: that is an [`Output`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No connection: nothing was sent.
    #[error("unreachable")]
    Unreachable,
    /// The link was lost after something was sent: the outcome is unknown.
    #[error("link lost; the outcome is unknown")]
    Lost,
    /// It took longer than its deadline; it may still run.
    #[error("no answer in time; the outcome is unknown")]
    Deadline,
    /// The mark on the host is somebody else's, or its fence number higher: nothing was changed.
    #[error("fenced")]
    Fenced(Option<Box<Mark>>),
    /// Access was denied: the key, the user or sudo.
    #[error("access denied")]
    Denied,
    /// The host key is not the known one.
    #[error("the host key is not known")]
    HostKey,
    /// The machine could not do what was asked of its files, for example no space; a short code.
    #[error("the machine refused: {0}")]
    Refused(String),
}

impl HostError {
    /// Whether it is certain that nothing was begun there and nothing is on its way: there was no connection.
    pub fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Denied | Self::HostKey)
    }
}

/// A machine that k0s runs on.
///
/// Looks change nothing and need no fence. All changes go through [`Host::change`]: it is the one place where a fence is
/// looked at, where the rehearsal fleet counts, tears, delays and refuses, and where SSH starts a transient unit.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Its name in the inventory.
    fn name(&self) -> &str;
    /// Runs a command that changes nothing.
    async fn exec(&self, command: Command) -> Result<Output, HostError>;
    /// Reads a file; `None` if there is none.
    async fn read(&self, path: &str) -> Result<Option<Secret>, HostError>;
    /// Lists these files and, for directories, all that is below them. Missing ones are passed over. Sorted by path.
    async fn files(&self, roots: &[String]) -> Result<Vec<FileInfo>, HostError>;
    /// The processes of k0s that run now, shims of containers included.
    async fn processes(&self) -> Result<Vec<Process>, HostError>;
    /// The kernel's random boot id.
    async fn boot_id(&self) -> Result<String, HostError>;
    /// The host's wall clock, milliseconds since the epoch.
    async fn clock(&self) -> Result<u64, HostError>;
    /// Asks over TLS, from the host.
    async fn tls(&self, request: TlsRequest) -> Result<TlsSeen, HostError>;
    /// A tar archive of these paths with numeric owners, modes and links kept; missing paths are passed over.
    async fn tar_out(&self, paths: &[String]) -> Result<Secret, HostError>;

    /// The mark, if there is one.
    async fn mark(&self) -> Result<Option<Mark>, HostError>;
    /// Replaces the mark if it is `expected` (compared whole); otherwise says [`HostError::Fenced`]. `None` removes it.
    async fn mark_replace(&self, expected: Option<&Mark>, new: Option<&Mark>) -> Result<(), HostError>;
    /// Carries changes out, in order, as one transient unit that starts only if the mark has the fence's execution and incarnation and
    /// a fence number not above the fence's. The output is that of the last [`Change::Run`]. A change that fails ends the list; its status is the output's.
    async fn change(&self, fence: &Fence, changes: Vec<Change>) -> Result<Output, HostError>;
    /// Names of transient units of this execution with a lower fence number that still run.
    async fn units_below(&self, fence: &Fence) -> Result<Vec<String>, HostError>;
    /// Ends such a unit and waits until it is gone.
    async fn stop_unit(&self, name: &str) -> Result<(), HostError>;
}

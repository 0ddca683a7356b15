//! The keys that a configuration may have: only those that something honours.

/// A key: its full name, tables and all, and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// For example `ssh.identity`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A path, relative to the folder of the file that it stands in.
    Path,
    /// A duration that an outage may last.
    Outage,
    /// A number of hosts.
    AtOnce,
    /// A list of trust roots.
    Roots,
    /// A list of recipients of age.
    Recipients,
    /// Windows of a week.
    Windows,
    /// A time zone.
    Zone,
    /// A list of users and `%groups`.
    People,
    /// An address of this machine that nobody else reaches, with a port.
    Loopback,
    /// Yes or no.
    Flag,
    /// A duration of days.
    Days,
    /// A table of names and values.
    Labels,
}

/// The k0sctl.yaml of a cluster.
pub const INVENTORY: &str = "inventory";
/// The folder of event logs.
pub const STATE_DIR: &str = "state_dir";
/// Where the daemon answers.
pub const SOCKET: &str = "socket";
/// The age identity.
pub const IDENTITY: &str = "identity";
/// To whom is sealed besides.
pub const RECIPIENTS: &str = "recipients";
/// The file with the variables of inventories.
pub const ENVIRONMENT: &str = "environment";
/// Hosts worked on at the same time.
pub const CONCURRENCY: &str = "concurrency";
/// After how long without a control plane a rotation rolls back by itself.
pub const MAX_OUTAGE: &str = "max_outage";
/// Roots that a rotation replaces.
pub const ROOTS: &str = "roots";
/// The private key for all hosts and all on the way to them.
pub const SSH_IDENTITY: &str = "ssh.identity";
/// The keys that hosts are known by.
pub const SSH_KNOWN_HOSTS: &str = "ssh.known_hosts";

/// When the controllers may be stopped.
pub const WINDOW_AT: &str = "window.at";
/// In which time zone.
pub const WINDOW_ZONE: &str = "window.zone";
/// What is told what a person should know.
pub const NOTIFY_COMMAND: &str = "notify.command";
/// Whether somebody else must approve a rotation before the controllers are stopped.
pub const APPROVAL: &str = "approval";
/// By what a fleet chooses it.
pub const LABELS: &str = "labels";
/// Who may look.
pub const WHO_VIEW: &str = "who.view";
/// Who may start rotations and say words about them, and look.
pub const WHO_OPERATE: &str = "who.operate";
/// Who may approve rotations, and look.
pub const WHO_APPROVE: &str = "who.approve";

/// A rotation is due once less than this is left of a root.
pub const ROTATE_BEFORE: &str = "policy.rotate_before";
/// A rotation is due once a root is older than this.
pub const MAX_AGE: &str = "policy.max_age";
/// Whether the daemon begins a rotation that is due.
pub const UNATTENDED: &str = "policy.unattended";
/// How often somebody is reminded of a rotation that waits for finalize.
pub const FINALIZE_REMIND: &str = "finalize.remind";
/// After how long one that waits for finalize is finalized by the daemon.
pub const FINALIZE_AFTER: &str = "finalize.after";

/// Where metrics are read by Prometheus.
pub const METRICS_LISTEN: &str = "metrics.listen";

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// Of `config.toml`: for all clusters.
pub const MAIN: &[Key] = &[
    key(STATE_DIR, Kind::Path),
    key(SOCKET, Kind::Path),
    key(IDENTITY, Kind::Path),
    key(RECIPIENTS, Kind::Recipients),
    key(ENVIRONMENT, Kind::Path),
    key(CONCURRENCY, Kind::AtOnce),
    key(MAX_OUTAGE, Kind::Outage),
    key(ROOTS, Kind::Roots),
    key(SSH_IDENTITY, Kind::Path),
    key(SSH_KNOWN_HOSTS, Kind::Path),
    key(APPROVAL, Kind::Flag),
    key(WINDOW_AT, Kind::Windows),
    key(WINDOW_ZONE, Kind::Zone),
    key(ROTATE_BEFORE, Kind::Days),
    key(MAX_AGE, Kind::Days),
    key(UNATTENDED, Kind::Flag),
    key(FINALIZE_REMIND, Kind::Days),
    key(FINALIZE_AFTER, Kind::Days),
    key(NOTIFY_COMMAND, Kind::Path),
    key(WHO_VIEW, Kind::People),
    key(WHO_OPERATE, Kind::People),
    key(METRICS_LISTEN, Kind::Loopback),
    key(WHO_APPROVE, Kind::People),
];

/// Of `clusters/NAME.toml`: for that cluster, before what holds for all.
pub const CLUSTER: &[Key] = &[
    key(INVENTORY, Kind::Path),
    key(LABELS, Kind::Labels),
    key(IDENTITY, Kind::Path),
    key(RECIPIENTS, Kind::Recipients),
    key(ENVIRONMENT, Kind::Path),
    key(CONCURRENCY, Kind::AtOnce),
    key(MAX_OUTAGE, Kind::Outage),
    key(ROOTS, Kind::Roots),
    key(SSH_IDENTITY, Kind::Path),
    key(SSH_KNOWN_HOSTS, Kind::Path),
    key(APPROVAL, Kind::Flag),
    key(WINDOW_AT, Kind::Windows),
    key(WINDOW_ZONE, Kind::Zone),
    key(ROTATE_BEFORE, Kind::Days),
    key(MAX_AGE, Kind::Days),
    key(UNATTENDED, Kind::Flag),
    key(FINALIZE_REMIND, Kind::Days),
    key(FINALIZE_AFTER, Kind::Days),
    key(NOTIFY_COMMAND, Kind::Path),
    key(WHO_VIEW, Kind::People),
    key(WHO_OPERATE, Kind::People),
    key(WHO_APPROVE, Kind::People),
];

//! What can be typed: verbs and flags, frozen with design of the command line. Flags are only read here; nothing is done.

mod daemon;
mod demo;
mod fleet;
mod rotation;

pub use daemon::{ApproveArgs, ConfigVerb, DaemonArgs, DeclineArgs};
pub use demo::DemoArgs;
pub use fleet::{FleetArgs, FleetRotateArgs, FleetVerb, FleetWordArgs};
pub use rotation::{Options, PlanArgs, RollbackArgs, RotateArgs, Sure, WordArgs};

use crate::config::{Settings, keys};
use clap::{Args, Parser, Subcommand, ValueEnum};
use k0rotate_workflows::cluster::AT_ONCE;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// k0sctl's habit.
pub const DEFAULT_FILE: &str = "k0sctl.yaml";

/// The first argument of a process of ours that looks at the store in the folder that follows, which may not be sound. Nobody types it.
pub const LOOK_AT_STORE: &str = "internal-look-at-store";

/// Replaces the trust of running k0s clusters: Kubernetes CA, etcd CA, front-proxy CAs, service-account keys.
#[derive(Debug, Parser)]
#[command(name = "k0rotate", version, propagate_version = false, disable_help_subcommand = true)]
#[command(
    after_help = "Exit status: 0 kept its promise · 1 refused, nothing changed · 2 usage · 3 needs a person · 4 ended at the first trust · 5 held by someone else · 6 no daemon · 7 done with hosts left · 8 the world differs · 9 not yet · 10 event log · 130 left by Ctrl-C"
)]
pub struct Cli {
    /// What all verbs know.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What all verbs know.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The inventory, in k0sctl's format; may be given several times; `*` and `?` are known; `-` is standard input [default: k0sctl.yaml].
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Where event logs are kept [default: as the configuration says, else ~/.local/state/k0rotate].
    #[arg(long, global = true, env = "K0ROTATE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The folder of the configuration: config.toml, and clusters/NAME.toml [default: ~/.config/k0rotate, else /etc/k0rotate].
    #[arg(long, global = true, env = "K0ROTATE_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Where the daemon answers [default: as the configuration says].
    #[arg(long, global = true, env = "K0ROTATE_SOCKET", value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// Work on the store in this process, although a daemon is configured for the cluster.
    #[arg(long, global = true)]
    pub embedded: bool,
    /// File with the age identity that opens sealed keys and backups.
    #[arg(long, global = true, env = "K0ROTATE_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Hosts worked on at the same time, at most 64 [default: spec.options.concurrency.limit, else 64]. While the control plane is
    /// down it does not hold: nobody is waited for then.
    #[arg(long, global = true, value_name = "N", value_parser = at_once)]
    pub concurrency: Option<usize>,
    /// How the result is printed.
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Says more on standard error.
    #[arg(long, global = true)]
    pub debug: bool,
    /// What the configuration says.
    #[arg(skip)]
    pub settings: Arc<Settings>,
}

impl Global {
    /// Where the daemon answers, if the clusters of the configuration are the daemon's.
    pub fn daemon(&self) -> Option<PathBuf> {
        let known = self.settings.names().next().is_some() && !self.embedded;
        self.socket_path().filter(|_| known)
    }

    /// Where it answers, or would.
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| self.settings.path(None, keys::SOCKET).map(Path::to_owned))
    }

    /// The files that `-c` names, or the one that is meant without it.
    pub fn files(&self) -> Vec<PathBuf> {
        if self.config.is_empty() { vec![PathBuf::from(DEFAULT_FILE)] } else { self.config.clone() }
    }
}

fn at_once(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=AT_ONCE).contains(n)).ok_or_else(|| format!("not a number from 1 to {AT_ONCE}"))
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// The text of a notice to those who are affected (`plan` only).
    Notice,
}

/// Whose containers are restarted.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
pub enum RefreshArg {
    /// All in kube-system that hold the CA.
    System,
    /// All that hold the CA.
    All,
    /// konnectivity agents alone.
    None,
}

/// A trust root.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum RootArg {
    KubernetesCa,
    EtcdCa,
    FrontProxyCa,
    ServiceAccount,
}

/// A CA that the operator brings, as `ROOT=PATH`: the files are `PATH.crt` and `PATH.key`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct OwnCaArg {
    /// Which root it becomes.
    pub root: RootArg,
    /// Where it lies, without the endings.
    pub path: PathBuf,
}

impl std::str::FromStr for OwnCaArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (root, path) =
            text.split_once('=').ok_or("not of the form ROOT=PATH, for example kubernetes-ca=acme/ca")?;
        let root = RootArg::from_str(root, false)?;
        if path.is_empty() { Err("the path is empty".into()) } else { Ok(Self { root, path: path.into() }) }
    }
}

impl std::fmt::Display for OwnCaArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let root = self.root.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        write!(f, "{root}={}", self.path.display())
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Look at the trust on the machines, days left, and who holds the cluster; changes nothing.
    Inspect(InspectArgs),
    /// Say what a rotation would do, what is down for how long and who breaks; changes nothing.
    Plan(PlanArgs),
    /// Replace the trust, and follow until it is verified.
    Rotate(RotateArgs),
    /// Let an execution rest at the next place where the API is up.
    Pause(WordArgs),
    /// Go on; failed steps are tried again.
    Resume(WordArgs),
    /// Go back to the first trust, verified.
    Rollback(RollbackArgs),
    /// Verify again, take a new backup, and destroy the old keys: no way back after that.
    Finalize(WordArgs),
    /// Let a rotation that somebody else asked for stop the controllers; the daemon knows who you are.
    Approve(ApproveArgs),
    /// Do not: it goes back, nothing was stopped.
    Decline(DeclineArgs),
    /// Say that the rotation may end without these hosts.
    LeaveBehind(HostsArgs),
    /// Bring hosts that were left back into the cluster.
    Rejoin(HostsArgs),
    /// Executions, who drives them and what comes next.
    List(RunArgs),
    /// One execution: what runs, what is down since when, what can be done now.
    Show(RunArgs),
    /// Follow an execution; Ctrl-C detaches.
    Watch(RunArgs),
    /// The events of an execution.
    History(RunArgs),
    /// The change record, as Markdown.
    Report(RunArgs),
    /// All evidence of an execution, into a folder.
    Export(ExportArgs),
    /// Check the chain of an exported history or an audit; no store is needed, but what lies beside it is compared.
    Verify {
        /// An exported history, the folder it lies in, or an audit.
        path: PathBuf,
    },
    /// Keys that seal backups and new keys.
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Many clusters of the daemon, in waves.
    #[command(subcommand)]
    Fleet(FleetVerb),
    /// Hold all configured clusters, drive what is open, and answer the verbs, until SIGTERM.
    Daemon(DaemonArgs),
    /// What is configured, and where each value comes from; what is wrong with it.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Watch a simulated cluster get new trust; nothing on your network is touched.
    Demo(DemoArgs),
    /// Print completions for a shell.
    Completion {
        /// Which.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

/// Of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Make an identity and print its recipient.
    New {
        /// Where the identity is written; must not exist.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// Of `inspect`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct InspectArgs {
    /// The cluster, by its name in the inventory or the configuration; needed where there are several.
    pub cluster: Option<String>,
    /// Every cluster that `-c` names, one after another.
    #[arg(long, conflicts_with_all = ["cluster", "against"])]
    pub all: bool,
    /// Exit with 8 if anything expires within this time, for example `30d`.
    #[arg(long, value_name = "DURATION")]
    pub expires_within: Option<String>,
    /// List pods that may still hold the CA that the last rotation from here retired; exit with 8 if there are any.
    #[arg(long)]
    pub stale_pods: bool,
    /// Compare with what a finished execution left.
    #[arg(long, value_name = "RUN")]
    pub against: Option<String>,
    /// Let the daemon look, with its keys: days left by root and host alone.
    #[arg(long, conflicts_with_all = ["against", "stale_pods", "verbose", "accept_new_host_keys"])]
    pub by_daemon: bool,
    /// List the keys of the inventory that k0rotate does not use.
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Record host keys that are not known yet.
    #[arg(long)]
    pub accept_new_host_keys: bool,
}

/// Hosts, and a word about them.
#[derive(Args, Debug)]
pub struct HostsArgs {
    /// Names of hosts.
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// How it is confirmed.
    #[command(flatten)]
    pub sure: Sure,
}

/// An execution to look at.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// An id or a unique part of its beginning; by default the last execution of the inventory's cluster.
    pub run: Option<String>,
}

/// Of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// As everywhere.
    pub run: Option<String>,
    /// A folder that is made.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

//! The inventory: hosts and roles, as k0sctl's `k0sctl.yaml` has them.
//!
//! Variables are substituted in the whole file before it is parsed, as k0sctl does. A key that k0sctl does not know is an error; one that
//! k0rotate has no use for is listed; one that it cannot honour is refused with the reason.

mod schema;
mod variables;

use crate::fleet::Role;
use schema::{Document, HostEntry};
use std::collections::BTreeMap;
use std::fmt;

pub use variables::substitute;

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// By SSH; `bastion` is asked first, if there is one.
    Ssh(SshEntry, Option<Box<SshEntry>>),
    /// By the system's ssh and its configuration.
    OpenSsh(SshEntry),
    /// It is this machine.
    Localhost,
    /// A simulated machine, served on this socket by `k0rotate demo --shell`.
    Rehearsal(String),
}

/// An SSH server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshEntry {
    /// Address or alias.
    pub address: String,
    /// User.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Private key.
    pub key: Option<String>,
    /// An own ssh configuration.
    pub config: Option<String>,
    /// Options of ssh.
    pub options: Vec<(String, String)>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryHost {
    /// `hostname` of the file, else its address.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The address at which k0s is asked: `privateAddress`, else that of SSH.
    pub address: String,
    /// How it is reached.
    pub connection: Connection,
    /// `dataDir`, if the file has one.
    pub data_dir: Option<String>,
    /// `kubeletRootDir`, if the file has one.
    pub kubelet_root: Option<String>,
    /// Line of the file where it begins.
    pub line: u64,
}

/// A key that is known to k0sctl and of no use here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unused {
    /// Where it stands, for example `spec.hosts[0].files`.
    pub key: String,
    /// Why it is not used.
    pub why: &'static str,
}

/// See the file's sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// `metadata.name`, `k0s-cluster` if there is none, as k0sctl has it.
    pub name: String,
    /// In the order of the file.
    pub hosts: Vec<InventoryHost>,
    /// The API's host, for people who confirm: `spec.api.externalAddress` of k0s' configuration, else the first controller's address.
    pub api_host: String,
    /// Keys that are not used.
    pub unused: Vec<Unused>,
}

/// Why an inventory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryError {
    /// Name of the file as it was given.
    pub file: String,
    /// Line, if one is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

impl std::error::Error for InventoryError {}

impl Inventory {
    /// Reads a file's text; the first document that is a cluster counts.
    pub fn parse(file: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<Self, InventoryError> {
        let error = |line: Option<u64>, what: String| InventoryError { file: file.to_owned(), line, what };
        let substituted = substitute(text, variables).map_err(|(line, what)| error(Some(line), what))?;
        let documents: Vec<Document> = serde_saphyr::from_multiple(&substituted).map_err(|e| {
            let line = e.location().map(|at| at.line());
            error(line, plain(&e.to_string()))
        })?;
        let cluster = documents.into_iter().find(|d| d.kind.eq_ignore_ascii_case("cluster"));
        let cluster = cluster.ok_or_else(|| error(None, "there is no document of kind Cluster".into()))?;
        let mut unused = cluster.unused();
        let mut hosts = Vec::new();
        for (at, entry) in cluster.spec.hosts.iter().enumerate() {
            let line = entry.defined.line();
            unused.extend(entry.value.unused(at));
            hosts.push(entry.value.host(line).map_err(|what| error(Some(line), what))?);
        }
        check(&hosts).map_err(|(line, what)| error(Some(line), what))?;
        let controller = hosts.iter().find(|h| h.role.is_controller());
        let controller = controller.ok_or_else(|| error(None, "there is no controller".into()))?;
        let api_host = cluster.spec.external_address().unwrap_or_else(|| controller.address.clone());
        Ok(Self { name: cluster.name(), hosts, api_host, unused })
    }
}

/// The first line of a parser's message: the rest quotes the text, which may hold substituted secrets.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn check(hosts: &[InventoryHost]) -> Result<(), (u64, String)> {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for host in hosts {
        if let Some(first) = seen.insert(&host.name, host.line) {
            return Err((host.line, format!("{} is in the file already, at line {first}", host.name)));
        }
    }
    let single = hosts.iter().find(|h| h.role == Role::Single);
    match single {
        Some(single) if hosts.len() > 1 => Err((single.line, "a single node has no other hosts".into())),
        _ => Ok(()),
    }
}

impl HostEntry {
    fn host(&self, line: u64) -> Result<InventoryHost, String> {
        let connection = self.connection()?;
        let reached = match &connection {
            Connection::Ssh(to, _) | Connection::OpenSsh(to) => to.address.clone(),
            Connection::Localhost => "127.0.0.1".to_owned(),
            Connection::Rehearsal(_) => String::new(),
        };
        let address = self.private_address.clone().unwrap_or_else(|| reached.clone());
        Ok(InventoryHost {
            name: self.hostname.clone().unwrap_or(reached),
            role: self.role()?,
            address,
            connection,
            data_dir: self.data_dir.clone(),
            kubelet_root: self.kubelet_root_dir.clone(),
            line,
        })
    }
}

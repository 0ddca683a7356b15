//! The inventory: hosts and roles from k0sctl's own file, read as k0sctl reads it.
//!
//! Every key that k0sctl documents is honoured, listed as unused with the reason, or refused with its line.

mod envsubst;
mod hosts;
pub mod keys;
mod problem;
mod tree;

pub use keys::UnusedKey;
pub use problem::{Code, Problem};

use crate::fleet::{Member, Role};
use std::collections::BTreeMap;
use tree::{Node, Source, Value};

/// A cluster as its operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// `metadata.name`; `k0s-cluster` if it has none.
    pub name: String,
    /// Hosts in the order of the file.
    pub hosts: Vec<InventoryHost>,
    /// Host of the API: `spec.api.externalAddress` of the k0s configuration, else the first controller's address.
    pub api_host: String,
    /// Port of the API.
    pub api_port: u16,
    /// `spec.options.concurrency.limit`.
    pub concurrency: Option<usize>,
    /// Keys that have no effect.
    pub unused: Vec<UnusedKey>,
    /// Variables that were not set and became empty: name, file, line.
    pub unset: Vec<(String, String, usize)>,
}

/// A host of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryHost {
    /// `hostname`, else its address (with the port where several share one).
    pub name: String,
    /// Its role, `installFlags` heeded.
    pub role: Role,
    /// The address at which k0s is asked: `privateAddress`, else the one by which it is reached.
    pub address: String,
    /// How it is reached.
    pub connection: Connection,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `privateAddress`.
    pub private_address: Option<String>,
    /// `dataDir`, or the flag.
    pub data_dir: Option<String>,
    /// `kubeletRootDir`, or the flag.
    pub kubelet_root: Option<String>,
    /// The file it stands in.
    pub file: String,
    /// Its line there.
    pub line: usize,
}

impl InventoryHost {
    /// As workflows know it.
    pub fn member(&self) -> Member {
        Member { name: self.name.clone(), role: self.role, address: self.address.clone() }
    }
}

/// An SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshServer {
    /// Address, name or alias.
    pub address: String,
    /// User.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Private key, as written: `~` is the reader's to replace.
    pub key: Option<String>,
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// `ssh`, k0sctl's defaults filled in.
    Ssh {
        /// The host.
        server: SshServer,
        /// Hosts on the way, the one next to us first.
        bastions: Vec<SshServer>,
        /// Options of ssh_config.
        options: Vec<(String, String)>,
    },
    /// `openSSH`: what is missing, the user's configuration says.
    OpenSsh {
        /// The host.
        server: SshServer,
        /// Another configuration than the user's.
        config: Option<String>,
        /// Options of ssh_config.
        options: Vec<(String, String)>,
    },
    /// The machine that we run on.
    Localhost,
    /// A simulated machine, served on this socket by `k0rotate demo --shell`.
    Rehearsal {
        /// Its path.
        socket: String,
    },
    /// Not reached by us: such a host must be left behind.
    WinRm {
        /// Where it would be.
        address: String,
    },
}

impl Connection {
    /// The address as written; that of the loopback for the machine that we run on, none for a simulated one.
    pub fn address(&self) -> &str {
        match self {
            Self::Ssh { server, .. } | Self::OpenSsh { server, .. } => &server.address,
            Self::Localhost => "127.0.0.1",
            Self::Rehearsal { .. } => "",
            Self::WinRm { address } => address,
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::Ssh { server, .. } | Self::OpenSsh { server, .. } => server.port,
            Self::Localhost | Self::Rehearsal { .. } | Self::WinRm { .. } => None,
        }
    }
}

impl Inventory {
    /// Reads all files as one inventory, as k0sctl does: exactly one cluster among their documents. `files` are (name, text).
    pub fn read(files: &[(String, String)], env: &BTreeMap<String, String>) -> Result<Self, Vec<Problem>> {
        let sources = sources(files, env)?;
        let clusters = of_kind(&sources, "cluster");
        let (source, root) = one_cluster(files, &sources, &clusters)?;
        Self::among(&sources, source, root)
    }

    /// Reads all files as inventories of as many clusters as there are. Where there are several, what belongs to one stands in its file, beside
    /// no other.
    pub fn read_all(files: &[(String, String)], env: &BTreeMap<String, String>) -> Result<Vec<Self>, Vec<Problem>> {
        let sources = sources(files, env)?;
        let clusters = of_kind(&sources, "cluster");
        if clusters.len() < 2 {
            let (source, root) = one_cluster(files, &sources, &clusters)?;
            return Ok(vec![Self::among(&sources, source, root)?]);
        }
        let alone = |source: &Source| clusters.iter().filter(|(s, _)| s.file == source.file).count() == 1;
        let configs = of_kind(&sources, "clusterconfig");
        let problem = |source: &Source, line, what| Err(vec![source.problem(Code::Document, line, what)]);
        if let Some((source, config)) = configs.iter().find(|(source, _)| !alone(source)) {
            return problem(
                source,
                config.line,
                "of which of several clusters is this? Put it into the file of its cluster",
            );
        }
        let mut all: Vec<Self> = Vec::new();
        for (source, root) in clusters {
            let own: Vec<&File> = sources.iter().filter(|(s, _)| s.file == source.file).collect();
            let inventory = Self::among(own, source, root)?;
            if all.iter().any(|known| known.name == inventory.name) {
                return problem(source, root.line, "a second cluster of this name");
            }
            all.push(inventory);
        }
        Ok(all)
    }

    /// A cluster, and what the files say about it besides.
    fn among<'a>(
        sources: impl IntoIterator<Item = &'a File<'a>> + Clone,
        source: &Source,
        root: &Node,
    ) -> Result<Self, Vec<Problem>> {
        let all = || sources.clone().into_iter().flat_map(|(s, documents)| documents.iter().map(move |d| (s, d)));
        let configs: Vec<&Node> =
            all().filter(|(_, d)| kind(d) == Some("clusterconfig".to_owned())).map(|(_, d)| d).collect();
        let mut inventory = Self::of(source, root, &configs)?;
        for (source, document) in all() {
            if !matches!(kind(document).as_deref(), Some("cluster" | "clusterconfig")) {
                inventory.unused.push(UnusedKey {
                    key: "a document of another kind".to_owned(),
                    file: source.file.to_owned(),
                    line: source.line(document.line),
                    why: "k0sctl applies it as a manifest; k0rotate does not".to_owned(),
                });
            }
        }
        for (source, _) in sources {
            let unset = source.substituted.unset.iter();
            inventory.unset.extend(unset.map(|(name, line)| (name.clone(), source.file.to_owned(), *line)));
        }
        Ok(inventory)
    }

    fn of(source: &Source, root: &Node, configs: &[&Node]) -> Result<Self, Vec<Problem>> {
        let (unused, mut problems) = keys::look(source, root);
        let spec = root.get("spec").cloned().unwrap_or(Node { line: root.line, value: Value::Null });
        let hosts = hosts::read(source, &spec).unwrap_or_else(|more| {
            problems.extend(more);
            Vec::new()
        });
        if !problems.is_empty() {
            problems.sort_by_key(|p| p.line);
            return Err(problems);
        }
        let inline = spec.get("k0s").and_then(|k| k.get("config"));
        let api = |key: &str| {
            let mut all = configs.iter().copied().chain(inline);
            all.find_map(|c| c.get("spec")?.get("api")?.get(key)?.text().map(str::to_owned))
        };
        let first = hosts.iter().find(|h| h.role.is_controller()).map(|h| h.address.clone());
        let limit = spec.get("options").and_then(|o| o.get("concurrency")?.get("limit"));
        Ok(Self {
            name: root.get("metadata").and_then(|m| m.get("name")?.text()).unwrap_or("k0s-cluster").to_owned(),
            api_host: api("externalAddress").or(first).unwrap_or_default(),
            api_port: api("port").and_then(|p| p.parse().ok()).unwrap_or(6443),
            concurrency: limit.and_then(|l| l.text()?.parse().ok()).filter(|l| *l > 0),
            hosts,
            unused,
            unset: Vec::new(),
        })
    }

    /// Says no if a host that cannot be reached by SSH is not left behind.
    pub fn reachable(&self, left_behind: &[String]) -> Result<(), Problem> {
        let all = self.hosts.iter().filter(|h| matches!(h.connection, Connection::WinRm { .. }));
        let Some(host) = all.into_iter().find(|h| !left_behind.iter().any(|l| host_is(h, l))) else { return Ok(()) };
        Err(Problem {
            code: Code::NotReachable,
            file: host.file.clone(),
            line: host.line,
            quote: String::new(),
            what: format!("{}: a Windows worker is reached by WinRM, which k0rotate does not speak", host.name),
            help: Some(format!("--leave-behind {}; the report has the manual steps", host.name)),
        })
    }

    /// The host that is called so: by name, hostname, address or private address.
    pub fn host(&self, called: &str) -> Option<&InventoryHost> {
        self.hosts.iter().find(|h| host_is(h, called))
    }
}

fn host_is(host: &InventoryHost, called: &str) -> bool {
    host.name == called
        || host.hostname.as_deref() == Some(called)
        || host.private_address.as_deref() == Some(called)
        || host.connection.address() == called
}

/// The kind of a document whose API version we know, in lower case.
fn kind(document: &Node) -> Option<String> {
    let version = document.get("apiVersion")?.text()?.to_lowercase();
    let kind = document.get("kind")?.text()?.to_lowercase();
    let known = matches!(
        (version.as_str(), kind.as_str()),
        ("k0sctl.k0sproject.io/v1beta1", "cluster") | ("k0s.k0sproject.io/v1beta1", "clusterconfig")
    );
    known.then_some(kind)
}

/// A file and its documents.
type File<'a> = (Source<'a>, Vec<Node>);

fn sources<'a>(files: &'a [(String, String)], env: &BTreeMap<String, String>) -> Result<Vec<File<'a>>, Vec<Problem>> {
    let mut sources = Vec::new();
    for (file, original) in files {
        let substituted = envsubst::substitute(file, original, env).map_err(|p| vec![p])?;
        let source = Source { file, original, substituted };
        let documents = tree::documents(&source).map_err(|p| vec![p])?;
        sources.push((source, documents));
    }
    Ok(sources)
}

fn of_kind<'a>(sources: &'a [File<'a>], wanted: &str) -> Vec<Found<'a>> {
    let all = sources.iter().flat_map(|(s, documents)| documents.iter().map(move |d| (s, d)));
    all.filter(|(_, document)| kind(document).as_deref() == Some(wanted)).collect()
}

type Found<'a> = (&'a Source<'a>, &'a Node);

fn one_cluster<'a>(
    files: &[(String, String)],
    sources: &'a [File<'a>],
    clusters: &[Found<'a>],
) -> Result<Found<'a>, Vec<Problem>> {
    match clusters {
        [one] => Ok(*one),
        [_, (source, second), ..] => {
            Err(vec![source.problem(Code::Document, second.line, "a second cluster; k0sctl takes exactly one")])
        }
        [] => {
            let what = "no document has apiVersion k0sctl.k0sproject.io/v1beta1 and kind Cluster";
            let problem = match sources.first() {
                Some((source, documents)) => {
                    source.problem(Code::Document, documents.first().map_or(1, |d| d.line), what)
                }
                None => Problem::at(Code::Document, files.first().map_or("-", |f| &f.0), "", 1, what),
            };
            Err(vec![problem])
        }
    }
}

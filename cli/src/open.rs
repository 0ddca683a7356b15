//! Opens what a verb works on: the inventory, the hosts, the store of its cluster, the vault.

use crate::args::{Global, LOOK_AT_STORE};
use crate::error::Error;
use crate::files;
use crate::runtime::Runtime;
use crate::seals;
use crate::socket;
use crate::source::Source;
use crate::telemetry::Telemetry;
use k0rotate_activities::fleet::{Fleet, KeyKind};
use k0rotate_activities::host::Host;
use k0rotate_activities::host::ssh::{HostKeys, LocalHost, Reach, SshDir, SshHost, SshOptions};
use k0rotate_activities::inventory::{Connection, Inventory, InventoryHost, SshServer};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_activities::vault::Vault;
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::drive::Engine;
use k0rotate_engine::log::sled::{Look, Options, Reading, SledLog};
use k0rotate_engine::log::{EventLog, LogError};
use k0rotate_workflows::cluster::AT_ONCE;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// An inventory is never larger, bytes; what has no end is not read for ever.
const LARGEST_INVENTORY: u64 = 8 << 20;
/// How long a store may take to be looked at in a child process before it counts as damaged.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Reads the inventory that the flags name, with the variables of the environment.
pub fn inventory(global: &Global) -> Result<Inventory, Error> {
    cluster(global, None)
}

/// The same where the flags may name several, and the cluster is named by its name.
pub fn cluster(global: &Global, called: Option<&str>) -> Result<Inventory, Error> {
    let mut all = inventories(global)?;
    let names: Vec<String> = all.iter().map(|inventory| inventory.name.clone()).collect();
    let at = match called {
        Some(called) => names.iter().position(|name| name == called),
        None => Some(0).filter(|_| all.len() == 1),
    };
    match (at, called) {
        (Some(at), _) => Ok(all.swap_remove(at)),
        (None, Some(called)) => {
            Err(Error::Usage(format!("no cluster is called {called}; the inventory has {}", names.join(" "))))
        }
        (None, None) => Err(Error::Usage(format!(
            "the files have several clusters: {}; name one, or give its file alone with -c",
            names.join(" ")
        ))),
    }
}

/// The inventory of the cluster that an execution is of: among several it is found by the cluster's name or by the store that has it.
pub async fn cluster_of(global: &Global, state: &Path, run: Option<&str>) -> Result<Inventory, Error> {
    let mut all = inventories(global)?;
    let Some(run) = run.filter(|_| all.len() > 1) else { return cluster(global, None) };
    let mut at = all.iter().position(|inventory| inventory.name == run);
    for (i, inventory) in all.iter().enumerate() {
        let Some(source) = Source::of(state, inventory).ok().filter(|_| at.is_none()) else { continue };
        at = source.find(Some(run)).await.is_ok().then_some(i);
    }
    at.map(|at| all.swap_remove(at)).ok_or_else(|| Error::NoRun(format!("{run} of any of these clusters")))
}

/// All inventories that the flags name.
pub fn inventories(global: &Global) -> Result<Vec<Inventory>, Error> {
    read(&files::expand(&global.files())?)
}

/// The inventory of this file.
pub fn inventory_at(file: &Path) -> Result<Inventory, Error> {
    Ok(read(&[file.to_owned()])?.swap_remove(0))
}

/// Hosts worked on at the same time: as the flag says, else the file.
pub fn at_once(global: &Global, inventory: &Inventory) -> usize {
    global.concurrency.or(inventory.concurrency).unwrap_or(AT_ONCE).clamp(1, AT_ONCE)
}

/// Files are read together, as k0sctl does; but more than one of their documents may be a cluster.
fn read(files: &[PathBuf]) -> Result<Vec<Inventory>, Error> {
    let texts = files.iter().map(|file| text(file)).collect::<Result<Vec<_>, _>>()?;
    let variables: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    Inventory::read_all(&texts, &variables)
        .map_err(|problems| Error::Inventory(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

/// A file with its name; `-` is standard input.
fn text(file: &Path) -> Result<(String, String), Error> {
    let name = file.display().to_string();
    let (called, from): (&str, io::Result<Box<dyn Read>>) = match name.as_str() {
        "-" => ("standard input", Ok(Box::new(io::stdin()))),
        name => (name, File::open(file).map(|file| Box::new(file) as Box<dyn Read>)),
    };
    let wrong = |what: String| Error::File(called.to_owned(), what);
    let mut bytes = Vec::new();
    let from = from.map_err(|e| wrong(e.to_string()))?;
    from.take(LARGEST_INVENTORY + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > LARGEST_INVENTORY {
        return Err(wrong(format!("is larger than {} MiB: no inventory is", LARGEST_INVENTORY >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is no text".into()))?;
    Ok((name, text))
}

/// The folder of a cluster's store.
pub fn cluster_dir(state: &Path, inventory: &Inventory) -> PathBuf {
    state.join(folder_of(&inventory.name))
}

/// A cluster's name as that of a folder: no two clusters share one, and none leads out of the state folder.
fn folder_of(name: &str) -> String {
    let only_dots = name.chars().all(|c| c == '.');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || (c == '.' && !only_dots);
    let mut folder = String::new();
    for c in name.chars() {
        if plain(c) {
            folder.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| {
                let _ = write!(folder, "%{byte:02X}");
            });
        }
    }
    folder
}

/// Hosts by name.
pub type Hosts = BTreeMap<String, Arc<dyn Host>>;

/// The hosts as activities reach them, and the rehearsal fleet if they are simulated.
pub fn hosts(inventory: &Inventory, host_keys: HostKeys) -> Result<(Hosts, Option<Rehearsal>), Error> {
    if let Some(rehearsal) = rehearsal(inventory)? {
        let hosts = inventory.hosts.iter().map(|h| (h.name.clone(), rehearsal.host(&h.name))).collect();
        return Ok((hosts, Some(rehearsal)));
    }
    let dir = SshDir::new(None).map_err(|e| Error::File("a folder for ssh".into(), e.to_string()))?;
    let dir = Arc::new(dir);
    let mut hosts = Hosts::new();
    // Who is not reached by SSH was left behind when the rotation was started.
    for host in inventory.hosts.iter().filter(|h| !matches!(h.connection, Connection::WinRm { .. })) {
        hosts.insert(host.name.clone(), reach(host, host_keys, &dir)?);
    }
    Ok((hosts, None))
}

/// Whether the hosts live in a rehearsal fleet, whose time is not that of the wall.
pub fn is_simulated(inventory: &Inventory) -> bool {
    inventory.hosts.iter().any(|host| matches!(host.connection, Connection::Rehearsal { .. }))
}

/// The fleet that all hosts belong to, if they are simulated. It owns the time, so neither a second one nor a real host can be beside it.
fn rehearsal(inventory: &Inventory) -> Result<Option<Rehearsal>, Error> {
    let socket = |host: &InventoryHost| match &host.connection {
        Connection::Rehearsal { socket } => Some(socket.clone()),
        _ => None,
    };
    let mut sockets: Vec<Option<String>> = inventory.hosts.iter().map(socket).collect();
    sockets.sort();
    sockets.dedup();
    match sockets.as_slice() {
        [Some(socket)] => {
            let fleet = Rehearsal::behind_socket(Path::new(socket));
            let gone = |e| Error::Host(format!("the rehearsal fleet behind {socket}: {e}; k0rotate demo --shell puts one up"));
            fleet.map(Some).map_err(gone)
        }
        all if all.iter().any(Option::is_some) => Err(Error::Inventory(
            "simulated hosts live in a time of their own: all hosts must name the same `rehearsal` socket, and none may be real"
                .into(),
        )),
        _ => Ok(None),
    }
}

fn reach(host: &InventoryHost, host_keys: HostKeys, dir: &Arc<SshDir>) -> Result<Arc<dyn Host>, Error> {
    let options = match &host.connection {
        Connection::Localhost => return Ok(Arc::new(LocalHost::here(&host.name))),
        Connection::Rehearsal { .. } => return Err(Error::Inventory(format!("{} is simulated", host.name))),
        Connection::WinRm { .. } => return Err(Error::Host(format!("{} is reached by WinRM alone", host.name))),
        Connection::Ssh { server, bastions, options } => SshOptions {
            target: entry(server),
            bastions: bastions.iter().map(entry).collect(),
            include: SshOptions::usual_includes(),
            known_hosts: known_hosts(),
            options: options.clone(),
            ..SshOptions::default()
        },
        Connection::OpenSsh { server, config, options } => SshOptions {
            target: entry(server),
            include: config.as_ref().map_or_else(SshOptions::usual_includes, |own| vec![home(own)]),
            known_hosts: known_hosts(),
            options: options.clone(),
            ..SshOptions::default()
        },
    };
    Ok(Arc::new(SshHost::over_ssh(&host.name, SshOptions { host_keys, ..options }, dir.clone())))
}

/// k0sctl's variable for another file than `~/.ssh/known_hosts`. There it can switch the check off; here a file without keys knows nobody.
fn known_hosts() -> Vec<PathBuf> {
    std::env::var_os("SSH_KNOWN_HOSTS").filter(|path| !path.is_empty()).into_iter().map(PathBuf::from).collect()
}

fn entry(to: &SshServer) -> Reach {
    let (address, user, port) = (to.address.clone(), to.user.clone(), to.port);
    Reach { address, user, port, key: to.key.as_deref().map(home) }
}

/// `~/` stands for the home directory, as in k0sctl.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        _ => PathBuf::from(path),
    }
}

/// Opens the store; another process that holds it is its own error.
pub fn store(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn EventLog>, Error> {
    let (log, _) = SledLog::open_with(dir, clock, &Options { look: look()?, ..Options::default() }).map_err(refused)?;
    Ok(Arc::new(log))
}

/// Reads the store without opening it, from a copy that is gone afterwards: nothing is written to it, and others may look as well.
pub fn reading(dir: &Path) -> Result<Reading, Error> {
    let private = std::fs::Permissions::from_mode(0o700);
    let scratch = tempfile::Builder::new().prefix("k0rotate-look-").permissions(private).tempdir();
    let scratch = scratch.map_err(|e| Error::File("a folder to read the store in".into(), e.to_string()))?;
    Reading::take(dir, scratch.path(), &look()?).map_err(refused)
}

/// A store is looked at in a process of its own.
fn look() -> Result<Look, Error> {
    let binary = std::env::current_exe().map_err(|e| Error::File("our own binary".into(), e.to_string()))?;
    let command = move |dir: &Path| {
        let mut command = Command::new(&binary);
        // It looks at what it is given: nothing that is set for us may lead it elsewhere, or fail it.
        command.env_clear().arg(LOOK_AT_STORE).arg(dir);
        command
    };
    Ok(Look::Child(Arc::new(command), LOOK_LIMIT))
}

fn refused(error: LogError) -> Error {
    match error {
        LogError::Held(path) => Error::Held(path),
        error => Error::Log(error.to_string()),
    }
}

fn vault(global: &Global, log: Arc<dyn EventLog>) -> Result<Vault, Error> {
    let seals = seals::read(global)?;
    Vault::open(log, &seals.recipients, &seals.identity).map_err(|e| Error::Identity(e.to_string()))
}

/// All that a driving verb needs.
pub fn runtime(global: &Global, state: &Path, inventory: &Inventory) -> Result<Runtime, Error> {
    let (hosts, rehearsal) = hosts(inventory, HostKeys::Known)?;
    let (clock, keys): (Arc<dyn Clock>, KeyKind) = match &rehearsal {
        Some(rehearsal) => (rehearsal.clock(), KeyKind::P256),
        None => (Arc::new(SystemClock::default()), KeyKind::Rsa2048),
    };
    let dir = cluster_dir(state, inventory);
    let log = store(&dir, clock.clone())?;
    let engine = Engine::new(log.clone(), clock.clone()).at_once(at_once(global, inventory));
    // From here on no other process can read the store, so it is told what it asks.
    let serving = Some(socket::serve(&dir, engine.clone())?);
    let telemetry = Some(Telemetry::begin(&dir, &log));
    let secrets = Arc::new(vault(global, log.clone())?);
    let members = inventory.hosts.iter().map(InventoryHost::member).collect();
    let fleet = Fleet { hosts, members, clock, secrets, by: who(), keys };
    Ok(Runtime { telemetry, serving, engine, fleet: Arc::new(fleet), rehearsal })
}

/// `user@machine`, for marks and events.
pub fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned());
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let machine = named.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned());
    format!("{user}@{machine}")
}

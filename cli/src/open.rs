//! Opens what a verb works on: the inventory, the hosts, the store of its cluster, the vault.

use crate::args::{DEFAULT_FILE, Global, LOOK_AT_STORE};
use crate::config::{Settings, keys};
use crate::error::Error;
use crate::files;
pub use crate::reach::{Hosts, hosts, is_simulated};
use crate::reach::{known, simulated};
use crate::runtime::Runtime;
use crate::seals;
use crate::socket::{self, routes};
use crate::source::Source;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{self, Meters, Page};
use k0rotate_activities::fleet::{Fleet, KeyKind};
use k0rotate_activities::host::ssh::HostKeys;
use k0rotate_activities::inventory::{Inventory, InventoryHost};
use k0rotate_activities::vault::Vault;
use k0rotate_engine::clock::{Clock, SystemClock};
use k0rotate_engine::drive::Engine;
use k0rotate_engine::log::sled::{Look, Options, Reading, SledLog, Timed};
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
/// What the names of the daemon's openings begin with: whom these name, the daemon knows.
pub const BY_DAEMON: &str = "daemon-";
/// How long a store may take to be looked at in a child process before it counts as damaged.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// Reads the inventory that the flags name, with the variables of the environment.
pub fn inventory(global: &Global) -> Result<Inventory, Error> {
    cluster(global, None)
}

/// The same where the flags may name several, and the cluster is named by its name.
pub fn cluster(global: &Global, called: Option<&str>) -> Result<Inventory, Error> {
    if let Some(called) = called.filter(|called| global.config.is_empty() && global.settings.has(called)) {
        return global.settings.inventory(called);
    }
    let mut all = inventories(global)?;
    let names: Vec<String> = all.iter().map(|inventory| inventory.name.clone()).collect();
    let at = match called {
        Some(called) => names.iter().position(|name| name == called),
        None => Some(0).filter(|_| all.len() == 1),
    };
    match (at, called) {
        (Some(at), _) => Ok(all.swap_remove(at)),
        (None, Some(called)) => {
            let known = if by_name(global) { "configuration" } else { "inventory" };
            Err(Error::Usage(format!("no cluster is called {called}; the {known} has {}", names.join(" "))))
        }
        (None, None) if by_name(global) => Err(Error::Usage(format!(
            "there is no {DEFAULT_FILE} here, and the configuration has several clusters: {}; name one",
            names.join(" ")
        ))),
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
        let Some(source) = Source::of(global, state, inventory).await.ok().filter(|_| at.is_none()) else { continue };
        at = source.find(Some(run)).await.is_ok().then_some(i);
    }
    at.map(|at| all.swap_remove(at)).ok_or_else(|| Error::NoRun(format!("{run} of any of these clusters")))
}

/// All inventories that the flags name, or that are configured where no file is named and none lies here.
pub fn inventories(global: &Global) -> Result<Vec<Inventory>, Error> {
    let settings = &global.settings;
    if by_name(global) {
        return settings.names().map(|name| settings.inventory(name)).collect();
    }
    let files = files::expand(&global.files())?;
    let (known, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| settings.cluster_of_file(file).is_some());
    let known = known.iter().filter_map(|file| settings.cluster_of_file(file));
    let mut all = known.map(|name| settings.inventory(name)).collect::<Result<Vec<_>, _>>()?;
    if !others.is_empty() {
        all.extend(read(&others, &shell())?);
    }
    let foreign = all.iter().find(|inventory| settings.has(&inventory.name) && !is_configured(settings, inventory));
    match foreign {
        Some(other) => Err(Error::Usage(format!(
            "{} is configured with another file than this: leave -c out, or rename the cluster in the file",
            other.name
        ))),
        None => Ok(all),
    }
}

/// Whether clusters are known by the configuration alone.
fn by_name(global: &Global) -> bool {
    global.config.is_empty() && !Path::new(DEFAULT_FILE).exists() && global.settings.names().next().is_some()
}

/// Whether it was read from the file that the configuration names for a cluster of its name.
fn is_configured(settings: &Settings, inventory: &Inventory) -> bool {
    let file = settings.path(Some(&inventory.name), keys::INVENTORY);
    inventory.hosts.iter().all(|host| Some(Path::new(&host.file)) == file)
}

/// The inventory of this file, with the variables of the environment.
pub fn inventory_at(file: &Path) -> Result<Inventory, Error> {
    inventory_with(file, &shell())
}

/// The same with these variables.
pub fn inventory_with(file: &Path, variables: &BTreeMap<String, String>) -> Result<Inventory, Error> {
    Ok(read(&[file.to_owned()], variables)?.swap_remove(0))
}

fn shell() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// Hosts worked on at the same time: as the flag says, else the file.
pub fn at_once(global: &Global, inventory: &Inventory) -> usize {
    let configured = || global.settings.number(Some(known(&global.settings, inventory)?), keys::CONCURRENCY);
    global.concurrency.or_else(configured).or(inventory.concurrency).unwrap_or(AT_ONCE).clamp(1, AT_ONCE)
}

/// Files are read together, as k0sctl does; but more than one of their documents may be a cluster.
fn read(files: &[PathBuf], variables: &BTreeMap<String, String>) -> Result<Vec<Inventory>, Error> {
    let texts = files.iter().map(|file| text(file)).collect::<Result<Vec<_>, _>>()?;
    Inventory::read_all(&texts, variables)
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
pub fn folder_of(name: &str) -> String {
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

/// Opens the store; another process that holds it is its own error.
pub fn store(
    dir: &Path,
    clock: Arc<dyn Clock>,
    commits: Option<Timed>,
    by: Keeper,
) -> Result<Arc<dyn EventLog>, Error> {
    let prefix = if by == Keeper::Daemon { BY_DAEMON } else { "" };
    let options = Options { look: look()?, commits, prefix, ..Options::default() };
    let (log, _) = SledLog::open_with(dir, clock, &options).map_err(refused)?;
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

fn vault(global: &Global, cluster: &str, log: Arc<dyn EventLog>) -> Result<Vault, Error> {
    let seals = seals::read(global, cluster)?;
    Vault::open(log, &seals.recipients, &seals.identity).map_err(|e| Error::Identity(e.to_string()))
}

/// Who opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A verb, which serves it on a socket beside it.
    Verb,
    /// The daemon, which serves all of its stores on one.
    Daemon,
}

/// All that a driving verb needs.
pub fn runtime(global: &Global, state: &Path, inventory: &Inventory) -> Result<Runtime, Error> {
    runtime_of(global, state, inventory, Keeper::Verb)
}

/// The same for whoever opens the store.
pub fn runtime_of(global: &Global, state: &Path, inventory: &Inventory, by: Keeper) -> Result<Runtime, Error> {
    let (hosts, rehearsal) = hosts(&global.settings, inventory, HostKeys::Known)?;
    let (clock, keys): (Arc<dyn Clock>, KeyKind) = match &rehearsal {
        Some(rehearsal) => (rehearsal.clock(), KeyKind::P256),
        None => (Arc::new(SystemClock::default()), KeyKind::Rsa2048),
    };
    let dir = cluster_dir(state, inventory);
    let instance = match by {
        Keeper::Verb => format!("{}/{}", machine(), inventory.name),
        Keeper::Daemon => machine(),
    };
    let meters = metrics::of_process(&instance, Page::Unasked);
    let log = store(&dir, clock.clone(), meters.as_deref().map(Meters::commits), by)?;
    let engine = Engine::new(log.clone(), clock.clone()).at_once(at_once(global, inventory));
    // From here on no other process can read the store, so it is told what it asks.
    let serving = match by {
        Keeper::Verb => {
            let router = routes::router(Arc::new(routes::One(engine.clone())));
            Some(socket::serve(&socket::path(&dir), 0o600, router)?)
        }
        Keeper::Daemon => None,
    };
    let telemetry = Some(Telemetry::begin(&dir, &inventory.name, &log, meters));
    let secrets = Arc::new(vault(global, &inventory.name, log.clone())?);
    let members = inventory.hosts.iter().map(InventoryHost::member).collect();
    let fleet = Fleet { hosts, members, clock, secrets, by: who(), keys };
    Ok(Runtime { telemetry, serving, engine, fleet: Arc::new(fleet), rehearsal })
}

/// The same store with hosts, identity and limits as they are configured now.
pub fn again(global: &Global, inventory: &Inventory, runtime: &Runtime) -> Result<Runtime, Error> {
    let (hosts, rehearsal) = match &runtime.rehearsal {
        // Its time goes on.
        Some(fleet) => (simulated(inventory, fleet), Some(fleet.clone())),
        None if is_simulated(inventory) => {
            return Err(Error::Inventory(
                "simulated hosts live in a time of their own: they are taken at a start".into(),
            ));
        }
        None => hosts(&global.settings, inventory, HostKeys::Known)?,
    };
    let engine = runtime.engine.clone().at_once(at_once(global, inventory));
    let secrets = Arc::new(vault(global, &inventory.name, engine.log().clone())?);
    let members = inventory.hosts.iter().map(InventoryHost::member).collect();
    let (clock, keys) = (runtime.fleet.clock.clone(), runtime.fleet.keys);
    let fleet = Fleet { hosts, members, clock, secrets, by: who(), keys };
    Ok(Runtime { telemetry: None, serving: None, engine, fleet: Arc::new(fleet), rehearsal })
}

/// `user@machine`, for marks and events.
pub fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned());
    format!("{user}@{}", machine())
}

/// What this machine is called.
pub fn machine() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    named.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

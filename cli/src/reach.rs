//! How the hosts of an inventory are reached: by ssh as the user or the configuration has it, here, or in a rehearsal fleet.

use crate::config::{Settings, keys, place};
use crate::error::Error;
use crate::telemetry::commands::told;
use k0rotate_activities::host::Host;
use k0rotate_activities::host::ssh::{HostKeys, LocalHost, Reach, SshDir, SshHost, SshOptions};
use k0rotate_activities::inventory::{Connection, Inventory, InventoryHost, SshServer};
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hosts by name.
pub type Hosts = BTreeMap<String, Arc<dyn Host>>;

/// The hosts as activities reach them, and the rehearsal fleet if they are simulated.
pub fn hosts(
    settings: &Settings,
    inventory: &Inventory,
    host_keys: HostKeys,
) -> Result<(Hosts, Option<Rehearsal>), Error> {
    if let Some(rehearsal) = rehearsal(inventory)? {
        let hosts = simulated(inventory, &rehearsal);
        return Ok((hosts, Some(rehearsal)));
    }
    let dir = SshDir::new(place::by_systemd("RUNTIME_DIRECTORY").as_deref())
        .map_err(|e| Error::File("a folder for ssh".into(), e.to_string()))?;
    let dir = Arc::new(dir);
    let ssh = known(settings, inventory).map_or_else(Ssh::of_the_user, |name| Ssh::configured(settings, name));
    let mut hosts = Hosts::new();
    // Who is not reached by SSH was left behind when the rotation was started.
    for host in inventory.hosts.iter().filter(|h| !matches!(h.connection, Connection::WinRm { .. })) {
        hosts.insert(host.name.clone(), told(reach(host, host_keys, &ssh, &dir)?, &host.address));
    }
    Ok((hosts, None))
}

/// The hosts of a rehearsal fleet.
pub fn simulated(inventory: &Inventory, rehearsal: &Rehearsal) -> Hosts {
    let host = |h: &InventoryHost| (h.name.clone(), told(rehearsal.host(&h.name), &h.address));
    inventory.hosts.iter().map(host).collect()
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

fn reach(host: &InventoryHost, host_keys: HostKeys, ssh: &Ssh, dir: &Arc<SshDir>) -> Result<Arc<dyn Host>, Error> {
    let options = match &host.connection {
        Connection::Localhost => return Ok(Arc::new(LocalHost::here(&host.name))),
        Connection::Rehearsal { .. } => return Err(Error::Inventory(format!("{} is simulated", host.name))),
        Connection::WinRm { .. } => return Err(Error::Host(format!("{} is reached by WinRM alone", host.name))),
        Connection::Ssh { server, bastions, options } => SshOptions {
            target: ssh.entry(server),
            bastions: bastions.iter().map(|server| ssh.entry(server)).collect(),
            include: ssh.include.clone(),
            known_hosts: ssh.known_hosts.clone(),
            options: options.clone(),
            ..SshOptions::default()
        },
        Connection::OpenSsh { server, config, options } => SshOptions {
            target: ssh.entry(server),
            include: config.as_ref().map_or_else(|| ssh.include.clone(), |own| vec![home(own)]),
            known_hosts: ssh.known_hosts.clone(),
            options: options.clone(),
            ..SshOptions::default()
        },
    };
    Ok(Arc::new(SshHost::over_ssh(&host.name, SshOptions { host_keys, ..options }, dir.clone())))
}

/// What ssh knows besides the inventory.
struct Ssh {
    key: Option<PathBuf>,
    known_hosts: Vec<PathBuf>,
    include: Vec<PathBuf>,
}

impl Ssh {
    fn of_the_user() -> Self {
        Self { key: None, known_hosts: known_hosts(), include: SshOptions::usual_includes() }
    }

    /// Of a configured cluster: the same whoever types the command.
    fn configured(settings: &Settings, name: &str) -> Self {
        let path = |key: &str| settings.path(Some(name), key).map(Path::to_owned);
        let include = [PathBuf::from("/etc/ssh/ssh_config")].into_iter().filter(|file| file.is_file()).collect();
        Self { key: path(keys::SSH_IDENTITY), known_hosts: path(keys::SSH_KNOWN_HOSTS).into_iter().collect(), include }
    }

    fn entry(&self, to: &SshServer) -> Reach {
        let (address, user, port) = (to.address.clone(), to.user.clone(), to.port);
        Reach { address, user, port, key: self.key.clone().or_else(|| to.key.as_deref().map(home)) }
    }
}

/// The name by which the configuration knows it.
pub fn known<'a>(settings: &Settings, inventory: &'a Inventory) -> Option<&'a str> {
    Some(inventory.name.as_str()).filter(|name| settings.has(name))
}

/// k0sctl's variable for another file than `~/.ssh/known_hosts`. There it can switch the check off; here a file without keys knows nobody.
fn known_hosts() -> Vec<PathBuf> {
    std::env::var_os("SSH_KNOWN_HOSTS").filter(|path| !path.is_empty()).into_iter().map(PathBuf::from).collect()
}

/// `~/` stands for the home directory, as in k0sctl.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(below), Some(home)) => PathBuf::from(home).join(below),
        _ => PathBuf::from(path),
    }
}

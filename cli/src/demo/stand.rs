//! A rehearsal fleet served on a socket from this process, with all that verbs in other processes need to work on it.

use crate::error::Error;
use crate::keys;
use crate::open;
use crate::private;
use crate::source::Source;
use k0rotate_activities::fleet::Role;
use k0rotate_activities::rehearsal::line::{self, SharedStage};
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::world::FleetPlan;
use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the file's sentence.
pub struct Stand {
    stage: SharedStage,
    dir: PathBuf,
}

impl Stand {
    /// Puts a fleet up in a new folder that only its owner can enter, and serves it until the process ends. `crashed` is called, with the
    /// fleet locked, when a planned crash of the client has come: it must end the client's process and not touch the fleet.
    pub fn new(
        dir: &Path,
        plan: &FleetPlan,
        stage: Stage,
        crashed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::File(dir.display().to_string(), e.to_string());
        private::dir(dir)?;
        // The inventory names the socket by a path that holds from any folder.
        let dir = dir.canonicalize().map_err(failed)?;
        let socket = dir.join("world");
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(failed)?;
        private::write(&dir.join("k0sctl.yaml"), inventory(plan, &socket).as_bytes())?;
        keys::make(&dir.join("identity"))?;
        let stand = Self { stage: Arc::new(Mutex::new(stage)), dir };
        let stage = stand.stage.clone();
        std::thread::spawn(move || line::serve(&listener, &stage, &crashed));
        Ok(stand)
    }

    /// Its folder: socket, k0sctl.yaml, identity, event logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The fleet; while it is held, no client hears anything.
    pub fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fleet, for a thread of its own.
    pub fn shared(&self) -> SharedStage {
        self.stage.clone()
    }

    /// Its event log, or the process that holds it.
    pub fn source(&self) -> Result<Source, Error> {
        Source::of_dir(&self.dir.join("state"), &open::inventory_at(&self.dir.join("k0sctl.yaml"))?)
    }

    /// Takes its folder away: the fleet ends with this process, and what is in it is good for nothing else. If a process still works on it, it
    /// stays, and this says who.
    pub fn remove(self) -> Result<(), Error> {
        let driven = match self.source() {
            Ok(source) => source.is_held().then(|| "another process drives it".to_owned()),
            Err(Error::NoRun(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = driven {
            return Err(Error::Held(why));
        }
        std::fs::remove_dir_all(&self.dir).map_err(|e| Error::File(self.dir.display().to_string(), e.to_string()))
    }

    /// The flags by which any verb works on it.
    pub fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let pairs = [("-c", path("k0sctl.yaml")), ("--state-dir", path("state")), ("--identity", path("identity"))];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // Histories stay; a socket that nobody serves would only puzzle.
        let _ = std::fs::remove_file(self.dir.join("world"));
    }
}

/// A k0sctl.yaml of the fleet.
fn inventory(plan: &FleetPlan, socket: &Path) -> String {
    let mut text =
        "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nmetadata:\n  name: rehearsal\nspec:\n  hosts:\n"
            .to_owned();
    for host in &plan.hosts {
        let role = match host.role {
            Role::Controller => "controller",
            Role::ControllerWorker => "controller+worker",
            Role::Single => "single",
            Role::Worker => "worker",
        };
        let (name, address, socket) =
            (&host.name, &host.address, serde_json::Value::from(socket.display().to_string()));
        let _ = write!(
            text,
            "    - role: {role}\n      hostname: {name}\n      privateAddress: {address}\n      rehearsal: {socket}\n"
        );
    }
    text
}

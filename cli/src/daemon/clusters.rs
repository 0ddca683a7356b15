//! All clusters of the daemon, and who may do what with them.

use super::cluster::Cluster;
use super::notify::bell::Bell;
use super::notify::notice::Notice;
use super::refusals::Refusals;
use super::rights::{self, Who};
use crate::args::Global;
use crate::config::Settings;
use crate::error::Error;
use crate::open;
use crate::socket::Peer;
use crate::socket::routes::{Right, Serves};
use async_trait::async_trait;
use k0rotate_engine::drive::Engine;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The verb that an approval is for.
const ROTATE: &str = "rotate";

/// See the file's sentence.
pub struct Clusters {
    state: PathBuf,
    machine: String,
    bell: Bell,
    refusals: Refusals,
    known: Mutex<Known>,
}

struct Known {
    global: Global,
    all: BTreeMap<String, Arc<Cluster>>,
}

impl Clusters {
    /// Begins a thread for each that is configured. Must be called on a runtime.
    pub fn begin(global: &Global, state: &Path) -> Result<Self, Error> {
        let (mut all, bell) = (BTreeMap::new(), Bell::begin());
        for name in global.settings.names() {
            all.insert(name.to_owned(), Arc::new(Cluster::begin(global, state, name, &bell)?));
        }
        let refusals = Refusals::begin(state).map_err(|what| Error::File(state.display().to_string(), what))?;
        let known = Mutex::new(Known { global: global.clone(), all });
        Ok(Self { state: state.to_owned(), machine: open::machine(), bell, refusals, known })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Cluster>> {
        self.known().all.values().cloned().collect()
    }

    /// The cluster of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.known().all.get(name).cloned()
    }

    /// Tells what no history says.
    pub fn ring(&self, cluster: &str, what: &str, says: String) {
        self.bell.ring(&self.settings(), Notice::new(cluster, what, says));
    }

    /// The configuration as it was last read.
    pub fn settings(&self) -> Arc<Settings> {
        self.known().global.settings.clone()
    }

    /// Reads the configuration anew, or keeps the one that there is. A cluster that is no longer configured ends, unless it is driven:
    /// then it does at the next reload after its rest.
    pub fn reload(&self) -> Result<(), Error> {
        let mut known = self.known();
        let settings = Arc::new(Settings::find(&known.global)?);
        let global = Global { settings: settings.clone(), ..known.global.clone() };
        known.all.retain(|name, cluster| settings.has(name) || !cluster.retire());
        for name in settings.names() {
            if let Some(cluster) = known.all.get(name) {
                cluster.reload(&global);
            } else {
                let cluster = Arc::new(Cluster::begin(&global, &self.state, name, &self.bell)?);
                known.all.insert(name.to_owned(), cluster);
            }
        }
        known.global = global;
        Ok(())
    }

    /// Who asks. The data base of users may be slow, so it is asked beside everything else.
    pub async fn who(&self, peer: Peer) -> Who {
        let unknown = Peer { uid: u32::MAX, gid: u32::MAX };
        match tokio::task::spawn_blocking(move || rights::who(peer)).await {
            Ok(who) => who,
            // A look-up that panicked knows nobody.
            Err(_) => rights::who(unknown),
        }
    }

    /// The cluster, and who asks; an error if that user may not.
    pub async fn allowed(
        &self,
        name: &str,
        peer: Peer,
        right: Right,
        what: &str,
    ) -> Result<(Arc<Cluster>, Who), Error> {
        let who = self.who(peer).await;
        let (cluster, settings) = {
            let known = self.known();
            (known.all.get(name).cloned(), known.global.settings.clone())
        };
        if !rights::may(&settings, name, &who, right) {
            let (user, right) = (&who.name, right.name());
            let nobody = if who.is_a_person() { "" } else { "; uid 0 is nobody there: run it as yourself" };
            let says = format!("{user} may not {what} {name}: that wants the right to {right}{nobody}");
            return Err(self.refused(name, (peer, &who), what, says));
        }
        if what == ROTATE && settings.wants_approval(name) && !who.is_a_person() {
            let user = &who.name;
            let says = format!("{user} is nobody where two persons are needed, as on {name}: rotate as yourself");
            return Err(self.refused(name, (peer, &who), what, says));
        }
        let cluster = cluster.ok_or_else(|| Error::Usage(format!("the daemon has no cluster {name}: reload it")))?;
        Ok((cluster, who))
    }

    /// A request that somebody may not make: told in the log, the audit, and to whom it may concern.
    pub fn refused(&self, cluster: &str, (peer, who): (Peer, &Who), what: &str, says: String) -> Error {
        tracing::warn!(cluster, by = who.name, uid = peer.uid, "refused: {what}: {says}");
        let notice = Notice::new(cluster, "refused", says.clone()).by(self.called(who));
        self.bell.refused(&self.settings(), peer.uid, notice);
        self.refusals.add(peer.uid, cluster, self.called(who), what, &says);
        Error::NoRight(says)
    }

    /// The folder of a cluster's store.
    pub fn dir(&self, cluster: &Cluster) -> PathBuf {
        self.state.join(open::folder_of(&cluster.name))
    }

    /// As events name a user.
    pub fn called(&self, who: &Who) -> String {
        format!("{}@{}", who.name, self.machine)
    }
}

#[async_trait]
impl Serves for Clusters {
    async fn engine(
        &self,
        cluster: &str,
        peer: Peer,
        right: Right,
        what: &str,
    ) -> Result<(Engine, Option<String>), Error> {
        let (cluster, who) = self.allowed(cluster, peer, right, what).await?;
        Ok((cluster.engine()?, Some(self.called(&who))))
    }
}

//! Finds the execution that a reading verb means: in the store of the inventory's cluster or, without one, in any store of this machine.

use crate::args::{DEFAULT_FILE, Global};
use crate::commands::Commands;
use crate::error::Error;
use crate::open;
use crate::source::{Place, Source};
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::clock::{Clock, SystemClock, Timestamp};
use k0rotate_engine::event::Record;
use k0rotate_engine::ids::ExecutionId;
use k0rotate_engine::view::ExecutionView;
use std::path::Path;

/// See the file's sentence.
pub struct Found {
    /// Where it is known.
    pub place: Place,
    /// Its store, or who holds it.
    pub source: Source,
    /// Which.
    pub execution: ExecutionId,
    /// Its history.
    pub history: Vec<Record>,
    /// What that says.
    pub view: ExecutionView,
    /// Next steps about it.
    pub commands: Commands,
    simulated: bool,
}

impl Found {
    /// Whether another process drives it.
    pub fn is_driven(&self) -> bool {
        self.source.is_driven(&self.execution)
    }

    /// Now, in the time of its hosts; that of a rehearsal fleet stands while nobody drives.
    pub fn now(&self) -> Timestamp {
        if self.simulated { self.view.last } else { SystemClock::default().now().max(self.view.last) }
    }
}

/// With `-c` the inventory says which store; without it an id, the beginning of one, or a cluster's name do as well.
pub async fn which(global: &Global, state: &Path, run: Option<&str>) -> Result<Found, Error> {
    let here = Path::new(DEFAULT_FILE).exists();
    if !global.config.is_empty() || (run.is_none() && here) {
        let inventory = open::cluster_of(global, state, run).await?;
        return of_inventory(global, state, &inventory, run).await;
    }
    let stores = Place::all(global, state);
    if let (None, [_, _, ..] | []) = (run, stores.as_slice()) {
        let what = format!("there is no {DEFAULT_FILE} here: name an execution or a cluster, or its inventory with -c");
        return Err(Error::Usage(what));
    }
    let mut found = among(global, &stores, run).await?;
    // Where its own inventory lies here, next steps work as they are.
    let own = here.then(|| open::inventory(global).ok()).flatten().filter(|own| own.name == found.view.subject);
    match own {
        // Its name is enough.
        None if global.settings.has(&found.view.subject) => {}
        Some(own) => found.simulated = open::is_simulated(&own),
        None => found.commands = found.commands.without_inventory(),
    }
    Ok(found)
}

async fn of_inventory(global: &Global, state: &Path, inventory: &Inventory, run: Option<&str>) -> Result<Found, Error> {
    let source = Source::of(global, state, inventory).await?;
    let (execution, history, view) = source.find(run).await?;
    let place = Place::of(global, state, &inventory.name);
    let (commands, simulated) = (Commands::of(global), open::is_simulated(inventory));
    Ok(Found { place, source, execution, history, view, commands, simulated })
}

/// The one that fits, in whichever store. A store that cannot be read matters only if no other has it.
async fn among(global: &Global, stores: &[Place], run: Option<&str>) -> Result<Found, Error> {
    let mut fits: Vec<Found> = Vec::new();
    let mut failed = None;
    for place in stores {
        let found = match Source::at(place).await {
            Ok(source) => source.find(run).await.map(|found| (source, found)),
            Err(error) => Err(error),
        };
        match found {
            Ok((source, (execution, history, view))) => {
                let (place, commands) = (place.clone(), Commands::of(global));
                fits.push(Found { place, source, execution, history, view, commands, simulated: false });
            }
            Err(Error::NoRun(_)) => {}
            Err(Error::NoRight(_)) if stores.len() > 1 => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let run = run.unwrap_or("yet");
    match fits.len() {
        1 => Ok(fits.swap_remove(0)),
        0 => Err(failed.unwrap_or_else(|| Error::NoRun(run.to_owned()))),
        _ => {
            let all: Vec<String> = fits.iter().map(|f| format!("{} of {}", f.execution, f.view.subject)).collect();
            Err(Error::NoRun(format!("is meant by {run} alone: {}", all.join(", "))))
        }
    }
}

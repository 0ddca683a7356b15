//! Finds the host that an argument means: by its name in the inventory, hostname, address, or the name of its Node.

use crate::error::Error;
use crate::report;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::inventory::Inventory;
use k0rotate_engine::view::ExecutionView;

/// The name in the inventory of the host that is called so. An execution knows the names of Nodes and machines as well.
pub fn host(inventory: &Inventory, view: Option<&ExecutionView>, called: &str) -> Result<String, Error> {
    if let Some(host) = inventory.host(called) {
        return Ok(host.name.clone());
    }
    let found = view.map(report::outputs::<CheckHost, HostFacts>).unwrap_or_default();
    let known = found.into_iter().map(|(_, facts)| facts.host);
    let mut known = known.filter(|host| host.node.as_deref() == Some(called) || host.hostname == called);
    if let Some(host) = known.next() {
        return Ok(host.name);
    }
    let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
    Err(Error::Usage(format!("no host is called {called}; the inventory has {}", names.join(" "))))
}

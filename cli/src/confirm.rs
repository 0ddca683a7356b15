//! Asks a person before something that cannot be taken lightly.

use crate::args::Sure;
use crate::error::Error;
use k0rotate_activities::inventory::Inventory;
use std::io::IsTerminal;

/// Shows what will happen, and wants the API's host typed; `--yes` skips, and without a terminal nothing else will do.
pub fn confirm(inventory: &Inventory, sure: &Sure, what: &str) -> Result<(), Error> {
    let nodes = inventory.hosts.len();
    eprintln!("{} · https://{} · {nodes} hosts · {what}", inventory.name, inventory.api_host);
    if sure.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::NotConfirmed("there is no terminal to ask, and no --yes".into()));
    }
    let prompt = format!("Type the API host ({}) to go on", inventory.api_host);
    let typed: String = dialoguer::Input::new()
        .with_prompt(prompt)
        .allow_empty(true)
        .interact_text()
        .map_err(|e| Error::NotConfirmed(e.to_string()))?;
    if typed.trim() == inventory.api_host {
        Ok(())
    } else {
        Err(Error::NotConfirmed(format!("{:?} is not {}", typed.trim(), inventory.api_host)))
    }
}

//! A lab of 3+2 with the stand-in, the tool on it, and what lay on its disks at first.

use super::Lab;
use super::fleet::Machines;
use super::tool::Tool;
use std::collections::BTreeSet;
use std::path::Path;

/// See the file's sentence.
pub struct Stand<'a> {
    /// The machines.
    pub lab: &'a Lab,
    /// The same, looked at from outside.
    pub machines: Machines<'a>,
    /// The binary on their inventory.
    pub tool: Tool<'a>,
    first: BTreeSet<String>,
}

impl<'a> Stand<'a> {
    /// Waits until the fleet is healthy.
    pub async fn new(lab: &'a Lab, binary: &'a Path) -> Self {
        let machines = Machines::new(lab, 3, 2);
        machines.healthy().await;
        let first = machines.disks().await;
        Self { lab, machines, tool: Tool::new(lab, binary), first }
    }

    /// Fails unless k0s answers through every controller, and the disks are as they were.
    pub async fn as_at_first(&self, when: &str) {
        self.machines.healthy().await;
        let now = self.machines.disks().await;
        let more: Vec<_> = now.difference(&self.first).collect();
        let less: Vec<_> = self.first.difference(&now).collect();
        assert!(more.is_empty() && less.is_empty(), "{when}: more {more:#?}, less {less:#?}");
        eprintln!("as at first: {when}");
    }
}

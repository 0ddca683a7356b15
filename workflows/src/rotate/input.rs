//! The input of a rotation: what an operator asked for, as it stands in its first event.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use k0rotate_activities::activity::pods::Refresh;
use k0rotate_activities::fleet::{Member, Role, Root};
use k0rotate_activities::trust::OwnCa;
use k0rotate_engine::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The input: what an operator asked for. It goes into the first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// Hosts to work on, in the order of the inventory; those that are left behind from the start are not among them.
    pub hosts: Vec<Member>,
    /// Roots to replace.
    pub roots: Vec<Root>,
    /// The controller that is started and asked first; by default the first of the inventory.
    pub primary: Option<String>,
    /// Whose containers are restarted.
    pub refresh: Refresh,
    /// Reboots nodes instead, so many workers at once; controllers one at a time.
    pub reboot_at_once: Option<u32>,
    /// The controllers are not stopped before this.
    pub not_before: Option<Timestamp>,
    /// The way forward and back must have ended by then.
    pub not_after: Option<Timestamp>,
    /// What both ways are expected to take, seconds.
    pub room_seconds: u64,
    /// Somebody else than who asked for it must approve before the controllers are stopped.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub approval: bool,
    /// The keys of the first trust are known to somebody else: what was not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
    /// After how long without a control plane the execution rolls back by itself, seconds.
    pub max_outage_seconds: u64,
    /// Hosts known to be dead: their Nodes and members are expected not to answer.
    pub leave_behind: Vec<String>,
    /// Ids of join tokens that are not revoked.
    pub keep_token: Vec<String>,
    /// Names of checks whose refusal the operator accepts.
    pub allow: Vec<String>,
    /// CAs that the operator brings, instead of those that would be made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_cas: BTreeMap<Root, OwnCa>,
}

impl Rotate {
    /// All four roots of these hosts (no etcd CA on `single`), everything else by default.
    pub fn of(hosts: Vec<Member>) -> Self {
        let single = hosts.iter().any(|host| host.role == Role::Single);
        let all = [Root::KubernetesCa, Root::EtcdCa, Root::FrontProxyCa, Root::ServiceAccount];
        Self {
            hosts,
            roots: all.into_iter().filter(|root| !single || *root != Root::EtcdCa).collect(),
            primary: None,
            refresh: Refresh::System,
            reboot_at_once: None,
            not_before: None,
            not_after: None,
            room_seconds: DEFAULT_ROOM_SECONDS,
            approval: false,
            break_glass: None,
            max_outage_seconds: DEFAULT_MAX_OUTAGE_SECONDS,
            leave_behind: Vec::new(),
            keep_token: Vec::new(),
            allow: Vec::new(),
            own_cas: BTreeMap::new(),
        }
    }
}

/// The wait for somebody else's approval.
pub const APPROVAL: &str = "approval";
/// What a window must leave for the way forward and back unless a forecast says otherwise.
pub const DEFAULT_ROOM_SECONDS: u64 = 60;
/// The longest outage unless the operator says otherwise.
pub const DEFAULT_MAX_OUTAGE_SECONDS: u64 = 300;

/// What a rotation whose first trust is known to somebody else did not wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// The cluster's windows.
    pub window: bool,
    /// Somebody else's approval.
    pub approval: bool,
}

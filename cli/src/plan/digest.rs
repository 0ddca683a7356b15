//! The digest of a plan: what must still be the same when the rotation is started.

use k0rotate_activities::facts::{self, ClusterFacts, HostFacts};
use k0rotate_activities::pki::sha256_hex;
use k0rotate_activities::trust::OwnCa;
use k0rotate_engine::workflow::Workflow;
use k0rotate_workflows::rotate::{BreakGlass, Rotate};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What it covers, for people.
pub const COVERS: &str = "the inventory and its machines, k0s, units, trust roots and user certificates, members, options and the workflow; not times, health or Leases";

/// So much of a digest is shown; at least [`SHORTEST`] must be given back.
pub const SHOWN: usize = 12;
/// A shorter beginning could be met by chance.
pub const SHORTEST: usize = 8;

/// Everything that is covered, in an order that depends on nothing: maps and sets are sorted, structs are written as they stand here.
#[derive(Serialize)]
struct Covered<'a> {
    format: u32,
    workflow: &'static str,
    version: u32,
    options: Rotate,
    hosts: BTreeMap<&'a str, facts::Covered<'a>>,
    cluster: &'a str,
    nodes: BTreeSet<&'a String>,
    etcd_members: &'a BTreeMap<String, String>,
    dynamic_config: bool,
}

/// SHA-256, lower-case hex, of all that is covered.
pub fn digest(facts: &[HostFacts], cluster: &ClusterFacts, rotate: &Rotate) -> String {
    let covered = Covered {
        format: 1,
        workflow: Rotate::NAME,
        version: Rotate::VERSION,
        options: options(rotate),
        hosts: facts.iter().map(|f| (f.host.name.as_str(), f.covered())).collect(),
        cluster: &cluster.uid,
        nodes: cluster.nodes.iter().collect(),
        etcd_members: &cluster.etcd_members,
        dynamic_config: cluster.dynamic_config,
    };
    of(&covered)
}

/// The digest of anything that is encoded the same each time.
pub(super) fn of(covered: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(covered).expect("keys are texts, and nothing in it refuses to be encoded");
    sha256_hex(&bytes)
}

/// The window is when, not what, and an approval who; the order in which sets are given means nothing.
pub(super) fn options(rotate: &Rotate) -> Rotate {
    let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    Rotate {
        not_before: None,
        not_after: None,
        room_seconds: 0,
        approval: false,
        break_glass: rotate.break_glass.map(|_| BreakGlass::default()),
        roots: rotate.roots.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        leave_behind: sorted(&rotate.leave_behind),
        keep_token: sorted(&rotate.keep_token),
        allow: sorted(&rotate.allow),
        own_cas: rotate.own_cas.iter().map(|(root, own)| (*root, OwnCa { key: None, ..own.clone() })).collect(),
        ..rotate.clone()
    }
}

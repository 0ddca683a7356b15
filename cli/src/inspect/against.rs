//! Compares the trust on the machines with what an execution left there.

use crate::error::Error;
use crate::report;
use crate::survey::Survey;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::facts::HostFacts;
use k0rotate_activities::fleet::Root;
use k0rotate_activities::inventory::Inventory;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::event::Zone;
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::ExecutionView;
use serde::Serialize;
use std::collections::BTreeMap;

/// How the machines compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// With which execution.
    pub execution: String,
    /// Its state in a sentence.
    pub state: String,
    /// Places, a root on a host each, that were compared.
    pub places: usize,
    /// Those that are not as it left them.
    pub differ: Vec<Place>,
    /// Hosts that it worked on and that could not be looked at now.
    pub not_looked_at: Vec<String>,
}

/// A root on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Which host.
    pub host: String,
    /// Which root.
    pub root: String,
    /// What is there.
    pub found: Option<String>,
    /// What it is.
    pub is: Trust,
}

/// What stands in a place that is not as the execution left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// What was in use before a rotation that went forward.
    Old,
    /// What a rotation that was rolled back had made.
    New,
    /// Neither.
    Another,
    /// Nothing.
    Missing,
}

impl Comparison {
    /// Whether something is not as it was left, or could not be seen.
    pub fn differs(&self) -> bool {
        !self.differ.is_empty() || !self.not_looked_at.is_empty()
    }
}

/// The trust before and after an execution.
struct Known {
    first: BTreeMap<String, HostFacts>,
    new: NewTrust,
    back: bool,
}

impl Known {
    fn first(&self, host: &str, root: Root) -> Option<&str> {
        match self.first.get(host) {
            Some(facts) => facts.root(root),
            // A host that came later has what all have.
            None if root == Root::FrontProxyCa => None,
            None => self.first.values().find_map(|facts| facts.root(root)),
        }
    }

    fn made(&self, host: &str, root: Root) -> Option<&str> {
        let own = self.new.front_proxy.get(host).filter(|_| root == Root::FrontProxyCa);
        self.new.shared.get(&root).or(own).map(|pair| pair.fingerprint.as_str())
    }

    /// What must be there, and what must not be any more.
    fn wanted(&self, host: &str, root: Root) -> (Option<&str>, Option<&str>) {
        let (first, new) = (self.first(host, root), self.made(host, root));
        if self.back { (first, new) } else { (new.or(first), first) }
    }
}

/// Compares with a rotation that is verified or over; one on its way has no trust to compare with.
pub fn compare(inventory: &Inventory, survey: &Survey, view: &ExecutionView) -> Result<Comparison, Error> {
    let back = match view.state.status {
        Status::Waiting { .. } if view.state.zone() != Zone::Free => false,
        Status::Completed => false,
        Status::RolledBack => true,
        _ => return Err(Error::Word(format!("{} is at neither trust: {}", view.execution, report::state(view)))),
    };
    let first: BTreeMap<String, HostFacts> =
        report::forward_outputs::<CheckHost, HostFacts>(view).into_iter().collect();
    if first.is_empty() {
        return Err(Error::Word(format!("{} ({}) knows of no trust", view.execution, view.workflow)));
    }
    let new = report::outputs::<MakeTrust, NewTrust>(view).pop().map(|(_, new)| new).unwrap_or_default();
    let known = Known { first, new, back };
    let mut comparison = Comparison {
        execution: view.execution.to_string(),
        state: report::state(view),
        places: 0,
        differ: Vec::new(),
        not_looked_at: Vec::new(),
    };
    for facts in survey.seen(inventory) {
        for root in roots_of(facts) {
            comparison.places += 1;
            comparison.differ.extend(differs(&known, facts, root));
        }
    }
    let seen = |host: &&String| matches!(survey.hosts.get(*host), Some(Ok(_)));
    comparison.not_looked_at = known.first.keys().filter(|host| !seen(host)).cloned().collect();
    Ok(comparison)
}

fn roots_of(facts: &HostFacts) -> Vec<Root> {
    let all = [Root::KubernetesCa, Root::EtcdCa, Root::FrontProxyCa, Root::ServiceAccount];
    let here = |root: &Root| *root == Root::KubernetesCa || facts.root(*root).is_some();
    all.into_iter().filter(here).collect()
}

fn differs(known: &Known, facts: &HostFacts, root: Root) -> Option<Place> {
    let host = &facts.host.name;
    let (wanted, gone) = known.wanted(host, root);
    let found = facts.root(root);
    if found == wanted || (wanted.is_none() && found.is_some() && found != gone) {
        return None;
    }
    let is = match found {
        None => Trust::Missing,
        found if found == gone && known.back => Trust::New,
        found if found == gone => Trust::Old,
        _ => Trust::Another,
    };
    Some(Place { host: host.clone(), root: root.name().to_owned(), found: found.map(str::to_owned), is })
}

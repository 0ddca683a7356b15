//! What a history says of trust: what was found, what was made, and what was put in place on each host.

use super::{Entry, Fingerprints};
use crate::plan::digest;
use k0rotate_activities::activity::check_cluster::CheckCluster;
use k0rotate_activities::activity::check_host::CheckHost;
use k0rotate_activities::activity::make_trust::MakeTrust;
use k0rotate_activities::activity::put_back::PutBack;
use k0rotate_activities::activity::wipe::Wipe;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::trust::NewTrust;
use k0rotate_engine::activity::Activity;
use k0rotate_engine::event::Json;
use k0rotate_workflows::rotate::{BreakGlass, Rotate, Rotated};
use std::collections::BTreeMap;

/// See the file's sentence.
#[derive(Default)]
pub struct Trust {
    rotate: Option<Rotate>,
    first: BTreeMap<String, HostFacts>,
    new: NewTrust,
    plan: Option<String>,
    back: bool,
}

impl Trust {
    /// Before anything was looked at.
    pub fn of(input: &Json) -> Self {
        Self { rotate: input.decode().ok(), ..Self::default() }
    }

    /// The digest of the plan that a look at the same would have given, once the rotation has looked.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }

    /// What a rotation did not wait for whose first trust leaked.
    pub fn break_glass(&self) -> Option<BreakGlass> {
        self.rotate.as_ref()?.break_glass
    }

    /// What is found from now on is not what was there first.
    pub fn turned_back(&mut self) {
        self.back = true;
    }

    /// What a step that is done found, made or put in place.
    pub fn succeeded(&mut self, activity: &str, target: &str, output: &Json, entry: &mut Entry) {
        match activity {
            CheckHost::NAME if !self.back => {
                let Ok(facts) = output.decode::<HostFacts>() else { return };
                entry.before = found(&facts);
                self.first.entry(target.to_owned()).or_insert(facts);
            }
            CheckCluster::NAME if self.plan.is_none() && !self.back => {
                let (Some(rotate), Ok(cluster)) = (&self.rotate, output.decode::<ClusterFacts>()) else { return };
                let facts: Vec<HostFacts> = self.first.values().cloned().collect();
                self.plan = Some(digest::digest(&facts, &cluster, rotate));
            }
            MakeTrust::NAME => {
                self.new = output.decode().unwrap_or_default();
                entry.after = made(&self.new);
            }
            Wipe::NAME => (entry.before, entry.after) = self.both(target),
            PutBack::NAME => (entry.after, entry.before) = self.both(target),
            _ => {}
        }
    }

    /// The first and the new trust of a controller, of the roots that are replaced.
    fn both(&self, host: &str) -> (Fingerprints, Fingerprints) {
        let new: Vec<(Root, String)> =
            self.new.of(host).into_iter().map(|(root, pair)| (root, pair.fingerprint.clone())).collect();
        let first = |root: Root| self.first.get(host).and_then(|facts| facts.root(root));
        let before = new.iter().filter_map(|(root, _)| Some((root.name().to_owned(), first(*root)?.to_owned())));
        (before.collect(), new.iter().map(|(root, made)| (root.name().to_owned(), made.clone())).collect())
    }
}

/// What an execution that went forward ends with.
pub fn completed(output: &Json) -> Fingerprints {
    let Ok(rotated) = output.decode::<Rotated>() else { return Fingerprints::new() };
    rotated.trust.iter().map(|(root, all)| (root.name().to_owned(), all.join(" "))).collect()
}

fn found(facts: &HostFacts) -> Fingerprints {
    // The first of a root counts, as everywhere.
    let roots = facts.trust.iter().rev().filter(|file| file.is_root);
    roots.map(|file| (file.root.name().to_owned(), file.fingerprint.clone())).collect()
}

fn made(new: &NewTrust) -> Fingerprints {
    let shared = new.shared.iter().map(|(root, pair)| (root.name().to_owned(), pair.fingerprint.clone()));
    let own = new.front_proxy.iter();
    let own = own.map(|(host, pair)| (format!("{}/{host}", Root::FrontProxyCa.name()), pair.fingerprint.clone()));
    shared.chain(own).collect()
}

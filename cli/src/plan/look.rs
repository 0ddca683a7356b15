//! Looks at a cluster for a plan, and says what would keep a rotation from starting.

use super::result::Refusal;
use super::window::{missed as missed_by, was_missed};
use crate::args::Global;
use crate::beside;
use crate::error::Error;
use crate::open::Hosts;
use crate::render::rfc3339;
use crate::source::Source;
use crate::survey::{self, Asked, Survey};
use k0rotate_activities::activity::hold_cluster::LockedBy;
use k0rotate_activities::facts::{ClusterFacts, HostFacts};
use k0rotate_activities::fleet::Root;
use k0rotate_activities::host::Mark;
use k0rotate_activities::inventory::Inventory;
use k0rotate_activities::rehearsal::fleet::Rehearsal;
use k0rotate_engine::clock::{Clock, SystemClock, Timestamp};
use k0rotate_engine::failure::Failure;
use k0rotate_workflows::rotate::Rotate;
use std::path::Path;
use std::sync::Arc;

/// Hosts and how they are reached.
pub struct Eyes<'a> {
    /// What the file says.
    pub inventory: &'a Inventory,
    /// The hosts of it that can be reached.
    pub hosts: &'a Hosts,
    /// The fleet that they are of, if they are simulated.
    pub rehearsal: Option<&'a Rehearsal>,
    /// Hosts looked at at the same time.
    pub at_once: usize,
}

impl Eyes<'_> {
    /// Looks at all hosts but those that a rotation leaves behind.
    pub async fn look(&self, rotate: &Rotate) -> Result<Survey, Error> {
        let clock = self.clock();
        let (inventory, hosts, at_once) = (self.inventory, self.hosts, self.at_once);
        let (allow, leave_behind) = (&rotate.allow, &rotate.leave_behind);
        let asked =
            Asked { inventory, hosts, clock, allow, leave_behind, etcd_ca_stays: rotate.etcd_ca_stays(), at_once };
        survey::paced(&asked, self.rehearsal).await
    }

    /// What time it is there.
    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        match self.rehearsal {
            Some(rehearsal) => rehearsal.clock(),
            None => Arc::new(SystemClock::default()),
        }
    }
}

/// What is known of everything that a rotation works on; `None` if it is not known of all.
pub fn whole(inventory: &Inventory, survey: &Survey, hosts: usize) -> Option<(Vec<HostFacts>, ClusterFacts)> {
    let facts: Vec<HostFacts> = survey.seen(inventory).cloned().collect();
    let cluster = survey.cluster.as_ref().ok().filter(|_| facts.len() == hosts && hosts > 0)?;
    Some((facts, cluster.clone()))
}

/// A host that somebody holds.
pub fn held(host: &str, mark: &Mark) -> Failure {
    Failure::refused("host-held").with("host", host).with("by", &mark.by).with("execution", &mark.execution)
}

/// Everything that a rotation would be refused for, the first reason first: by the looks, then by whoever holds a host.
pub fn refusals(survey: &Survey, rotate: &Rotate) -> Vec<Refusal> {
    let mut all: Vec<Refusal> = survey.against.iter().map(Refusal::from).collect();
    all.extend(survey.marks.iter().map(|(host, mark)| Refusal::from(&held(host, mark))));
    let locked = survey.locks.iter().filter(|(_, by)| **by == LockedBy::K0sctl);
    all.extend(locked.map(|(host, _)| Refusal::from(&Failure::refused("k0sctl-runs").with("host", host))));
    all.extend(
        in_use(survey, rotate).map(|root| Refusal::from(&Failure::refused("ca-not-new").with("root", root.name()))),
    );
    all.extend(
        unknown_tokens(survey, rotate).map(|id| Refusal::from(&Failure::refused("token-unknown").with("token", id))),
    );
    if let (Err(failure), true) = (&survey.cluster, all.is_empty()) {
        all.push(Refusal::from(failure));
    }
    all
}

/// Tokens to keep that do not exist.
fn unknown_tokens<'a>(survey: &'a Survey, rotate: &'a Rotate) -> impl Iterator<Item = &'a String> {
    let cluster = survey.cluster.as_ref().ok();
    let known = move |id: &String| {
        cluster.is_none_or(|seen| seen.controller_tokens.contains(id) || seen.worker_tokens.contains(id))
    };
    rotate.keep_token.iter().filter(move |id| !known(id))
}

/// Roots for which the operator brings a certificate that some host has in use. A new certificate of an old key is seen once that is kept.
fn in_use<'a>(survey: &'a Survey, rotate: &'a Rotate) -> impl Iterator<Item = Root> + 'a {
    let brought = rotate.own_cas.iter().filter_map(|(root, own)| {
        Some((*root, k0rotate_activities::pki::read_one(own.certificate.as_bytes()).ok()?.fingerprint))
    });
    let used = |fingerprint: &str| {
        let seen = survey.hosts.values().filter_map(|found| found.as_ref().ok());
        seen.flat_map(|facts| &facts.trust).any(|file| file.is_root && file.fingerprint == fingerprint)
    };
    brought.filter(move |(_, fingerprint)| used(fingerprint)).map(|(root, _)| root)
}

/// What the last rotation from here missed, if it was taken back because its window had passed.
pub async fn missed(global: &Global, state: &Path, inventory: &Inventory) -> Result<Option<String>, Error> {
    let source = match Source::of(global, state, inventory).await {
        Err(Error::NoRun(_)) => return Ok(None),
        source => source?,
    };
    let last = source.views().await?.into_iter().rfind(|view| view.workflow == "rotate");
    let last = last.and_then(|view| Some((missed_by(&view, view.last).filter(|_| was_missed(&view))?, view.execution)));
    Ok(last.map(|(until, execution)| {
        let until = rfc3339(until);
        format!("the last rotation, {execution}, missed its window until {until}: nothing was stopped, and nothing catches it up")
    }))
}

/// What is refused because of an execution of one of these workflows that is open here.
pub async fn beside(
    global: &Global,
    state: &Path,
    inventory: &Inventory,
    workflows: &[&str],
) -> Result<Option<Refusal>, Error> {
    let source = match Source::of(global, state, inventory).await {
        Err(Error::NoRun(_)) => return Ok(None),
        source => source?,
    };
    let open = beside::open(&source, workflows).await?;
    Ok(open.map(|view| Refusal { code: "K0R-0402".into(), what: beside::sentence(&view), held: true }))
}

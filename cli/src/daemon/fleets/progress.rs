//! How far a fleet has come, as its history says: pure.

use k0rotate_activities::clusters::begin_rotation::Began;
use k0rotate_activities::clusters::follow::Rested;
use k0rotate_activities::clusters::{Child, How, Planned};
use k0rotate_engine::activity::{Activity, Check};
use k0rotate_engine::event::{Json, WaitEnd};
use k0rotate_engine::execution::Status;
use k0rotate_engine::view::{ExecutionView, StepView};
use k0rotate_engine::workflow::Workflow;
use k0rotate_workflows::waves::{APPROVAL_OF, Fit, LIMIT, PLAN, Waves, slug};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// See the file's sentence.
pub struct Progress {
    /// What its history says.
    pub view: ExecutionView,
    /// What was asked for.
    pub fleet: Waves,
    /// What the last look at each cluster for a plan came to.
    pub planned: BTreeMap<String, Planned>,
    /// The waves; none as long as not all are planned.
    pub waves: Vec<Vec<String>>,
    /// What came of each that was to begin: of the last time.
    pub begun: BTreeMap<String, Begun>,
    /// How rotations came to their rest, as far as it was recorded.
    pub rested: BTreeMap<String, How>,
}

/// A cluster whose turn came.
pub struct Begun {
    /// The slug of the phase in which it did.
    pub phase: String,
    /// The digest that the fleet had planned then.
    pub plan: String,
    /// What came of it; none as long as that is not recorded.
    pub began: Option<Began>,
}

/// What a fleet waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// That this wave is approved, or asked for once more.
    Approval(usize),
    /// A word, since as many have failed as may.
    Limit,
}

impl Progress {
    /// Of this history; none if it is of something else than a fleet.
    pub fn of(view: &ExecutionView) -> Option<Self> {
        let fleet: Waves = view.input.decode().ok().filter(|_| view.workflow == Waves::NAME)?;
        let mut progress = Self {
            view: view.clone(),
            fleet,
            planned: BTreeMap::new(),
            waves: Vec::new(),
            begun: BTreeMap::new(),
            rested: BTreeMap::new(),
        };
        for phase in &view.phases {
            for step in &phase.steps {
                progress.add(&phase.slug, step);
            }
            if phase.slug == PLAN {
                progress.cut();
            }
        }
        Some(progress)
    }

    fn add(&mut self, phase: &str, step: &StepView) {
        use k0rotate_activities::clusters::{begin_rotation, follow, plan_cluster};
        let cluster = step.target.clone();
        match step.activity.as_str() {
            <plan_cluster::PlanCluster as Check>::NAME => {
                self.planned.extend(read(step.output.as_ref()).map(|planned: Planned| (cluster, planned)));
            }
            <begin_rotation::BeginRotation as Activity>::NAME => {
                let plan = self.plan_of(&cluster).unwrap_or_default();
                let begun = Begun { phase: phase.to_owned(), plan, began: read(step.output.as_ref()) };
                self.begun.insert(cluster, begun);
            }
            <follow::Follow as Check>::NAME => {
                let rested: Vec<Rested> = read(step.output.as_ref()).unwrap_or_default();
                self.rested.extend(rested.into_iter().map(|rested| (rested.cluster, rested.how)));
            }
            _ => {}
        }
    }

    fn cut(&mut self) {
        if self.planned.len() < self.fleet.clusters.len() {
            return;
        }
        let fit = |cluster: &String| match self.planned.get(cluster) {
            Some(Planned::Fits { digest, approval }) => {
                Some(Fit { cluster: cluster.clone(), plan: digest.clone(), approval: *approval })
            }
            _ => None,
        };
        let fits = self.fleet.clusters.iter().filter_map(fit).collect();
        let names = |wave: Vec<Fit>| wave.into_iter().map(|fit| fit.cluster).collect();
        self.waves = self.fleet.cut(fits).into_iter().map(names).collect();
    }

    /// The digest of the last plan of a cluster.
    pub fn plan_of(&self, cluster: &str) -> Option<String> {
        match self.planned.get(cluster)? {
            Planned::Fits { digest, .. } => Some(digest.clone()),
            Planned::Refused { .. } => None,
        }
    }

    /// Whether somebody else must approve a cluster.
    pub fn wants_approval(&self, cluster: &str) -> bool {
        matches!(self.planned.get(cluster), Some(Planned::Fits { approval: true, .. }))
    }

    /// The wave that a cluster is in, from 1.
    pub fn wave_of(&self, cluster: &str) -> Option<usize> {
        self.waves.iter().position(|wave| wave.iter().any(|one| one == cluster)).map(|at| at + 1)
    }

    /// The rotation of a cluster, if one was begun.
    pub fn child(&self, cluster: &str) -> Option<Child> {
        let begun = self.begun.get(cluster)?;
        match &begun.began {
            Some(Began::Begun { child }) => {
                Some(Child { cluster: cluster.to_owned(), execution: child.clone(), plan: begun.plan.clone() })
            }
            _ => None,
        }
    }

    /// Who approved the wave in which a cluster's turn came, and why; none if nobody had to.
    pub fn approval_of(&self, cluster: &str) -> Option<(&str, &str)> {
        let name = format!("{APPROVAL_OF}{}", self.begun.get(cluster)?.phase);
        self.view.waits.iter().find_map(|(wait, end, _)| match end {
            WaitEnd::Operator { by, reason } if *wait == name => Some((by.as_str(), reason.as_str())),
            _ => None,
        })
    }

    /// What it waits for, and the name of that wait.
    pub fn waits_for(&self) -> Option<(WaitsFor, &str)> {
        let Status::Waiting { name, .. } = &self.view.state.status else { return None };
        if name.starts_with(LIMIT) {
            return Some((WaitsFor::Limit, name));
        }
        let slug_of = name.strip_prefix(APPROVAL_OF)?;
        let wave = (1..=self.waves.len()).find(|wave| {
            let first = slug(*wave, 1);
            slug_of == first || slug_of.strip_prefix(&first).is_some_and(|round| round.starts_with("-round-"))
        })?;
        Some((WaitsFor::Approval(wave), name))
    }

    /// Clusters of a wave that begin once it is approved.
    pub fn about_to_begin(&self, wave: usize) -> Vec<String> {
        let begins = |cluster: &&String| {
            let again =
                matches!(self.begun.get(*cluster).map(|begun| &begun.began), None | Some(Some(Began::NoLongerFits)));
            again && self.plan_of(cluster).is_some() && !self.is_declined(cluster)
        };
        self.waves.get(wave - 1).into_iter().flatten().filter(begins).cloned().collect()
    }

    /// Clusters that a decline of this wave keeps from being begun: of it and of those after it.
    pub fn declined_by(&self, wave: usize) -> Vec<String> {
        let after = self.waves.iter().skip(wave).flatten().cloned();
        self.about_to_begin(wave).into_iter().chain(after).collect()
    }

    /// Whether somebody declined the wave of a cluster.
    pub fn is_declined(&self, cluster: &str) -> bool {
        self.view.state.left_behind.iter().any(|declined| declined == cluster)
    }

    /// How many were begun.
    pub fn begun(&self) -> usize {
        self.begun.values().filter(|begun| matches!(begun.began, Some(Began::Begun { .. }))).count()
    }

    /// How many count as failed, as far as it was recorded.
    pub fn failed(&self) -> usize {
        let rested = self.rested.values().filter(|how| matches!(how, How::Stuck | How::RolledBack)).count();
        let refused = self.begun.values().filter(|begun| matches!(begun.began, Some(Began::Refused { .. }))).count();
        // When it was planned again.
        let later = self.planned.iter().filter(|(cluster, planned)| {
            matches!(planned, Planned::Refused { .. }) && self.begun.contains_key(*cluster)
        });
        rested + refused + later.count()
    }
}

fn read<T: DeserializeOwned>(output: Option<&Json>) -> Option<T> {
    output?.decode().ok()
}

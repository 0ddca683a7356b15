//! What is known of an execution once its events were applied.

use crate::clock::Timestamp;
use crate::event::{StuckCause, Zone};
use crate::failure::Effect;
use crate::ids::StepId;
use std::collections::BTreeMap;

/// A way of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The way forward.
    Forward,
    /// The way back.
    Back,
}

/// Where an execution is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing happened yet.
    New,
    /// On the way forward.
    Running,
    /// An operator or the time must end a wait.
    Waiting {
        /// The wait.
        name: String,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// An operator must decide.
    Stuck {
        /// On which way.
        side: Side,
        /// Why.
        cause: StuckCause,
    },
    /// On the way back.
    RollingBack,
    /// Ended forward.
    Completed,
    /// Ended back.
    RolledBack,
}

impl Status {
    /// Its name in the table of `docs/events.md`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Running => "Running",
            Self::Waiting { .. } => "Waiting",
            Self::Stuck { side: Side::Forward, .. } => "Stuck/forward",
            Self::Stuck { side: Side::Back, .. } => "Stuck/back",
            Self::RollingBack => "RollingBack",
            Self::Completed => "Completed",
            Self::RolledBack => "RolledBack",
        }
    }

    /// Whether the execution has ended.
    pub fn ended(&self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// Its end is not known.
    Open,
    /// Its effect is in place.
    Done,
    /// It failed, and the leg with it.
    Failed(Effect),
    /// The leg went on without its target.
    Left,
}

/// A step of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepState {
    /// What it acts on.
    pub target: String,
    /// Where it is.
    pub status: StepStatus,
    /// The last attempt's number, from 1.
    pub attempt: u32,
    /// Tries that ended in a failure since it started or was last reopened.
    pub used: u32,
    /// Reopened, and not tried since: the end of the attempt before that uses up no try.
    pub(super) reopened: bool,
    /// Takes a step of the forward leg back.
    pub undo: bool,
}

/// What is known of one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegState {
    /// What a failure means now.
    pub zone: Zone,
    /// The slug of the current phase.
    pub phase: Option<String>,
    /// Every step, by its name.
    pub steps: BTreeMap<StepId, StepState>,
    /// How many are open.
    pub open: usize,
    /// How many failed.
    pub failed: usize,
    /// Targets that were left, in order.
    pub left: Vec<String>,
}

impl LegState {
    pub(super) fn from_zone(zone: Zone) -> Self {
        Self { zone, phase: None, steps: BTreeMap::new(), open: 0, failed: 0, left: Vec::new() }
    }

    /// Names of the open steps.
    pub fn open_steps(&self) -> impl Iterator<Item = &StepId> {
        self.steps.iter().filter(|(_, s)| s.status == StepStatus::Open).map(|(id, _)| id)
    }
}

/// What is known of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// The way forward.
    pub forward: LegState,
    /// The way back, once it was taken.
    pub back: Option<LegState>,
    /// Targets that an operator left behind, in order.
    pub left_behind: Vec<String>,
    /// The wait that was paused, which goes on when it is resumed: its name, and when its time comes.
    pub(super) paused_wait: Option<(String, Option<Timestamp>)>,
}

impl Default for State {
    fn default() -> Self {
        let (status, forward) = (Status::New, LegState::from_zone(Zone::Free));
        Self { status, forward, back: None, left_behind: Vec::new(), paused_wait: None }
    }
}

impl State {
    /// Which way it goes.
    pub fn side(&self) -> Side {
        if self.back.is_some() { Side::Back } else { Side::Forward }
    }

    /// The way that it goes.
    pub fn leg(&self) -> &LegState {
        self.back.as_ref().unwrap_or(&self.forward)
    }

    /// What a failure means now.
    pub fn zone(&self) -> Zone {
        self.leg().zone
    }

    /// Targets that no hold counts on: left on either way, or left behind.
    pub fn not_held(&self) -> Vec<String> {
        let back = self.back.iter().flat_map(|leg| &leg.left);
        let mut targets: Vec<String> = self.forward.left.iter().chain(back).chain(&self.left_behind).cloned().collect();
        targets.sort();
        targets.dedup();
        targets
    }

    /// Whether the control plane is down.
    pub fn is_down(&self) -> bool {
        matches!(self.zone(), Zone::Down { .. })
    }

    pub(super) fn leg_mut(&mut self) -> &mut LegState {
        self.back.as_mut().unwrap_or(&mut self.forward)
    }
}

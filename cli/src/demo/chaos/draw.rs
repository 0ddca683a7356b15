//! Draws a course and the points of death from a seed: the same on every machine.

use crate::confirm::counted;
use k0rotate_activities::rehearsal::stage::faults::{Fault, Faults};
use std::fmt;

/// The tool dies at one of so many changes of the world to come.
const CHANGES: u64 = 30;
/// Or at one of so many questions that it asks of the world.
const QUESTIONS: u64 = 400;

/// Where the operator wants to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// To the new trust, verified.
    Forward,
    /// And the old keys destroyed.
    Finalize,
    /// There, and then back.
    BackFromWaiting,
    /// Back from wherever it is after so many kills.
    BackAfter(u32),
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward => f.write_str("forward until verified"),
            Self::Finalize => f.write_str("forward and finalized"),
            Self::BackFromWaiting => f.write_str("forward until verified, then back"),
            Self::BackAfter(kills) => write!(f, "forward, and back after {}", counted(*kills as usize, "kill")),
        }
    }
}

/// Numbers from a seed (splitmix64).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn course(&mut self) -> Course {
        match self.below(4) {
            0 => Course::Forward,
            1 => Course::Finalize,
            2 => Course::BackFromWaiting,
            _ => Course::BackAfter(1 + u32::try_from(self.below(6)).unwrap_or(0)),
        }
    }

    /// Plans the next end of the tool: before or after a change, or at a question in between.
    pub fn plan_end(&mut self, faults: &mut Faults) {
        let change = faults.changes + 1 + self.below(CHANGES);
        match self.below(3) {
            0 => drop(faults.plan.insert(change, Fault::CrashBefore)),
            1 => drop(faults.plan.insert(change, Fault::CrashAfter)),
            _ => faults.crash_at_question = Some(faults.questions + 1 + self.below(QUESTIONS)),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

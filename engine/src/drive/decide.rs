//! What follows from how attempts ended: pure, so that every case can be listed in a test.

use crate::activity::RetryPolicy;
use crate::event::{AttemptEnd, Zone};
use crate::execution::Side;
use crate::failure::{Effect, Failure};
use std::time::Duration;

/// The longest pause between looks where nobody is waited for, and before the next round on the way back.
pub(crate) const LONGEST_LOOK_PAUSE: Duration = Duration::from_secs(15);

/// An attempt, or a look, that did not find the effect in place.
#[derive(Clone, Debug)]
pub(crate) struct Missed {
    pub(crate) end: AttemptEnd,
    pub(crate) failure: Failure,
    pub(crate) effect: Effect,
}

/// What follows for a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after a pause; the intent is recorded first.
    Retry(Duration),
    /// Another look after a pause; nothing is recorded and no try is used.
    LookAgain(Duration),
    /// It failed for good.
    Fail,
}

/// The pause before the next try or look.
pub(crate) fn pause(policy: &RetryPolicy, before: u32) -> Duration {
    let doubled = policy.first.saturating_mul(2_u32.saturating_pow(before.min(16)));
    doubled.min(policy.longest)
}

/// What follows from an attempt that missed, `used` tries having failed before it and `looks` since it.
pub(crate) fn next(policy: &RetryPolicy, used: u32, looks: u32, missed: &Missed, zone: Zone) -> Next {
    if matches!(zone, Zone::Down { .. }) && missed.effect == Effect::Unknown {
        return Next::LookAgain(pause(policy, looks).min(LONGEST_LOOK_PAUSE));
    }
    if missed.end == AttemptEnd::Interrupted {
        return Next::Retry(Duration::ZERO);
    }
    if missed.failure.retry && used.saturating_add(1) < policy.tries {
        Next::Retry(pause(policy, used))
    } else {
        Next::Fail
    }
}

/// How a group's members ended so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) zone: Zone,
    pub(crate) side: Side,
    /// How many may be left; `None` if all must succeed.
    pub(crate) most_left: Option<usize>,
    pub(crate) members: usize,
    pub(crate) done: usize,
    /// Failed for good, the last look having said so.
    pub(crate) absent: usize,
    /// Failed for good without a look that answered.
    pub(crate) dark: usize,
    /// Open, and looked at again and again without an answer.
    pub(crate) unknown: usize,
    /// The first three that ended all failed.
    pub(crate) first_three_failed: bool,
}

/// What becomes of a group where nothing runs any more but looks without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupEnd {
    /// Who failed, or cannot be looked at, is left, and the code goes on.
    GoOn,
    /// The group failed; the consequence follows.
    Fail,
    /// Who failed is tried again: there is no further way back.
    TryAgain,
    /// The unknown ones are looked at again.
    LookOn,
}

impl Tally {
    /// More failed than may be left, or it looks as if everything fails: no further member starts.
    pub(crate) fn failing(&self) -> bool {
        self.absent + self.dark > self.most_left.unwrap_or(0) || self.first_three_failed
    }

    /// Whether enough members answer to go on without those that do not.
    pub(crate) fn quorum_answers(&self) -> bool {
        let Zone::Down { quorum, .. } = self.zone else { return true };
        let need = usize::try_from(quorum).unwrap_or(usize::MAX).min(self.members);
        self.done + self.absent >= need
    }

    /// See [`GroupEnd`].
    pub(crate) fn end(&self) -> GroupEnd {
        let down = matches!(self.zone, Zone::Down { .. });
        let may_leave = self.absent + self.dark + self.unknown <= self.most_left.unwrap_or(0);
        let answered = self.unknown == 0 || self.quorum_answers();
        let keeps_trying = down && self.side == Side::Back;
        if may_leave && answered && (keeps_trying || !self.first_three_failed) {
            GroupEnd::GoOn
        } else if keeps_trying {
            GroupEnd::TryAgain
        } else if self.failing() && answered {
            GroupEnd::Fail
        } else {
            GroupEnd::LookOn
        }
    }
}

/// What follows from steps that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// An operator decides.
    Stuck,
    /// The execution goes back by itself.
    RollBack,
}

/// What a failure means in this zone.
pub(crate) fn consequence(side: Side, zone: Zone, any_unknown: bool) -> Consequence {
    match (side, zone) {
        (Side::Forward, Zone::Free) if !any_unknown => Consequence::RollBack,
        (Side::Forward, Zone::Down { .. }) => Consequence::RollBack,
        _ => Consequence::Stuck,
    }
}

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
    /// Unknown if the last look failed.
    pub(crate) effect: Effect,
    /// Whether `run` (or an undo) was or may have been called since the step started.
    pub(crate) ran: bool,
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
    /// Targets on which the same was done in this phase before this group: they answered, too.
    pub(crate) done_before: usize,
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

    /// Whether enough answer to go on without those that do not.
    pub(crate) fn quorum_answers(&self) -> bool {
        let answered = self.done_before + self.done + self.absent;
        enough(self.zone, answered, self.done_before + self.members)
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

/// Whether so many of so many are enough to go on without the rest: in Down a quorum, or all where there are fewer.
pub(crate) fn enough(zone: Zone, answered: usize, of: usize) -> bool {
    let Zone::Down { quorum, .. } = zone else { return true };
    answered >= usize::try_from(quorum).unwrap_or(usize::MAX).min(of)
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

#[cfg(test)]
mod tests {
    use super::{Consequence, GroupEnd, Missed, Next, Tally, consequence, next};
    use crate::activity::RetryPolicy;
    use crate::event::{AttemptEnd, Zone};
    use crate::execution::Side;
    use crate::failure::{Effect, Failure};
    use std::time::Duration;

    const DOWN: Zone = Zone::Down { max_outage: Duration::from_secs(300), quorum: 2 };

    fn missed(effect: Effect, failure: Failure) -> Missed {
        Missed { end: AttemptEnd::Failed(failure.clone()), failure, effect, ran: true }
    }

    /// Goal: what follows from an attempt, by zone, tries, and what is known.
    #[test]
    fn after_an_attempt() {
        let policy = RetryPolicy::default();
        let secs = Duration::from_secs;
        let f = || Failure::new("f");
        let cases = [
            (missed(Effect::Absent, f()), 0, Zone::Free, Next::Retry(secs(1))),
            (missed(Effect::Unknown, f()), 1, Zone::Held, Next::Retry(secs(2))),
            (missed(Effect::Absent, f()), 2, Zone::Free, Next::Fail),
            (missed(Effect::Absent, Failure::refused("no")), 0, Zone::Free, Next::Fail),
            (missed(Effect::Unknown, f()), 9, DOWN, Next::LookAgain(secs(1))),
            (missed(Effect::Absent, f()), 2, DOWN, Next::Fail),
            (Missed { end: AttemptEnd::Interrupted, ..missed(Effect::Absent, f()) }, 9, DOWN, Next::Retry(secs(0))),
        ];
        for (missed, used, zone, expected) in cases {
            assert_eq!(next(&policy, used, 0, &missed, zone), expected, "{missed:?} {used} {zone:?}");
        }
        let look = next(&policy, 0, 60, &missed(Effect::Unknown, f()), DOWN);
        assert_eq!(look, Next::LookAgain(secs(15)), "looks are never further apart");
    }

    fn tally(zone: Zone, side: Side, most_left: Option<usize>, ends: [usize; 4]) -> Tally {
        let [done, absent, dark, unknown] = ends;
        let members = done + absent + dark + unknown;
        let (done_before, first_three_failed) = (0, false);
        Tally { zone, side, most_left, members, done_before, done, absent, dark, unknown, first_three_failed }
    }

    /// Goal: how a group ends: (zone, side, how many may be left, [done, absent, dark, unknown]).
    #[test]
    fn the_end_of_a_group() {
        use GroupEnd::{Fail, GoOn, LookOn, TryAgain};
        use Side::{Back, Forward};
        let cases = [
            (Zone::Free, Forward, None, [3, 0, 0, 0], GoOn),
            (Zone::Free, Forward, None, [2, 1, 0, 0], Fail),
            (Zone::Held, Forward, Some(1), [2, 1, 0, 0], GoOn),
            (Zone::Held, Forward, Some(1), [1, 1, 1, 0], Fail),
            (DOWN, Forward, None, [2, 0, 0, 1], LookOn),
            (DOWN, Forward, None, [1, 1, 0, 1], Fail),
            (DOWN, Forward, None, [0, 1, 0, 2], LookOn),
            (DOWN, Forward, Some(1), [2, 0, 0, 1], GoOn),
            (DOWN, Forward, Some(1), [1, 0, 0, 2], LookOn),
            (DOWN, Forward, Some(1), [1, 2, 0, 0], Fail),
            (DOWN, Back, Some(1), [2, 0, 0, 1], GoOn),
            (DOWN, Back, Some(1), [1, 2, 0, 0], TryAgain),
            (DOWN, Back, None, [2, 1, 0, 0], TryAgain),
        ];
        for (zone, side, most_left, ends, expected) in cases {
            assert_eq!(tally(zone, side, most_left, ends).end(), expected, "{zone:?} {side:?} {most_left:?} {ends:?}");
        }
        let one_of_three = |done_before| Tally { done_before, ..tally(DOWN, Back, Some(1), [0, 0, 0, 1]) };
        assert_eq!(
            (one_of_three(1).end(), one_of_three(2).end()),
            (TryAgain, GoOn),
            "two that were asked before are a quorum"
        );
        let first = Tally { first_three_failed: true, ..tally(Zone::Held, Side::Forward, Some(9), [0, 3, 0, 0]) };
        assert_eq!((first.failing(), first.end()), (true, Fail));
    }

    /// Goal: what a recorded failure means in each zone.
    #[test]
    fn consequences() {
        let rolls_back = |side, zone, unknown| consequence(side, zone, unknown) == Consequence::RollBack;
        assert!(rolls_back(Side::Forward, Zone::Free, false) && rolls_back(Side::Forward, DOWN, false));
        assert!(!rolls_back(Side::Forward, Zone::Free, true));
        for zone in [Zone::Held, Zone::Final] {
            assert!(!rolls_back(Side::Forward, zone, false));
        }
        assert!(!rolls_back(Side::Back, Zone::Free, false) && !rolls_back(Side::Back, Zone::Held, false));
    }
}

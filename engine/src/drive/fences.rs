//! Fence numbers: they rise with every attempt and look of an execution, also from one opening of the store to the next.

use crate::ids::Seq;
use std::sync::atomic::{AtomicU64, Ordering};

const OPENING_BITS: u32 = 12;
const DRIVE_BITS: u32 = 10;
const LOOK_BITS: u32 = 10;
const LOW_BITS: u32 = OPENING_BITS + DRIVE_BITS + LOOK_BITS;

/// A number is made of, from high to low: the length of the history, how many openings of the store there were, how many drives
/// this opening has begun, and how many looks this drive took at this length. Nothing but the history and the list of openings
/// must survive for it to rise. An attempt, whose intent is a record, has the highest number of that record's place.
pub(crate) struct Fences {
    /// History length, shifted.
    len: AtomicU64,
    low: u64,
    looks: AtomicU64,
}

impl Fences {
    /// For one drive; counts beyond the bits stay at the highest, where a number is at least not lower than those before.
    pub(crate) fn new(opening: usize, drive: u64) -> Self {
        let opening = (opening as u64).min((1 << OPENING_BITS) - 2);
        let drive = drive.min((1 << DRIVE_BITS) - 1);
        let low = ((opening << DRIVE_BITS) | drive) << LOOK_BITS;
        Self { len: AtomicU64::new(0), low, looks: AtomicU64::new(0) }
    }

    /// The history is this long now.
    pub(crate) fn grow(&self, len: Seq) {
        self.len.store(len << LOW_BITS, Ordering::SeqCst);
        self.looks.store(0, Ordering::SeqCst);
    }

    /// Above all earlier drives, not above what this one hands out.
    pub(crate) fn floor(&self) -> u64 {
        self.len.load(Ordering::SeqCst) | self.low
    }

    /// For a look, now.
    pub(crate) fn look(&self) -> u64 {
        let n = (self.looks.fetch_add(1, Ordering::SeqCst) + 1).min((1 << LOOK_BITS) - 1);
        self.len.load(Ordering::SeqCst) | self.low | n
    }

    /// For the attempt whose intent stands at this place.
    pub(crate) fn attempt(seq: Seq) -> u64 {
        (seq << LOW_BITS) | ((1 << LOW_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Fences;

    /// Goal: each number that can follow another in time is higher, across drives and openings.
    #[test]
    fn numbers_rise() {
        let first = Fences::new(0, 1);
        first.grow(5);
        let numbers = [first.floor(), first.look(), first.look(), Fences::attempt(5)];
        let second = Fences::new(0, 2);
        second.grow(5);
        let reopened = Fences::new(1, 1);
        reopened.grow(5);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers[2] < second.floor() && second.look() < reopened.floor());
        assert!(reopened.look() < Fences::attempt(5));
        reopened.grow(6);
        assert!(Fences::attempt(5) < reopened.floor());
    }
}

//! How many warm stacks a busy M tolerates: many, or few in a burst.
//!
//! What is put to rest in the middle of work is a guess. If it is wrong, because a hundred thousand connections
//! speak in turn, each goroutine is fetched back a moment later, and a few hundred budgets of warm stacks would have
//! been cheaper. If it is right, because goroutines are started by the hundred thousand and wait for long, each
//! warm stack is memory at the peak for nothing. So an M counts how its guesses come out: of each
//! [`WINDOW`] stacks that it put to rest while busy, how many were back within the time that it would have
//! waited, had it been idle. When hardly any were, it keeps [`BURST_FACTOR`] budgets until a window says
//! otherwise.
//!
//! Rejected: the smaller factor always. 20,000 connections on one M, each of which speaks five times a second,
//! would be put to rest and woken in turn.

use std::cell::Cell;

/// How many budgets a busy M keeps.
const BUSY_FACTOR: usize = 16;

/// How many in a burst.
const BURST_FACTOR: usize = 2;

/// Stacks put to rest between two judgements.
const WINDOW: u32 = 4096;

/// One in so many that is back early is too many for a burst.
const EARLY_SHARE: u32 = 16;

/// What an M has learnt. Its thread alone touches it.
#[derive(Default)]
pub(super) struct Burst {
    is_on: Cell<bool>,
    rested: Cell<u32>,
    early: Cell<u32>,
}

impl Burst {
    /// How many budgets of warm stacks the M keeps while it is busy.
    #[inline]
    pub(super) fn factor(&self) -> usize {
        if self.is_on.get() { BURST_FACTOR } else { BUSY_FACTOR }
    }

    /// So many were put to rest by a busy M.
    pub(super) fn rested(&self, stacks: usize) {
        let rested = self.rested.get().saturating_add(stacks as u32);
        self.rested.set(rested);
        if rested >= WINDOW {
            self.is_on.set(self.early.get() < rested / EARLY_SHARE);
            self.rested.set(0);
            self.early.set(0);
        }
    }

    /// One was woken that had been parked for less than an idle M waits.
    pub(super) fn woke_early(&self) {
        self.early.set(self.early.get().saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_when_what_was_put_to_rest_stays_there() {
        let burst = Burst::default();
        assert_eq!(burst.factor(), BUSY_FACTOR);
        (0..WINDOW / 256 - 1).for_each(|_| burst.rested(256));
        assert_eq!(burst.factor(), BUSY_FACTOR, "a whole window first");
        burst.rested(256);
        assert_eq!(burst.factor(), BURST_FACTOR);
    }

    #[test]
    fn it_ends_when_many_are_fetched_back() {
        let burst = Burst::default();
        burst.rested(WINDOW as usize);
        for early in [WINDOW / EARLY_SHARE - 1, WINDOW / EARLY_SHARE] {
            assert_eq!(burst.factor(), BURST_FACTOR);
            (0..early).for_each(|_| burst.woke_early());
            burst.rested(WINDOW as usize);
        }
        assert_eq!(burst.factor(), BUSY_FACTOR);
    }
}

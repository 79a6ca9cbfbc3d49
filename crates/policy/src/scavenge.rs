//! How much free memory an allocator keeps, and how fast it gives the rest back.
//!
//! Memory that was given back costs a page fault when it is needed again, so what was in use a moment
//! ago is worth keeping, and nothing else is. The goal, in bytes of free pages that may stay:
//!
//! ```text
//!  goal = peak of the last five looks + a tenth of it + 1 MiB - in use now
//!  goal = at most what a limit leaves: limit - 1/16 of it - in use now
//! ```
//!
//! A program whose use swings within half a second keeps its pages through the trough; one whose load
//! has gone keeps a tenth after that. [`Pacer::look`] is called at each tick with what is in use; the
//! caller gives back what is above the goal, for at most [`Pace::budget_ns`] of each tick: a quarter of one
//! processor, and half of one once three ticks in a row were not enough. (After a burst of gibibytes a quarter is
//! enough within two seconds on a machine that does nothing else, and not on others.)
//!
//! Rejected: decay curves per page (jemalloc). They give back what is about to be used again, if it
//! only lay long enough.

/// Between two looks.
pub const TICK_MS: u32 = 100;

/// Processor time that may be spent on giving back, per tick: a quarter of one processor.
const BUDGET_NS: u64 = TICK_MS as u64 * 1_000_000 / 4;

/// Ticks in a row that were not enough, after which it is twice as much.
const PATIENCE: u32 = 3;

/// The same for an allocating thread that gives back in passing, where there is no thread for it: it is in the way of
/// somebody's request.
pub const INLINE_BUDGET_NS: u64 = TICK_MS as u64 * 1_000_000 / 100;

/// Free bytes that are always kept: less is not worth a system call.
pub const FLOOR_BYTES: u64 = 1 << 20;

const LOOKS: usize = 5;

/// What was in use at the last looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    looks: [u64; LOOKS],
    next: usize,
}

impl Pacer {
    /// A pacer that has seen nothing.
    pub const fn new() -> Self {
        Self { looks: [0; LOOKS], next: 0 }
    }

    /// Notes what is in use now, and says how many free bytes may be kept.
    pub fn look(&mut self, in_use_bytes: u64, limit_bytes: u64) -> u64 {
        self.looks[self.next] = in_use_bytes;
        self.next = (self.next + 1) % LOOKS;
        let peak = self.looks.iter().copied().max().unwrap_or(0);
        let wanted = peak.saturating_add(peak / 10).saturating_add(FLOOR_BYTES) - in_use_bytes;
        wanted.min(room(in_use_bytes, limit_bytes))
    }
}

/// How much of a tick may be spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Ticks in a row that were not enough.
    behind: u32,
}

impl Pace {
    /// Nothing is left over.
    pub const fn new() -> Self {
        Self { behind: 0 }
    }

    /// Processor time for the next tick, in nanoseconds.
    pub fn budget_ns(&self) -> u64 {
        if self.behind < PATIENCE { BUDGET_NS } else { 2 * BUDGET_NS }
    }

    /// Whether the budget of a tick was enough.
    pub fn note(&mut self, was_enough: bool) {
        self.behind = if was_enough { 0 } else { self.behind.saturating_add(1) };
    }
}

/// Free bytes that a limit leaves room for.
pub fn room(in_use_bytes: u64, limit_bytes: u64) -> u64 {
    (limit_bytes - limit_bytes / 16).saturating_sub(in_use_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_short_trough_keeps_its_pages_and_a_longer_one_does_not() {
        let mut pacer = Pacer::new();
        pacer.look(1000 * MIB, u64::MAX);
        for _ in 1..LOOKS {
            assert!(pacer.look(100 * MIB, u64::MAX) >= 1000 * MIB);
        }
        assert_eq!(pacer.look(100 * MIB, u64::MAX), 11 * MIB);
    }

    #[test]
    fn a_backlog_that_lasts_gets_half_a_processor_and_its_end_takes_that_back() {
        let mut pace = Pace::new();
        let budgets: Vec<u64> = (0..5)
            .map(|_| {
                pace.note(false);
                pace.budget_ns() / 1_000_000
            })
            .collect();
        assert_eq!(budgets, [25, 25, 50, 50, 50]);
        pace.note(true);
        assert_eq!(pace.budget_ns(), BUDGET_NS);
    }

    #[test]
    fn near_a_limit_nothing_is_kept() {
        let mut pacer = Pacer::new();
        assert_eq!(pacer.look(950 * MIB, 1000 * MIB), 0);
        assert_eq!(pacer.look(900 * MIB, 1024 * MIB), 60 * MIB);
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_in_use_never_exceed_the_limit_nor_a_tenth_above_the_peak(
            looks in prop::collection::vec(0u64..1 << 40, 1..40),
            limit in 0u64..1 << 41,
        ) {
            let mut pacer = Pacer::new();
            let mut seen = Vec::new();
            for in_use in looks {
                seen.push(in_use);
                let goal = pacer.look(in_use, limit);
                let peak = seen.iter().rev().take(LOOKS).max().unwrap();
                prop_assert!(in_use + goal <= peak + peak / 10 + FLOOR_BYTES);
                prop_assert!(goal == 0 || in_use + goal <= limit);
            }
        }
    }
}

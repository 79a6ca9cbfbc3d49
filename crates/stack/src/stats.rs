//! What a pool holds, as lines that add up.
//!
//! ```text
//! reserved = live + cached + free + closed + untouched + moving        (bytes of addresses)
//! ```
//!
//! `live` stacks run or are parked (or were leaked); `cached` wait warm in a cache or the depot;
//! `free` are guarded and hold no page; `closed` were used once and hold neither page, guard nor
//! page table; `untouched` never were used; `moving` are being opened or closed at this moment. Only the
//! first two hold pages. Resident bytes are not counted here: a stack touches pages without
//! telling anyone, and the kernel's answer costs a page table walk.

use crate::chunks::Count;
use crate::class::SizeClass;
use crate::guard::GuardMode;
use std::fmt;

/// The stacks of one size class. The byte figures are of addresses, and their sum is
/// `reserved_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// Which class.
    pub class: SizeClass,
    /// Reservations.
    pub regions: usize,
    /// All addresses of the class.
    pub reserved_bytes: usize,
    /// Stacks handed out and not in a cache.
    pub live: usize,
    /// Stacks in caches and in the depot.
    pub cached: usize,
    /// Stacks in open chunks of the pool.
    pub free: usize,
    /// Chunks whose guards are set.
    pub open_chunks: usize,
    /// Chunks that were open once and gave everything back.
    pub closed_chunks: usize,
    /// Chunks being opened or closed right now.
    pub moving_chunks: usize,
    /// Chunks never used.
    pub untouched_chunks: usize,
    /// Closings so far.
    pub times_closed: u64,
    /// Closings that the kernel refused; pages or page tables may be left there.
    pub close_failures: u64,
}

impl ClassStats {
    pub(crate) fn new(
        class: SizeClass,
        regions: usize,
        reserved_bytes: usize,
        count: Count,
        cached: usize,
    ) -> Self {
        Self {
            class,
            regions,
            reserved_bytes,
            // A cache may have moved on between the two readings.
            live: count.taken_slots.saturating_sub(cached),
            cached: cached.min(count.taken_slots),
            free: count.free_slots,
            open_chunks: count.open,
            closed_chunks: count.closed,
            moving_chunks: count.moving,
            untouched_chunks: count.untouched,
            times_closed: count.times_closed,
            close_failures: count.close_failures,
        }
    }

    /// The right-hand side of the identity in the module's essay.
    pub fn accounted_bytes(&self) -> usize {
        let stacks = self.live + self.cached + self.free;
        let chunks = self.closed_chunks + self.moving_chunks + self.untouched_chunks;
        stacks * self.class.bytes() + chunks * self.class.chunk_bytes()
    }
}

/// A pool at one moment. See [`crate::Pool::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// How stacks are guarded.
    pub guard: GuardMode,
    /// Per size class, smallest first.
    pub classes: [ClassStats; SizeClass::COUNT],
    /// Caches that live.
    pub caches: usize,
    /// Stacks that went back from caches and drops to the pool so far.
    pub returned_stacks: u64,
    /// Batches of them whose pages the kernel refused to take (locked memory). The pages stay
    /// until the chunk closes.
    pub discard_failures: u64,
}

impl Stats {
    /// Addresses reserved, over all classes.
    pub fn reserved_bytes(&self) -> usize {
        self.classes.iter().map(|class| class.reserved_bytes).sum()
    }

    /// Stacks that run, are parked, or were leaked.
    pub fn live(&self) -> usize {
        self.classes.iter().map(|class| class.live).sum()
    }

    /// Stacks in caches and in the depot.
    pub fn cached(&self) -> usize {
        self.classes.iter().map(|class| class.cached).sum()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stacks: guard {}, {} B reserved", self.guard, self.reserved_bytes())?;
        for class in self.classes.iter().filter(|class| class.regions > 0) {
            writeln!(
                f,
                "  {}: live {}, cached {}, free {}; chunks open {}, closed {}, untouched {}",
                class.class,
                class.live,
                class.cached,
                class.free,
                class.open_chunks,
                class.closed_chunks,
                class.untouched_chunks
            )?;
        }
        Ok(())
    }
}

//! When an allocator has 2 MiB made resident at once, ahead of what was asked for.
//!
//! The first touch of a page is a fault, and 512 of them cost four times what one huge page does; but a huge page is
//! resident whole, whether it is used or not. So it is worth it where the heap is going to fill it:
//!
//! 1. *There is room* ([`has_room`]): what is resident ahead of use is an eighth of what is in use at most, free pages
//!    that the heap has already included, and there is room below the limit. A small program never has a huge page.
//! 2. *It is being filled* ([`Growth::seen`]): some 2 MiB are left to grow by faults, and are looked at when the heap
//!    has grown by [`AGE`] times as much: seven eighths of what is lent out of them have to be resident. The first time
//!    seven others may follow, then 15, 31, 63, until some were not filled. That counts spans that are begun and not
//!    filled (many threads with many sizes), large objects and the ends of blocks that nobody touches, all at once.
//! 3. *It is cheap* ([`Growth::paid`]): what the kernel does to get a huge page is not to be known beforehand, so the
//!    price is measured. Where it was high (the kernel moved other pages out of the way, or had none and made 512
//!    faults of it; a virtual machine had to ask its host for each 4 KiB), the next one is left alone, twice as many
//!    each time, up to 32.
//!
//! Rejected: the same by batches of 64 to 512 KiB of small pages, which saves a sixth of the faults' price, where a
//! huge page saves three quarters. Huge pages for the whole heap once and for all (mimalloc 3): the kernel then makes
//! them by itself of ranges with one page that lives. To decide by size classes: blocks of 16 KiB are filled by one
//! program, and touched at their first byte by another, of which huge pages made a process of 370 MiB instead of 169.

/// Bytes that are made resident at once.
pub const HUGE_BYTES: u64 = 2 << 20;

/// Part of what is in use that may be resident ahead of use.
const AHEAD_PART: u64 = 8;

/// After so many at once, one is left to grow by faults: the first time, and the most.
const AT_ONCE: (u32, u32) = (7, 63);

/// So many later, it is looked at: by then its spans have been filled, if they ever are.
pub const AGE: u32 = 4;

/// The most that is left alone after one that was dear.
const MOST_SKIPPED: u32 = 32;

/// What 2 MiB at once may cost: less than 512 faults do.
pub const DEAR_NS: u64 = 1_000_000;

/// Whether another 2 MiB may be resident ahead of use. All in bytes: pages that are lent out and may be resident; free
/// ones that may be, or are being made so; what the heap should stay below (`u64::MAX` is no limit).
pub fn has_room(in_use: u64, idle: u64, limit: u64) -> bool {
    let ahead = idle.saturating_add(HUGE_BYTES);
    ahead <= in_use / AHEAD_PART && ahead <= crate::scavenge::room(in_use, limit)
}

/// What to do about the next 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make them resident.
    AtOnce,
    /// Leave them alone.
    ByFaults,
    /// Leave them alone, and remember them, to look at later.
    Probe,
}

/// What is known of the heap's growth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Growth {
    /// So many may be made resident at once until the next probe; none if what was looked at last was not filled.
    trust: u32,
    /// There is something to look at: how many came after it.
    probe: Option<u32>,
    /// Made resident at once since the last probe.
    at_once: u32,
    /// To be left alone, because one was dear.
    left: u32,
    /// As many were left alone after the last dear one.
    skipped: u32,
}

impl Growth {
    /// Nothing is known.
    pub const fn new() -> Self {
        Self { trust: 0, probe: None, at_once: 0, left: 0, skipped: 0 }
    }

    /// Whether it is time to look at the probe.
    pub fn is_ripe(&self) -> bool {
        self.probe.is_some_and(|age| age >= AGE)
    }

    /// Of the probe so much is lent out, and so much of that is resident. In bytes.
    pub fn seen(&mut self, lent: u64, resident: u64) {
        let filled = lent >= HUGE_BYTES / 2 && resident >= lent / 8 * 7;
        self.trust = if filled { (2 * self.trust + 1).clamp(AT_ONCE.0, AT_ONCE.1) } else { 0 };
        self.probe = None;
    }

    /// What to do about 2 MiB that are about to be used. `room`: what [`has_room`] says.
    pub fn next(&self, room: bool) -> Next {
        if self.probe.is_none() && self.at_once >= self.trust {
            return Next::Probe;
        }
        if self.trust > 0 && room && self.left == 0 { Next::AtOnce } else { Next::ByFaults }
    }

    /// That was done about them.
    pub fn went(&mut self, next: Next) {
        self.probe = self.probe.map(|age| age.saturating_add(1));
        match next {
            Next::AtOnce => self.at_once += 1,
            Next::ByFaults => self.left = self.left.saturating_sub(1),
            Next::Probe => (self.probe, self.at_once) = (Some(0), 0),
        }
    }

    /// That took so much processor time; `u64::MAX` if it failed.
    pub fn paid(&mut self, cpu_ns: u64) {
        self.skipped = if cpu_ns > DEAR_NS { (2 * self.skipped).clamp(1, MOST_SKIPPED) } else { 0 };
        self.left = self.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// The next one, with all that is looked at being as full as that.
    fn next(growth: &mut Growth, eighths: u64) -> Next {
        if growth.is_ripe() {
            growth.seen(HUGE_BYTES, HUGE_BYTES / 8 * eighths);
        }
        go(growth, true)
    }

    fn go(growth: &mut Growth, room: bool) -> Next {
        let next = growth.next(room);
        growth.went(next);
        next
    }

    #[test]
    fn a_small_heap_and_one_near_its_limit_have_no_room() {
        assert!(has_room(16 * MIB, 0, u64::MAX));
        assert!(!has_room(15 * MIB, 0, u64::MAX));
        assert!(!has_room(100 * MIB, 11 * MIB, u64::MAX), "free pages enough");
        assert!(!has_room(100 * MIB, 0, 108 * MIB));
        assert!(has_room(100 * MIB, 0, 109 * MIB));
    }

    #[test]
    fn what_was_filled_makes_the_next_ones_resident_at_once_and_what_was_not_does_not() {
        let mut growth = Growth::new();
        assert_eq!(next(&mut growth, 8), Next::Probe, "nothing is known");
        assert!((0..AGE).all(|_| next(&mut growth, 8) == Next::ByFaults), "too early to look");
        assert_eq!(next(&mut growth, 7), Next::AtOnce);
        let more: Vec<Next> = (0..300).map(|_| next(&mut growth, 7)).collect();
        let probes: Vec<usize> = (0..300).filter(|&n| more[n] == Next::Probe).collect();
        assert_eq!(probes, [6, 22, 54, 118, 182, 246]);
        assert!(!more.contains(&Next::ByFaults));
        let more: Vec<Next> = (0..100).map(|_| next(&mut growth, 6)).collect();
        let last = more.iter().rposition(|&next| next == Next::AtOnce).unwrap();
        assert!(last < 64 + AGE as usize, "it takes a round to see it");
    }

    #[test]
    fn little_that_is_lent_says_nothing() {
        let mut growth = Growth::new();
        growth.seen(HUGE_BYTES / 8 * 3, HUGE_BYTES / 8 * 3);
        assert_eq!(go(&mut growth, true), Next::Probe);
        growth.seen(HUGE_BYTES / 2, HUGE_BYTES / 2);
        assert_eq!(go(&mut growth, true), Next::AtOnce);
    }

    #[test]
    fn without_room_it_grows_by_faults() {
        let mut growth = Growth::new();
        growth.seen(HUGE_BYTES, HUGE_BYTES);
        assert_eq!(go(&mut growth, false), Next::ByFaults);
        assert_eq!(go(&mut growth, true), Next::AtOnce);
    }

    #[test]
    fn the_next_ones_are_left_alone_after_one_that_was_dear_and_not_after_a_cheap_one() {
        let mut growth = Growth::new();
        growth.seen(HUGE_BYTES, HUGE_BYTES);
        assert_eq!(go(&mut growth, true), Next::AtOnce);
        for pause in [1, 2, 4, 8, 16, 32, 32, 32] {
            growth.paid(DEAR_NS + 1);
            let seen = (0..).map(|_| next(&mut growth, 8)).take_while(|&next| next != Next::AtOnce);
            assert_eq!(seen.filter(|&next| next == Next::ByFaults).count(), pause);
        }
        growth.paid(DEAR_NS / 2);
        let soon = [next(&mut growth, 8), next(&mut growth, 8)];
        assert!(soon.contains(&Next::AtOnce) && !soon.contains(&Next::ByFaults));
    }

    proptest! {
        #[test]
        fn what_is_resident_ahead_of_use_is_an_eighth_at_most(
            in_use in 0u64..1 << 40, idle in 0u64..1 << 40, limit in 0u64..1 << 41,
        ) {
            if has_room(in_use, idle, limit) {
                prop_assert!(idle + HUGE_BYTES <= in_use / 8);
                prop_assert!(in_use + idle + HUGE_BYTES <= limit);
            }
        }
    }
}

//! What rest has done, and what it holds now: counters that the owners and the handler of a fault add
//! to, and a picture of them. The handler may neither allocate nor wait, so times go into fixed
//! buckets ([`RestTimes`]): an atomic addition each. The distribution of live bytes is kept where there
//! is a name for it, per place of start, by the scheduler.

use super::block::Block;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// All atomic, statistics only. The handler of a fault counts here too.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Batches begun.
    batches: AtomicU64,
    resting: AtomicUsize,
    copy_bytes: AtomicUsize,
    live_bytes: AtomicUsize,
    page_bytes: AtomicUsize,
    rested: AtomicU64,
    woken: AtomicU64,
    foreign: AtomicU64,
    shrunk_bytes: AtomicU64,
    rest_ns: AtomicU64,
    wake_ns: AtomicU64,
    rest_times: Buckets,
    wake_times: Buckets,
}

/// Bits of a time that its bucket does not tell: two buckets for each doubling, from 128 ns on.
const FIRST_SHIFT: u32 = 6;

/// The last bucket takes what is longer than some 8 ms as well.
const BUCKETS: usize = 34;

/// Atomic, statistics only.
#[derive(Debug)]
struct Buckets([AtomicU64; BUCKETS]);

impl Default for Buckets {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Buckets {
    fn add(&self, ns: u64, times: u64) {
        self.0[bucket(ns)].fetch_add(times, Ordering::Relaxed);
    }

    fn read(&self) -> RestTimes {
        RestTimes(std::array::from_fn(|bucket| self.0[bucket].load(Ordering::Relaxed)))
    }
}

/// The bucket of a time. The first holds what is below 128 ns, the next [128, 192), then [192, 256),
/// [256, 384), and so on.
fn bucket(ns: u64) -> usize {
    let halves = ns >> FIRST_SHIFT;
    if halves < 2 {
        return 0;
    }
    let doubling = halves.ilog2();
    let half = halves >> (doubling - 1) & 1;
    (1 + 2 * (doubling as usize - 1) + half as usize).min(BUCKETS - 1)
}

/// The first time that does not belong to a bucket any more.
fn end_of(bucket: usize) -> u64 {
    let Some(step) = bucket.checked_sub(1) else { return 2 << FIRST_SHIFT };
    (3 + step as u64 % 2) << (FIRST_SHIFT as usize + step / 2)
}

/// How long something took, as a histogram: two buckets for each doubling, so a time is known to a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestTimes([u64; BUCKETS]);

impl Default for RestTimes {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl RestTimes {
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets that are not empty, shortest first: `(nanoseconds below which they were, how many)`. The
    /// longest has no upper end: its figure is `u64::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let end = |bucket| if bucket == BUCKETS - 1 { u64::MAX } else { end_of(bucket) };
        let all = self.0.iter().enumerate().map(move |(bucket, &count)| (end(bucket), count));
        all.filter(|&(_, count)| count > 0)
    }

    /// Nanoseconds below which this part of them was: 0.5 for half, 0.99 for all but the slowest hundredth. As
    /// exact as a bucket; 0 if none were counted.
    ///
    /// # Panics
    /// If `part` is not between 0 and 1.
    ///
    /// ```
    /// # use millpond_stack::RestStats;
    /// let stats = RestStats::default();
    /// println!("half of the wakes took less than {} ns", stats.wake_times.quantile_ns(0.5));
    /// ```
    pub fn quantile_ns(&self, part: f64) -> u64 {
        assert!((0.0..=1.0).contains(&part), "quantile_ns: {part} is no part of one");
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |&(_, count): &(u64, u64)| {
            seen += count;
            seen >= wanted
        };
        self.buckets().find(reached).map_or(0, |(end, _)| end)
    }
}

impl Counters {
    pub(super) fn began(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves whenever a stack may have been away since.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    pub(super) fn rested(&self, block: Block, page_bytes: usize) {
        self.resting.fetch_add(1, Ordering::Relaxed);
        self.page_bytes.fetch_add(page_bytes, Ordering::Relaxed);
        self.copy_bytes.fetch_add(block.own_bytes(), Ordering::Relaxed);
        self.live_bytes.fetch_add(block.live_bytes(), Ordering::Relaxed);
    }

    pub(super) fn took(&self, stacks: usize, ns: u64) {
        self.rested.fetch_add(stacks as u64, Ordering::Relaxed);
        self.rest_ns.fetch_add(ns, Ordering::Relaxed);
        if let Some(each_ns) = ns.checked_div(stacks as u64) {
            self.rest_times.add(each_ns, stacks as u64);
        }
    }

    pub(super) fn woke(&self, block: Block, page_bytes: usize, foreign: bool, ns: u64) {
        self.resting.fetch_sub(1, Ordering::Relaxed);
        self.page_bytes.fetch_sub(page_bytes, Ordering::Relaxed);
        self.live_bytes.fetch_sub(block.live_bytes(), Ordering::Relaxed);
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.foreign.fetch_add(u64::from(foreign), Ordering::Relaxed);
        self.wake_ns.fetch_add(ns, Ordering::Relaxed);
        self.wake_times.add(ns, 1);
    }

    pub(super) fn freed(&self, block: Block) {
        self.copy_bytes.fetch_sub(block.own_bytes(), Ordering::Relaxed);
    }

    pub(super) fn shrunk(&self, bytes: usize) {
        self.shrunk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RestStats {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gauge = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        RestStats {
            resting: gauge(&self.resting),
            copy_bytes: gauge(&self.copy_bytes),
            live_bytes: gauge(&self.live_bytes),
            page_bytes: gauge(&self.page_bytes),
            rested: number(&self.rested),
            woken: number(&self.woken),
            foreign_wakes: number(&self.foreign),
            shrunk_bytes: number(&self.shrunk_bytes),
            rest_ns: number(&self.rest_ns),
            wake_ns: number(&self.wake_ns),
            rest_times: self.rest_times.read(),
            wake_times: self.wake_times.read(),
        }
    }
}

/// Stacks at rest, of one pool. See [`crate::Pool::rest_stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestStats {
    /// Stacks that are at rest now.
    pub resting: usize,
    /// Bytes of the copies that are kept now, without what the allocator adds.
    pub copy_bytes: usize,
    /// Bytes of stack that these copies stand for.
    pub live_bytes: usize,
    /// Bytes of the pages that these stacks would hold: the least that is saved is this less
    /// `copy_bytes`.
    pub page_bytes: usize,
    /// Times that a stack was put to rest so far.
    pub rested: u64,
    /// Times that one was woken so far.
    pub woken: u64,
    /// Of these, by a thread that was not its goroutine's own.
    pub foreign_wakes: u64,
    /// Bytes below stack pointers that were given back without resting so far.
    pub shrunk_bytes: u64,
    /// Time spent putting to rest so far.
    pub rest_ns: u64,
    /// Time spent waking so far.
    pub wake_ns: u64,
    /// How long it took to put each to rest. Stacks are put to rest in batches, and each counts as its share of its
    /// batch.
    pub rest_times: RestTimes,
    /// How long it took to wake each, without the waiting for another thread that was at it.
    pub wake_times: RestTimes,
}

impl RestStats {
    /// Bytes that rest saves at the moment.
    pub fn saved_bytes(&self) -> usize {
        self.page_bytes.saturating_sub(self.copy_bytes)
    }

    /// What it takes on average to put one stack to rest.
    pub fn mean_rest_ns(&self) -> u64 {
        self.rest_ns.checked_div(self.rested).unwrap_or(0)
    }

    /// What it takes on average to wake one.
    pub fn mean_wake_ns(&self) -> u64 {
        self.wake_ns.checked_div(self.woken).unwrap_or(0)
    }
}

impl fmt::Display for RestStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "stacks at rest: {} in {} B of copies, {} B saved; rested {}, woken {}, foreign {}; {} ns to \
             rest (p50 {}, p99 {}), {} ns to wake (p50 {}, p99 {})",
            self.resting,
            self.copy_bytes,
            self.saved_bytes(),
            self.rested,
            self.woken,
            self.foreign_wakes,
            self.mean_rest_ns(),
            self.rest_times.quantile_ns(0.5),
            self.rest_times.quantile_ns(0.99),
            self.mean_wake_ns(),
            self.wake_times.quantile_ns(0.5),
            self.wake_times.quantile_ns(0.99),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_the_bucket_whose_ends_enclose_it() {
        for ns in (0..20_000_000u64).step_by(37).chain([127, 128, 191, 192, 255, 256, u64::MAX]) {
            let bucket = bucket(ns);
            assert!(bucket == BUCKETS - 1 || ns < end_of(bucket), "{ns}: {bucket}");
            assert!(bucket == 0 || ns >= end_of(bucket - 1), "{ns}: {bucket}");
        }
    }

    #[test]
    fn quantiles_are_the_ends_of_their_buckets() {
        let buckets = Buckets::default();
        assert_eq!((buckets.read().quantile_ns(0.5), buckets.read().count()), (0, 0));
        buckets.add(1000, 98);
        buckets.add(5000, 1);
        buckets.add(1 << 40, 1);
        let times = buckets.read();
        assert_eq!(times.count(), 100);
        assert_eq!([0.0, 0.5, 0.98].map(|part| times.quantile_ns(part)), [1024; 3]);
        assert_eq!([0.99, 1.0].map(|part| times.quantile_ns(part)), [6144, u64::MAX]);
        assert_eq!(times.buckets().collect::<Vec<_>>(), [(1024, 98), (6144, 1), (u64::MAX, 1)]);
    }

    #[test]
    #[should_panic(expected = "no part of one")]
    fn a_quantile_is_a_part_of_one() {
        RestTimes::default().quantile_ns(99.0);
    }
}

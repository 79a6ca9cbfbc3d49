//! What a pool has done, in numbers that add up.
//!
//! Counted under the locks of the shards, where the events are, so counting writes to no line that
//! the event had not written to anyway. How many are out is not counted but follows from the rest.

use super::shards::{Shards, Weigh};

/// Counts of a [`Pool`](super::Pool) since it was made. From [`Pool::stats`](super::Pool::stats).
///
/// Each event is counted once, where it happens, and none is lost. The counts are read shard by
/// shard, so while others are at work the sums may be of slightly different moments; of a pool
/// that nobody uses they are exact, and then
///
/// ```text
/// makes + puts = idle + out + drops + detached        hits + misses = gets that were begun
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Gets that found an idle value.
    pub hits: u64,
    /// Gets that found none: they made one, waited for one, or failed.
    pub misses: u64,
    /// Hits that found their value in another M's shard.
    pub steals: u64,
    /// Gets that got in line for a value or a place.
    pub waits: u64,
    /// Values that the pool made.
    pub makes: u64,
    /// Guards' values that came back, whether they were kept or not.
    pub gives: u64,
    /// Values that were put by hand and taken in, whether they were kept or not.
    pub puts: u64,
    /// Values that the pool dropped: refused by the hook, one too many, shrunk away, or come back
    /// after the pool was closed.
    pub drops: u64,
    /// Values that guards let go.
    pub detached: u64,
    /// Values that are idle now.
    pub idle: usize,
    /// Bytes of these: their own, and what [`PoolBuilder::owned_bytes`](super::PoolBuilder::owned_bytes) said of each.
    pub idle_bytes: usize,
    /// Values that are out now, forgotten ones included.
    pub out: usize,
}

impl PoolStats {
    pub(super) fn of<T: Weigh>(shards: &Shards<T>) -> Self {
        let (counts, idle) = shards.sums();
        let gone = counts.drops + counts.detached + idle.values as u64;
        Self {
            hits: counts.hits,
            misses: counts.gets.saturating_sub(counts.hits),
            steals: counts.steals,
            waits: counts.waits,
            makes: counts.makes,
            gives: counts.gives,
            puts: counts.puts,
            drops: counts.drops,
            detached: counts.detached,
            idle: idle.values,
            idle_bytes: idle.bytes,
            out: (counts.makes + counts.puts).saturating_sub(gone) as usize,
        }
    }
}

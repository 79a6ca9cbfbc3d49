//! All pools of the process, so that memory pressure reaches them.
//!
//! Weak: the registry keeps no pool alive, and a pool leaves it as it is dropped. Bounded: beyond
//! [`MAX_POOLS`] a pool works as any other and is not reached. One lock, for creation, drop and
//! the list of a [`shrink_all`]; shrinking itself runs after it, because it drops users' values.

use millpond_prim::sync::Lock;
use slab::Slab;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

/// How many pools are known at most.
const MAX_POOLS: usize = 1 << 16;

/// Protected by the lock.
static POOLS: Lock<Slab<Weak<dyn Shrink>>> = Lock::new(Slab::new());

/// A pool, as the registry sees it.
pub(super) trait Shrink: Send + Sync {
    /// One step.
    fn shrink(&self, keep: f64) -> Shrunk;
}

/// A pool's place here, from [`register`] to [`forget`].
#[derive(Debug)]
pub(super) struct Key(usize);

/// What [`shrink_all`] has dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Shrunk {
    /// Pools that were asked.
    pub pools: usize,
    /// Values and blocks that were dropped.
    pub values: usize,
    /// Their own bytes; what values own elsewhere is not known.
    pub bytes: usize,
}

/// Makes a pool known; `None` if there are too many.
pub(super) fn register(pool: Weak<dyn Shrink>) -> Option<Key> {
    let mut pools = POOLS.lock();
    (pools.len() < MAX_POOLS).then(|| Key(pools.insert(pool)))
}

/// A pool is gone.
pub(super) fn forget(Key(key): Key) {
    let mut pools = POOLS.lock();
    let weak = pools.remove(key);
    if pools.is_empty() {
        *pools = Slab::new();
    }
    drop(pools);
    drop(weak);
}

/// Asks every [`Pool`](super::Pool) and [`BlockPool`](super::BlockPool) of the process for one step
/// of shrinking: drop what the step before had marked and nobody has used since, then mark what is
/// beyond the share `keep` of what is idle. So with 0.0 what is not used between two calls is
/// gone after the second, and what is in use is never touched.
///
/// Runs drops of users' values, in the caller; one that panics ends that pool's step and no other's.
///
/// # Panics
/// If `keep` is not between 0 and 1.
///
/// ```standalone_crate
/// # mod millpond { pub mod sync { pub use millpond_sync::*; } }
/// use millpond::sync::pool::{Pool, shrink_all};
///
/// let pool = Pool::new(|| [0u8; 1024]);
/// drop(pool.get());
/// shrink_all(0.0);
/// assert_eq!(pool.stats().idle, 1); // marked
/// assert!(shrink_all(0.0).values >= 1);
/// assert_eq!(pool.stats().idle, 0);
/// ```
pub fn shrink_all(keep: f64) -> Shrunk {
    check_share("shrink_all", keep);
    // Upgraded under the lock and used after it: the last reference may be among them, and letting
    // go of it drops the pool.
    let pools: Vec<_> = POOLS.lock().iter().filter_map(|(_, pool)| pool.upgrade()).collect();
    let mut sum = Shrunk::default();
    for pool in pools {
        let step = catch_unwind(AssertUnwindSafe(|| {
            let shrunk = pool.shrink(keep);
            drop(pool);
            shrunk
        }));
        sum.pools += 1;
        match step {
            Ok(shrunk) => {
                sum.values += shrunk.values;
                sum.bytes += shrunk.bytes;
            }
            Err(payload) => std::mem::forget(payload),
        }
    }
    sum
}

/// Refuses what is not a share.
#[track_caller]
pub(super) fn check_share(what: &str, keep: f64) {
    assert!((0.0..=1.0).contains(&keep), "{what}: keep is {keep}; expected 0.0 to 1.0");
}

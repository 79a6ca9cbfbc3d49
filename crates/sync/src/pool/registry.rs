//! All pools of the process, so that memory pressure reaches them, and so that the sheet of memory can say what
//! they keep.
//!
//! Weak: the registry keeps no pool alive, and a pool leaves it as it is dropped. Bounded: beyond
//! [`MAX_POOLS`] a pool works as any other and is not reached. One lock, for creation, drop and
//! the list of a [`shrink_all`]; shrinking itself runs after it, because it drops users' values.
//!
//! *The account* ([`idle`]) is a walk under that lock over what pools put on show: hints beside their locks, which
//! they write anyway. So gets and gives pay nothing for it, and the walk waits for no pool, allocates nothing and
//! drops nothing. It does not wait for the lock here either, or not for long: it is asked at the end of the
//! process, in children of `fork` (where the lock may be held by a thread that is not there), and perhaps in the
//! middle of an allocation that was made under this very lock.

use super::shards::Idle;
use millpond_heap::Pooled;
use millpond_prim::sync::{Guard, Lock};
use millpond_prim::thread;
use slab::Slab;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

/// How many pools are known at most.
const MAX_POOLS: usize = 1 << 16;

/// Times that [`patiently`] looks again whether a lock is free.
const PATIENCE: usize = 100;

/// Protected by the lock.
static POOLS: Lock<Slab<Entry>> = Lock::new(Slab::new());

/// What is known of a pool.
struct Entry {
    pool: Weak<dyn Shrink>,
    on_show: Box<OnShow>,
}

/// Says what is idle in a pool. It runs under our lock: it takes no other for long, and runs no code of a user.
pub(super) type OnShow = dyn Fn() -> Idle + Send + Sync;

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
    /// Their own bytes, and what [`PoolBuilder::owned_bytes`](super::PoolBuilder::owned_bytes) said that values own.
    pub bytes: usize,
}

/// Makes a pool known; `None` if there are too many. The pool calls [`forget`] before it lets go of what `on_show`
/// looks at.
pub(super) fn register(
    pool: Weak<dyn Shrink>,
    on_show: impl Fn() -> Idle + Send + Sync + 'static,
) -> Option<Key> {
    millpond_heap::set_pooled(idle);
    let entry = Entry { pool, on_show: Box::new(on_show) };
    let mut pools = POOLS.lock();
    (pools.len() < MAX_POOLS).then(|| Key(pools.insert(entry)))
}

/// A pool is gone.
pub(super) fn forget(Key(key): Key) {
    let mut pools = POOLS.lock();
    let entry = pools.remove(key);
    if pools.is_empty() {
        *pools = Slab::new();
    }
    drop(pools);
    drop(entry);
}

/// What is idle in all pools, for the sheet of memory. `None`: the list was held all the time.
fn idle() -> Option<Pooled> {
    let pools = patiently(&POOLS)?;
    let mut sum = Idle::default();
    pools.iter().for_each(|(_, entry)| sum += (entry.on_show)());
    Some(Pooled { pools: pools.len(), objects: sum.values, bytes: sum.bytes })
}

/// Takes a lock that is held for some instructions at a time, unless its holder is gone, or is this thread.
pub(super) fn patiently<T>(lock: &Lock<T>) -> Option<Guard<'_, T>> {
    (0..PATIENCE).find_map(|turn| {
        if turn > 0 {
            thread::yield_now();
        }
        lock.try_lock()
    })
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
    let pools: Vec<_> = POOLS.lock().iter().filter_map(|(_, entry)| entry.pool.upgrade()).collect();
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

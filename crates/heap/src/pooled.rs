//! What of the memory in use only waits to be used again: idle objects of pools, as their keeper counts them.
//!
//! To the heap a block is in use, whoever holds it and why. Pools of values live some layers above, and who
//! reads the sheet wants to know how much of "in use" is theirs. So whoever keeps pools leaves a function here
//! ([`set_pooled`]), and the sheet asks it. The answer is an *of which*: it lies inside the lines of what is in use,
//! and no identity of the sheet has it as a term. It is there under any allocator of the program; then it
//! lies in that one's memory.
//!
//! The function is called outside of all locks of the heap, also at the process's end and in children of
//! `fork`. So it allocates nothing, waits for nobody for long, and runs no code of a user; what it cannot find
//! out so it does not say.
//!
//! Rejected: counters that pools raise and lower here. That is two atomic instructions on a shared line for each get
//! and give, for a figure that is read once in a while and that their shards know anyway.

use std::sync::OnceLock;

/// Idle objects of pools. They are part of what is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pooled {
    /// Pools that were counted.
    pub pools: usize,
    /// Objects that are idle in these.
    pub objects: usize,
    /// Bytes of these objects, with what they are known to own.
    pub bytes: usize,
}

/// Answers how much is idle; `None` if that cannot be found out now. See the module documentation for what
/// it must not do.
pub type PooledFn = fn() -> Option<Pooled>;

/// Whom to ask. Set once, by whoever keeps pools.
static KEEPER: OnceLock<PooledFn> = OnceLock::new();

/// Says who knows what idles in pools, for the line of [`Stats::pooled`](crate::Stats::pooled). The first one to
/// say so is asked from then on; `false` if there was one.
///
/// For whoever keeps pools; `millpond-sync` does so with its first pool. `keeper` must neither allocate nor wait for
/// long: it is asked at the end of the process too, and in children of `fork`.
///
/// ```
/// use millpond_heap::{Pooled, set_pooled, stats};
///
/// fn keeper() -> Option<Pooled> {
///     Some(Pooled { pools: 1, objects: 3, bytes: 300 })
/// }
/// assert!(set_pooled(keeper));
/// assert_eq!(stats().pooled.unwrap().bytes, 300);
/// ```
pub fn set_pooled(keeper: PooledFn) -> bool {
    KEEPER.set(keeper).is_ok()
}

/// What the keeper says now. The caller holds no lock of the heap.
pub fn ask() -> Option<Pooled> {
    KEEPER.get().and_then(|keeper| keeper())
}

//! Pools: values, blocks of bytes, and goroutines that are used again.
//!
//! | | holds | when nothing is there |
//! |---|---|---|
//! | [`Pool`] | values of any type, per M | makes one, waits, or refuses |
//! | [`BlockPool`] | blocks of bytes of one size | grows by a slab, waits, or refuses |
//! | [`Workers`] | goroutines that run jobs | the job waits in a bounded queue |
//!
//! An idle connection holds no buffer, it borrows one when there is something to read; that is what
//! the first two are for. What comes out of a pool is *clean*: a hook resets a value, and a block
//! is zeroed, as it goes back.
//!
//! # Under memory pressure
//! Every pool is known, weakly, to a registry of the process, and [`shrink_all`] asks each of
//! them for one step. Steps are those of Go's `sync.Pool`: what the step before had marked and nobody
//! has taken since is dropped, then more is marked. So pools that are in use lose nothing to one
//! call, and pools that are not are empty after two.
//!
//! # Where to read on
//! `shards` (idle values per M), `bound` (how many may exist, who waits), `core` (the steps),
//! `handle` and `guard` (what users hold), `life` (a pool that ends with a context), `registry`, `block`.
//!
//! No code of a user runs under a lock of a pool: making, resetting and dropping happen before or
//! after.

mod block;
mod bound;
#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod core;
#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod shards;

mod workers;

#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod life;
#[cfg(not(loom))]
mod quiet;
#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod stats;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use self::core::AtBound;
#[cfg(not(loom))]
pub use self::{
    block::{Block, BlockPool, BlockPoolBuilder, BlockStats, TakeFuture},
    builder::PoolBuilder,
    future::GetFuture,
    guard::PoolGuard,
    handle::Pool,
    registry::{Shrunk, shrink_all},
    stats::PoolStats,
    workers::{
        Closed, JobHandle, SubmitFuture, TrySubmitError, Workers, WorkersBuilder, WorkersFuture,
    },
};

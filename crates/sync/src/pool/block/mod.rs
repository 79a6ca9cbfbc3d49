//! Blocks of bytes of one size, cut from slabs.
//!
//! For buffers that many connections borrow in turn. One small lock around a free list whose every
//! step is a push and a pop (`state`), so take and give cost the same however many blocks there are.
//! Allocating a slab and zeroing a block happen outside the lock.
//!
//! Rejected: a lock-free list (index and tag in one word; it saves nothing over an uncontended lock,
//! and the hand-over to those who wait needs the lock anyway); one allocation per block (a slab
//! that is wholly free goes back to the system as a whole, scattered blocks do not); blocks that
//! are not zeroed by default (what one connection read would be seen by the next).

#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod state;

#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
mod handle;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
pub use self::{
    future::TakeFuture,
    handle::{Block, BlockPool, BlockPoolBuilder, BlockStats},
};

//! Taking as a future: the steps of `state`, with a [`FutureWait`] in place of a park.
//!
//! It is in line from the first poll that finds all blocks out. Dropped in line, it withdraws first
//! and leaves then: after the withdrawal nobody can hand over any more, and what was goes on.

use super::handle::{Block, BlockPool};
use super::state::Taken;
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Takes a [`Block`]. From [`BlockPool::take_async`].
#[must_use = "nothing is taken until the future is awaited"]
pub struct TakeFuture<'a> {
    pool: &'a BlockPool,
    /// The entry in the line, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a> TakeFuture<'a> {
    pub(super) fn new(pool: &'a BlockPool) -> Self {
        Self { pool, key: None, wait: FutureWait::new() }
    }

    /// The first poll: takes a block, or gets in line.
    fn begin(&mut self) -> Option<Block> {
        coop::spend();
        let mut state = self.pool.shared().state.lock();
        let taken = state.take();
        if let Taken::Empty = taken {
            self.key = Some(state.enlist(self.wait.arm()));
        }
        drop(state);
        self.pool.shared().settle(taken)
    }
}

impl Future for TakeFuture<'_> {
    type Output = Block;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Block> {
        let this = self.get_mut();
        if this.key.is_none()
            && let Some(block) = this.begin()
        {
            return Poll::Ready(block);
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let key = this.key.take().expect("in line since `begin`");
        let piece = this.pool.shared().state.lock().leave(key);
        Poll::Ready(this.pool.shared().block(piece.expect("a wait ends by what is handed over")))
    }
}

impl Drop for TakeFuture<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        self.wait.cancel();
        let mut state = self.pool.shared().state.lock();
        let given = state.leave(key).map(|piece| state.give(piece));
        drop(state);
        drop(given);
    }
}

impl fmt::Debug for TakeFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeFuture").finish_non_exhaustive()
    }
}

//! What users hold: the pool and its blocks, around the free list and its lock.
//!
//! Allocating a slab, cutting it, zeroing a block and dropping what is not kept happen here, before
//! or after the lock. A block is zeroed by who gives it, and only if it was ever borrowed to be
//! written to: a page that nobody touched stays the kernel's.

use super::future::TakeFuture;
use super::state::{Piece, State, Taken};
use crate::pool::registry::{self, Shrink, Shrunk};
use crate::pool::shards::Idle;
use crate::until::Until;
use bytes::BytesMut;
use millpond_prim::sync::Lock;
use millpond_rt::context::{Context, ContextError};
use millpond_rt::coop;
use millpond_rt::wait::{WaitReason, Waiting};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A slab is about so large, unless told.
const SLAB_BYTES: usize = 256 << 10;

/// A slab has at most so many blocks, unless told.
const SLAB_BLOCKS: usize = 64;

/// A bounded pool of blocks of bytes, all of one size, that come out zeroed.
///
/// A handle is a reference; a clone is the same pool, and a [`Block`] holds one too. Memory is
/// taken a slab at a time, when it is first needed, and goes back by [shrinking](Self::shrink) when
/// a slab is wholly free.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
/// use millpond::pool::BlockPool;
///
/// let buffers = BlockPool::new(4096, 100);
/// let mut buffer = buffers.take();
/// buffer[..5].copy_from_slice(b"hello");
/// assert_eq!(buffer.len(), 4096);
/// drop(buffer);
/// assert_eq!(buffers.take()[..5], [0; 5]);
/// ```
#[derive(Clone)]
pub struct BlockPool {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// Shared with who asks how much is idle.
    pub(super) state: Arc<Lock<State<BytesMut>>>,
    block_bytes: usize,
    max_blocks: usize,
    zeroed: bool,
    /// The place in the registry of pools.
    registered: Option<registry::Key>,
}

/// A block of a [`BlockPool`]. Dropping it gives it back.
pub struct Block {
    /// `Some` until it goes back.
    piece: Option<Piece<BytesMut>>,
    /// Whether it may have been written to.
    touched: bool,
    pool: Arc<Shared>,
}

/// Settings of a [`BlockPool`]. From [`BlockPool::builder`].
#[derive(Debug, Clone)]
pub struct BlockPoolBuilder {
    block_bytes: usize,
    max_blocks: usize,
    slab_blocks: usize,
    zeroed: bool,
}

/// Counts of a [`BlockPool`], all of one moment and exact. From [`BlockPool::stats`].
///
/// ```text
/// takes - gives = out        blocks = idle + out (+ those of a slab that is being made)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BlockStats {
    /// Blocks that were taken.
    pub takes: u64,
    /// Blocks that came back.
    pub gives: u64,
    /// Takes that got in line.
    pub waits: u64,
    /// Slabs that were allocated.
    pub slabs_made: u64,
    /// Slabs that were given back to the allocator.
    pub slabs_dropped: u64,
    /// Slabs there are now.
    pub slabs: usize,
    /// Blocks that exist now.
    pub blocks: usize,
    /// Blocks that are free now.
    pub idle: usize,
    /// Blocks that are out now, forgotten ones included.
    pub out: usize,
    /// Bytes of all blocks.
    pub bytes: usize,
}

impl BlockPoolBuilder {
    /// How many blocks are allocated together. Default: about 256 KiB worth of them, 64 at most.
    ///
    /// # Panics
    /// If it is 0.
    pub fn slab(mut self, blocks: usize) -> Self {
        assert!(blocks > 0, "BlockPool: slabs of 0 blocks; expected at least 1");
        self.slab_blocks = blocks;
        self
    }

    /// Whether a block that was written to is zeroed as it goes back. Default: yes. Without it
    /// a block shows what its last user left there, which saves the time of writing it once more.
    pub fn zeroed(mut self, zeroed: bool) -> Self {
        self.zeroed = zeroed;
        self
    }

    /// Makes the pool. Nothing is allocated yet.
    ///
    /// # Panics
    /// If blocks are of 0 bytes, or there can be none or more than 2^32 of them, or a slab of them
    /// would be larger than the address space allows.
    pub fn build(self) -> BlockPool {
        let Self { block_bytes, max_blocks, slab_blocks, zeroed } = self;
        let slab_fits = block_bytes
            .checked_mul(slab_blocks.min(max_blocks))
            .is_some_and(|bytes| bytes <= isize::MAX as usize);
        assert!(
            block_bytes > 0 && (1..=u32::MAX as usize).contains(&max_blocks) && slab_fits,
            "BlockPool: {max_blocks} blocks of {block_bytes} bytes, {slab_blocks} to a slab; \
             expected at least one of each, and a slab that can be allocated"
        );
        let state = Arc::new(Lock::new(State::new(max_blocks, slab_blocks)));
        let shared = Arc::new_cyclic(|weak: &Weak<Shared>| Shared {
            registered: registry::register(weak.clone(), on_show(&state, block_bytes)),
            state,
            block_bytes,
            max_blocks,
            zeroed,
        });
        BlockPool { shared }
    }
}

/// Says what is idle; of a pool whose lock is not to be had it says nothing.
fn on_show(
    state: &Arc<Lock<State<BytesMut>>>,
    block_bytes: usize,
) -> impl Fn() -> Idle + Send + Sync + use<> {
    let state = state.clone();
    move || {
        let values = registry::patiently(&state).map_or(0, |state| state.sizes().0);
        Idle { values, bytes: values * block_bytes }
    }
}

impl BlockPool {
    /// A pool of up to `max_blocks` blocks of `block_bytes` bytes each.
    ///
    /// # Panics
    /// As [`BlockPoolBuilder::build`].
    pub fn new(block_bytes: usize, max_blocks: usize) -> Self {
        Self::builder(block_bytes, max_blocks).build()
    }

    /// A pool with settings.
    pub fn builder(block_bytes: usize, max_blocks: usize) -> BlockPoolBuilder {
        let slab_blocks = (SLAB_BYTES / block_bytes.max(1)).clamp(1, SLAB_BLOCKS);
        BlockPoolBuilder { block_bytes, max_blocks, slab_blocks, zeroed: true }
    }

    /// Takes a block. If all are out, parks the goroutine, or blocks the plain thread, until one
    /// comes back; those who wait longest are served first.
    ///
    /// The give of a block happens before the take that returns it.
    pub fn take(&self) -> Block {
        self.take_until(Until::Forever).expect("no time limit")
    }

    /// As [`take`](Self::take), for at most `limit`; `None` if that passed first.
    pub fn take_timeout(&self, limit: Duration) -> Option<Block> {
        self.take_until(Until::After(limit))
    }

    /// As [`take`](Self::take), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if there is a block.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// use millpond::{Context, context::ContextError, pool::BlockPool};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let pool = BlockPool::new(16, 1);
    /// let only = pool.take();
    /// assert_eq!(pool.take_ctx(&ctx).unwrap_err(), ContextError::DeadlineExceeded);
    /// # drop(only);
    /// ```
    pub fn take_ctx(&self, ctx: &Context) -> Result<Block, ContextError> {
        ctx.check()?;
        self.take_until(Until::Done(ctx)).ok_or_else(|| ctx.why())
    }

    /// Takes a block, or `None` if all are out. Does not wait.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// let pool = millpond::pool::BlockPool::new(16, 1);
    /// let only = pool.try_take().unwrap();
    /// assert!(pool.try_take().is_none());
    /// drop(only);
    /// assert!(pool.try_take().is_some());
    /// ```
    pub fn try_take(&self) -> Option<Block> {
        coop::spend();
        let taken = self.shared.state.lock().take();
        self.shared.settle(taken)
    }

    /// As [`take`](Self::take), as a future for tasks. Dropping it loses nothing: a block that was
    /// handed to it goes to the next who waits.
    pub fn take_async(&self) -> TakeFuture<'_> {
        TakeFuture::new(self)
    }

    /// One step of shrinking, as [`shrink_all`](crate::pool::shrink_all) takes it: gives back the slabs
    /// that the step before had marked and of which no block was taken since, then marks, of the
    /// slabs that are wholly free, what is beyond the share `keep`. Returns how many blocks went.
    ///
    /// # Panics
    /// If `keep` is not between 0 and 1.
    pub fn shrink(&self, keep: f64) -> usize {
        registry::check_share("BlockPool::shrink", keep);
        let dead = self.shared.state.lock().shrink(keep);
        dead.iter().map(Vec::len).sum()
    }

    /// Gives back what is free, and from now on all that comes back. The pool can still be asked
    /// for blocks, up to its bound, and then allocates them one by one. Closing again does nothing.
    pub fn close(&self) {
        let dead = self.shared.state.lock().close();
        drop(dead);
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().is_closed()
    }

    /// Bytes of each block.
    pub fn block_bytes(&self) -> usize {
        self.shared.block_bytes
    }

    /// How many blocks there can be.
    pub fn max_blocks(&self) -> usize {
        self.shared.max_blocks
    }

    /// What has happened, and what there is.
    pub fn stats(&self) -> BlockStats {
        let state = self.shared.state.lock();
        let (counts, (idle, blocks, slabs)) = (state.counts, state.sizes());
        drop(state);
        BlockStats {
            takes: counts.takes,
            gives: counts.gives,
            waits: counts.waits,
            slabs_made: counts.slabs_made,
            slabs_dropped: counts.slabs_dropped,
            slabs,
            blocks,
            idle,
            out: (counts.takes - counts.gives) as usize,
            bytes: blocks * self.shared.block_bytes,
        }
    }

    #[inline]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn take_until(&self, until: Until) -> Option<Block> {
        coop::spend();
        let mut state = self.shared.state.lock();
        let taken = state.take();
        let Taken::Empty = taken else {
            drop(state);
            return self.shared.settle(taken);
        };
        let waiting = Waiting::begin();
        let key = state.enlist(waiting.ticket());
        drop(state);
        waiting.park_until(WaitReason::Pool, until);
        let piece = self.shared.state.lock().leave(key)?;
        Some(self.shared.block(piece))
    }
}

impl Shared {
    pub(super) fn block(self: &Arc<Self>, piece: Piece<BytesMut>) -> Block {
        Block { piece: Some(piece), touched: false, pool: self.clone() }
    }

    /// Makes a block of what was taken, allocating if that was allowed.
    pub(super) fn settle(self: &Arc<Self>, taken: Taken<BytesMut>) -> Option<Block> {
        match taken {
            Taken::Empty => None,
            Taken::Piece(piece) => Some(self.block(piece)),
            Taken::Grow(blocks) => {
                // Fresh pages are zero already, and are not touched before they are used.
                let mut slab = BytesMut::zeroed(blocks * self.block_bytes);
                let pieces = (0..blocks).map(|_| slab.split_to(self.block_bytes)).collect();
                let (piece, fired, left) = self.state.lock().grow(pieces);
                drop((fired, left));
                Some(self.block(piece))
            }
        }
    }

    fn give(&self, piece: Piece<BytesMut>) {
        let (fired, dead) = self.state.lock().give(piece);
        drop((fired, dead));
    }
}

impl Shrink for Shared {
    fn shrink(&self, keep: f64) -> Shrunk {
        let dead = self.state.lock().shrink(keep);
        let values = dead.iter().map(Vec::len).sum();
        Shrunk { pools: 1, values, bytes: values * self.block_bytes }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(key) = self.registered.take() {
            registry::forget(key);
        }
    }
}

impl Block {
    fn bytes(&self) -> &BytesMut {
        &self.piece.as_ref().expect("a block has its bytes until it is dropped").bytes
    }
}

impl Deref for Block {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.touched = true;
        &mut self.piece.as_mut().expect("a block has its bytes until it is dropped").bytes
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Block {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(mut piece) = self.piece.take() {
            if self.touched && self.pool.zeroed {
                piece.bytes.fill(0);
            }
            self.pool.give(piece);
        }
    }
}

impl fmt::Debug for BlockPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPool")
            .field("block_bytes", &self.shared.block_bytes)
            .field("max_blocks", &self.shared.max_blocks)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

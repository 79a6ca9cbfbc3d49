//! Who uses a cache: its thread, or one that takes it for a moment without the thread's help.
//!
//! A thread's cache is its own, without atomic instructions. But a thread that sleeps for an hour
//! cannot give back what its cache holds, and a `fork` must find all caches in one piece. So
//! another thread may *claim* a cache, and the protocol puts the whole cost on that side:
//!
//! ```text
//!   owner, each operation                    claimant
//!   ─────────────────────                    ────────
//!   busy = 1                                 cache = stand-in
//!   (the compiler keeps this order)          barrier on every thread (membarrier)
//!   look at cache: mine or a stand-in?       look at busy: 1? then it gives up, or waits
//!   .. work ..                               .. work on the cache ..
//!   busy = 0                                 cache = mine
//! ```
//!
//! Either the owner's `busy = 1` came before the barrier, and the claimant sees it; or it came
//! after, and the owner sees the stand-in: an empty cache with which every operation takes the slow
//! road, which waits. The check of the claim is thus the load of the pointer that an operation
//! needs anyway. What the claimant wrote to the cache is seen through the pointer (release, acquire),
//! what the owner wrote through `busy`.
//!
//! In a model the two barriers are sequentially consistent fences on both sides, as the C11 memory
//! model knows no `membarrier`: the asymmetric pair is at least as strong as that at the point where
//! the claimant makes it.

use millpond_prim::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// A thread's turn at its cache. `T` is the cache.
#[derive(Debug)]
#[repr(C)]
pub struct Turn<T> {
    /// The cache, or the stand-in while it is claimed or does not exist. Written by its thread
    /// until it is registered and after it has left, and by claimants in between.
    cache: AtomicPtr<T>,
    /// 1 within an operation. Written by its thread.
    busy: AtomicU32,
}

impl<T> Turn<T> {
    /// Where the pointer to the cache lies: for whoever lays a record out by hand.
    #[cfg(not(loom))]
    #[allow(dead_code, reason = "asked for where `slot` does so")]
    pub const CACHE: usize = std::mem::offset_of!(Self, cache);

    /// A thread without a cache.
    #[cfg(not(loom))]
    pub const fn new(stand_in: *const T) -> Self {
        Self { cache: AtomicPtr::new(stand_in.cast_mut()), busy: AtomicU32::new(0) }
    }

    /// A thread without a cache.
    #[cfg(loom)]
    pub fn new(stand_in: *const T) -> Self {
        Self { cache: AtomicPtr::new(stand_in.cast_mut()), busy: AtomicU32::new(0) }
    }

    /// Begins an operation of the owner: the cache, or the stand-in.
    #[inline(always)]
    pub fn begin(&self) -> *mut T {
        self.busy.store(1, Ordering::Relaxed);
        light_barrier();
        self.cache.load(Ordering::Acquire)
    }

    /// Begins an operation of the owner at something that a cache owns, whose `owner` holders of that cache change:
    /// the cache, or the stand-in, and the owner. If they are the same, they stay the same until the end of the turn.
    #[inline(always)]
    pub fn begin_at(&self, owner: &AtomicPtr<T>) -> (*mut T, *mut T) {
        let cache = self.begin();
        // Not before: a claimant may be at work until the turn has begun, and have given it up when it has.
        (cache, owner.load(Ordering::Acquire))
    }

    /// Ends an operation of the owner.
    #[inline(always)]
    pub fn end(&self) {
        self.busy.store(0, Ordering::Release);
    }

    /// The owner sets its cache: at its start, at its end, and a claimant when it is done.
    pub fn set(&self, cache: *const T) {
        self.cache.store(cache.cast_mut(), Ordering::Release);
    }

    /// Takes the cache away from its owner. The claimant then waits for `false` of
    /// [`Self::is_busy`], or gives the cache back by [`Self::set`].
    ///
    /// Returns `false`, and has changed nothing, if the kernel does not make the barrier.
    pub fn claim(&self, stand_in: *const T) -> bool {
        let mine = self.cache.swap(stand_in.cast_mut(), Ordering::AcqRel);
        let made = heavy_barrier();
        if !made {
            self.cache.store(mine, Ordering::Release);
        }
        made
    }

    /// The first half of [`Self::claim`]: what is found busy or not counts only after [`heavy_barrier`], of
    /// which one is enough for many threads.
    pub fn begin_claim(&self, stand_in: *const T) {
        self.cache.swap(stand_in.cast_mut(), Ordering::AcqRel);
    }

    /// Whether the owner is within an operation that began before the claim.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) != 0
    }
}

/// Orders the owner's store before its load, as far as the compiler is concerned.
#[inline(always)]
fn light_barrier() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Orders it for the processor as well, on all threads; `false` if the kernel does not.
pub fn heavy_barrier() -> bool {
    #[cfg(not(loom))]
    return millpond_sys::barrier::everywhere();
    #[cfg(loom)]
    {
        loom::sync::atomic::fence(Ordering::SeqCst);
        true
    }
}

#[cfg(all(test, loom))]
mod model;

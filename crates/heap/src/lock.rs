//! A lock for an allocator: it allocates nothing, and it knows its place in the order.
//!
//! The order, outermost first. A thread takes a lock only if it holds none of the same or a later
//! rank; debug builds check each [`Lock::lock`], and the table is the documentation:
//!
//! | rank | lock | protects |
//! |---|---|---|
//! | [`Rank::Pass`] | `scavenge` | one pass over caches and pages at a time |
//! | [`Rank::Threads`] | `threads` | which threads have a cache; a thread's leaving waits for it |
//! | [`Rank::Common`] | `threads` | the cache of those that have none of their own |
//! | [`Rank::Central`] | `central`, one per class | spans with room that have no owner; changes of owner |
//! | [`Rank::Growing`] | `pages::huge` | one thread at a time makes 2 MiB resident |
//! | [`Rank::Pages`] | `pages` | which pages are free, records of spans, the table |
//! | [`Rank::Guarded`] | `guarded` | slots of the checked mode |
//!
//! `fork` takes all of them, in this order, and both sides let go.
//!
//! It spins for a moment, since critical sections are short, then waits in the kernel (futex).
//! Rejected: `prim`'s lock, which is `std`'s: nothing promises that it never allocates, and a `fork`
//! could not let go of it in the child.

use millpond_sys::barrier;
use std::cell::{Cell, UnsafeCell};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};

/// The place of a lock in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Rank {
    /// A pass of the scavenger.
    Pass,
    /// The list of threads.
    Threads,
    /// The common cache.
    Common,
    /// A central list.
    Central,
    /// Making 2 MiB resident.
    Growing,
    /// The page heap.
    Pages,
    /// Guarded slots.
    Guarded,
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;

/// Turns of spinning before a thread waits in the kernel.
const SPINS: u32 = 100;

thread_local! {
    /// Bits of the ranks that this thread holds. Debug builds only.
    static RANKS: Cell<u32> = const { Cell::new(0) };
}

/// A mutual exclusion lock.
#[derive(Debug)]
pub struct Lock<T> {
    /// [`FREE`], [`HELD`], or held with somebody waiting in the kernel.
    state: AtomicU32,
    rank: Rank,
    value: UnsafeCell<T>,
}

// SAFETY: `state` lets one thread at a time reach the value.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The right to use what a lock protects.
#[derive(Debug)]
pub struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    /// Wraps `value`.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self { state: AtomicU32::new(FREE), rank, value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        self.check_rank();
        self.take();
        Guard(self)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let taken = self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| {
            self.check_rank();
            Guard(self)
        })
    }

    /// Takes the lock for a `fork`, whatever the rank; [`Self::let_go`] is the other half.
    pub fn hold(&self) {
        self.take();
    }

    /// Undoes [`Self::hold`], in the thread that called it or in its copy in the child.
    ///
    /// # Safety
    /// This thread must have called `hold`, and nothing may still use the value.
    pub unsafe fn let_go(&self) {
        self.give();
    }

    /// The value, for whoever called [`Self::hold`].
    pub fn value(&self) -> *mut T {
        self.value.get()
    }

    #[inline]
    fn take(&self) {
        let taken = self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.state.load(Ordering::Relaxed) == FREE
                && self
                    .state
                    .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        while self.state.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            barrier::wait(&self.state, WAITED_FOR);
        }
    }

    #[inline]
    fn give(&self) {
        if self.state.swap(FREE, Ordering::Release) == WAITED_FOR {
            barrier::wake(&self.state, 1);
        }
    }

    fn check_rank(&self) {
        if cfg!(debug_assertions) {
            let bit = 1 << self.rank as u32;
            let held = RANKS.get();
            if held >= bit {
                crate::misuse::lock_order(self.rank, held);
            }
            RANKS.set(held | bit);
        }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            RANKS.set(RANKS.get() & !(1 << self.0.rank as u32));
        }
        self.0.give();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the right to use the value.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and there is one guard at a time.
        unsafe { &mut *self.0.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_sees_the_value() {
        let lock = Lock::new(Rank::Pages, 0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }

    #[test]
    fn a_held_lock_is_not_taken_again() {
        let lock = Lock::new(Rank::Pages, ());
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        lock.hold();
        assert!(lock.try_lock().is_none());
        // SAFETY: held above.
        unsafe { lock.let_go() };
        assert!(lock.try_lock().is_some());
    }
}

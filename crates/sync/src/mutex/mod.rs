//! A mutual exclusion lock that parks goroutines.
//!
//! [`Mutex`] is a value beside a `RawMutex`; the protocol is in `raw`, which has no unsafe code;
//! this file owns the one step that needs some: whoever has the lock may use the value. `future`
//! is the async form, `models` what loom explores.
//!
//! No poisoning: a goroutine's panic is reported where it is joined, and a lock is no second
//! reporter. Data that must not be seen half changed is better swapped in whole.
//!
//! Rejected: `std`'s mutex (blocks the thread with all its goroutines; its guard is not `Send`).

mod future;
mod raw;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use future::LockFuture;

use crate::until::Until;
use millpond_rt::context::{Context, ContextError};
use millpond_rt::coop;
use raw::RawMutex;
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A mutual exclusion lock for goroutines, tasks and plain threads.
///
/// An unlock happens before the next lock returns. The lock is fair enough: a running caller may
/// take a free lock before one that has been woken for it, but a waiter that has waited for a
/// millisecond or was passed over some times is handed the lock directly.
///
/// The lock knows no owner: the guard may be sent and dropped elsewhere, and locking twice without
/// unlocking waits for ever.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::Mutex;
///
/// let counter = Mutex::new(0);
/// std::thread::scope(|s| {
///     for _ in 0..4 {
///         s.spawn(|| *counter.lock() += 1);
///     }
/// });
/// assert_eq!(counter.into_inner(), 4);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    /// Protected by `raw`.
    value: UnsafeCell<T>,
}

// SAFETY: a shared `Mutex` gives access to its value to one guard at a time, on any thread: `raw`
// keeps others out, and its acquire and release order one holder's accesses before the next one's.
// So sharing the mutex is no more than sending the value about: `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// The right to use what a [`Mutex`] protects; dropping it unlocks, and may make a waiter
/// runnable. `Send` if `T: Send`: it may be held over an await, or given to another goroutine.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    /// Locked, by this guard.
    mutex: &'a Mutex<T>,
}

// SAFETY: a shared guard gives out `&T` and nothing else, so `T: Sync` is what sharing it needs.
// (Without this line the guard would be `Sync` if the mutex is, which asks for `T: Send` only.)
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    /// Makes a free lock around `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
    }

    /// Makes a free lock around `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
    }

    /// The value; the lock is gone.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks. Parks the goroutine, or blocks the plain thread, while somebody else has the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // Before locking: a goroutine that yields with the lock held would make all others wait.
        coop::spend();
        let locked = self.raw.lock(Until::Forever);
        debug_assert!(locked, "a lock without a time limit does not time out");
        MutexGuard { mutex: self }
    }

    /// Locks if the lock is free. Never parks.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let lock = millpond::sync::Mutex::new(());
    /// let guard = lock.lock();
    /// assert!(lock.try_lock().is_none());
    /// drop(guard);
    /// assert!(lock.try_lock().is_some());
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| MutexGuard { mutex: self })
    }

    /// Locks, waiting for at most `limit`; `None` if that passed first.
    pub fn lock_timeout(&self, limit: Duration) -> Option<MutexGuard<'_, T>> {
        coop::spend();
        self.raw.lock(Until::After(limit)).then(|| MutexGuard { mutex: self })
    }

    /// As [`lock`](Self::lock), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if the lock is
    /// free.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError, sync::Mutex};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let lock = Mutex::new(1);
    /// let held = lock.lock();
    /// assert_eq!(lock.lock_ctx(&ctx).unwrap_err(), ContextError::DeadlineExceeded);
    /// # drop(held);
    /// ```
    pub fn lock_ctx(&self, ctx: &Context) -> Result<MutexGuard<'_, T>, ContextError> {
        coop::spend();
        ctx.check()?;
        let locked = self.raw.lock(Until::Done(ctx));
        if locked { Ok(MutexGuard { mutex: self }) } else { Err(ctx.why()) }
    }

    /// As [`lock`](Self::lock), as a future for tasks. Dropping the future gives up its place in
    /// the line, and passes the lock on if it had just been handed over.
    pub fn lock_async(&self) -> LockFuture<'_, T> {
        LockFuture::new(self)
    }

    /// The value, without locking: `&mut` proves that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// What is locked: to be locked again after the guard.
    pub(crate) fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the lock, and there is one guard at a time: it is made only where
        // `raw` said "locked", is not `Clone`, and unlocks when it is dropped. So nobody else
        // touches the value while the guard lives.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and `&mut self` proves that no reference from `deref` is left.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(value) => f.field("value", &&*value),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

//! The value and those who may use it: the only unsafe code of this lock.
//!
//! `Inner` is the value beside the protocol. A guard is made only where the protocol has said that
//! its owner is in (here, and in the two polls of `future`), is not `Clone`, and leaves when it is
//! dropped. So as
//! long as a write guard lives it is the only guard, and as long as a read guard lives there are
//! only read guards. `mem::forget` of a guard leaves the lock locked for ever, which is safe.
//!
//! Both guards get their `Send` and `Sync` from the reference that they hold, so from
//! `Inner: Sync`, which asks for `T: Send + Sync`: see the module `rwlock` for why.

use super::raw::{Access, RawRwLock};
use crate::until::Until;
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// A value and its lock.
pub(super) struct Inner<T: ?Sized> {
    pub(super) raw: RawRwLock,
    /// Protected by `raw`.
    value: UnsafeCell<T>,
}

// SAFETY: a shared `Inner` gives `&T` to many threads at once (read guards: `T: Sync`), and `&mut T`,
// through which the value can be taken out, to one thread at a time (write guards: `T: Send`). `raw`
// keeps the two apart, and its acquire and release order their accesses.
unsafe impl<T: ?Sized + Send + Sync> Sync for Inner<T> {}

/// The right to read what a [`RwLock`](super::RwLock) protects; dropping it leaves, and may make a
/// waiter runnable. `Send` if `T: Send + Sync`.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    /// Locked for reading, once for this guard.
    inner: &'a Inner<T>,
}

/// The right to read and write what a [`RwLock`](super::RwLock) protects; dropping it leaves, and
/// may make waiters runnable. `Send` if `T: Send + Sync`: it can become a read guard where it is.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    /// Locked for writing, by this guard.
    inner: &'a Inner<T>,
}

impl<T> Inner<T> {
    pub(super) const fn new(raw: RawRwLock, value: T) -> Self {
        Self { raw, value: UnsafeCell::new(value) }
    }

    pub(super) fn into_value(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Inner<T> {
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    #[inline]
    pub(super) fn try_new(inner: &'a Inner<T>) -> Option<Self> {
        inner.raw.try_lock(Access::Read).then(|| Self { inner })
    }

    #[inline]
    pub(super) fn new_until(inner: &'a Inner<T>, until: Until) -> Option<Self> {
        inner.raw.lock_until(Access::Read, until).then(|| Self { inner })
    }

    /// The caller is in, to read, and hands that over to the guard.
    pub(super) fn entered(inner: &'a Inner<T>) -> Self {
        Self { inner }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    #[inline]
    pub(super) fn try_new(inner: &'a Inner<T>) -> Option<Self> {
        inner.raw.try_lock(Access::Write).then(|| Self { inner })
    }

    #[inline]
    pub(super) fn new_until(inner: &'a Inner<T>, until: Until) -> Option<Self> {
        inner.raw.lock_until(Access::Write, until).then(|| Self { inner })
    }

    /// The caller is in, to write, and hands that over to the guard.
    pub(super) fn entered(inner: &'a Inner<T>) -> Self {
        Self { inner }
    }

    /// Goes on as a reader, without anybody writing between. The readers that wait come in; writers
    /// go on waiting. Never parks. What was written happens before what they read.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(0);
    /// let mut writing = lock.write();
    /// *writing = 1;
    /// let reading = RwLockWriteGuard::downgrade(writing);
    /// assert_eq!((*reading, *lock.read()), (1, 1));
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        // Its drop would leave the lock.
        let guard = ManuallyDrop::new(guard);
        guard.inner.raw.downgrade();
        RwLockReadGuard { inner: guard.inner }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is in, so there are only read guards while it lives (the module says
        // who keeps that), and they give out shared references only.
        unsafe { &*self.inner.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is in, so it is the only guard while it lives (the module says who
        // keeps that).
        unsafe { &*self.inner.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and `&mut self` proves that no reference from `deref` is left.
        unsafe { &mut *self.inner.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.inner.raw.unlock(Access::Read);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.inner.raw.unlock(Access::Write);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

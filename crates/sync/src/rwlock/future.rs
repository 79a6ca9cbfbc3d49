//! Locking as a future, for reading and for writing.
//!
//! Both are `raw`'s `Locking`. A future is in line from the first poll that finds the lock taken; one
//! that is dropped after it has been let in leaves as a holder does.

use super::guard::{Inner, RwLockReadGuard, RwLockWriteGuard};
use super::raw::{Access, Locking};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Locks a [`RwLock`](super::RwLock) for reading. From [`RwLock::read_async`](super::RwLock::read_async).
#[must_use = "nothing is locked until the future is awaited"]
pub struct ReadFuture<'a, T: ?Sized> {
    inner: &'a Inner<T>,
    locking: Locking,
}

/// Locks a [`RwLock`](super::RwLock) for writing. From [`RwLock::write_async`](super::RwLock::write_async).
#[must_use = "nothing is locked until the future is awaited"]
pub struct WriteFuture<'a, T: ?Sized> {
    inner: &'a Inner<T>,
    locking: Locking,
}

impl<'a, T: ?Sized> ReadFuture<'a, T> {
    pub(super) fn new(inner: &'a Inner<T>) -> Self {
        Self { inner, locking: Locking::new(Access::Read) }
    }
}

impl<'a, T: ?Sized> WriteFuture<'a, T> {
    pub(super) fn new(inner: &'a Inner<T>) -> Self {
        Self { inner, locking: Locking::new(Access::Write) }
    }
}

impl<'a, T: ?Sized> Future for ReadFuture<'a, T> {
    type Output = RwLockReadGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.locking.poll(&this.inner.raw, cx).map(|()| RwLockReadGuard::entered(this.inner))
    }
}

impl<'a, T: ?Sized> Future for WriteFuture<'a, T> {
    type Output = RwLockWriteGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.locking.poll(&this.inner.raw, cx).map(|()| RwLockWriteGuard::entered(this.inner))
    }
}

impl<T: ?Sized> Drop for ReadFuture<'_, T> {
    fn drop(&mut self) {
        self.locking.give_up(&self.inner.raw);
    }
}

impl<T: ?Sized> Drop for WriteFuture<'_, T> {
    fn drop(&mut self) {
        self.locking.give_up(&self.inner.raw);
    }
}

impl<T: ?Sized> fmt::Debug for ReadFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFuture").finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for WriteFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteFuture").finish_non_exhaustive()
    }
}

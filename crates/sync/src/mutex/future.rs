//! Locking as a future.
//!
//! It is in line from the first poll that finds the lock taken. A wait that has ended is either the
//! lock itself or a reason to look again; a future that is dropped between that end and its next
//! poll passes on what it got.

use super::raw::{Enqueued, Waiter, YOURS};
use super::{Mutex, MutexGuard};
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Locks a [`Mutex`]. From [`Mutex::lock_async`].
#[must_use = "nothing is locked until the future is awaited"]
pub struct LockFuture<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// From the first time that it had to wait.
    waiter: Option<Waiter>,
    /// The entry in the list, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a, T: ?Sized> LockFuture<'a, T> {
    pub(super) fn new(mutex: &'a Mutex<T>) -> Self {
        Self { mutex, waiter: None, key: None, wait: FutureWait::new() }
    }

    /// Tries, and if that fails gets in line. Whether it has the lock.
    fn look(&mut self) -> bool {
        let waiter = match self.waiter {
            None => {
                coop::spend();
                if self.mutex.raw.try_lock() {
                    return true;
                }
                *self.waiter.insert(Waiter::new())
            }
            Some(waiter) => waiter,
        };
        match self.mutex.raw.enqueue(waiter, || self.wait.arm()) {
            Enqueued::Locked => {
                // The next lock by this future, if any, is a new attempt.
                self.waiter = None;
                true
            }
            Enqueued::Waits(key) => {
                self.key = Some(key);
                false
            }
        }
    }
}

impl<'a, T: ?Sized> Future for LockFuture<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if this.key.is_none() && this.look() {
                return Poll::Ready(MutexGuard { mutex: this.mutex });
            }
            let Poll::Ready(outcome) = this.wait.poll(cx) else { return Poll::Pending };
            let key = this.key.take().expect("in line since `look`");
            this.mutex.raw.leave(key);
            if outcome == YOURS {
                this.waiter = None;
                return Poll::Ready(MutexGuard { mutex: this.mutex });
            }
            if let Some(waiter) = &mut this.waiter {
                waiter.looks();
            }
        }
    }
}

impl<T: ?Sized> Drop for LockFuture<'_, T> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let outcome = self.wait.cancel();
        self.mutex.raw.leave(key);
        if let Some(outcome) = outcome {
            self.mutex.raw.decline(outcome);
        }
    }
}

impl<T: ?Sized> fmt::Debug for LockFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFuture").finish_non_exhaustive()
    }
}

//! Acquiring as a future, borrowed and owned.
//!
//! Both are `raw`'s `Acquiring` with a different hold on the semaphore. A future is in line from
//! the first poll that finds too few permits; one that is dropped after its wait has ended gives
//! back what it got.

use super::raw::Acquiring;
use super::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Acquires permits of a [`Semaphore`]. From [`Semaphore::acquire_async`].
#[must_use = "nothing is acquired until the future is awaited"]
pub struct AcquireFuture<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
    acquiring: Acquiring,
}

/// Acquires permits of a [`Semaphore`] that it shares. From [`Semaphore::acquire_owned_async`].
#[must_use = "nothing is acquired until the future is awaited"]
pub struct AcquireOwnedFuture {
    semaphore: Arc<Semaphore>,
    permits: u32,
    acquiring: Acquiring,
}

impl<'a> AcquireFuture<'a> {
    pub(super) fn new(semaphore: &'a Semaphore, permits: u32) -> Self {
        Self { semaphore, permits, acquiring: Acquiring::new(permits as usize) }
    }
}

impl AcquireOwnedFuture {
    pub(super) fn new(semaphore: Arc<Semaphore>, permits: u32) -> Self {
        Self { semaphore, permits, acquiring: Acquiring::new(permits as usize) }
    }
}

impl<'a> Future for AcquireFuture<'a> {
    type Output = Result<SemaphorePermit<'a>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let acquired = this.acquiring.poll(&this.semaphore.raw, cx);
        acquired.map_ok(|()| SemaphorePermit::new(this.semaphore, this.permits))
    }
}

impl Future for AcquireOwnedFuture {
    type Output = Result<OwnedSemaphorePermit, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let acquired = this.acquiring.poll(&this.semaphore.raw, cx);
        acquired.map_ok(|()| OwnedSemaphorePermit::new(this.semaphore.clone(), this.permits))
    }
}

impl Drop for AcquireFuture<'_> {
    fn drop(&mut self) {
        self.acquiring.give_up(&self.semaphore.raw);
    }
}

impl Drop for AcquireOwnedFuture {
    fn drop(&mut self) {
        self.acquiring.give_up(&self.semaphore.raw);
    }
}

impl fmt::Debug for AcquireFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for AcquireOwnedFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireOwnedFuture").field("permits", &self.permits).finish_non_exhaustive()
    }
}

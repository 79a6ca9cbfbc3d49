//! Permits that are held: borrowed and owned.
//!
//! A permit is the semaphore and a number; dropping it gives that number back. Splitting, merging
//! and forgetting only move numbers, so what is given out and what comes back stays equal:
//! `available + held = new + added - forgotten`.

use super::Semaphore;
use std::fmt;
use std::sync::Arc;

/// Permits of a [`Semaphore`]; dropping it gives them back, and may make waiters runnable.
#[must_use = "permits are given back as soon as this is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
}

/// As [`SemaphorePermit`], with a share of the semaphore: it can be moved into a goroutine.
#[must_use = "permits are given back as soon as this is dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    permits: u32,
}

/// The number after taking `n` off it, if there are as many.
fn split(permits: &mut u32, n: u32) -> Option<u32> {
    *permits = permits.checked_sub(n)?;
    Some(n)
}

/// Adds `other`, which is thereby empty, if both are of the same semaphore.
fn merge(same: bool, permits: &mut u32, other: &mut u32) {
    assert!(same, "merge: the permits are of different semaphores");
    *permits = permits.checked_add(*other).expect("merge: more than u32::MAX permits in one");
    *other = 0;
}

impl<'a> SemaphorePermit<'a> {
    pub(super) fn new(semaphore: &'a Semaphore, permits: u32) -> Self {
        Self { semaphore, permits }
    }

    /// Does not give the permits back, ever: the limit is lower from now on, unless
    /// [`Semaphore::add_permits`] raises it.
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// Takes over another's permits.
    ///
    /// # Panics
    /// If they are of different semaphores, or more than `u32::MAX` together; then each gives back
    /// its own.
    pub fn merge(&mut self, mut other: Self) {
        let same = std::ptr::eq(self.semaphore, other.semaphore);
        merge(same, &mut self.permits, &mut other.permits);
    }

    /// Gives `n` of the permits to a new one; `None` if there are fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        split(&mut self.permits, n).map(|n| Self::new(self.semaphore, n))
    }

    /// How many permits this holds.
    pub fn num_permits(&self) -> usize {
        self.permits as usize
    }
}

impl OwnedSemaphorePermit {
    pub(super) fn new(semaphore: Arc<Semaphore>, permits: u32) -> Self {
        Self { semaphore, permits }
    }

    /// Does not give the permits back: see [`SemaphorePermit::forget`].
    pub fn forget(mut self) {
        self.permits = 0;
    }

    /// Takes over another's permits.
    ///
    /// # Panics
    /// As [`SemaphorePermit::merge`].
    pub fn merge(&mut self, mut other: Self) {
        let same = Arc::ptr_eq(&self.semaphore, &other.semaphore);
        merge(same, &mut self.permits, &mut other.permits);
    }

    /// Gives `n` of the permits to a new one; `None` if there are fewer.
    pub fn split(&mut self, n: u32) -> Option<Self> {
        split(&mut self.permits, n).map(|n| Self::new(self.semaphore.clone(), n))
    }

    /// How many permits this holds.
    pub fn num_permits(&self) -> usize {
        self.permits as usize
    }

    /// Whose permits these are.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.raw.release(self.permits as usize);
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.raw.release(self.permits as usize);
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedSemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphorePermit")
            .field("permits", &self.permits)
            .finish_non_exhaustive()
    }
}

//! A semaphore: a number of permits, and a line for those that find too few.
//!
//! [`Semaphore`] is the face; `raw` is the protocol, first come, first served, for requests of any
//! size; `permit` holds what was acquired, borrowed or owned; `future` are the async forms;
//! `models` is what loom explores. The shape is tokio's.
//!
//! *Happens-before*: giving a permit back happens before the acquisition that gets it returns;
//! adding permits likewise. Closing happens before an acquisition that fails because of it.
//!
//! Rejected: permits without a guard as in Go's `x/sync/semaphore` (one forgotten release on an
//! error path, and the limit is lower for ever); a separate counting type for owned permits (an
//! `Arc` of the semaphore says the same).

mod error;
mod future;
mod permit;
mod raw;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use error::{AcquireCtxError, AcquireError, AcquireTimeoutError, TryAcquireError};
pub use future::{AcquireFuture, AcquireOwnedFuture};
pub use permit::{OwnedSemaphorePermit, SemaphorePermit};

use crate::until::Until;
use millpond_rt::context::Context;
use raw::RawSemaphore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Limits how many do something at once, for goroutines, tasks and plain threads: who has acquired
/// a permit may, and gives it back by dropping it.
///
/// First come, first served: while somebody waits, nobody overtakes, and permits that are given
/// back gather until the one at the front has as many as it asked for. So a big request is not
/// starved by small ones; and `try_acquire` fails while somebody waits, however few it asks for.
///
/// Giving a permit back happens before the acquisition that gets it returns.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::sync::Semaphore;
/// use std::sync::Arc;
///
/// let two_at_once = Arc::new(Semaphore::new(2));
/// let handles: Vec<_> = (0..10)
///     .map(|i| {
///         // Waits here, before the goroutine exists: the queue is as short as the limit says.
///         let permit = two_at_once.clone().acquire_owned().expect("nobody closes it");
///         millpond::go(move || {
///             let _permit = permit;
///             i * 2
///         })
///     })
///     .collect();
/// assert_eq!(handles.into_iter().map(|h| h.join().unwrap()).sum::<u32>(), 90);
/// assert_eq!(two_at_once.available_permits(), 2);
/// # }).unwrap();
/// ```
pub struct Semaphore {
    raw: RawSemaphore,
}

impl Semaphore {
    /// The most permits that a semaphore can count: `usize::MAX >> 3`.
    pub const MAX_PERMITS: usize = raw::MAX;

    /// A semaphore with this many permits to give out.
    ///
    /// # Panics
    /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[cfg(not(loom))]
    pub const fn new(permits: usize) -> Self {
        Self { raw: RawSemaphore::new(permits) }
    }

    /// A semaphore with this many permits to give out.
    #[cfg(loom)]
    pub fn new(permits: usize) -> Self {
        Self { raw: RawSemaphore::new(permits) }
    }

    /// Acquires a permit. Parks the goroutine, or blocks the plain thread, while there is none for
    /// it.
    ///
    /// # Errors
    /// [`AcquireError`] once the semaphore is [closed](Self::close).
    #[inline]
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Acquires `n` permits at once, as [`acquire`](Self::acquire) does one. They are one permit
    /// to hold and are given back together.
    ///
    /// A request for more than the semaphore will ever have waits until it is closed, and so do
    /// those behind it.
    ///
    /// # Errors
    /// [`AcquireError`] once the semaphore is closed.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let budget = millpond::sync::Semaphore::new(100);
    /// let half = budget.acquire_many(50).unwrap();
    /// assert!(budget.try_acquire_many(60).is_err());
    /// drop(half);
    /// assert!(budget.try_acquire_many(60).is_ok());
    /// ```
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_until(n, Until::Forever).map_err(unlimited)
    }

    /// Acquires a permit if there is one and nobody waits. Never parks.
    ///
    /// # Errors
    /// Says whether permits lack or the semaphore is closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Acquires `n` permits if there are as many and nobody waits. Never parks.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.raw.try_acquire(n as usize)?;
        Ok(SemaphorePermit::new(self, n))
    }

    /// As [`acquire`](Self::acquire), waiting for at most `limit`.
    ///
    /// # Errors
    /// Says whether the limit passed or the semaphore is closed.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::{AcquireTimeoutError, Semaphore};
    /// use std::time::Duration;
    ///
    /// let none = Semaphore::new(0);
    /// let late = none.acquire_timeout(Duration::from_millis(1));
    /// assert_eq!(late.unwrap_err(), AcquireTimeoutError::Timeout);
    /// none.close();
    /// let closed = none.acquire_timeout(Duration::from_millis(1));
    /// assert_eq!(closed.unwrap_err(), AcquireTimeoutError::Closed);
    /// ```
    pub fn acquire_timeout(
        &self,
        limit: Duration,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.acquire_many_timeout(1, limit)
    }

    /// As [`acquire_many`](Self::acquire_many), waiting for at most `limit`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_many_timeout(
        &self,
        n: u32,
        limit: Duration,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.acquire_until(n, Until::After(limit))
    }

    /// As [`acquire`](Self::acquire), until `ctx` is done.
    ///
    /// # Errors
    /// Says whether the context was done first (or already, even if there are permits) or the
    /// semaphore is closed.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError};
    /// use millpond::sync::{AcquireCtxError, Semaphore};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let one = Semaphore::new(1);
    /// drop(one.acquire_ctx(&ctx).unwrap());
    /// cancel.cancel();
    /// let late = AcquireCtxError::Context(ContextError::Cancelled);
    /// assert_eq!(one.acquire_ctx(&ctx).unwrap_err(), late);
    /// assert_eq!(one.available_permits(), 1);
    /// ```
    pub fn acquire_ctx(&self, ctx: &Context) -> Result<SemaphorePermit<'_>, AcquireCtxError> {
        self.acquire_many_ctx(ctx, 1)
    }

    /// As [`acquire_many`](Self::acquire_many), until `ctx` is done. One that gives up lets those
    /// behind it go that need less.
    ///
    /// # Errors
    /// As [`acquire_ctx`](Self::acquire_ctx).
    pub fn acquire_many_ctx(
        &self,
        ctx: &Context,
        n: u32,
    ) -> Result<SemaphorePermit<'_>, AcquireCtxError> {
        ctx.check()?;
        self.acquire_until(n, Until::Done(ctx)).map_err(|error| under(ctx, error))
    }

    /// As [`acquire`](Self::acquire), as a future for tasks. Dropping the future gives up its place
    /// in the line, and passes on what it had just been given.
    pub fn acquire_async(&self) -> AcquireFuture<'_> {
        self.acquire_many_async(1)
    }

    /// As [`acquire_many`](Self::acquire_many), as a future for tasks.
    pub fn acquire_many_async(&self, n: u32) -> AcquireFuture<'_> {
        AcquireFuture::new(self, n)
    }

    /// As [`acquire`](Self::acquire); the permit owns its share of the semaphore and can so be moved
    /// into a goroutine or a task.
    ///
    /// # Errors
    /// [`AcquireError`] once the semaphore is closed.
    pub fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Self::acquire_many), with an owned permit.
    ///
    /// # Errors
    /// [`AcquireError`] once the semaphore is closed.
    pub fn acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_owned_until(n, Until::Forever).map_err(unlimited)
    }

    /// As [`try_acquire`](Self::try_acquire), with an owned permit.
    ///
    /// # Errors
    /// Says whether permits lack or the semaphore is closed.
    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// As [`try_acquire_many`](Self::try_acquire_many), with an owned permit.
    ///
    /// # Errors
    /// Says whether permits lack or the semaphore is closed.
    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.raw.try_acquire(n as usize)?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// As [`acquire_timeout`](Self::acquire_timeout), with an owned permit.
    ///
    /// # Errors
    /// Says whether the limit passed or the semaphore is closed.
    pub fn acquire_owned_timeout(
        self: Arc<Self>,
        limit: Duration,
    ) -> Result<OwnedSemaphorePermit, AcquireTimeoutError> {
        self.acquire_owned_until(1, Until::After(limit))
    }

    /// As [`acquire_many_timeout`](Self::acquire_many_timeout), with an owned permit.
    ///
    /// # Errors
    /// Says whether the limit passed or the semaphore is closed.
    pub fn acquire_many_owned_timeout(
        self: Arc<Self>,
        n: u32,
        limit: Duration,
    ) -> Result<OwnedSemaphorePermit, AcquireTimeoutError> {
        self.acquire_owned_until(n, Until::After(limit))
    }

    /// As [`acquire_ctx`](Self::acquire_ctx), with an owned permit.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_owned_ctx(
        self: Arc<Self>,
        ctx: &Context,
    ) -> Result<OwnedSemaphorePermit, AcquireCtxError> {
        self.acquire_many_owned_ctx(ctx, 1)
    }

    /// As [`acquire_many_ctx`](Self::acquire_many_ctx), with an owned permit.
    ///
    /// # Errors
    /// As [`acquire_ctx`](Self::acquire_ctx).
    pub fn acquire_many_owned_ctx(
        self: Arc<Self>,
        ctx: &Context,
        n: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireCtxError> {
        ctx.check()?;
        self.acquire_owned_until(n, Until::Done(ctx)).map_err(|error| under(ctx, error))
    }

    /// As [`acquire_async`](Self::acquire_async), with an owned permit; the future owns its share of
    /// the semaphore too.
    pub fn acquire_owned_async(self: Arc<Self>) -> AcquireOwnedFuture {
        self.acquire_many_owned_async(1)
    }

    /// As [`acquire_many_async`](Self::acquire_many_async), with an owned permit.
    pub fn acquire_many_owned_async(self: Arc<Self>, n: u32) -> AcquireOwnedFuture {
        AcquireOwnedFuture::new(self, n)
    }

    fn acquire_until(
        &self,
        n: u32,
        until: Until,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.raw.acquire_until(n as usize, until)?;
        Ok(SemaphorePermit::new(self, n))
    }

    fn acquire_owned_until(
        self: Arc<Self>,
        n: u32,
        until: Until,
    ) -> Result<OwnedSemaphorePermit, AcquireTimeoutError> {
        self.raw.acquire_until(n as usize, until)?;
        Ok(OwnedSemaphorePermit::new(self, n))
    }

    /// How many permits nobody has. An old answer as soon as it is given; and while somebody waits
    /// they are kept for the one at the front.
    pub fn available_permits(&self) -> usize {
        self.raw.available()
    }

    /// Adds `n` permits. Happens before the acquisitions that get them return.
    ///
    /// # Panics
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS) to give out.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let signals = millpond::sync::Semaphore::new(0);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| signals.acquire().unwrap().forget());
    ///     signals.add_permits(1);
    /// });
    /// assert_eq!(signals.available_permits(), 0);
    /// ```
    pub fn add_permits(&self, n: usize) {
        self.raw.release(n);
    }

    /// Takes up to `n` of the available permits away for good, to lower the limit; returns how many
    /// that were. Those that are held are not affected: see [`SemaphorePermit::forget`].
    pub fn forget_permits(&self, n: usize) -> usize {
        self.raw.forget(n)
    }

    /// Closes: those who wait and those who come get an error from now on. Permits that are held
    /// stay valid. Closing again does nothing. Happens before an acquisition that fails because of
    /// it.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let door = millpond::sync::Semaphore::new(1);
    /// let inside = door.acquire().unwrap();
    /// std::thread::scope(|s| {
    ///     let outside = s.spawn(|| door.acquire().is_err());
    ///     door.close();
    ///     assert!(outside.join().unwrap());
    /// });
    /// drop(inside);
    /// ```
    pub fn close(&self) {
        self.raw.close();
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }
}

/// What a form without a time limit can fail of.
fn unlimited(error: AcquireTimeoutError) -> AcquireError {
    debug_assert_eq!(error, AcquireTimeoutError::Closed, "without a limit nothing times out");
    AcquireError
}

/// What a form under a context has failed of.
fn under(ctx: &Context, error: AcquireTimeoutError) -> AcquireCtxError {
    match error {
        AcquireTimeoutError::Timeout => AcquireCtxError::Context(ctx.why()),
        AcquireTimeoutError::Closed => AcquireCtxError::Closed,
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

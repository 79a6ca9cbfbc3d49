//! A lock that many may read under and one may write under.
//!
//! [`RwLock`] is a value beside a `RawRwLock`; the protocol, with Go's rules of who is next, is in
//! `raw`, which has no unsafe code; `guard` owns the steps that need some: who is in may use the
//! value. `future` is the async form, `models` what loom explores.
//!
//! *Happens-before*: leaving after a write happens before any later read or write begins; leaving
//! after a read happens before any later write begins.
//!
//! No poisoning, as in `mutex`. Guards need `T: Send + Sync` to travel where the mutex's needs
//! `T: Send`: a read guard gives `&T` to its thread while others have it on theirs, and a write guard
//! can become a read guard there.
//!
//! Rejected: upgrading a read guard to a write guard (two that try wait for each other); a recursive
//! read that is let in past a waiting writer (the lock knows no owner, and on tasks there is none).

mod future;
mod guard;
mod raw;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use future::{ReadFuture, WriteFuture};
pub use guard::{RwLockReadGuard, RwLockWriteGuard};

use crate::until::Until;
use guard::Inner;
use millpond_rt::context::{Context, ContextError};
use raw::RawRwLock;
use std::fmt;
use std::time::Duration;

/// A reader-writer lock for goroutines, tasks and plain threads: any number of readers, or one
/// writer.
///
/// Writers are preferred, as Go's are: while one waits, no new reader gets in. The readers that
/// came while somebody wrote go before the next writer. So neither side starves the other.
///
/// Leaving after a write happens before any later read or write begins; leaving after a read
/// happens before any later write begins.
///
/// # Deadlock
/// Do not read twice at once in one goroutine: if a writer comes between, it waits for the first
/// read, the second read waits for the writer, and all three for ever. The lock knows no owner, so
/// it cannot see this. For the same reason reading while writing, or writing twice, waits for ever.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::RwLock;
///
/// let settings = RwLock::new(vec![1, 2]);
/// std::thread::scope(|s| {
///     s.spawn(|| settings.write().push(3));
///     s.spawn(|| assert!(settings.read().len() >= 2));
/// });
/// assert_eq!(settings.into_inner(), [1, 2, 3]);
/// ```
pub struct RwLock<T: ?Sized> {
    inner: Inner<T>,
}

impl<T> RwLock<T> {
    /// Makes a free lock around `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self { inner: Inner::new(RawRwLock::new(), value) }
    }

    /// Makes a free lock around `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self { inner: Inner::new(RawRwLock::new(), value) }
    }

    /// The value; the lock is gone.
    pub fn into_inner(self) -> T {
        self.inner.into_value()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading. Parks the goroutine, or blocks the plain thread, while somebody writes or
    /// waits to write.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.read_until(Until::Forever).expect("a lock without a time limit does not time out")
    }

    /// Locks for writing. Parks the goroutine, or blocks the plain thread, while others read or
    /// write.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.write_until(Until::Forever).expect("a lock without a time limit does not time out")
    }

    /// Locks for reading if nobody writes or waits. Never parks.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let lock = millpond::sync::RwLock::new(());
    /// let first = lock.try_read();
    /// assert!(first.is_some() && lock.try_read().is_some());
    /// assert!(lock.try_write().is_none());
    /// ```
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        RwLockReadGuard::try_new(&self.inner)
    }

    /// Locks for writing if nobody reads, writes or waits. Never parks.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        RwLockWriteGuard::try_new(&self.inner)
    }

    /// Locks for reading, waiting for at most `limit`; `None` if that passed first.
    pub fn read_timeout(&self, limit: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.read_until(Until::After(limit))
    }

    /// Locks for writing, waiting for at most `limit`; `None` if that passed first. A writer that
    /// gives up lets in the readers that waited because of it.
    pub fn write_timeout(&self, limit: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_until(Until::After(limit))
    }

    /// As [`read`](Self::read), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if nobody writes.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError, sync::RwLock};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let lock = RwLock::new(7);
    /// assert_eq!(*lock.read_ctx(&ctx).unwrap(), 7);
    /// cancel.cancel();
    /// assert_eq!(lock.read_ctx(&ctx).unwrap_err(), ContextError::Cancelled);
    /// ```
    pub fn read_ctx(&self, ctx: &Context) -> Result<RwLockReadGuard<'_, T>, ContextError> {
        ctx.check()?;
        self.read_until(Until::Done(ctx)).ok_or_else(|| ctx.why())
    }

    /// As [`write`](Self::write), until `ctx` is done. A writer that gives up lets in the readers
    /// that waited because of it.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if the lock is
    /// free.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError, sync::RwLock};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let lock = RwLock::new(7);
    /// let reading = lock.read();
    /// assert_eq!(lock.write_ctx(&ctx).unwrap_err(), ContextError::DeadlineExceeded);
    /// # drop(reading);
    /// ```
    pub fn write_ctx(&self, ctx: &Context) -> Result<RwLockWriteGuard<'_, T>, ContextError> {
        ctx.check()?;
        self.write_until(Until::Done(ctx)).ok_or_else(|| ctx.why())
    }

    /// As [`read`](Self::read), as a future for tasks. Dropping the future gives up its place, and
    /// leaves the lock if it had just been let in; one that is neither polled nor dropped keeps
    /// writers out from when it is let in.
    pub fn read_async(&self) -> ReadFuture<'_, T> {
        ReadFuture::new(&self.inner)
    }

    /// As [`write`](Self::write), as a future for tasks; what is said of
    /// [`read_async`](Self::read_async) holds here too.
    pub fn write_async(&self) -> WriteFuture<'_, T> {
        WriteFuture::new(&self.inner)
    }

    /// The value, without locking: `&mut` proves that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    #[inline]
    fn read_until(&self, until: Until) -> Option<RwLockReadGuard<'_, T>> {
        RwLockReadGuard::new_until(&self.inner, until)
    }

    #[inline]
    fn write_until(&self, until: Until) -> Option<RwLockWriteGuard<'_, T>> {
        RwLockWriteGuard::new_until(&self.inner, until)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwLock");
        match self.try_read() {
            Some(value) => f.field("value", &&*value),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

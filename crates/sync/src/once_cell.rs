//! A value that is set once, by whoever comes first.
//!
//! [`OnceCell`] is an empty place beside a [`Once`]: the one whose run it is writes the place and
//! completes the run, and from then on everybody reads. The protocol is all in `once`; this file
//! owns the two unsafe steps, the write and the read.
//!
//! A run that ends otherwise (its initialiser panics, returns an error, or is a future that is
//! dropped) has written nothing, and the next caller runs its own.
//!
//! *Happens-before*: setting the value happens before every return that says or shows that it is
//! set.
//!
//! Rejected: a place without a discriminant (`MaybeUninit`, as `std` has it: saves at most a word,
//! and costs an unsafe drop, an unsafe `take` and the proof that the state of the `Once` cannot
//! disagree with it).

use crate::once::{Begun, Once, OnceFuture, Run};
use crate::until::Until;
use millpond_rt::context::{self, ContextError};
use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A place for a value that is set at most once and then read by all, from goroutines, tasks and
/// plain threads. The shape is that of [`std::sync::OnceLock`], with async twins.
///
/// Setting the value happens before every return that says or shows that it is set.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::OnceCell;
///
/// static NAME: OnceCell<String> = OnceCell::new();
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "mill".to_owned()), "mill");
/// assert_eq!(NAME.get_or_init(|| unreachable!("it is set")), "mill");
/// assert_eq!(NAME.set("pond".to_owned()), Err("pond".to_owned()));
/// ```
pub struct OnceCell<T> {
    once: Once,
    /// Written by the one that runs under `once`, while it runs; only read once that has completed.
    /// `Some` exactly when it has.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a shared cell takes a value from one thread (through `set` or an initialiser) that another
// may own and drop (through `into_inner`): `T: Send`; and gives `&T` to many: `T: Sync`. `once` orders
// the one write before all reads.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}

impl<T> OnceCell<T> {
    /// An empty cell.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(None) }
    }

    /// An empty cell.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(None) }
    }

    /// The value, if it is set. Never parks; one atomic load.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: a run has completed, so its write is over, and no other run will come as long as
        // the cell is shared (`take` and `into_inner` ask for it whole).
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value, if it is set: `&mut` proves that nobody else has it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Sets the value. If another's initialiser runs, waits for its end: parks the goroutine, or
    /// blocks the plain thread.
    ///
    /// # Errors
    /// Gives `value` back if the cell is set already, or by then.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initialiser runs at most once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none, sets it to what `initialise` returns. While another's
    /// initialiser runs, parks the goroutine, or blocks the plain thread. The initialiser may park.
    ///
    /// # Panics
    /// If `initialise` does; the cell then stays empty, and one of those who wait runs its own.
    ///
    /// # Deadlock
    /// An `initialise` that sets or initialises the same cell waits for itself for ever.
    #[inline]
    pub fn get_or_init(&self, initialise: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<_, Infallible>(initialise())) {
            Ok(value) => value,
        }
    }

    /// As [`get_or_init`](Self::get_or_init), with an initialiser that may fail.
    ///
    /// # Errors
    /// That of `initialise`; the cell then stays empty, and one of those who wait runs its own.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let port = millpond::sync::OnceCell::new();
    /// assert!(port.get_or_try_init(|| "http".parse::<u16>()).is_err());
    /// assert_eq!(port.get_or_try_init(|| "80".parse::<u16>()), Ok(&80));
    /// ```
    #[inline]
    pub fn get_or_try_init<E>(&self, initialise: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self
                .initialise_until(initialise, Until::Forever)
                .map(|value| value.expect("a wait without a time limit does not time out")),
        }
    }

    /// The value; `None` if `until` passed while another's initialiser ran.
    #[cold]
    fn initialise_until<E>(
        &self,
        initialise: impl FnOnce() -> Result<T, E>,
        until: Until,
    ) -> Result<Option<&T>, E> {
        if let Begun::Run(run) = self.once.begin_until(until) {
            self.complete(run, initialise()?);
        }
        Ok(self.get())
    }

    /// As [`get_or_init`](Self::get_or_init), for tasks. If the future is dropped while its
    /// initialiser runs, that has not run: one of those who wait runs its own.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::sync::OnceCell;
    ///
    /// static ANSWER: OnceCell<u32> = OnceCell::new();
    /// let task = millpond::spawn(async { *ANSWER.get_or_init_async(|| async { 42 }).await });
    /// assert_eq!(task.join().unwrap(), 42);
    /// # }).unwrap();
    /// ```
    pub async fn get_or_init_async<F>(&self, initialise: impl FnOnce() -> F) -> &T
    where
        F: Future<Output = T>,
    {
        let initialise = || async { Ok::<_, Infallible>(initialise().await) };
        match self.get_or_try_init_async(initialise).await {
            Ok(value) => value,
        }
    }

    /// As [`get_or_try_init`](Self::get_or_try_init), for tasks; what is said of
    /// [`get_or_init_async`](Self::get_or_init_async) holds here too.
    ///
    /// # Errors
    /// That of `initialise`.
    pub async fn get_or_try_init_async<E, F>(&self, initialise: impl FnOnce() -> F) -> Result<&T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        if self.get().is_none()
            && let Begun::Run(run) = self.once.begin_async().await
        {
            let value = initialise().await?;
            self.complete(run, value);
        }
        Ok(self.get().expect("a run has completed"))
    }

    /// Waits until the value is set, by somebody else: runs no initialiser. Parks the goroutine, or
    /// blocks the plain thread.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let address = millpond::sync::OnceCell::new();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| address.set("127.0.0.1:7000"));
    ///     assert_eq!(*address.wait(), "127.0.0.1:7000");
    /// });
    /// ```
    pub fn wait(&self) -> &T {
        self.wait_until(Until::Forever).expect("a wait without a time limit does not time out")
    }

    /// As [`wait`](Self::wait), for at most `limit`; `None` if that passed first.
    pub fn wait_timeout(&self, limit: Duration) -> Option<&T> {
        self.wait_until(Until::After(limit))
    }

    /// As [`wait`](Self::wait), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if the value is
    /// set ([`get`](Self::get) asks for that).
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError, sync::OnceCell};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let never = OnceCell::<u8>::new();
    /// assert_eq!(never.wait_ctx(&ctx), Err(ContextError::DeadlineExceeded));
    /// ```
    pub fn wait_ctx(&self, ctx: &context::Context) -> Result<&T, ContextError> {
        ctx.check()?;
        self.wait_until(Until::Done(ctx)).ok_or_else(|| ctx.why())
    }

    /// As [`wait`](Self::wait), as a future for tasks.
    pub fn wait_async(&self) -> OnceCellWaitFuture<'_, T> {
        OnceCellWaitFuture { cell: self, wait: self.once.wait_async() }
    }

    fn wait_until(&self, until: Until) -> Option<&T> {
        if !self.once.is_completed() {
            self.once.wait_until(until);
        }
        self.get()
    }

    /// Takes the value out; the cell is empty again.
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }

    /// The value, if it is set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Sets the value; `run` proves that the caller is the one to do so.
    fn complete(&self, run: Run<'_>, value: T) {
        debug_assert!(run.is_of(&self.once), "OnceCell: the run is another's");
        // SAFETY: whoever has a `Run` of `once` is the only one, and nobody reads before it has been
        // completed. (A run is of this cell: both callers have it from `self.once`.) The place holds
        // `None`, so no user's drop runs here.
        unsafe { *self.value.get() = Some(value) };
        run.complete();
    }
}

/// Waits until a [`OnceCell`] is set. From [`OnceCell::wait_async`].
#[must_use = "nothing is waited for until the future is awaited"]
pub struct OnceCellWaitFuture<'a, T> {
    cell: &'a OnceCell<T>,
    wait: OnceFuture<'a>,
}

impl<'a, T> Future for OnceCellWaitFuture<'a, T> {
    type Output = &'a T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'a T> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.wait).poll(cx));
        Poll::Ready(this.cell.get().expect("a run has completed"))
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = Self::new();
        // Nobody else has it, so this neither waits nor fails.
        let _ = cell.set(value);
        cell
    }
}

impl<T: Clone> Clone for OnceCell<T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(Self::new, Self::from)
    }
}

impl<T: PartialEq> PartialEq for OnceCell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceCell<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("OnceCell");
        match self.get() {
            Some(value) => f.field(value),
            None => f.field(&format_args!("<unset>")),
        };
        f.finish()
    }
}

impl<T> fmt::Debug for OnceCellWaitFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceCellWaitFuture").finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::task::Waker;

    /// Three set it, one of them only after an error and a panic of its own: all see one value.
    #[test]
    fn after_an_error_or_a_panic_the_next_one_runs() {
        loom::model(|| {
            let cell = Arc::new(OnceCell::new());
            let failing = {
                let cell = cell.clone();
                thread::spawn(move || {
                    let failed = cell.get_or_try_init(|| Err(())).copied();
                    // `resume_unwind` prints nothing.
                    let panicked = catch_unwind(AssertUnwindSafe(|| {
                        *cell.get_or_init(|| resume_unwind(Box::new("broken")))
                    }));
                    assert!(failed.is_err() || panicked.is_ok(), "what is set stays");
                })
            };
            let other = {
                let cell = cell.clone();
                thread::spawn(move || *block_on(cell.get_or_init_async(|| async { 1 })))
            };
            let seen = *cell.get_or_init(|| 2);
            assert_eq!(other.join().unwrap(), seen);
            failing.join().unwrap();
            assert_eq!(cell.get(), Some(&seen));
        });
    }

    /// A future whose initialiser has begun is dropped: one that waits for the end runs its own, and
    /// one that waits for the value gets that.
    #[test]
    fn a_dropped_initialiser_has_not_run() {
        loom::model(|| {
            let cell = Arc::new(OnceCell::new());
            let mut stuck = Box::pin(cell.get_or_init_async(std::future::pending));
            assert!(stuck.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let next = {
                let cell = cell.clone();
                thread::spawn(move || *cell.get_or_init(|| 1))
            };
            let waiting = {
                let cell = cell.clone();
                thread::spawn(move || *block_on(cell.wait_async()))
            };
            drop(stuck);
            assert_eq!((next.join().unwrap(), waiting.join().unwrap()), (1, 1));
        });
    }

    /// The cell is set while one waits for it and another gives up waiting.
    #[test]
    fn who_waits_is_told() {
        loom::model(|| {
            let cell = Arc::new(OnceCell::new());
            let waiting = {
                let cell = cell.clone();
                thread::spawn(move || *cell.wait())
            };
            let setting = {
                let cell = cell.clone();
                thread::spawn(move || cell.set(1))
            };
            {
                let mut dropped = cell.wait_async();
                let _ = Pin::new(&mut dropped).poll(&mut Context::from_waker(Waker::noop()));
            }
            assert_eq!(waiting.join().unwrap(), 1);
            assert_eq!(setting.join().unwrap(), Ok(()));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tests::poll_once;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

    #[test]
    fn a_failed_initialiser_leaves_it_empty() {
        let cell = OnceCell::new();
        assert_eq!(cell.get_or_try_init(|| Err("no")), Err("no"));
        let panic = catch_unwind(AssertUnwindSafe(|| cell.get_or_init(|| panic!("broken"))));
        assert!(panic.is_err() && cell.get().is_none());
        {
            let mut dropped = pin!(cell.get_or_init_async(std::future::pending));
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(dropped.as_mut().poll(cx).is_pending());
            assert!(cell.wait_timeout(Duration::ZERO).is_none());
            assert!(poll_once(&mut cell.wait_async()).is_pending());
        }
        assert_eq!(cell.set(1), Ok(()));
        assert_eq!((cell.set(2), cell.wait(), cell.get()), (Err(2), &1, Some(&1)));
        assert!(poll_once(&mut cell.wait_async()).is_ready());
    }

    #[test]
    fn values_are_dropped_once_each() {
        let value = Arc::new(());
        let mut cell = OnceCell::from(value.clone());
        assert!(cell.set(value.clone()).is_err());
        assert_eq!(Arc::strong_count(&value), 2);
        assert!(cell.take().is_some() && cell.get().is_none());
        assert_eq!(Arc::strong_count(&value), 1);
        cell.set(value.clone()).unwrap();
        assert!(cell.get_mut().is_some());
        assert_eq!(Arc::strong_count(&value), 2);
        drop(cell);
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(OnceCell::from(value).into_inner().is_some());
    }

    #[test]
    fn copies_compare_and_show_as_what_they_hold() {
        let (empty, full) = (OnceCell::new(), OnceCell::from(1));
        assert!(empty.clone() == empty && full.clone() == full && empty != full);
        assert_eq!(format!("{empty:?} {full:?}"), "OnceCell(<unset>) OnceCell(1)");
    }

    #[test]
    fn cells_and_futures_travel_with_what_may() {
        fn travels<T: Send + Sync>(_: &T) {}
        fn send<T: Send>(_: &T) {}
        let cell = OnceCell::<u8>::new();
        travels(&cell);
        travels(&cell.wait_async());
        send(&cell.get_or_init_async(|| async { 1 }));
        send(&OnceCell::<std::cell::Cell<u8>>::new());
    }
}

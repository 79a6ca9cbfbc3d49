//! Waiting for a condition that others make true under a mutex.
//!
//! A list of waiters under a small lock of its own, first in, first out. A waiter is on the list
//! before it unlocks the mutex, so a notification by whoever locks the mutex next finds it:
//!
//! ```text
//! waiter (has the mutex)                       notifier
//!  1. reserve a place on the list               1. takes the place at the front, writes `One` into
//!  2. unlock the mutex                             it; or all places, and `All`
//!  3. taken meanwhile? go to 5                  2. resumes who had begun to wait
//!  4. begin the wait in the place; park
//!  5. remove the place; lock the mutex
//! ```
//!
//! The place is reserved *before* the wait begins because unlocking the mutex may run the waker of
//! a task, which is user code and may itself wait; a goroutine has one wait at a time.
//!
//! What a place holds when its owner removes it is the whole truth about its wait:
//!
//! | notice | meaning | if its owner goes away without looking at its condition |
//! |---|---|---|
//! | `None` | nobody has notified it: a limit passed, or its future was dropped | nothing is lost |
//! | `One` | a `notify_one` was spent on it | is passed on, as a new `notify_one` |
//! | `All` | it was one of all | nothing is lost: all others were woken as well |
//!
//! A wait that times out has not been notified: the timer and the notifier race for one word, and
//! a notifier that loses takes the next place. A future can be dropped after the race, while it is
//! woken and not yet polled or while it waits for the mutex again: that is when `One` is passed on.
//! So there is no wake-up without a notification and no notification without a wake-up.
//!
//! *Happens-before*: a notification happens before the wait that it ends returns (and what the
//! notifier did under the mutex does anyway).
//!
//! Rejected: Go's numbers instead of places (`notifyList`: a waiter that leaves early, by time or by
//! drop, would leave its number behind, and a notification could be spent on it); moving the woken
//! straight into the mutex's line (the mutex has its own idea of fairness, and a waiter of *all* finds
//! its condition false more often than not); a flag that spares a notifier the lock when nobody
//! waits (an uncontended lock costs about as much as the fence that the flag would need).

mod future;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use future::CondvarWaitFuture;

use crate::mutex::MutexGuard;
use crate::until::Until;
use crate::wait_list::{FiredList, WaitList};
use millpond_prim::sync::Lock;
use millpond_rt::context::{Context, ContextError};
use millpond_rt::wait::{WaitReason, Waiting};
use std::fmt;
use std::time::Duration;

/// Lets goroutines, tasks and plain threads wait, with a [`Mutex`](crate::Mutex) unlocked, until
/// somebody says that what they wait for may have come true.
///
/// Unlike `std`'s and POSIX's, a wait ends only when it is notified (or its time limit passes);
/// still, look at the condition again, because others may have the mutex first. Waiters are
/// notified in the order in which they came. One condition variable may be used with different
/// mutexes; each waiter locks its own again.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::{Condvar, Mutex};
///
/// let (queue, not_empty) = (Mutex::new(Vec::new()), Condvar::new());
/// std::thread::scope(|s| {
///     s.spawn(|| {
///         queue.lock().push(7);
///         not_empty.notify_one();
///     });
///     let mut queue = not_empty.wait_while(queue.lock(), |queue| queue.is_empty());
///     assert_eq!(queue.pop(), Some(7));
/// });
/// ```
pub struct Condvar {
    /// Who waits, longest first.
    waiters: Lock<WaitList<Notice>>,
}

/// Whether a wait with a time limit ended because of it. From [`Condvar::wait_timeout`].
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the limit passed before a notification came.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// How a place has been taken. See the module documentation.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Notice {
    None,
    One,
    All,
}

impl Condvar {
    /// Nobody waits.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { waiters: Lock::new(WaitList::new()) }
    }

    /// Nobody waits.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { waiters: Lock::new(WaitList::new()) }
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again. Parks the goroutine,
    /// or blocks the plain thread. A notification by whoever locks the mutex after this unlocked it
    /// is not missed.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, Until::Forever).0
    }

    /// Waits until `condition` is false; returns at once if it is. Parks as [`wait`](Self::wait)
    /// does.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.wait_while_until(guard, Until::Forever, condition).0
    }

    /// As [`wait`](Self::wait), for at most `limit`. The mutex is locked again in either case, for
    /// which there is no limit.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::sync::{Condvar, Mutex};
    ///
    /// let (mutex, never) = (Mutex::new(1), Condvar::new());
    /// let (guard, result) = never.wait_timeout(mutex.lock(), std::time::Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// assert_eq!(*guard, 1);
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let (guard, notified) = self.wait_until(guard, Until::After(limit));
        (guard, WaitTimeoutResult(!notified))
    }

    /// Waits until `condition` is false, for at most `limit` altogether. The result says that it
    /// timed out only if `condition` was still true after the limit.
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let (guard, met) = self.wait_while_until(guard, Until::After(limit), condition);
        (guard, WaitTimeoutResult(!met))
    }

    /// As [`wait`](Self::wait), until `ctx` is done. The mutex is locked again in either case, for
    /// which there is no limit.
    ///
    /// Beside the guard: [`ContextError`] if the context was done before a notification came. If it
    /// is done already, the mutex stays locked.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError};
    /// use millpond::sync::{Condvar, Mutex};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (mutex, changed) = (Mutex::new(1), Condvar::new());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| cancel.cancel());
    ///     let (guard, result) = changed.wait_ctx(&ctx, mutex.lock());
    ///     assert_eq!((*guard, result), (1, Err(ContextError::Cancelled)));
    /// });
    /// ```
    pub fn wait_ctx<'a, T: ?Sized>(
        &self,
        ctx: &Context,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, Result<(), ContextError>) {
        if let Some(error) = ctx.err() {
            return (guard, Err(error));
        }
        let (guard, notified) = self.wait_until(guard, Until::Done(ctx));
        (guard, if notified { Ok(()) } else { Err(ctx.why()) })
    }

    /// Waits until `condition` is false, or `ctx` is done.
    ///
    /// Beside the guard: [`ContextError`] if the context was done already (then the condition is not
    /// looked at), or ended the wait with `condition` still true.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError};
    /// use millpond::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let (queue, not_empty) = (Mutex::new(Vec::<u8>::new()), Condvar::new());
    /// let (guard, result) = not_empty.wait_while_ctx(&ctx, queue.lock(), |queue| queue.is_empty());
    /// assert!(guard.is_empty());
    /// assert_eq!(result, Err(ContextError::DeadlineExceeded));
    /// ```
    pub fn wait_while_ctx<'a, T: ?Sized>(
        &self,
        ctx: &Context,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, Result<(), ContextError>) {
        if let Some(error) = ctx.err() {
            return (guard, Err(error));
        }
        let (guard, met) = self.wait_while_until(guard, Until::Done(ctx), condition);
        (guard, if met { Ok(()) } else { Err(ctx.why()) })
    }

    /// As [`wait`](Self::wait), as a future for tasks. The mutex stays locked until the future is
    /// first polled. Dropping the future gives up; a [`notify_one`](Self::notify_one) that was
    /// spent on it goes to the next.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::sync::{Condvar, Mutex};
    /// use std::sync::Arc;
    ///
    /// let door = Arc::new((Mutex::new(false), Condvar::new()));
    /// let guest = millpond::spawn({
    ///     let door = door.clone();
    ///     async move {
    ///         let mut open = door.0.lock_async().await;
    ///         while !*open {
    ///             open = door.1.wait_async(open).await;
    ///         }
    ///     }
    /// });
    /// *door.0.lock() = true;
    /// door.1.notify_all();
    /// guest.join().unwrap();
    /// # }).unwrap();
    /// ```
    pub fn wait_async<'a, T: ?Sized>(
        &'a self,
        guard: MutexGuard<'a, T>,
    ) -> CondvarWaitFuture<'a, T> {
        CondvarWaitFuture::new(self, guard)
    }

    /// Ends the wait of the one that waits longest; does nothing if nobody waits. The caller may
    /// have the mutex locked or not. Happens before that wait returns. Never parks.
    pub fn notify_one(&self) {
        let mut waiters = self.waiters.lock();
        let fired = waiters.take_front().and_then(|(notice, fired)| {
            *notice = Notice::One;
            fired
        });
        drop(waiters);
        drop(fired);
    }

    /// Ends the waits of all who wait now. Happens before those waits return. Never parks.
    pub fn notify_all(&self) {
        let mut waiters = self.waiters.lock();
        let mut all = FiredList::default();
        while let Some((notice, fired)) = waiters.take_front() {
            *notice = Notice::All;
            fired.into_iter().for_each(|fired| all.push(fired));
        }
        drop(waiters);
        drop(all);
    }

    /// Whether it was notified, and the mutex, locked again.
    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        until: Until,
    ) -> (MutexGuard<'a, T>, bool) {
        let mutex = MutexGuard::mutex(&guard);
        let place = self.waiters.lock().reserve(Notice::None);
        drop(guard);
        let waiting = Waiting::begin();
        if self.waiters.lock().begin(&place, waiting.ticket()) {
            // How it ended is in the place.
            waiting.park_until(WaitReason::Condvar, until);
        } else {
            waiting.cancel();
        }
        let notice = self.waiters.lock().remove(place);
        (mutex.lock(), notice != Notice::None)
    }

    /// Whether the condition is false, and the mutex.
    fn wait_while_until<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        until: Until,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, bool) {
        // The limit is for all waits together, and counted from when the first begins.
        let mut until = until;
        while condition(&mut guard) {
            until = until.fixed();
            let notified;
            (guard, notified) = self.wait_until(guard, until);
            if !notified {
                let met = !condition(&mut guard);
                return (guard, met);
            }
        }
        (guard, true)
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

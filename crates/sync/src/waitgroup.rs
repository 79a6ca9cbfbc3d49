//! Waiting for a group of goroutines to finish.
//!
//! A count, and the waiters beside it. Only the step from one to zero matters to waiters, and only
//! it takes the waiters' lock; all other steps are one atomic. A waiter registers under that lock
//! after seeing a count above zero, so the step to zero comes after it and wakes it:
//!
//! ```text
//!   done: count 1 ─lock─▶ count 0, claim all ─unlock─▶ ready     wait: lock; count > 0? push; park
//! ```
//!
//! So a waiter is woken by exactly the zero that ended its round, and a group may be used again at
//! once. (With the decrement outside the lock, a `done` that was delayed between zero and lock
//! would wake the waiters of the next round.)

use crate::until::Until;
use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::atomic::{AtomicUsize, Ordering};
use millpond_prim::sync::{Arc, Guard, Lock};
use millpond_rt::context::{Context, ContextError};
use millpond_rt::coop;
use millpond_rt::wait::{FutureWait, WaitReason, Waiting};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

/// More than this cannot be counted.
const MAX: usize = isize::MAX as usize;

/// Counts what is still running, and lets others wait until nothing is. Go's `sync.WaitGroup`,
/// with shared handles: a clone is the same group.
///
/// Each [`done`](Self::done) happens before the waits that end because of it return.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// for _ in 0..3 {
///     group.add(1);
///     let group = group.clone();
///     std::thread::spawn(move || group.done());
/// }
/// group.wait();
/// ```
#[derive(Clone)]
pub struct WaitGroup {
    shared: Arc<Shared>,
}

struct Shared {
    /// Atomic. The step from 1 to 0 is made under the lock of `waiters` only.
    count: AtomicUsize,
    /// Who waits for the count to reach zero.
    waiters: Lock<WaitList<()>>,
}

impl WaitGroup {
    /// An empty group: waiting for it returns at once.
    pub fn new() -> Self {
        let shared = Shared { count: AtomicUsize::new(0), waiters: Lock::new(WaitList::new()) };
        Self { shared: Arc::new(shared) }
    }

    /// Counts `n` more. Call it before what is counted starts, or a wait may return too early.
    ///
    /// # Panics
    /// If the count would exceed `isize::MAX`.
    pub fn add(&self, n: usize) {
        let more = |count: usize| count.checked_add(n).filter(|count| *count <= MAX);
        // Relaxed: it only has to be ordered before the matching `done`, which whoever starts the
        // work sees to.
        if let Err(count) =
            self.shared.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        {
            panic!("WaitGroup::add({n}): the count is {count} and cannot exceed {MAX}");
        }
    }

    /// Counts one off; the last one wakes all who wait.
    ///
    /// # Panics
    /// If the count is zero: there were more calls of `done` than were added.
    pub fn done(&self) {
        // Release: what was done before happens before the waits that this helps to end.
        let unless_last = |count| (count > 1).then(|| count - 1);
        let count = &self.shared.count;
        while let Err(seen) = count.fetch_update(Ordering::Release, Ordering::Relaxed, unless_last)
        {
            assert!(seen != 0, "WaitGroup::done: the count is zero; one `add` is missing");
            let mut waiters = self.shared.waiters.lock();
            // Acquire: the claims below carry on what all others did before their `done`. Fails if
            // somebody added meanwhile: then this is not the last.
            if count.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let fired = waiters.claim_all(|()| 0);
                drop(waiters);
                drop(fired);
                return;
            }
        }
    }

    /// Waits until the count is zero. Parks the goroutine, or blocks the plain thread.
    pub fn wait(&self) {
        self.wait_until(Until::Forever);
    }

    /// As [`wait`](Self::wait), for at most `limit`; `false` if that passed first.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let group = millpond::sync::WaitGroup::new();
    /// group.add(1);
    /// assert!(!group.wait_timeout(std::time::Duration::from_millis(1)));
    /// group.done();
    /// assert!(group.wait_timeout(std::time::Duration::ZERO));
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Until::After(limit))
    }

    /// As [`wait`](Self::wait), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already, even if the count is
    /// zero.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, sync::WaitGroup};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let group = WaitGroup::new();
    /// assert!(group.wait_ctx(&ctx).is_ok());
    /// cancel.cancel();
    /// assert!(group.wait_ctx(&ctx).is_err());
    /// ```
    pub fn wait_ctx(&self, ctx: &Context) -> Result<(), ContextError> {
        ctx.check()?;
        if self.wait_until(Until::Done(ctx)) { Ok(()) } else { Err(ctx.why()) }
    }

    /// As [`wait`](Self::wait), as a future for tasks.
    pub fn wait_async(&self) -> WaitFuture<'_> {
        WaitFuture { group: self, key: None, wait: FutureWait::new() }
    }

    /// Starts a goroutine that is counted until it has ended: returned, panicked (its panic is
    /// reported as any goroutine's), or dropped before it started. Its result is dropped; to have
    /// it, use [`millpond_rt::go`] with [`add`](Self::add) and [`done`](Self::done).
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::sync::{WaitGroup, chan};
    ///
    /// let (group, (tx, rx)) = (WaitGroup::new(), chan::unbounded());
    /// for i in 0..3 {
    ///     let tx = tx.clone();
    ///     group.go(move || tx.send(i));
    /// }
    /// group.wait();
    /// assert_eq!(rx.try_iter().sum::<i32>(), 3);
    /// # }).unwrap();
    /// ```
    #[cfg(not(loom))]
    #[track_caller]
    pub fn go<F, T>(&self, f: F)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(1);
        let member = Member(self.clone());
        drop(millpond_rt::go(move || {
            // Moved in whole: it is dropped with the closure if that never runs, and after `f` and
            // its result otherwise.
            let _member = member;
            drop(f());
        }));
    }

    /// `false` if `until` came first.
    fn wait_until(&self, until: Until<'_>) -> bool {
        let Some(mut waiters) = self.shared.lock_if_counting() else {
            coop::spend();
            return true;
        };
        let waiting = Waiting::begin();
        let key = waiters.push_back(waiting.ticket(), ());
        drop(waiters);
        let outcome = waiting.park_until(WaitReason::WaitGroup, until);
        self.shared.waiters.lock().remove(key);
        outcome.is_fired()
    }
}

impl Shared {
    /// The lock of the waiters if the count is above zero, which it then stays.
    fn lock_if_counting(&self) -> Option<Guard<'_, WaitList<()>>> {
        // Acquire, both times: what was done before each `done` happens before our return.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let waiters = self.waiters.lock();
        (self.count.load(Ordering::Acquire) != 0).then_some(waiters)
    }
}

/// One that is counted; dropping it counts it off.
#[cfg(not(loom))]
struct Member(WaitGroup);

#[cfg(not(loom))]
impl Drop for Member {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// Waits for a [`WaitGroup`]. From [`WaitGroup::wait_async`].
#[must_use = "nothing is waited for until the future is awaited"]
pub struct WaitFuture<'a> {
    group: &'a WaitGroup,
    /// The entry in the list, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl Future for WaitFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.key.is_none() {
            let Some(mut waiters) = this.group.shared.lock_if_counting() else {
                coop::spend();
                return Poll::Ready(());
            };
            this.key = Some(waiters.push_back(this.wait.arm(), ()));
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let key = this.key.take().expect("registered above or in an earlier poll");
        this.group.shared.waiters.lock().remove(key);
        Poll::Ready(())
    }
}

impl Drop for WaitFuture<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.wait.cancel();
            self.group.shared.waiters.lock().remove(key);
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.shared.count.load(Ordering::Relaxed);
        f.debug_struct("WaitGroup").field("count", &count).finish()
    }
}

impl fmt::Debug for WaitFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFuture").field("group", self.group).finish()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::future::block_on;
    use loom::thread;
    use std::pin::pin;
    use std::task::Waker;

    /// Two members finish while one thread waits: it sees what both did.
    #[test]
    fn wait_sees_what_was_done() {
        loom::model(|| {
            let group = WaitGroup::new();
            let cells = Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
            group.add(2);
            let members: Vec<_> = (0..2)
                .map(|i| {
                    let (group, cells) = (group.clone(), cells.clone());
                    thread::spawn(move || {
                        // SAFETY: each member has its own cell, and the waiter reads after `wait`.
                        cells[i].with_mut(|cell: *mut u32| unsafe { *cell = 1 });
                        group.done();
                    })
                })
                .collect();
            group.wait();
            for cell in cells.iter() {
                // SAFETY: the members have written and touch the cells no more.
                assert_eq!(cell.with(|cell| unsafe { *cell }), 1);
            }
            for member in members {
                member.join().unwrap();
            }
        });
    }

    /// A group that is used again: the first round's `done` never ends the second round's wait.
    #[test]
    fn a_late_done_does_not_end_the_next_round() {
        loom::model(|| {
            let group = WaitGroup::new();
            let finished = Arc::new(AtomicUsize::new(0));
            let member = |round: usize| {
                group.add(1);
                let (group, finished) = (group.clone(), finished.clone());
                thread::spawn(move || {
                    finished.store(round, Ordering::Relaxed);
                    group.done();
                })
            };
            let first = member(1);
            group.wait();
            assert_eq!(finished.load(Ordering::Relaxed), 1);
            let second = member(2);
            block_on(group.wait_async());
            assert_eq!(finished.load(Ordering::Relaxed), 2);
            first.join().unwrap();
            second.join().unwrap();
        });
    }

    /// One waiter gives up while the group finishes: the other is still woken.
    #[test]
    fn a_dropped_wait_leaves_the_others_alone() {
        loom::model(|| {
            let group = WaitGroup::new();
            group.add(1);
            let waiting = {
                let group = group.clone();
                thread::spawn(move || group.wait())
            };
            let member = {
                let group = group.clone();
                thread::spawn(move || group.done())
            };
            {
                let future = pin!(group.wait_async());
                let _ = future.poll(&mut task::Context::from_waker(Waker::noop()));
            }
            waiting.join().unwrap();
            member.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn message(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = catch_unwind(run).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_else(|| {
            panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).unwrap_or_default()
        })
    }

    #[test]
    fn one_done_too_many_says_so() {
        let said = message(|| WaitGroup::new().done());
        assert!(said.contains("the count is zero"), "{said}");
    }

    #[test]
    fn a_count_that_overflows_says_so_and_stays() {
        let group = WaitGroup::new();
        group.add(1);
        let again = group.clone();
        let said = message(std::panic::AssertUnwindSafe(move || again.add(usize::MAX)));
        assert!(said.contains("cannot exceed"), "{said}");
        group.done();
        group.wait();
    }

    #[test]
    fn time_outs_leave_no_entry() {
        let group = WaitGroup::new();
        group.add(1);
        for _ in 0..100 {
            assert!(!group.wait_timeout(Duration::ZERO));
        }
        assert_eq!(group.shared.waiters.lock().footprint().0, 0);
        group.done();
        assert!(group.wait_timeout(Duration::ZERO));
    }
}

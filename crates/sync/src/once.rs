//! Running something exactly once.
//!
//! A state and the waiters beside it. The state leaves RUNNING under the waiters' lock only, and a
//! waiter registers under that lock before it is DONE, so it is woken by the end of the run that it
//! saw, or of the next. If that run panicked, the woken look again and one of them runs.
//!
//! ```text
//!   NEW ──call_once──▶ RUNNING ──returns──▶ DONE
//!    ▲                    │ panics
//!    └────────────────────┘
//! ```
//!
//! [`OnceCell`](crate::OnceCell) is built on it: a run is a value here (`Run`), so an initialiser may
//! also be one that fails, or a future, and ends the run by dropping it.

use crate::until::Until;
use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU8, Ordering};
use millpond_rt::wait::{FutureWait, Ticket, WaitReason, Waiting};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

const NEW: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// Runs an initialiser once, whoever comes first; others wait for it. Go's `sync.Once`, except
/// that an initialiser that panics has not been run: the next caller tries again.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::Once;
///
/// let once = Once::new();
/// let mut runs = 0;
/// once.call_once(|| runs += 1);
/// once.call_once(|| runs += 1);
/// assert_eq!(runs, 1);
/// assert!(once.is_completed());
/// ```
pub struct Once {
    /// Atomic. Changed under the lock of `waiters` only; read without it.
    state: AtomicU8,
    /// Who waits for the initialiser that runs.
    waiters: Lock<WaitList<()>>,
}

impl Once {
    /// Nothing has run yet.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(NEW), waiters: Lock::new(WaitList::new()) }
    }

    /// Nothing has run yet.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { state: AtomicU8::new(NEW), waiters: Lock::new(WaitList::new()) }
    }

    /// Runs `initialise`, unless a call has run to its end before. While another call's initialiser
    /// runs, parks the goroutine, or blocks the plain thread, until that has ended.
    ///
    /// When this returns, one initialiser has run to its end, and what it did happens before the
    /// return. The initialiser may park.
    ///
    /// # Panics
    /// If `initialise` does; then the `Once` is as it was before, and one of those who wait runs
    /// its own.
    ///
    /// # Deadlock
    /// An `initialise` that calls `call_once` on the same `Once` waits for itself for ever, as in
    /// Go.
    #[inline]
    pub fn call_once(&self, initialise: impl FnOnce()) {
        if !self.is_completed() {
            self.call_until(initialise, Until::Forever);
        }
    }

    /// Whether an initialiser has run to its end. If `true`, what it did happens before this
    /// returns.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Whether an initialiser has run to its end; `false` if `until` passed while another's ran.
    #[cold]
    fn call_until(&self, initialise: impl FnOnce(), until: Until) -> bool {
        match self.begin_until(until) {
            Begun::Completed => true,
            Begun::Run(run) => {
                initialise();
                run.complete();
                true
            }
            Begun::TimedOut => false,
        }
    }

    /// Waits until an initialiser has run, or the caller has to run its own, or `until` passes.
    /// Parks or blocks.
    pub(crate) fn begin_until(&self, until: Until) -> Begun<'_> {
        self.look_until(Mode::Run, until)
    }

    /// Waits until an initialiser has run; `false` if `until` passed first. Parks or blocks.
    pub(crate) fn wait_until(&self, until: Until) -> bool {
        matches!(self.look_until(Mode::Wait, until), Begun::Completed)
    }

    /// As [`begin_until`](Self::begin_until), for tasks.
    pub(crate) fn begin_async(&self) -> OnceFuture<'_> {
        OnceFuture { once: self, mode: Mode::Run, key: None, wait: FutureWait::new() }
    }

    /// As [`wait_until`](Self::wait_until), for tasks; ends with [`Begun::Completed`].
    pub(crate) fn wait_async(&self) -> OnceFuture<'_> {
        OnceFuture { once: self, mode: Mode::Wait, key: None, wait: FutureWait::new() }
    }

    fn look_until(&self, mode: Mode, until: Until) -> Begun<'_> {
        // Once for all waits of this attempt.
        let until = until.fixed();
        loop {
            let waiting = Waiting::begin();
            let key = match self.look(mode, || waiting.ticket()) {
                Ok(begun) => return begun,
                Err(key) => key,
            };
            let outcome = waiting.park_until(WaitReason::Once, until);
            self.waiters.lock().remove(key);
            if !outcome.is_fired() {
                return Begun::TimedOut;
            }
        }
    }

    /// What the caller has come to, or its entry in the list if it has to wait.
    fn look(&self, mode: Mode, ticket: impl FnOnce() -> Ticket) -> Result<Begun<'_>, Key> {
        let mut waiters = self.waiters.lock();
        match (self.state.load(Ordering::Acquire), mode) {
            (DONE, _) => Ok(Begun::Completed),
            (NEW, Mode::Run) => {
                self.state.store(RUNNING, Ordering::Relaxed);
                Ok(Begun::Run(Run { once: self, ends_in: NEW }))
            }
            _ => Err(waiters.push_back(ticket(), ())),
        }
    }
}

/// What a caller wants: to run its initialiser if none has run, or only to wait for another's.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Run,
    Wait,
}

/// What a caller has come to.
#[derive(Debug)]
pub(crate) enum Begun<'a> {
    /// An initialiser has run to its end.
    Completed,
    /// The caller runs its own: it is the only one.
    Run(Run<'a>),
    /// The time limit passed.
    TimedOut,
}

/// A run of an initialiser. Its drop ends the run, also when the initialiser unwinds or is a future
/// that is dropped; it counts only if it was [completed](Run::complete).
#[derive(Debug)]
pub(crate) struct Run<'a> {
    once: &'a Once,
    ends_in: u8,
}

impl Run<'_> {
    /// Whether it is a run of this one.
    pub(crate) fn is_of(&self, once: &Once) -> bool {
        std::ptr::eq(self.once, once)
    }

    /// The initialiser has run to its end.
    pub(crate) fn complete(mut self) {
        self.ends_in = DONE;
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut waiters = self.once.waiters.lock();
        // Release: what the initialiser did happens before a call that sees DONE without the lock.
        self.once.state.store(self.ends_in, Ordering::Release);
        // All of them, also after a panic: the one that should try next may be late, a caller that
        // comes meanwhile may be the one that runs, and some only wait and never run one.
        let fired = waiters.claim_all(|()| 0);
        drop(waiters);
        drop(fired);
    }
}

/// Begins a run, or waits for another's, as a future.
pub(crate) struct OnceFuture<'a> {
    once: &'a Once,
    mode: Mode,
    /// The entry in the list, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a> Future for OnceFuture<'a> {
    type Output = Begun<'a>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Begun<'a>> {
        let this = self.get_mut();
        loop {
            if this.key.is_none() {
                match this.once.look(this.mode, || this.wait.arm()) {
                    Ok(begun) => return Poll::Ready(begun),
                    Err(key) => this.key = Some(key),
                }
            }
            if this.wait.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let key = this.key.take().expect("registered above or in an earlier poll");
            this.once.waiters.lock().remove(key);
        }
    }
}

impl Drop for OnceFuture<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            // All who wait are woken by the end of a run, so there is nothing to pass on.
            self.wait.cancel();
            self.once.waiters.lock().remove(key);
        }
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("is_completed", &self.is_completed()).finish()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    struct Lazy {
        once: Once,
        /// Written by the initialiser that `once` lets run.
        value: UnsafeCell<u32>,
    }

    impl Lazy {
        fn new() -> Arc<Self> {
            Arc::new(Self { once: Once::new(), value: UnsafeCell::new(0) })
        }

        fn get(&self) -> u32 {
            // SAFETY: one initialiser runs at a time, and reads come after it.
            self.once.call_once(|| self.value.with_mut(|value| unsafe { *value += 1 }));
            // SAFETY: the initialiser has run to its end and no other will run.
            self.value.with(|value| unsafe { *value })
        }
    }

    #[test]
    fn runs_once_and_all_see_it() {
        loom::model(|| {
            let lazy = Lazy::new();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let lazy = lazy.clone();
                    thread::spawn(move || lazy.get())
                })
                .collect();
            assert_eq!(lazy.get(), 1);
            for other in others {
                assert_eq!(other.join().unwrap(), 1);
            }
        });
    }

    #[test]
    fn after_a_panic_another_one_runs() {
        loom::model(|| {
            let lazy = Lazy::new();
            let others: Vec<_> = (0..2)
                .map(|i| {
                    let lazy = lazy.clone();
                    thread::spawn(move || {
                        if i == 0 {
                            return lazy.get();
                        }
                        // Panics if it is the one that runs; `resume_unwind` prints nothing.
                        let _ = catch_unwind(AssertUnwindSafe(|| {
                            lazy.once.call_once(|| resume_unwind(Box::new("broken")));
                        }));
                        1
                    })
                })
                .collect();
            assert_eq!(lazy.get(), 1);
            for other in others {
                assert_eq!(other.join().unwrap(), 1);
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panicking_initialiser_has_not_run() {
        let once = Once::new();
        let broken = catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("broken"))));
        assert!(broken.is_err() && !once.is_completed());
        let mut ran = false;
        once.call_once(|| ran = true);
        assert!(ran && once.is_completed());
        once.call_once(|| unreachable!("it has run"));
    }
}

//! The counting itself: one word, and a list of waiters beside it. No unsafe code.
//!
//! ```text
//!   bit  0     WAITERS  the list may hold somebody. Changed under the list's lock only.
//!   bit  1     CLOSED   no permit is given out any more; never cleared
//!   bits 2..   permits that nobody has
//! ```
//!
//! While WAITERS is clear, permits are taken and given back by one compare-and-swap each. While it
//! is set, nobody takes a permit without the list's lock, and whoever gives one back goes through
//! the lock and *settles*: from the front of the list, each waiter whose need is met is given its
//! permits and its wait ends with [`GRANTED`]; the first whose need is not met stops it. So nobody
//! overtakes, and permits gather in the word until the front's need is met: a big request is not
//! starved by small ones.
//!
//! 1. *A waiter* takes the lock, and if WAITERS is clear and there are enough, takes them after
//!    all; else it sets WAITERS, pushes its ticket with its need, parks.
//! 2. *A waiter that gives up* removes its entry and settles: those behind it may need less.
//! 3. *Close* sets CLOSED and ends all waits with [`CLOSED_DOWN`].
//! 4. A waiter that was granted and does not want it (its future is dropped) gives back as any
//!    holder does.
//!
//! The word is changed by read-modify-write steps only, so each taking step synchronises with all
//! that gave back before it.
//!
//! Rejected: handing permits to the front one by one (tokio's way: what a waiter has gathered then
//! belongs to nobody who could use or count it); letting a running caller take what the front is
//! waiting for (a limit on what runs is crossed by waiting callers alone: there is no short
//! critical section whose hand-over would have to be fast).

use super::error::{AcquireError, AcquireTimeoutError, TryAcquireError};
use crate::until::Until;
use crate::wait_list::{FiredList, Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicUsize, Ordering};
use millpond_rt::coop;
use millpond_rt::wait::{FutureWait, Outcome, Ticket, WaitReason, Waiting};
use std::task::{Context, Poll};

const WAITERS: usize = 1;
const CLOSED: usize = 2;
const SHIFT: u32 = 2;

/// More permits than this cannot be counted.
pub(super) const MAX: usize = usize::MAX >> 3;

/// Outcome of a wait: the permits are yours.
const GRANTED: u16 = 0;
/// Outcome of a wait: the semaphore was closed.
const CLOSED_DOWN: u16 = 1;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct RawSemaphore {
    /// Atomic: the states above.
    word: AtomicUsize,
    /// Who waits, each with its need. Its lock also protects the WAITERS bit.
    waiters: Lock<WaitList<usize>>,
}

/// What came of [`RawSemaphore::enqueue`].
enum Enqueued {
    /// There were enough: the caller has them.
    Granted,
    /// The semaphore is closed.
    Closed,
    /// The caller is in line and parks.
    Waits(Key),
}

fn permits(word: usize) -> usize {
    word >> SHIFT
}

/// The word with `n` permits more.
fn plus(word: usize, n: usize) -> usize {
    let free = permits(word);
    assert!(
        n <= MAX - free,
        "Semaphore: {free} permits and {n} more; at most {MAX} can be counted"
    );
    word + (n << SHIFT)
}

/// The word after `n` permits were taken, if that needs no waiting.
fn minus(word: usize, n: usize) -> Option<usize> {
    (word & (WAITERS | CLOSED) == 0 && permits(word) >= n).then(|| word - (n << SHIFT))
}

impl RawSemaphore {
    #[cfg(not(loom))]
    pub(super) const fn new(permits: usize) -> Self {
        // No numbers in the message: a constant function cannot format.
        assert!(permits <= MAX, "Semaphore::new: more permits than can be counted");
        Self { word: AtomicUsize::new(permits << SHIFT), waiters: Lock::new(WaitList::new()) }
    }

    #[cfg(loom)]
    pub(super) fn new(permits: usize) -> Self {
        Self { word: AtomicUsize::new(permits << SHIFT), waiters: Lock::new(WaitList::new()) }
    }

    /// Permits that nobody has: an old answer.
    pub(super) fn available(&self) -> usize {
        permits(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire: what was done before the close happens before what its observer does.
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes `n` permits if nobody waits and there are enough.
    #[inline]
    pub(super) fn try_acquire(&self, n: usize) -> Result<(), TryAcquireError> {
        // Acquire: what those did who gave back happens before what we do; on failure, as in
        // `is_closed`.
        let taken =
            self.word.fetch_update(Ordering::Acquire, Ordering::Acquire, |now| minus(now, n));
        match taken {
            Ok(_) => Ok(()),
            Err(seen) if seen & CLOSED != 0 => Err(TryAcquireError::Closed),
            Err(_) => Err(TryAcquireError::NoPermits),
        }
    }

    /// Takes `n` permits, waiting up to `until`. Parks or blocks.
    #[inline]
    pub(super) fn acquire_until(&self, n: usize, until: Until) -> Result<(), AcquireTimeoutError> {
        // Before taking: a goroutine that yields with a permit makes others wait.
        coop::spend();
        match self.try_acquire(n) {
            Ok(()) => Ok(()),
            Err(_) => self.acquire_slow(n, until),
        }
    }

    #[cold]
    fn acquire_slow(&self, n: usize, until: Until) -> Result<(), AcquireTimeoutError> {
        let waiting = Waiting::begin();
        let key = match self.enqueue(n, || waiting.ticket()) {
            Enqueued::Granted => return Ok(()),
            Enqueued::Closed => return Err(AcquireTimeoutError::Closed),
            Enqueued::Waits(key) => key,
        };
        match waiting.park_until(WaitReason::Semaphore, until) {
            Outcome::Fired(outcome) => Ok(self.granted(key, outcome)?),
            Outcome::TimedOut | Outcome::Cancelled(_) => {
                self.withdraw(key);
                Err(AcquireTimeoutError::Timeout)
            }
        }
    }

    /// Puts the caller in line, unless there is a reason not to wait.
    fn enqueue(&self, n: usize, ticket: impl FnOnce() -> Ticket) -> Enqueued {
        let mut waiters = self.waiters.lock();
        let look = |now: usize| match minus(now, n) {
            Some(less) => Some(less),
            None if now & CLOSED != 0 => None,
            None => Some(now | WAITERS),
        };
        match self.word.fetch_update(Ordering::Acquire, Ordering::Acquire, look) {
            Err(_) => Enqueued::Closed,
            Ok(before) if minus(before, n).is_some() => Enqueued::Granted,
            Ok(_) => Enqueued::Waits(waiters.push_back(ticket(), n)),
        }
    }

    /// The caller's wait has been ended: its entry goes, and this is what it got.
    fn granted(&self, key: Key, outcome: u16) -> Result<(), AcquireError> {
        self.waiters.lock().remove(key);
        if outcome == GRANTED { Ok(()) } else { Err(AcquireError) }
    }

    /// The caller does not wait any longer, and nobody has ended its wait.
    fn withdraw(&self, key: Key) {
        let mut waiters = self.waiters.lock();
        waiters.remove(key);
        let fired = self.settle(&mut waiters);
        drop(waiters);
        drop(fired);
    }

    /// Gives `n` permits back, or adds them.
    #[inline]
    pub(super) fn release(&self, n: usize) {
        // Release: what we did happens before what the next holder does.
        let add = |now| (now & WAITERS == 0).then(|| plus(now, n));
        if self.word.fetch_update(Ordering::Release, Ordering::Relaxed, add).is_err() {
            self.release_slow(n);
        }
    }

    #[cold]
    fn release_slow(&self, n: usize) {
        let mut waiters = self.waiters.lock();
        let _ =
            self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| Some(plus(now, n)));
        let fired = self.settle(&mut waiters);
        drop(waiters);
        drop(fired);
    }

    /// Gives the longest waiting what they need, as far as that goes.
    fn settle(&self, waiters: &mut WaitList<usize>) -> FiredList {
        let mut fired = FiredList::default();
        loop {
            // Acquire: the claim below carries on what was done before each giving back. While the
            // list holds somebody, WAITERS is set and only we change the number.
            let free = permits(self.word.load(Ordering::Acquire));
            let Some((n, one)) = waiters.claim_front_if(|n| *n <= free, GRANTED) else { break };
            self.word.fetch_sub(*n << SHIFT, Ordering::Relaxed);
            fired.push(one);
        }
        if waiters.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
        fired
    }

    /// Takes up to `n` free permits away for good; how many that were.
    pub(super) fn forget(&self, n: usize) -> usize {
        // With the lock: see `settle`.
        let waiters = self.waiters.lock();
        let less = |now| Some(now - (permits(now).min(n) << SHIFT));
        let before = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, less);
        drop(waiters);
        permits(before.unwrap_or_default()).min(n)
    }

    pub(super) fn close(&self) {
        let mut waiters = self.waiters.lock();
        // Release: what was done before the close happens before what its observer does.
        self.word.fetch_or(CLOSED, Ordering::Release);
        let fired = waiters.claim_all(|_| CLOSED_DOWN);
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        drop(waiters);
        drop(fired);
    }

    /// Whether nobody waits and no entry is left.
    #[cfg(all(test, not(loom)))]
    pub(super) fn is_quiet(&self) -> bool {
        let waiters = self.waiters.lock();
        self.word.load(Ordering::Relaxed) & WAITERS == 0 && waiters.footprint().0 == 0
    }
}

/// An acquisition by a future.
#[derive(Debug)]
pub(super) struct Acquiring {
    n: usize,
    /// The entry in the list, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl Acquiring {
    pub(super) fn new(n: usize) -> Self {
        Self { n, key: None, wait: FutureWait::new() }
    }

    pub(super) fn poll(
        &mut self,
        raw: &RawSemaphore,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), AcquireError>> {
        if self.key.is_none() {
            coop::spend();
            if raw.try_acquire(self.n).is_ok() {
                return Poll::Ready(Ok(()));
            }
            match raw.enqueue(self.n, || self.wait.arm()) {
                Enqueued::Granted => return Poll::Ready(Ok(())),
                Enqueued::Closed => return Poll::Ready(Err(AcquireError)),
                Enqueued::Waits(key) => self.key = Some(key),
            }
        }
        let Poll::Ready(outcome) = self.wait.poll(cx) else { return Poll::Pending };
        let key = self.key.take().expect("in line since this poll or an earlier one");
        Poll::Ready(raw.granted(key, outcome))
    }

    /// The future is dropped: leaves the line, and passes on what it had just been given.
    pub(super) fn give_up(&mut self, raw: &RawSemaphore) {
        let Some(key) = self.key.take() else { return };
        match self.wait.cancel() {
            None => raw.withdraw(key),
            Some(outcome) => {
                if raw.granted(key, outcome).is_ok() {
                    raw.release(self.n);
                }
            }
        }
    }
}

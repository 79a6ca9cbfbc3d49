//! The lock itself: one word, and a list of waiters beside it. No unsafe code.
//!
//! ```text
//!   LOCKED   somebody has the lock
//!   WAITERS  the list may hold somebody: unlock must look. Changed under the list's lock only.
//!   WOKEN    an unlock has woken a waiter that has not looked yet. It will: unlock need not wake
//!            another. Set by unlock; cleared by the one that was woken, or passed on by it.
//! ```
//!
//! Locking is one compare-and-swap from 0, unlocking one back to 0. What else happens:
//!
//! 1. *A waiter* takes the list's lock, sets WAITERS while the word says LOCKED (else it takes the
//!    lock), pushes its ticket, parks.
//! 2. *Unlock* with WAITERS and without WOKEN takes the list's lock and ends the longest wait:
//!    - normally with [`LOOK`]: the word becomes WOKEN, and whoever comes first has the lock. A
//!      running goroutine may so barge past the waiter, which is what makes a contended lock fast:
//!      a hand-over to a parked goroutine costs a trip through the scheduler;
//!    - with [`YOURS`] if the waiter came too late before and is *starving*: has waited for a
//!      millisecond, or was passed over [`PATIENCE`] times. The word stays LOCKED; nobody can
//!      barge. (Go's two modes, decided per waiter.)
//! 3. *A waiter that looks* and is too late goes to the front of the list and remembers since when
//!    it waits.
//!
//! Between the holder's slow unlock and everyone else: while the word says LOCKED and not WOKEN,
//! only the holder can clear LOCKED or set WOKEN, and WAITERS changes under the list's lock. So
//! the slow unlock, which has both, may store.
//!
//! A waiter that gives up after it was woken passes on what it got: [`YOURS`] is unlocked,
//! [`LOOK`] goes to the next. A future that was woken and is neither polled nor dropped holds up
//! those behind it, as with every fair lock.
//!
//! Rejected: a spin before parking (the holder is often parked on the very thread that would
//! spin); barging alone (starves), hand-off alone (a convoy: every lock costs two switches).

use crate::until::Until;
use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU32, Ordering};
use millpond_rt::wait::{Outcome, Ticket, WaitReason, Waiting};
use std::time::{Duration, Instant};

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
const WOKEN: u32 = 4;

/// Outcome of a wait: the lock may be free, look.
pub(super) const LOOK: u16 = 0;
/// Outcome of a wait: the lock is yours.
pub(super) const YOURS: u16 = 1;

/// Passed over this often, a waiter is starving.
const PATIENCE: u8 = if cfg!(loom) { 1 } else { 4 };

/// Having waited this long, a waiter is starving.
const STARVING_AFTER: Duration = Duration::from_millis(1);

/// See the module documentation.
#[derive(Debug)]
pub(super) struct RawMutex {
    /// Atomic: the states above.
    word: AtomicU32,
    /// Who waits. Its lock also protects the WAITERS bit.
    waiters: Lock<WaitList<Waiter>>,
}

/// What is remembered of one attempt to lock, from its first wait to its last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    since: Instant,
    passed_over: u8,
}

/// What came of [`RawMutex::enqueue`].
pub(super) enum Enqueued {
    /// It was free: the caller has the lock.
    Locked,
    /// The caller is in line and parks.
    Waits(Key),
}

impl Waiter {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), passed_over: 0 }
    }

    /// It was woken with [`LOOK`] and is about to look.
    pub(super) fn looks(&mut self) {
        self.passed_over = self.passed_over.saturating_add(1);
    }

    fn was_woken(&self) -> bool {
        self.passed_over > 0
    }

    fn is_starving(&self, now: Instant) -> bool {
        // A model has no clock: there, only the count decides.
        let long = !cfg!(loom) && now.saturating_duration_since(self.since) > STARVING_AFTER;
        self.passed_over >= PATIENCE || self.was_woken() && long
    }
}

impl RawMutex {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self { word: AtomicU32::new(0), waiters: Lock::new(WaitList::new()) }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self { word: AtomicU32::new(0), waiters: Lock::new(WaitList::new()) }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        // Acquire: what the last holder did happens before what we do.
        self.word.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.barge()
    }

    /// Takes the lock if it is free, although somebody may wait for it.
    fn barge(&self) -> bool {
        let barge = |now| (now & LOCKED == 0).then_some(now | LOCKED);
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, barge).is_ok()
    }

    /// Takes the lock, waiting up to `until`; `false` if that came first. Parks or blocks.
    #[inline]
    pub(super) fn lock(&self, until: Until<'_>) -> bool {
        self.word.compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.lock_slow(until)
    }

    #[cold]
    fn lock_slow(&self, until: Until<'_>) -> bool {
        if self.barge() {
            return true;
        }
        // Once for all waits of this attempt.
        let until = Until::new(until.deadline(), until.context());
        let mut waiter = Waiter::new();
        loop {
            let waiting = Waiting::begin();
            let Enqueued::Waits(key) = self.enqueue(waiter, || waiting.ticket()) else {
                return true;
            };
            let outcome = waiting.park_until(WaitReason::Mutex, until);
            self.leave(key);
            match outcome {
                Outcome::Fired(YOURS) => return true,
                Outcome::Fired(_) => waiter.looks(),
                Outcome::TimedOut | Outcome::Cancelled(_) => return false,
            }
        }
    }

    /// Puts the caller in line, unless the lock is free: then the caller has it. A waiter that was
    /// woken with [`LOOK`] looks by coming here; its WOKEN is taken off either way.
    pub(super) fn enqueue(&self, waiter: Waiter, ticket: impl FnOnce() -> Ticket) -> Enqueued {
        let woken = if waiter.was_woken() { WOKEN } else { 0 };
        let mut waiters = self.waiters.lock();
        let look =
            |now: u32| Some(if now & LOCKED == 0 { now | LOCKED } else { now | WAITERS } & !woken);
        // Acquire for the case that it was free.
        let seen = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, look);
        if seen.is_ok_and(|before| before & LOCKED == 0) {
            return Enqueued::Locked;
        }
        Enqueued::Waits(if waiter.was_woken() {
            waiters.push_front(ticket(), waiter)
        } else {
            waiters.push_back(ticket(), waiter)
        })
    }

    /// Removes the caller's entry: its wait is over.
    pub(super) fn leave(&self, key: Key) {
        self.waiters.lock().remove(key);
    }

    /// Gives up a wait that has ended with `outcome`: what came with it is passed on.
    pub(super) fn decline(&self, outcome: u16) {
        if outcome == YOURS {
            return self.unlock();
        }
        let mut waiters = self.waiters.lock();
        let next = waiters.claim_front(|_| LOOK).map(|(_, fired)| fired);
        let mut gone = if next.is_none() { WOKEN } else { 0 };
        if waiters.is_empty() {
            gone |= WAITERS;
        }
        self.word.fetch_and(!gone, Ordering::Relaxed);
        drop(waiters);
        drop(next);
    }

    /// Gives the lock up. Only its holder may call this.
    #[inline]
    pub(super) fn unlock(&self) {
        // Release: what we did happens before what the next holder does.
        let fast = self.word.compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed);
        if fast.is_err() {
            self.unlock_slow();
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        // Nobody to wake, or one is on its way to look.
        let release = |now: u32| {
            debug_assert!(now & LOCKED != 0, "mutex: unlock of a free lock");
            (now & WAITERS == 0 || now & WOKEN != 0).then_some(now & !LOCKED)
        };
        if self.word.fetch_update(Ordering::Release, Ordering::Relaxed, release).is_ok() {
            return;
        }
        let mut waiters = self.waiters.lock();
        let now = Instant::now();
        let choose = |waiter: &Waiter| if waiter.is_starving(now) { YOURS } else { LOOK };
        let next = waiters.claim_front(choose).map(|(waiter, fired)| (choose(waiter), fired));
        let more = if waiters.is_empty() { 0 } else { WAITERS };
        let word = match &next {
            None => 0,
            Some((YOURS, _)) => LOCKED | more,
            Some(_) => WOKEN | more,
        };
        // A store is enough: see the module documentation.
        self.word.store(word, Ordering::Release);
        drop(waiters);
        drop(next);
    }

    /// Whether somebody has the lock: an old answer.
    #[cfg(all(test, not(loom)))]
    pub(super) fn is_quiet(&self) -> bool {
        self.word.load(Ordering::Relaxed) & (LOCKED | WOKEN) == 0
            && self.waiters.lock().footprint().0 == 0
    }
}

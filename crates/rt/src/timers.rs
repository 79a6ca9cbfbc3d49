//! The timers of one M: a heap of deadlines, each with the ticket of a wait.
//!
//! A timer does not call anything: it claims a wait, as any other party would, and readies the
//! waiter. So a timer that lost against a sender needs no removal to be harmless: its claim fails.
//! It is removed all the same, or a loop of `recv_timeout` would fill the heap with the dead:
//! whoever ends a wait before its deadline counts it ([`Timers::forsake`]), and an insertion that
//! finds more dead than living sweeps them out, which costs a constant per timer over time.
//!
//! The heap is behind a lock because a task's timer may be set from another thread and because
//! sysmon fires the timers of an M that is stuck. The lock is almost always free: one M, one heap.
//!
//! Rejected: a wheel of 1 ms slots (a million sleepers fit in either; the heap keeps nanoseconds,
//! and a deadline in the far future costs no cascades); removal by position (a position kept in
//! each waiter, moved at each sift).

use crate::wait::Ticket;
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Room for so many timers is kept from one sweep to the next.
const KEEP: usize = 1024;

/// No timer.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    ticket: Ticket,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at_ns == other.at_ns
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ns.cmp(&other.at_ns)
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Lock<BinaryHeap<Reverse<Entry>>>,
    /// An empty vector for the next sweep. Protected by its lock, which is taken alone.
    spare: Lock<Vec<Reverse<Entry>>>,
    /// The earliest deadline, or [`NEVER`]. Atomic: written under the lock of `heap`.
    next_ns: AtomicU64,
    /// Timers whose wait ended otherwise, at most. Atomic.
    forsaken: AtomicUsize,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            heap: Lock::new(BinaryHeap::new()),
            spare: Lock::new(Vec::new()),
            next_ns: AtomicU64::new(NEVER),
            forsaken: AtomicUsize::new(0),
        }
    }

    /// The earliest deadline, or [`NEVER`].
    #[inline]
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns.load(Ordering::Acquire)
    }

    /// Anyone: at `at_ns` claim `ticket`. `true` if this is now the earliest: another thread must
    /// then ring the M.
    pub(crate) fn insert(&self, at_ns: u64, ticket: Ticket) -> bool {
        let mut heap = self.heap.lock();
        if self.forsaken.load(Ordering::Relaxed) > heap.len() / 2 + 64 {
            drop(heap);
            self.sweep();
            heap = self.heap.lock();
        }
        heap.push(Reverse(Entry { at_ns, ticket }));
        let first_ns = heap.peek().map_or(NEVER, |entry| entry.0.at_ns);
        self.next_ns.store(first_ns, Ordering::Release);
        drop(heap);
        first_ns == at_ns
    }

    /// Takes out the timers whose wait has ended. Allocates nothing once it has been as large before.
    #[cold]
    fn sweep(&self) {
        let mut dead = std::mem::take(&mut *self.spare.lock());
        let mut heap = self.heap.lock();
        self.forsaken.store(0, Ordering::Relaxed);
        let mut entries = std::mem::take(&mut *heap).into_vec();
        let mut place = 0;
        while place < entries.len() {
            if entries[place].0.ticket.is_open() {
                place += 1;
            } else {
                dead.push(entries.swap_remove(place));
            }
        }
        *heap = BinaryHeap::from(entries);
        drop(heap);
        // Outside the lock: the last reference to a waiter may go with them.
        dead.clear();
        if dead.capacity() <= KEEP {
            *self.spare.lock() = dead;
        }
    }

    /// Anyone: a wait with a timer in this heap ended before its deadline.
    #[inline]
    pub(crate) fn forsake(&self) {
        self.forsaken.fetch_add(1, Ordering::Relaxed);
    }

    /// Fires what is due; returns how many waits it ended.
    pub(crate) fn fire(&self, now_ns: u64) -> usize {
        if now_ns < self.next_ns() {
            return 0;
        }
        let mut ended = 0;
        loop {
            let due: Vec<Entry> = {
                let mut heap = self.heap.lock();
                let mut due = Vec::new();
                while due.len() < 256 && heap.peek().is_some_and(|entry| entry.0.at_ns <= now_ns) {
                    due.extend(heap.pop().map(|entry| entry.0));
                }
                let first_ns = heap.peek().map_or(NEVER, |entry| entry.0.at_ns);
                self.next_ns.store(first_ns, Ordering::Release);
                due
            };
            if due.is_empty() {
                return ended;
            }
            for entry in due {
                if entry.ticket.fire_timer() {
                    ended += 1;
                } else {
                    self.forsaken
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                        .ok();
                }
            }
        }
    }

    /// Whether a timer could still end somebody's wait. Drops those that could not.
    pub(crate) fn any_open(&self) -> bool {
        let mut dead = Vec::new();
        let mut heap = self.heap.lock();
        while heap.peek().is_some_and(|entry| !entry.0.ticket.is_open()) {
            dead.extend(heap.pop());
        }
        let first_ns = heap.peek().map_or(NEVER, |entry| entry.0.at_ns);
        self.next_ns.store(first_ns, Ordering::Release);
        let any = !heap.is_empty();
        drop(heap);
        // Outside the lock: the last reference to a waiter may go with them.
        drop(dead);
        any
    }

    /// Ends all waits early: the runtime has ended. A future that slept finds out by the clock, and
    /// sets its timer elsewhere.
    pub(crate) fn end(&self) {
        let mut heap = self.heap.lock();
        let all = std::mem::take(&mut *heap);
        self.next_ns.store(NEVER, Ordering::Release);
        drop(heap);
        for Reverse(entry) in all {
            entry.ticket.fire_timer();
        }
    }

    #[cfg(all(test, not(loom)))]
    fn len(&self) -> usize {
        self.heap.lock().len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wait::FutureWait;

    #[test]
    fn fires_in_order_and_only_what_is_due() {
        let timers = Timers::new();
        let mut waits: Vec<_> = (0..1_000).map(|_| FutureWait::new()).collect();
        for (i, wait) in waits.iter_mut().enumerate() {
            let at_ns = (i as u64 * 7_919) % 1_000;
            assert_eq!(timers.insert(at_ns, wait.arm()), timers.next_ns() == at_ns);
        }
        assert_eq!(timers.fire(499), 500);
        assert_eq!(timers.next_ns(), 500);
        assert_eq!(timers.fire(999), 500);
        assert_eq!(timers.next_ns(), NEVER);
    }

    #[test]
    fn a_loop_of_waits_that_end_early_does_not_grow_the_heap() {
        let timers = Timers::new();
        let mut wait = FutureWait::new();
        for at_ns in 0..100_000 {
            timers.insert(1 << 40 | at_ns, wait.arm());
            wait.cancel();
            timers.forsake();
        }
        assert!(timers.len() < 500, "{} timers kept", timers.len());
        assert!(!timers.any_open());
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::wait::{WaitReason, Waiting};
    use loom::sync::Arc;
    use loom::thread;

    /// A timer fires while a sender hands over and the waiter leaves: one of the two wins, and the
    /// waiter always comes back.
    #[test]
    fn cancel_against_fire() {
        loom::model(|| {
            let timers = Arc::new(Timers::new());
            let waiting = Waiting::begin();
            timers.insert(10, waiting.ticket());
            let sender = {
                let ticket = waiting.ticket();
                thread::spawn(move || ticket.fire(1))
            };
            let clock = {
                let timers = timers.clone();
                thread::spawn(move || timers.fire(10))
            };
            let outcome = waiting.park(WaitReason::Sleep, None);
            let sent = sender.join().unwrap();
            let fired = clock.join().unwrap();
            assert_eq!(usize::from(sent) + fired, 1, "exactly one ended it");
            assert_eq!(sent, outcome == crate::wait::Outcome::Fired(1));
        });
    }
}

//! The bound of a pool: how many values may exist, and who waits for one.
//!
//! `total` counts the values that exist, idle or out, and the places that are promised to somebody
//! who is about to make one. It changes when a value is made or dropped, never when one comes and
//! goes through the shards: the lock here is off the common path. What is on it is one load of
//! `attention`, which only changes when somebody begins or ceases to wait.
//!
//! Somebody who waits is handed either a value or the place of one that was dropped, in the order
//! of waiting.
//!
//! *No give is missed.* A waiter sets `attention` and then looks into every shard under its lock; a
//! giver puts its value into a shard under the same lock and then reads `attention`. Whichever of
//! the two has the lock of that shard first, the other sees what it did.

use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU8, Ordering};
use millpond_rt::wait::Ticket;

/// Somebody waits.
const WAITING: u8 = 1;
/// More exist than the bound allows: what comes back is dropped.
const OVER: u8 = 2;

/// See the module documentation. On cache lines of its own: what lies beside it in a pool is read
/// by every get, and must not be disturbed by those who make or wait.
#[repr(align(128))]
pub(super) struct Bound<T> {
    max: usize,
    state: Lock<State<T>>,
    /// Atomic: WAITING and OVER. Written under the lock; read without it.
    attention: AtomicU8,
}

/// Protected by the lock.
struct State<T> {
    total: usize,
    waiters: WaitList<Handed<T>>,
}

/// What a waiter has been given.
pub(super) enum Handed<T> {
    /// Nothing yet.
    Nothing,
    /// A clean value.
    Value(T),
    /// The right to make one: it is counted in `total`.
    Place,
}

impl<T> Bound<T> {
    pub(super) fn new(max: usize) -> Self {
        let state = State { total: 0, waiters: WaitList::new() };
        Self { max, state: Lock::new(state), attention: AtomicU8::new(0) }
    }

    /// Runs a step under the lock and leaves `attention` right.
    fn step<R>(&self, step: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.state.lock();
        let result = step(&mut state);
        let waiting = if state.waiters.is_empty() { 0 } else { WAITING };
        let over = if state.total > self.max { OVER } else { 0 };
        // Relaxed: the locks of the shards order it (see the module documentation).
        self.attention.store(waiting | over, Ordering::Relaxed);
        result
    }

    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.attention.load(Ordering::Relaxed) & WAITING != 0
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.attention.load(Ordering::Relaxed) & OVER != 0
    }

    /// Takes a place if there is one.
    pub(super) fn reserve(&self) -> bool {
        self.step(|state| {
            let room = state.total < self.max;
            state.total += usize::from(room);
            room
        })
    }

    /// Takes a place beyond the bound.
    pub(super) fn overdraw(&self) {
        self.step(|state| state.total += 1);
    }

    /// Takes a place if there is one by now; otherwise gets in line.
    pub(super) fn enlist(&self, ticket: impl FnOnce() -> Ticket) -> Option<Key> {
        self.step(|state| {
            if state.total < self.max {
                state.total += 1;
                return None;
            }
            Some(state.waiters.push_back(ticket(), Handed::Nothing))
        })
    }

    /// Leaves the line, with what was handed over.
    pub(super) fn leave(&self, key: Key) -> Handed<T> {
        self.step(|state| state.waiters.remove(key))
    }

    /// Hands `value` to the longest waiter; gives it back if nobody waits.
    pub(super) fn hand(&self, value: T) -> Result<(), T> {
        let fired = self.step(|state| match state.waiters.claim_front(|_| 0) {
            None => Err(value),
            Some((handed, fired)) => {
                *handed = Handed::Value(value);
                Ok(fired)
            }
        })?;
        fired.ready();
        Ok(())
    }

    /// A value is gone: its place goes to the longest waiter, or is free.
    pub(super) fn release(&self) {
        let fired = self.step(|state| {
            if state.total > self.max {
                state.total -= 1;
                return None;
            }
            let Some((handed, fired)) = state.waiters.claim_front(|_| 0) else {
                state.total -= 1;
                return None;
            };
            *handed = Handed::Place;
            Some(fired)
        });
        drop(fired);
    }

    /// How many places are taken, and how many entries there are in line.
    #[cfg(all(test, not(loom)))]
    pub(super) fn footprint(&self) -> (usize, usize) {
        self.step(|state| (state.total, state.waiters.footprint().0))
    }
}

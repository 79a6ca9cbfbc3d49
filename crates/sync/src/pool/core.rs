//! The steps of a pool: shards and bound together. Values come in clean; making, cleaning and
//! dropping are the caller's, and nothing of it happens here under a lock.
//!
//! ```text
//!  acquire: shard ─▶ other shards ─▶ a place to make one ─▶ in line ─▶ every shard once more ─▶ park
//!  give:    somebody waits? hand it over : shard ─▶ somebody waits by now? take it out again, hand over
//! ```
//!
//! A giver first serves the line, so somebody who comes later cannot overtake for ever: it takes
//! at most what nobody had waited for.

use super::bound::{Bound, Handed};
use super::shards::{Counts, Idle, Shards, Weigh};
use crate::until::Until;
use crate::wait_list::Key;
use millpond_rt::wait::{Ticket, WaitReason, Waiting};

/// What `get` does when nothing is idle and the bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AtBound {
    /// Waits for a value to come back: parks the goroutine, or blocks the plain thread.
    #[default]
    Wait,
    /// Makes one beyond the bound; when values come back, so many are dropped.
    Make,
    /// Panics: the caller should have used `try_get`, which answers `None`.
    Refuse,
}

/// What came of asking for a value.
pub(super) enum Got<T> {
    /// An idle one.
    Value(T),
    /// The right to make one; whoever fails to must [`Core::lose`] it.
    Place,
}

/// What came of getting in line.
pub(super) enum Enlisted<T> {
    Got(Got<T>),
    Waits(Key),
}

/// See the module documentation.
pub(super) struct Core<T> {
    pub(super) shards: Shards<T>,
    pub(super) bound: Option<Bound<T>>,
    pub(super) at_bound: AtBound,
}

impl<T: Weigh> Core<T> {
    /// Takes an idle value or a place, without waiting.
    #[inline]
    pub(super) fn try_acquire(&self, at: usize) -> Option<Got<T>> {
        match self.shards.take(at) {
            Some(value) => Some(Got::Value(value)),
            None => self.place().then_some(Got::Place),
        }
    }

    /// Takes a place, without waiting.
    #[cold]
    fn place(&self) -> bool {
        match &self.bound {
            None => true,
            Some(bound) if bound.reserve() => true,
            Some(bound) if self.at_bound == AtBound::Make => {
                bound.overdraw();
                true
            }
            Some(_) => false,
        }
    }

    /// Waits for a value or a place after [`try_acquire`](Self::try_acquire) has found none;
    /// `None` if `until` passed first. Parks or blocks.
    #[cold]
    pub(super) fn wait(&self, at: usize, until: Until) -> Option<Got<T>> {
        let waiting = Waiting::begin();
        let key = match self.enlist(at, || waiting.ticket()) {
            Enlisted::Got(got) => return Some(got),
            Enlisted::Waits(key) => key,
        };
        if let Some(value) = self.shards.take_surely(at) {
            waiting.cancel();
            self.pass_on(at, key);
            return Some(Got::Value(value));
        }
        waiting.park_until(WaitReason::Pool, until);
        self.take_handed(key)
    }

    /// Gets in line, unless there is a place by now. Whoever is in line looks into the shards once
    /// more ([`Shards::take_surely`]) before it waits.
    pub(super) fn enlist(&self, at: usize, ticket: impl FnOnce() -> Ticket) -> Enlisted<T> {
        let Some(bound) = &self.bound else { return Enlisted::Got(Got::Place) };
        match bound.enlist(ticket) {
            None => Enlisted::Got(Got::Place),
            Some(key) => {
                self.shards.count(at, |counts| counts.waits += 1);
                Enlisted::Waits(key)
            }
        }
    }

    /// The wait is over: leaves the line with what was handed over, nothing if a limit ended it.
    pub(super) fn take_handed(&self, key: Key) -> Option<Got<T>> {
        match self.bound.as_ref()?.leave(key) {
            Handed::Nothing => None,
            Handed::Value(value) => Some(Got::Value(value)),
            Handed::Place => Some(Got::Place),
        }
    }

    /// The wait was withdrawn: leaves the line, and what was handed over goes to the next.
    pub(super) fn pass_on(&self, at: usize, key: Key) {
        match self.take_handed(key) {
            None => {}
            Some(Got::Place) => self.lose(),
            Some(Got::Value(value)) => {
                let rest = self.give(at, value, |_| {});
                self.discard(at, rest, |_| {});
            }
        }
    }

    /// Takes a clean value back, counting it with `count` if it is kept or handed on. What is
    /// returned is not wanted: the caller counts and drops it ([`discard`](Self::discard)).
    #[inline]
    pub(super) fn give(
        &self,
        at: usize,
        value: T,
        count: impl FnOnce(&mut Counts),
    ) -> Result<(), T> {
        let Some(bound) = &self.bound else { return self.shards.give(at, value, count) };
        if bound.is_over() {
            return Err(value);
        }
        let value = if bound.has_waiters() {
            match bound.hand(value) {
                Ok(()) => {
                    self.shards.count(at, count);
                    return Ok(());
                }
                Err(value) => value,
            }
        } else {
            value
        };
        self.shards.give(at, value, count)?;
        self.serve(at, bound);
        Ok(())
    }

    /// Somebody may have got in line after we looked and before our value was in its shard.
    #[inline]
    fn serve(&self, at: usize, bound: &Bound<T>) {
        while bound.has_waiters() {
            // Taken meanwhile, by a get or by the waiter itself: then it is not ours to hand over.
            let Some(value) = self.shards.withdraw(at) else { return };
            if let Err(value) = bound.hand(value) {
                let rest = self.shards.give(at, value, |_| {});
                self.discard(at, rest, |_| {});
            }
        }
    }

    /// Drops what [`give`](Self::give) did not want.
    pub(super) fn discard(
        &self,
        at: usize,
        unwanted: Result<(), T>,
        count: impl FnOnce(&mut Counts),
    ) {
        let Err(value) = unwanted else { return };
        self.shards.count(at, |counts| {
            counts.drops += 1;
            count(counts);
        });
        self.lose();
        // Last: it is the user's code, and may panic.
        drop(value);
    }

    /// A value, or a place, is gone.
    pub(super) fn lose(&self) {
        if let Some(bound) = &self.bound {
            bound.release();
        }
    }

    /// One step of shrinking; what was dropped.
    pub(super) fn shrink(&self, keep: f64) -> Idle {
        let mut dead = Vec::new();
        self.shards.shrink(keep, |marked| dead.extend(marked));
        self.bury(dead)
    }

    /// Keeps nothing from now on and drops what is idle; what that was.
    pub(super) fn close(&self) -> Idle {
        let mut dead = Vec::new();
        self.shards.close(|idle| dead.extend(idle));
        self.bury(dead)
    }

    /// All steps are done before the first drop, which may panic.
    fn bury(&self, dead: Vec<T>) -> Idle {
        let sum = Idle::of(&dead);
        (0..sum.values).for_each(|_| self.lose());
        drop(dead);
        sum
    }
}

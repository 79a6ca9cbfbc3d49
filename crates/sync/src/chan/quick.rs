//! The quick steps: sends and receives on a channel where nothing but them is going on.
//!
//! Most channels, most of the time, hold buffered values and *plain* waiters: goroutines and threads that wait
//! for this channel alone and without a limit, in lines ([`millpond_rt::wait::line`]). For these a send and a
//! receive are some tens of instructions, and one word, the [`Mode`], says that they are all there is. It is
//! the answer to a question about the whole state (is it closed? does anybody wait in a list? is a permit out, a value
//! on trial?), so it is found anew whenever somebody unlocks who may have changed the answer: that is what
//! [`Slow`] is for. The quick steps themselves never change it.
//!
//! *Order.* Who wants to wait joins a line only if the mode is plain, so everybody in a line has waited longer
//! than everybody in the list beside it; the steps of `state` look at the line first.
//!
//! Rejected: one list for both kinds of waiters (each entry would need the way out of the middle, and the
//! value a place of its own); a stamp on each waiter, compared at each claim (the rule above needs none).

use super::state::{KEEP, State};
use millpond_prim::sync::Guard;
use millpond_rt::wait::Fired;
use std::ops::{Deref, DerefMut};

/// What the quick steps find.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not what they are for.
    Odd,
    /// Buffered values and plain waiters, on a channel with a buffer.
    Buffered,
    /// Plain waiters, on a rendezvous.
    Rendezvous,
}

/// The steps of a channel on which there are buffered values and plain waiters, and nothing else.
impl<T> State<T> {
    /// Whether the steps below tell the whole story.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.mode != Mode::Odd
    }

    /// As [`send`](Self::send). `Err` with the value if that takes waiting, or more than this.
    #[inline(always)]
    pub(super) fn send_quickly(&mut self, value: T) -> Result<Fired, T> {
        if self.mode == Mode::Odd {
            return Err(value);
        }
        let value = match self.takers.give(value) {
            Ok(fired) => return Ok(fired),
            Err(value) => value,
        };
        if self.mode == Mode::Buffered && self.buffer.len() < self.capacity {
            self.buffer.push_back(value);
            return Ok(Fired::of_nobody());
        }
        Err(value)
    }

    /// As [`recv`](Self::recv). `None` if that takes waiting, or more than this.
    #[inline(always)]
    pub(super) fn recv_quickly(&mut self) -> Option<(T, Fired)> {
        match self.mode {
            Mode::Odd => return None,
            Mode::Rendezvous => return self.givers.take(),
            Mode::Buffered => {}
        }
        // A sender waits only while the buffer, which is not of capacity 0, is full.
        let value = self.buffer.pop_front()?;
        if !self.givers.is_empty() {
            return Some((value, self.refill().unwrap_or_else(Fired::of_nobody)));
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.give_back();
        }
        Some((value, Fired::of_nobody()))
    }
}

/// The lock held by one who may change what the quick steps do not look at.
pub(super) struct Slow<'a, T>(Guard<'a, State<T>>);

impl<'a, T> Slow<'a, T> {
    #[inline]
    pub(super) fn new(state: Guard<'a, State<T>>) -> Self {
        Self(state)
    }
}

impl<T> Drop for Slow<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.mode = self.0.find_mode();
    }
}

impl<T> Deref for Slow<'_, T> {
    type Target = State<T>;
    #[inline]
    fn deref(&self) -> &State<T> {
        &self.0
    }
}

impl<T> DerefMut for Slow<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State<T> {
        &mut self.0
    }
}

//! The state of a channel and the steps on it. Everything here runs under the channel's lock.
//!
//! Invariants between two steps ("waits" means linked and still claimable):
//! - a receiver waits only while the buffer is empty, and no sender then waits;
//! - a sender waits only while the buffer holds `capacity` values or more;
//! - once closed, no sender waits, and a receiver only while a value is *on trial*.
//!
//! A value is on trial when it was handed to a waiter that may still decline it: a receive future
//! that is dropped before it looks ([`State::decline`]). The value was first in line, so it goes to
//! the next receiver, or to the front of the buffer, which then holds more than `capacity` for a
//! moment. And a channel that is closed is not yet *empty* while a value is on trial: a receiver
//! that was told "closed" then would miss the value if it came back.
//!
//! An operation is three steps, so that `select!` can take them for several channels with one
//! ticket: *try* ([`State::send`], [`State::recv`]), *register* ([`State::register_send`],
//! [`State::register_recv`], with the number of the arm, which becomes the outcome of the wait)
//! and *finish* ([`State::finish_send`], [`State::finish_recv`]; for an arm that lost it is the
//! abort; [`State::accept`] and [`State::decline`] where a value may be on trial). Ending a wait
//! is one compare-and-swap on its ticket under the lock of one channel: two selects that cross, or
//! one that has both ends of a channel, never hold two locks, and an arm that lost is passed over.
//!
//! Every step that can make somebody runnable returns a [`Fired`], which the caller drops after
//! unlocking. Steps move values of `T` and never drop, clone or compare one.

use crate::wait_list::{Key, WaitList};
use millpond_rt::wait::{Fired, Ticket};
use std::collections::VecDeque;

/// An empty buffer with more room than this is given back to the allocator.
const KEEP: usize = 1024;

/// The room that a bounded channel takes at once; it grows to its capacity when it is used.
const FIRST_ROOM: usize = 32;

/// Protected by the channel's lock, as is all in it.
pub(super) struct State<T> {
    buffer: VecDeque<T>,
    /// 0 for a rendezvous, `usize::MAX` for unbounded.
    capacity: usize,
    closed: bool,
    /// How many values are on trial.
    on_trial: usize,
    receivers: WaitList<Slot<T>>,
    senders: WaitList<Slot<T>>,
}

/// What is kept with a waiter: a receiver's slot is empty and is filled by the hand-over; a
/// sender's is full and is emptied by it. Unchanged after the wait means closed.
struct Slot<T> {
    /// Which arm of a `select!` this is; the outcome of the wait if it wins.
    arm: u16,
    /// Whether the waiter may decline what it is handed.
    on_trial: bool,
    value: Option<T>,
}

/// What came of trying to send.
pub(super) enum Sent<T> {
    Done(Option<Fired>),
    Full(T),
    Closed(T),
}

/// What came of trying to receive.
pub(super) enum Received<T> {
    Done(T, Option<Fired>),
    Empty,
    Closed,
}

impl<T> State<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let room = if capacity == usize::MAX { 0 } else { capacity.min(FIRST_ROOM) };
        Self {
            buffer: VecDeque::with_capacity(room),
            capacity,
            closed: false,
            on_trial: 0,
            receivers: WaitList::new(),
            senders: WaitList::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Sends if that is possible without waiting: to the longest waiting receiver, else into the
    /// buffer.
    #[inline]
    pub(super) fn send(&mut self, value: T) -> Sent<T> {
        if self.closed {
            return Sent::Closed(value);
        }
        let value = match self.hand_over(value) {
            Ok(fired) => return Sent::Done(Some(fired)),
            Err(value) => value,
        };
        if self.buffer.len() < self.capacity {
            self.buffer.push_back(value);
            return Sent::Done(None);
        }
        Sent::Full(value)
    }

    /// Receives if that is possible without waiting: from the buffer, whose free place then goes
    /// to the longest waiting sender, else from that sender directly.
    #[inline]
    pub(super) fn recv(&mut self) -> Received<T> {
        if let Some(value) = self.buffer.pop_front() {
            let mut fired = None;
            if self.buffer.len() < self.capacity
                && let Some((sent, sender)) = self.claim_sender()
            {
                self.buffer.push_back(sent);
                fired = Some(sender);
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                self.buffer = VecDeque::new();
            }
            return Received::Done(value, fired);
        }
        match self.claim_sender() {
            Some((value, fired)) => Received::Done(value, Some(fired)),
            None if self.closed && self.on_trial == 0 => Received::Closed,
            None => Received::Empty,
        }
    }

    /// Gives `value` to the longest waiting receiver.
    #[inline]
    fn hand_over(&mut self, value: T) -> Result<Fired, T> {
        let Some((slot, fired)) = self.receivers.claim_front(Slot::arm) else { return Err(value) };
        debug_assert!(slot.value.is_none());
        slot.value = Some(value);
        self.on_trial += usize::from(slot.on_trial);
        Ok(fired)
    }

    fn claim_sender(&mut self) -> Option<(T, Fired)> {
        let (slot, fired) = self.senders.claim_front(Slot::arm)?;
        let value = slot.value.take().expect("a waiting sender's slot holds its value");
        Some((value, fired))
    }

    /// Puts a sender in line. Right after [`Sent::Full`], under the same lock.
    pub(super) fn register_send(&mut self, ticket: Ticket, arm: u16, value: T) -> Key {
        debug_assert!(!self.closed && self.buffer.len() >= self.capacity);
        self.senders.push_back(ticket, Slot { arm, on_trial: false, value: Some(value) })
    }

    /// Puts a receiver in line. Right after [`Received::Empty`], under the same lock. If `on_trial`,
    /// it ends with [`accept`](Self::accept) or [`decline`](Self::decline).
    pub(super) fn register_recv(&mut self, ticket: Ticket, arm: u16, on_trial: bool) -> Key {
        debug_assert!(self.buffer.is_empty());
        self.receivers.push_back(ticket, Slot { arm, on_trial, value: None })
    }

    /// After the wait, or instead of it: `None` if the value was taken, else the value.
    pub(super) fn finish_send(&mut self, key: Key) -> Option<T> {
        self.senders.remove(key).value
    }

    /// After the wait, or instead of it: the value if one was handed over.
    pub(super) fn finish_recv(&mut self, key: Key) -> Option<T> {
        let slot = self.receivers.remove(key);
        debug_assert!(!slot.on_trial);
        slot.value
    }

    /// After the wait: the value if one was handed over, for good.
    pub(super) fn accept(&mut self, key: Key) -> (Option<T>, Vec<Fired>) {
        let value = self.receivers.remove(key).value;
        self.on_trial -= usize::from(value.is_some());
        (value, self.end_if_closed())
    }

    /// Instead of the wait's end: a value that was handed over goes to the next receiver, or to the
    /// front of the buffer.
    pub(super) fn decline(&mut self, key: Key) -> Vec<Fired> {
        let Some(value) = self.receivers.remove(key).value else { return Vec::new() };
        self.on_trial -= 1;
        match self.hand_over(value) {
            Ok(next) => {
                let mut fired = self.end_if_closed();
                fired.push(next);
                fired
            }
            Err(value) => {
                self.buffer.push_front(value);
                Vec::new()
            }
        }
    }

    /// Tells the receivers that wait, if nothing can come any more.
    fn end_if_closed(&mut self) -> Vec<Fired> {
        let ended = self.closed && self.on_trial == 0;
        if ended { self.receivers.claim_all(Slot::arm) } else { Vec::new() }
    }

    /// Closes: receivers that wait get nothing, senders that wait keep their values. What is
    /// buffered stays, and receivers wait on for what is on trial.
    pub(super) fn close(&mut self) -> Vec<Fired> {
        if std::mem::replace(&mut self.closed, true) {
            return Vec::new();
        }
        let mut fired = self.end_if_closed();
        fired.append(&mut self.senders.claim_all(Slot::arm));
        fired
    }

    /// Closes and hands out what is buffered, to be dropped without the lock.
    pub(super) fn discard(&mut self) -> (Vec<Fired>, VecDeque<T>) {
        (self.close(), std::mem::take(&mut self.buffer))
    }

    /// Entries of waiters and room for how many, receivers and senders together; room in the
    /// buffer.
    #[cfg(all(test, not(loom)))]
    pub(super) fn footprint(&self) -> (usize, usize, usize) {
        let (receivers, senders) = (self.receivers.footprint(), self.senders.footprint());
        (receivers.0 + senders.0, receivers.1 + senders.1, self.buffer.capacity())
    }
}

impl<T> Slot<T> {
    #[inline]
    fn arm(&self) -> u16 {
        self.arm
    }
}

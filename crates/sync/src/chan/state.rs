//! The state of a channel and the steps on it. Everything here runs under the channel's lock.
//!
//! Who waits for this channel alone and without a limit stands in a line, the others in a list beside it.
//! Everybody in a line has waited longer than everybody in the list: nobody joins a line while somebody
//! is in the list. [`super::quick`] has the steps for when there is nothing but lines and a buffer.
//!
//! Invariants between two steps ("waits" means in a line, or linked and still claimable):
//! - a receiver waits only while the buffer is empty, and a sender then waits only if the buffer's
//!   places are reserved;
//! - a sender waits only while the values in the buffer and the reserved places make up `capacity`;
//! - once closed, no sender waits, and a receiver only while a value is *on trial*.
//!
//! A value is on trial when it was handed to a waiter that may still decline it: a receive future
//! that is dropped before it looks ([`State::decline`]). The value was first in line, so it goes to
//! the next receiver, or to the front of the buffer, which then holds more than `capacity` for a
//! moment. And a channel that is closed is not yet *empty* while a value is on trial: a receiver
//! that was told "closed" then would miss the value if it came back.
//!
//! A sender in a `select!` makes its value only when its arm has won ("late"). What it wins is a
//! [`Permit`]: a place in the buffer that is kept free, or, for a rendezvous, a receiver that is
//! promised the value ([`super::promise`]). A permit is used ([`State::redeem`]) or given back
//! ([`State::renounce`]). A promised value counts as on trial until the receiver has taken it.
//!
//! An operation is three steps, so that `select!` can take them for several channels with one
//! ticket: *try* ([`State::send`], [`State::recv`], [`State::reserve`]), *register*
//! ([`State::register_send`], [`State::register_recv`], with the number of the arm, which becomes
//! the outcome of the wait) and *finish* ([`State::finish_send`], [`State::finish_recv`],
//! [`State::finish_reserve`]; for an arm that lost it is the abort; [`State::accept`] and
//! [`State::decline`] where a value may be on trial). Ending a wait is one compare-and-swap on its
//! ticket under the lock of one channel: two selects that cross, or one that has both ends of a
//! channel, never hold two locks, and an arm that lost is passed over.
//!
//! Every step that can make somebody runnable returns a [`Fired`], which the caller drops after
//! unlocking. Steps move values of `T` and never drop, clone or compare one.

use super::promise::{Kept, PromiseKey, Promises};
use super::quick::Mode;
use crate::wait_list::{Key, WaitList};
use millpond_rt::wait::line::{Givers, Takers};
use millpond_rt::wait::{Fired, Ticket};
use std::collections::VecDeque;

/// An empty buffer with more room than this is given back to the allocator.
pub(super) const KEEP: usize = 1024;

/// The room that a bounded channel takes at once; it grows to its capacity when it is used.
const FIRST_ROOM: usize = 32;

/// Protected by the channel's lock, as is all in it. What a rendezvous needs stands first, so that it is
/// in one line of the cache with the lock.
#[repr(C)]
pub(super) struct State<T> {
    /// Whether the quick steps may be taken: kept by [`super::quick::Slow`].
    pub(super) mode: Mode,
    closed: bool,
    /// The last receiver is gone.
    discarded: bool,
    /// Receivers that wait for this channel alone and without a limit, and have waited longer than
    /// all in `receivers`.
    pub(super) takers: Takers<T>,
    /// Such senders.
    pub(super) givers: Givers<T>,
    /// 0 for a rendezvous, `usize::MAX` for unbounded.
    pub(super) capacity: usize,
    pub(super) buffer: VecDeque<T>,
    /// Places of the buffer that permits stand for.
    reserved: usize,
    /// How many values are on trial.
    on_trial: usize,
    receivers: WaitList<Slot<T>>,
    senders: WaitList<Slot<T>>,
    promises: Promises<T>,
}

/// What is kept with a waiter.
struct Slot<T> {
    /// Which arm of a `select!` this is; the outcome of the wait if it wins.
    arm: u16,
    /// Whether the waiter may decline what it is handed.
    on_trial: bool,
    holds: Holds<T>,
}

/// | | while it waits | after a hand-over | after a close |
/// |---|---|---|---|
/// | receiver | `Nothing` | `Value` or `Promise` | `Nothing` |
/// | sender | `Value` | `Nothing` | `Value` |
/// | late sender | `Nothing` | `Permit` | `Nothing` |
enum Holds<T> {
    Nothing,
    Value(T),
    Promise(PromiseKey),
    Permit(Permit),
}

/// The right to send one value that is not made yet. Must not be lost: see the module
/// documentation.
#[derive(Debug)]
pub(super) enum Permit {
    /// A place in the buffer.
    Place,
    /// A receiver that waits for this value.
    Promise(PromiseKey),
}

/// What a receiver was handed.
pub(super) enum Handed<T> {
    Nothing,
    Value(T),
    Promise(PromiseKey),
}

/// What came of trying to send.
pub(super) enum Sent<T> {
    Done(Option<Fired>),
    Full(T),
    Closed(T),
}

/// What came of trying to send late.
pub(super) enum Reserved {
    /// And the receiver to resume once the value is made.
    Done(Permit, Option<Fired>),
    Full,
    Closed,
}

/// What came of trying to receive.
pub(super) enum Received<T> {
    Done(T, Option<Fired>),
    /// From a late sender, which is to be resumed.
    Promised(PromiseKey, Fired),
    Empty,
    Closed,
}

impl<T> State<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let room = if capacity == usize::MAX { 0 } else { capacity.min(FIRST_ROOM) };
        Self {
            buffer: VecDeque::with_capacity(room),
            capacity,
            mode: if capacity == 0 { Mode::Rendezvous } else { Mode::Buffered },
            closed: false,
            discarded: false,
            reserved: 0,
            on_trial: 0,
            takers: Takers::new(),
            givers: Givers::new(),
            receivers: WaitList::new(),
            senders: WaitList::new(),
            promises: Promises::new(),
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

    /// What there is for the quick steps.
    #[inline]
    pub(super) fn find_mode(&self) -> Mode {
        let odd = self.closed
            || self.reserved + self.on_trial > 0
            || !self.receivers.is_empty()
            || !self.senders.is_empty();
        match self.capacity {
            _ if odd => Mode::Odd,
            0 if self.buffer.is_empty() => Mode::Rendezvous,
            // A value that was declined is in front of all that senders hold.
            0 => Mode::Odd,
            _ => Mode::Buffered,
        }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.buffer.len() + self.reserved < self.capacity
    }

    /// Sends if that is possible without waiting: to the longest waiting receiver, else into the
    /// buffer.
    #[inline]
    pub(super) fn send(&mut self, value: T) -> Sent<T> {
        if self.closed {
            return Sent::Closed(value);
        }
        match self.hand_over(value) {
            Ok(fired) => Sent::Done(Some(fired)),
            Err(value) if self.has_room() => {
                self.buffer.push_back(value);
                Sent::Done(None)
            }
            Err(value) => Sent::Full(value),
        }
    }

    /// Takes the right to send, if that is possible without waiting: a place in the buffer, or for
    /// a rendezvous the longest waiting receiver.
    pub(super) fn reserve(&mut self) -> Reserved {
        if self.closed {
            return Reserved::Closed;
        }
        if self.has_room() {
            self.reserved += 1;
            return Reserved::Done(Permit::Place, None);
        }
        if self.capacity > 0 || self.takers.is_empty() && self.receivers.is_empty() {
            return Reserved::Full;
        }
        let (ours, theirs) = self.promises.make();
        match self.promise(theirs) {
            Ok(fired) => {
                self.on_trial += 1;
                Reserved::Done(Permit::Promise(ours), Some(fired))
            }
            Err(theirs) => {
                self.promises.unmake(ours, theirs);
                Reserved::Full
            }
        }
    }

    /// Receives if that is possible without waiting: from the buffer, whose free place then goes
    /// to the longest waiting sender, else from that sender directly.
    #[inline]
    pub(super) fn recv(&mut self) -> Received<T> {
        if let Some(value) = self.buffer.pop_front() {
            let fired = self.refill();
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                self.give_back();
            }
            return Received::Done(value, fired);
        }
        if let Some((value, fired)) = self.givers.take() {
            return Received::Done(value, Some(fired));
        }
        match self.senders.claim_front(Slot::arm) {
            Some((slot, fired)) => match std::mem::replace(&mut slot.holds, Holds::Nothing) {
                Holds::Value(value) => Received::Done(value, Some(fired)),
                _ => {
                    let promise = promise_of(slot, &mut self.promises);
                    self.on_trial += 1;
                    Received::Promised(promise, fired)
                }
            },
            None if self.closed && self.on_trial == 0 => Received::Closed,
            None => Received::Empty,
        }
    }

    /// Frees the buffer, which is empty.
    #[cold]
    #[inline(never)]
    pub(super) fn give_back(&mut self) {
        self.buffer = VecDeque::new();
    }

    /// Gives a place that became free to the longest waiting sender.
    #[inline]
    pub(super) fn refill(&mut self) -> Option<Fired> {
        if !self.has_room() {
            return None;
        }
        if let Some((value, fired)) = self.givers.take() {
            self.buffer.push_back(value);
            return Some(fired);
        }
        let (slot, fired) = self.senders.claim_front(Slot::arm)?;
        match std::mem::replace(&mut slot.holds, Holds::Nothing) {
            Holds::Value(value) => self.buffer.push_back(value),
            _ => {
                slot.holds = Holds::Permit(Permit::Place);
                self.reserved += 1;
            }
        }
        Some(fired)
    }

    /// Gives `value` to the longest waiting receiver.
    #[inline]
    fn hand_over(&mut self, value: T) -> Result<Fired, T> {
        let value = match self.takers.give(value) {
            Ok(fired) => return Ok(fired),
            Err(value) => value,
        };
        let Some((slot, fired)) = self.receivers.claim_front(Slot::arm) else { return Err(value) };
        slot.holds = Holds::Value(value);
        self.on_trial += usize::from(slot.on_trial);
        Ok(fired)
    }

    /// Promises the longest waiting receiver a value.
    fn promise(&mut self, promise: PromiseKey) -> Result<Fired, PromiseKey> {
        if let Some(fired) = self.takers.tell(promise.number()) {
            return Ok(fired);
        }
        let Some((slot, fired)) = self.receivers.claim_front(Slot::arm) else {
            return Err(promise);
        };
        slot.holds = Holds::Promise(promise);
        Ok(fired)
    }

    /// Whether a receive that holds `own` would find something to do with somebody else. A hint:
    /// whom it found may be gone a moment later.
    pub(super) fn may_recv(&mut self, own: &Ticket) -> bool {
        !self.buffer.is_empty()
            || self.closed && self.on_trial == 0
            || !self.givers.is_empty()
            || self.senders.has_open_but(own)
    }

    /// Whether a late send that holds `own` would find something to do with somebody else. A hint.
    pub(super) fn may_send(&mut self, own: &Ticket) -> bool {
        self.closed
            || self.has_room()
            || self.capacity == 0 && (!self.takers.is_empty() || self.receivers.has_open_but(own))
    }

    /// Puts a sender in line. Right after [`Sent::Full`], under the same lock.
    #[inline]
    pub(super) fn register_send(&mut self, ticket: Ticket, arm: u16, value: T) -> Key {
        debug_assert!(!self.closed && !self.has_room());
        self.senders.push_back(ticket, Slot { arm, on_trial: false, holds: Holds::Value(value) })
    }

    /// Puts a late sender in line. Right after [`may_send`](Self::may_send) said no, under the same
    /// lock.
    pub(super) fn register_reserve(&mut self, ticket: Ticket, arm: u16) -> Key {
        debug_assert!(!self.closed && !self.has_room());
        self.senders.push_back(ticket, Slot { arm, on_trial: false, holds: Holds::Nothing })
    }

    /// Puts a receiver in line. Right after [`Received::Empty`], or after
    /// [`may_recv`](Self::may_recv) said no, under the same lock. If `on_trial`, it ends with
    /// [`accept`](Self::accept) or [`decline`](Self::decline).
    #[inline]
    pub(super) fn register_recv(&mut self, ticket: Ticket, arm: u16, on_trial: bool) -> Key {
        debug_assert!(self.buffer.is_empty());
        self.receivers.push_back(ticket, Slot { arm, on_trial, holds: Holds::Nothing })
    }

    /// After the wait, or instead of it: `None` if the value was taken, else the value.
    #[inline]
    pub(super) fn finish_send(&mut self, key: Key) -> Option<T> {
        match self.senders.remove(key).holds {
            Holds::Value(value) => Some(value),
            _ => None,
        }
    }

    /// After the wait of a late sender, or instead of it: `None` means closed, or that another arm
    /// won.
    pub(super) fn finish_reserve(&mut self, key: Key) -> Option<Permit> {
        match self.senders.remove(key).holds {
            Holds::Permit(permit) => Some(permit),
            _ => None,
        }
    }

    /// After the wait, or instead of it: what was handed over. A promise is then to be
    /// [taken](Self::take_promised) or [abandoned](Self::abandon).
    #[inline]
    pub(super) fn finish_recv(&mut self, key: Key) -> Handed<T> {
        let slot = self.receivers.remove(key);
        debug_assert!(!slot.on_trial);
        slot.holds.into()
    }

    /// After the wait: what was handed over, a value for good. A promise as in
    /// [`finish_recv`](Self::finish_recv).
    pub(super) fn accept(&mut self, key: Key) -> (Handed<T>, Vec<Fired>) {
        let handed: Handed<T> = self.receivers.remove(key).holds.into();
        self.on_trial -= usize::from(matches!(handed, Handed::Value(_)));
        (handed, self.end_if_closed())
    }

    /// Instead of the wait's end: a value that was handed over goes to the next receiver, or to the
    /// front of the buffer.
    pub(super) fn decline(&mut self, key: Key) -> Vec<Fired> {
        match self.receivers.remove(key).holds {
            Holds::Value(value) => self.pass_on(value),
            Holds::Promise(promise) => self.abandon(promise),
            Holds::Nothing | Holds::Permit(_) => Vec::new(),
        }
    }

    /// A value that was on trial is taken by nobody yet: it is first in line still.
    fn pass_on(&mut self, value: T) -> Vec<Fired> {
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
        let mut fired = Vec::new();
        if self.closed && self.on_trial == 0 {
            self.takers.end_all(&mut fired);
            fired.append(&mut self.receivers.claim_all(Slot::arm));
        }
        fired
    }

    /// Closes: receivers that wait get nothing, senders that wait keep their values. What is
    /// buffered stays, and receivers wait on for what is on trial.
    pub(super) fn close(&mut self) -> Vec<Fired> {
        if std::mem::replace(&mut self.closed, true) {
            return Vec::new();
        }
        let mut fired = self.end_if_closed();
        self.givers.end_all(&mut fired);
        fired.append(&mut self.senders.claim_all(Slot::arm));
        fired
    }

    /// Closes and hands out what is buffered, to be dropped without the lock.
    pub(super) fn discard(&mut self) -> (Vec<Fired>, VecDeque<T>) {
        self.discarded = true;
        (self.close(), std::mem::take(&mut self.buffer))
    }

    /// Entries of waiters and room for how many, receivers and senders together; room in the
    /// buffer.
    #[cfg(all(test, not(loom)))]
    pub(super) fn footprint(&self) -> (usize, usize, usize) {
        let (receivers, senders) = (self.receivers.footprint(), self.senders.footprint());
        let lines = self.takers.len() + self.givers.len();
        let entries = receivers.0 + senders.0 + self.promises.len() + self.reserved + lines;
        (entries, receivers.1 + senders.1, self.buffer.capacity())
    }
}

/// Values that are made after their send was decided.
impl<T> State<T> {
    /// Sends what a permit was for. `Err` gives the value back: the channel was closed meanwhile.
    pub(super) fn redeem(&mut self, permit: Permit, value: T) -> (Vec<Fired>, Result<(), T>) {
        match permit {
            Permit::Place => {
                self.reserved -= 1;
                if self.closed {
                    return (Vec::new(), Err(value));
                }
                match self.hand_over(value) {
                    Ok(fired) => {
                        // It passed the buffer by, so its place is free.
                        let mut all = self.place_freed();
                        all.push(fired);
                        (all, Ok(()))
                    }
                    Err(value) => {
                        self.buffer.push_back(value);
                        (Vec::new(), Ok(()))
                    }
                }
            }
            Permit::Promise(key) => match self.promises.keep(key, value) {
                Kept::Delivered(fired) => (fired.into_iter().collect(), Ok(())),
                Kept::Abandoned(value) if self.discarded => {
                    self.on_trial -= 1;
                    (Vec::new(), Err(value))
                }
                Kept::Abandoned(value) => (self.pass_on(value), Ok(())),
            },
        }
    }

    /// Gives a permit back: there will be no value.
    pub(super) fn renounce(&mut self, permit: Permit) -> Vec<Fired> {
        match permit {
            Permit::Place => {
                self.reserved -= 1;
                self.place_freed()
            }
            Permit::Promise(key) => match self.promises.break_off(key) {
                Ok(fired) => fired.into_iter().collect(),
                Err(()) => {
                    self.on_trial -= 1;
                    self.end_if_closed()
                }
            },
        }
    }

    /// A reserved place is free again. Receivers may wait (the buffer may be empty) as well as
    /// senders: the next sender's value goes where it would have gone.
    fn place_freed(&mut self) -> Vec<Fired> {
        let mut all = Vec::new();
        while let Some(sender) = self.refill() {
            all.push(sender);
            if let Some(value) = self.buffer.pop_front() {
                match self.hand_over(value) {
                    Ok(receiver) => all.push(receiver),
                    Err(value) => self.buffer.push_front(value),
                }
            }
        }
        all
    }

    /// Receiver: leaves a ticket to be claimed, with 0, when the promise is decided; `false` if it
    /// is.
    pub(super) fn expect(&mut self, promise: &PromiseKey, ticket: Ticket) -> bool {
        self.promises.expect(promise, ticket)
    }

    /// Whether the promise is still to be decided.
    pub(super) fn is_open(&self, promise: &PromiseKey) -> bool {
        self.promises.is_open(promise)
    }

    /// Receiver, once decided: the value, or `None` for a broken promise.
    pub(super) fn take_promised(&mut self, promise: PromiseKey) -> (Option<T>, Vec<Fired>) {
        let value = self.promises.take(promise);
        self.on_trial -= 1;
        (value, self.end_if_closed())
    }

    /// Receiver, which does not want it any more: the value is passed on, now or when it is made.
    pub(super) fn abandon(&mut self, promise: PromiseKey) -> Vec<Fired> {
        match self.promises.abandon(promise) {
            Ok(Some(value)) => self.pass_on(value),
            Ok(None) => {
                self.on_trial -= 1;
                self.end_if_closed()
            }
            Err(()) => Vec::new(),
        }
    }
}

/// A late sender gets the permit to make its value; the caller is promised it.
#[cold]
#[inline(never)]
fn promise_of<T>(sender: &mut Slot<T>, promises: &mut Promises<T>) -> PromiseKey {
    let (theirs, ours) = promises.make();
    sender.holds = Holds::Permit(Permit::Promise(theirs));
    ours
}

impl<T> Slot<T> {
    #[inline]
    fn arm(&self) -> u16 {
        self.arm
    }
}

#[cfg(test)]
impl<T> Handed<T> {
    /// The value, if it is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> From<Holds<T>> for Handed<T> {
    fn from(holds: Holds<T>) -> Self {
        match holds {
            Holds::Value(value) => Self::Value(value),
            Holds::Promise(promise) => Self::Promise(promise),
            Holds::Nothing | Holds::Permit(_) => Self::Nothing,
        }
    }
}

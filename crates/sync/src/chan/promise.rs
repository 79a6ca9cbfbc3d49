//! Values that are promised before they are made. Everything here runs under the channel's lock.
//!
//! A send that is an arm of a `select!` makes its value only when the arm has won. If it wins on a
//! rendezvous, its partner is fixed by then, so the two are tied by a promise: a place for one
//! value, to be kept or broken by the sender and taken or abandoned by the receiver.
//!
//! ```text
//!           keep              take
//!   MADE ─────────▶ KEPT ──────────────▶ gone      the receiver has the value
//!     │ ├─ break ─▶ BROKEN ─ take ─────▶ gone      making it panicked: the receiver begins again
//!     │ └────────── KEPT ─── abandon ──▶ gone      the value is passed on
//!     └─ abandon ─▶ ABANDONED ─ keep / break ─▶ gone     on keep, the value is passed on
//! ```
//!
//! Each side has the key once and gives it up with its last step; whoever takes the second of the
//! last steps removes the place. The receiver waits with a ticket of its own, left in MADE: its
//! first wait ended when the promise was made.

use millpond_rt::wait::{Fired, Ticket};
use slab::Slab;

/// A place, named by both sides. Neither `Clone` nor made outside: see the module documentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PromiseKey(usize);

impl PromiseKey {
    /// The receiver's key on its way through a line, which carries numbers.
    pub(super) fn number(&self) -> usize {
        self.0
    }

    /// The key that was sent as a number.
    pub(super) fn of_number(number: usize) -> Self {
        Self(number)
    }
}

/// More places than this are freed when the last promise is gone.
const KEEP: usize = 8;

/// The promises of one channel. Boxed, since most channels never have one; kept after the first,
/// since those that do have one for each value.
pub(super) struct Promises<T>(Option<Box<Slab<Stage<T>>>>);

enum Stage<T> {
    /// With the ticket of a receiver that waits for the decision.
    Made(Option<Ticket>),
    Kept(T),
    Broken,
    Abandoned,
}

/// What came of keeping a promise.
pub(super) enum Kept<T> {
    /// The receiver has it, and is owed its resumption if it waits.
    Delivered(Option<Fired>),
    /// The receiver is gone: the value is to be passed on.
    Abandoned(T),
}

impl<T> Promises<T> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// A new promise: the sender's key and the receiver's.
    pub(super) fn make(&mut self) -> (PromiseKey, PromiseKey) {
        let key = self.0.get_or_insert_default().insert(Stage::Made(None));
        (PromiseKey(key), PromiseKey(key))
    }

    /// Takes back a promise for which there is nobody.
    pub(super) fn unmake(&mut self, ours: PromiseKey, theirs: PromiseKey) {
        debug_assert_eq!(ours, theirs);
        self.remove(ours);
    }

    /// Receiver: leaves a ticket, to be claimed with 0 at the decision; `false` if that has come.
    pub(super) fn expect(&mut self, key: &PromiseKey, waiter: Ticket) -> bool {
        match self.at(key) {
            Stage::Made(ticket) => {
                *ticket = Some(waiter);
                true
            }
            _ => false,
        }
    }

    /// Whether it is still to be kept or broken.
    pub(super) fn is_open(&self, key: &PromiseKey) -> bool {
        let slot = self.0.as_ref().and_then(|slots| slots.get(key.0));
        matches!(slot, Some(Stage::Made(_)))
    }

    /// Receiver, once decided: the value, or `None` for a broken promise.
    pub(super) fn take(&mut self, key: PromiseKey) -> Option<T> {
        match self.remove(key) {
            Stage::Kept(value) => Some(value),
            Stage::Broken => None,
            Stage::Made(_) | Stage::Abandoned => unreachable!("take: the promise is undecided"),
        }
    }

    /// Receiver, which does not want it any more: the value if it was kept. `Err` if that is
    /// undecided and now the sender's to see to.
    pub(super) fn abandon(&mut self, key: PromiseKey) -> Result<Option<T>, ()> {
        if self.is_open(&key) {
            *self.at(&key) = Stage::Abandoned;
            return Err(());
        }
        Ok(self.take(key))
    }

    /// Sender: the value is here.
    pub(super) fn keep(&mut self, key: PromiseKey, value: T) -> Kept<T> {
        match self.at(&key) {
            Stage::Made(waiter) => {
                let fired = waiter.take().and_then(|ticket| ticket.claim(0));
                *self.at(&key) = Stage::Kept(value);
                Kept::Delivered(fired)
            }
            Stage::Abandoned => {
                self.remove(key);
                Kept::Abandoned(value)
            }
            Stage::Kept(_) | Stage::Broken => unreachable!("keep: the promise is decided"),
        }
    }

    /// Sender: there will be no value. `Ok` if the receiver waits for it still.
    pub(super) fn break_off(&mut self, key: PromiseKey) -> Result<Option<Fired>, ()> {
        match self.at(&key) {
            Stage::Made(waiter) => {
                let fired = waiter.take().and_then(|ticket| ticket.claim(0));
                *self.at(&key) = Stage::Broken;
                Ok(fired)
            }
            Stage::Abandoned => {
                self.remove(key);
                Err(())
            }
            Stage::Kept(_) | Stage::Broken => unreachable!("break: the promise is decided"),
        }
    }

    fn at(&mut self, key: &PromiseKey) -> &mut Stage<T> {
        &mut self.0.as_mut().expect("a key, so a promise")[key.0]
    }

    fn remove(&mut self, key: PromiseKey) -> Stage<T> {
        let slots = self.0.as_mut().expect("a key, so a promise");
        let stage = slots.remove(key.0);
        if slots.is_empty() && slots.capacity() > KEEP {
            self.0 = None;
        }
        stage
    }

    /// How many there are.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |slots| slots.len())
    }
}

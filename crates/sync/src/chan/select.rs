//! The arms `v = rx.recv()` and `r = tx.send(x)` of a `select!`.
//!
//! Both borrow their handle and take the steps of `state` for [`millpond_rt::select`]. The value of
//! a send is made after its arm has won, so what [`SendArm`] wins is a permit, which
//! [`SendArm::finish`] turns into the send. If making the value panics or leaves by `return`, the
//! arm is dropped with its permit, which is given back: a receiver that was promised the value
//! looks again.

use super::promise::PromiseKey;
use super::quick::Slow;
use super::state::{Handed, Permit, Received, Reserved};
use super::{Receiver, RecvError, SendError, Sender};
use crate::wait_list::Key;
use millpond_rt::select::{Arm, Finish, Tried};
use millpond_rt::wait::{Fired, Ticket};
use std::fmt;

/// The arm of a receive. From `select!`.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    place: Place<T>,
}

/// What the arm has.
enum Place<T> {
    Nothing,
    /// An entry in the line.
    InLine(Key),
    Promised(PromiseKey),
    Done(Result<T, RecvError>),
}

/// The arm of a send. From `select!`.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    /// The entry in the line, while there is one.
    key: Option<Key>,
    won: Option<Won>,
}

/// What a send that was decided has.
enum Won {
    /// The right to send, and the receiver to resume after that.
    Permit(Permit, Option<Fired>),
    Closed,
}

impl<T> Receiver<T> {
    /// The arm `self.recv()` of a select.
    #[doc(hidden)]
    pub fn __select_recv(&self) -> RecvArm<'_, T> {
        RecvArm { receiver: self, place: Place::Nothing }
    }
}

impl<T> Sender<T> {
    /// The arm `self.send(..)` of a select.
    #[doc(hidden)]
    pub fn __select_send(&self) -> SendArm<'_, T> {
        SendArm { sender: self, key: None, won: None }
    }
}

impl<T> RecvArm<'_, T> {
    /// What was received, once this arm is done; after that it may be tried again.
    pub(super) fn take(&mut self) -> Result<T, RecvError> {
        match std::mem::replace(&mut self.place, Place::Nothing) {
            Place::Done(result) => result,
            _ => panic!("select: a receive that has not won"),
        }
    }

    /// What `recv` found becomes what the arm has.
    fn note(&mut self, received: Received<T>) -> Tried {
        let (place, tried, fired) = match received {
            Received::Done(value, fired) => (Place::Done(Ok(value)), Tried::Ready, fired),
            Received::Closed => (Place::Done(Err(RecvError)), Tried::Ready, None),
            Received::Promised(promise, fired) => {
                (Place::Promised(promise), Tried::Promised, Some(fired))
            }
            Received::Empty => (Place::Nothing, Tried::NotReady, None),
        };
        self.place = place;
        drop(fired);
        tried
    }
}

impl<T> Arm for RecvArm<'_, T> {
    fn attempt(&mut self) -> Tried {
        match self.receiver.shared.recv_quickly() {
            Ok(value) => {
                self.place = Place::Done(Ok(value));
                Tried::Ready
            }
            Err(state) if state.is_plain() => Tried::NotReady,
            Err(state) => {
                // A `let`, so that the lock is released before anybody is resumed.
                let received = Slow::new(state).recv();
                self.note(received)
            }
        }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        let mut state = self.receiver.shared.lock();
        if !state.may_recv(ticket) {
            // It may be declined: the select may be a future, which may be dropped.
            self.place = Place::InLine(state.register_recv(ticket.clone(), outcome, true));
            return true;
        }
        if ticket.claim(outcome).is_some() {
            let received = state.recv();
            drop(state);
            self.note(received);
        }
        false
    }

    fn delist(&mut self) {
        let fired = match std::mem::replace(&mut self.place, Place::Nothing) {
            Place::InLine(key) => self.receiver.shared.lock().decline(key),
            Place::Promised(promise) => self.receiver.shared.lock().abandon(promise),
            place => {
                self.place = place;
                return;
            }
        };
        drop(fired);
    }

    fn settle(&mut self) -> Tried {
        match std::mem::replace(&mut self.place, Place::Nothing) {
            Place::Nothing => Tried::NotReady,
            Place::InLine(key) => {
                let (handed, fired) = self.receiver.shared.lock().accept(key);
                drop(fired);
                let (place, tried) = match handed {
                    Handed::Value(value) => (Place::Done(Ok(value)), Tried::Ready),
                    Handed::Nothing => (Place::Done(Err(RecvError)), Tried::Ready),
                    Handed::Promise(promise) => (Place::Promised(promise), Tried::Promised),
                };
                self.place = place;
                tried
            }
            Place::Promised(promise) => {
                let mut state = self.receiver.shared.lock();
                if state.is_open(&promise) {
                    self.place = Place::Promised(promise);
                    return Tried::Promised;
                }
                let (value, fired) = state.take_promised(promise);
                drop(state);
                drop(fired);
                let Some(value) = value else { return Tried::NotReady };
                self.place = Place::Done(Ok(value));
                Tried::Ready
            }
            done => {
                self.place = done;
                Tried::Ready
            }
        }
    }

    fn expect(&mut self, ticket: Ticket) -> bool {
        match &self.place {
            Place::Promised(promise) => self.receiver.shared.lock().expect(promise, ticket),
            _ => false,
        }
    }
}

impl<T> Finish for RecvArm<'_, T> {
    type Output = Result<T, RecvError>;

    fn finish(mut self) -> Self::Output {
        self.take()
    }
}

impl<T> Drop for RecvArm<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.place, Place::InLine(_) | Place::Promised(_)) {
            self.delist();
        }
    }
}

impl<T> SendArm<'_, T> {
    /// Sends the value that was made because this arm has won.
    ///
    /// # Errors
    /// [`SendError`] with the value if the channel is closed.
    ///
    /// # Panics
    /// If the arm has not won.
    pub fn finish(mut self, value: T) -> Result<(), SendError<T>> {
        match self.won.take().expect("select: a send that has not won") {
            Won::Closed => Err(SendError(value)),
            Won::Permit(permit, receiver) => {
                let (fired, sent) = self.sender.shared.lock().redeem(permit, value);
                drop((fired, receiver));
                sent.map_err(SendError)
            }
        }
    }

    /// Puts a fresh arm in its place and returns the one that was there.
    pub(super) fn renew(&mut self) -> Self {
        let fresh = self.sender.__select_send();
        std::mem::replace(self, fresh)
    }

    /// What `reserve` found becomes what the arm has.
    fn note(&mut self, reserved: Reserved) -> Tried {
        self.won = match reserved {
            Reserved::Done(permit, receiver) => Some(Won::Permit(permit, receiver)),
            Reserved::Closed => Some(Won::Closed),
            Reserved::Full => return Tried::NotReady,
        };
        Tried::Ready
    }

    fn renounce(&mut self) {
        if let Some(Won::Permit(permit, receiver)) = self.won.take() {
            let fired = self.sender.shared.lock().renounce(permit);
            drop((fired, receiver));
        }
    }
}

impl<T> Arm for SendArm<'_, T> {
    fn attempt(&mut self) -> Tried {
        let reserved = self.sender.shared.lock().reserve();
        self.note(reserved)
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        let mut state = self.sender.shared.lock();
        if !state.may_send(ticket) {
            self.key = Some(state.register_reserve(ticket.clone(), outcome));
            return true;
        }
        if ticket.claim(outcome).is_some() {
            let reserved = state.reserve();
            drop(state);
            self.note(reserved);
        }
        false
    }

    fn delist(&mut self) {
        let Some(key) = self.key.take() else { return };
        let permit = self.sender.shared.lock().finish_reserve(key);
        if let Some(permit) = permit {
            self.won = Some(Won::Permit(permit, None));
            self.renounce();
        }
    }

    fn settle(&mut self) -> Tried {
        if let Some(key) = self.key.take() {
            let permit = self.sender.shared.lock().finish_reserve(key);
            self.won = Some(permit.map_or(Won::Closed, |permit| Won::Permit(permit, None)));
        }
        if self.won.is_some() { Tried::Ready } else { Tried::NotReady }
    }
}

impl<T> Drop for SendArm<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.key.is_some() || self.won.is_some() {
            self.delist();
            self.renounce();
        }
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvArm").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendArm").finish_non_exhaustive()
    }
}

//! The async forms: the same steps, with a [`FutureWait`] in place of a park.
//!
//! Both futures look once when first polled and register only if they must wait; an entry in the
//! channel is theirs until they are ready or dropped. `Drop` withdraws the wait *first* and removes
//! the entry *then*: after the withdrawal nobody can hand over any more, so what the entry holds
//! is the last word.

use super::promise::PromiseKey;
use super::state::{Handed, Received, Sent};
use super::{Receiver, RecvError, SendError, Sender};
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Sends one value. From [`Sender::send_async`]; dropping it gives the value up, unless a receiver
/// has already taken it.
#[must_use = "nothing is sent until the future is awaited"]
pub struct SendFuture<'a, T> {
    sender: &'a Sender<T>,
    /// The value, until the first poll moves it into the channel.
    value: Option<T>,
    /// The entry in the channel, while one is registered.
    key: Option<Key>,
    wait: FutureWait,
}

/// Receives one value. From [`Receiver::recv_async`]; dropping it never loses one.
#[must_use = "nothing is received until the future is awaited"]
pub struct RecvFuture<'a, T> {
    receiver: &'a Receiver<T>,
    place: Place,
    wait: FutureWait,
}

/// What a receive future has in the channel.
enum Place {
    /// Nothing.
    New,
    /// An entry in the line, with the ticket of its wait.
    InLine(Key),
    /// A promise, with the ticket of its wait once that is armed.
    Promised(PromiseKey),
}

impl<'a, T> SendFuture<'a, T> {
    pub(super) fn new(sender: &'a Sender<T>, value: T) -> Self {
        Self { sender, value: Some(value), key: None, wait: FutureWait::new() }
    }

    /// The first poll: sends at once, or registers.
    fn begin(&mut self) -> Poll<Result<(), SendError<T>>> {
        let value = self.value.take().expect("SendFuture: polled after it was ready");
        let mut state = self.sender.shared.lock();
        match state.send(value) {
            Sent::Done(fired) => {
                drop(state);
                drop(fired);
                coop::spend();
                Poll::Ready(Ok(()))
            }
            Sent::Closed(value) => Poll::Ready(Err(SendError(value))),
            Sent::Full(value) => {
                let ticket = self.wait.arm();
                self.key = Some(state.register_send(ticket, 0, value));
                Poll::Pending
            }
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.key.is_none()
            && let Poll::Ready(result) = this.begin()
        {
            return Poll::Ready(result);
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let key = this.key.take().expect("registered above or in an earlier poll");
        let kept = this.sender.shared.lock().finish_send(key);
        Poll::Ready(match kept {
            None => Ok(()),
            Some(value) => Err(SendError(value)),
        })
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.wait.cancel();
            let kept = self.sender.shared.lock().finish_send(key);
            drop(kept);
        }
    }
}

impl<'a, T> RecvFuture<'a, T> {
    pub(super) fn new(receiver: &'a Receiver<T>) -> Self {
        Self { receiver, place: Place::New, wait: FutureWait::new() }
    }

    /// Receives at once, or takes a place.
    fn begin(&mut self) -> Poll<Result<T, RecvError>> {
        let mut state = self.receiver.shared.lock();
        match state.recv() {
            Received::Done(value, fired) => {
                drop(state);
                drop(fired);
                coop::spend();
                return Poll::Ready(Ok(value));
            }
            Received::Closed => return Poll::Ready(Err(RecvError)),
            Received::Promised(promise, fired) => {
                drop(state);
                self.place = Place::Promised(promise);
                drop(fired);
            }
            Received::Empty => {
                let ticket = self.wait.arm();
                self.place = Place::InLine(state.register_recv(ticket, 0, true));
            }
        }
        Poll::Pending
    }

    /// Waits until a promise is decided.
    fn poll_promise(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Place::Promised(promise) = &self.place
            && !self.wait.is_armed()
        {
            let mut state = self.receiver.shared.lock();
            if !state.is_open(promise) {
                return Poll::Ready(());
            }
            state.expect(promise, self.wait.arm());
        }
        self.wait.poll(cx).map(|_| ())
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &this.place {
                Place::New => {
                    if let Poll::Ready(result) = this.begin() {
                        return Poll::Ready(result);
                    }
                    continue;
                }
                Place::InLine(_) => {
                    ready!(this.wait.poll(cx));
                }
                Place::Promised(_) => ready!(this.poll_promise(cx)),
            }
            match std::mem::replace(&mut this.place, Place::New) {
                Place::InLine(key) => {
                    let (handed, fired) = this.receiver.shared.lock().accept(key);
                    drop(fired);
                    match handed {
                        Handed::Value(value) => return Poll::Ready(Ok(value)),
                        Handed::Nothing => return Poll::Ready(Err(RecvError)),
                        Handed::Promise(promise) => this.place = Place::Promised(promise),
                    }
                }
                Place::Promised(promise) => {
                    let (value, fired) = this.receiver.shared.lock().take_promised(promise);
                    drop(fired);
                    if let Some(value) = value {
                        return Poll::Ready(Ok(value));
                    }
                }
                Place::New => unreachable!("replaced where it is not new"),
            }
        }
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        self.wait.cancel();
        let fired = match std::mem::replace(&mut self.place, Place::New) {
            Place::New => return,
            Place::InLine(key) => self.receiver.shared.lock().decline(key),
            Place::Promised(promise) => self.receiver.shared.lock().abandon(promise),
        };
        drop(fired);
    }
}

/// The value is never pinned: it is moved into the channel.
impl<T> Unpin for SendFuture<'_, T> {}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").finish_non_exhaustive()
    }
}

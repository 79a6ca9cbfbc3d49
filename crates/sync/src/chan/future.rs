//! The async forms: the same steps, with a [`FutureWait`] in place of a park.
//!
//! Both futures look once when first polled and register only if they must wait; an entry in the
//! channel is theirs until they are ready or dropped. `Drop` withdraws the wait *first* and removes
//! the entry *then*: after the withdrawal nobody can hand over any more, so what the entry holds
//! is the last word.

use super::state::{Received, Sent};
use super::{Receiver, RecvError, SendError, Sender};
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

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
    /// The entry in the channel, while one is registered.
    key: Option<Key>,
    wait: FutureWait,
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
        Self { receiver, key: None, wait: FutureWait::new() }
    }

    /// The first poll: receives at once, or registers.
    fn begin(&mut self) -> Poll<Result<T, RecvError>> {
        let mut state = self.receiver.shared.lock();
        match state.recv() {
            Received::Done(value, fired) => {
                drop(state);
                drop(fired);
                coop::spend();
                Poll::Ready(Ok(value))
            }
            Received::Closed => Poll::Ready(Err(RecvError)),
            Received::Empty => {
                let ticket = self.wait.arm();
                self.key = Some(state.register_recv(ticket, 0, true));
                Poll::Pending
            }
        }
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

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
        let (handed, fired) = this.receiver.shared.lock().accept(key);
        drop(fired);
        Poll::Ready(handed.ok_or(RecvError))
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        self.wait.cancel();
        let fired = self.receiver.shared.lock().decline(key);
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

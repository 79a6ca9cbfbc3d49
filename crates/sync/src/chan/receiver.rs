//! The receiving end: its handle and the forms that wait by parking or blocking.
//!
//! Try, register and finish are the steps of `state`; this file gives them a caller, and turns what
//! they find into the results that users see. The last receiver that goes discards the buffer and
//! gives waiting senders their values back.

use super::future::RecvFuture;
use super::iter::{IntoIter, Iter, TryIter};
use super::promise::PromiseKey;
use super::quick::Slow;
use super::state::{Handed, Received, State};
use super::{RecvCtxError, RecvError, RecvTimeoutError, Shared, TryRecvError, release, retain};
use crate::until::Until;
use millpond_prim::sync::{Arc, Guard};
use millpond_rt::wait::line::{self, Taken, Taker, Taking};
use millpond_rt::wait::{Fired, Outcome, WaitReason, Waiting};
use millpond_rt::{Context, coop};
use std::fmt;
use std::time::{Duration, Instant};

/// The receiving end of a channel. Cloning it makes another handle to the same channel: each value
/// goes to one receiver. When the last one is dropped, the channel closes and what is buffered is
/// dropped. See [the module](super) for what closing means.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// let (tx, rx) = millpond::chan::unbounded();
/// tx.send(1).unwrap();
/// drop(tx);
/// assert!(rx.recv().is_ok());
/// assert!(rx.recv().is_err());
/// ```
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
}

/// A receive up to its wait.
enum Begun<T> {
    Got(T),
    Closed,
    /// The goroutine is in line.
    Leaving(Taker<T>),
}

impl<T> Receiver<T> {
    /// Receives a value. Parks the goroutine, or blocks the plain thread, until there is one.
    ///
    /// The value's send happens before this returns.
    ///
    /// # Errors
    /// [`RecvError`] if the channel is closed and empty, or closes while this waits.
    // In the caller's frame, so that the switch is there: see `millpond_rt::wait::line`.
    #[inline(always)]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.begin() {
            Begun::Got(value) => Ok(value),
            Begun::Closed => Err(RecvError),
            Begun::Leaving(taker) => match taker.leave() {
                Taken::Value(value) => Ok(value),
                Taken::Nothing => Err(RecvError),
                Taken::Number(promise) => self.recv_number(promise),
            },
        }
    }

    /// All of a receive but its wait.
    #[inline(never)]
    fn begin(&self) -> Begun<T> {
        match self.shared.recv_quickly() {
            Ok(value) => {
                coop::spend();
                Begun::Got(value)
            }
            Err(state) => self.join(state),
        }
    }

    /// A receive after the quick step, under the same lock. Apart from it, so that a receive that
    /// need not wait saves no registers for this.
    #[inline(never)]
    fn join(&self, state: Guard<'_, State<T>>) -> Begun<T> {
        let over = if line::fits::<T>() && state.is_plain() {
            match line::take(state, |state| &mut state.takers, WaitReason::ChanRecv) {
                Taking::Leaving(taker) => return Begun::Leaving(taker),
                Taking::Over(Taken::Value(value)) => Ok(value),
                Taking::Over(Taken::Nothing) => Err(RecvError),
                Taking::Over(Taken::Number(promise)) => self.recv_number(promise),
            }
        } else {
            self.recv_slowly(Slow::new(state))
        };
        over.map_or(Begun::Closed, Begun::Got)
    }

    /// A promise came instead of a value.
    #[cold]
    #[inline(never)]
    fn recv_number(&self, promise: usize) -> Result<T, RecvError> {
        self.recv_promised(PromiseKey::of_number(promise)).map_err(|_| RecvError)
    }

    #[cold]
    #[inline(never)]
    fn recv_slowly(&self, mut state: Slow<'_, T>) -> Result<T, RecvError> {
        match state.recv() {
            Received::Done(value, fired) => {
                self.received(state, fired);
                Ok(value)
            }
            Received::Closed => Err(RecvError),
            Received::Promised(promise, fired) => {
                drop(state);
                drop(fired);
                self.recv_promised(promise).map_err(|_| RecvError)
            }
            Received::Empty => {
                match self.wait(state, |waiting| waiting.park(WaitReason::ChanRecv, None)) {
                    (Handed::Value(value), _) => Ok(value),
                    (Handed::Nothing, _) => Err(RecvError),
                    (Handed::Promise(promise), _) => {
                        self.recv_promised(promise).map_err(|_| RecvError)
                    }
                }
            }
        }
    }

    /// Receives a value if there is one now. Does not park, except for a value that a `select!` on
    /// the other side of a rendezvous is making; when it succeeds it may let other goroutines run
    /// first, as any operation of a channel may.
    ///
    /// # Errors
    /// [`TryRecvError`]. A closed channel is `Empty`, not `Closed`, while its last value is on its
    /// way to a future that may yet be dropped.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        loop {
            let mut state = self.shared.lock();
            return match state.recv() {
                Received::Done(value, fired) => {
                    self.received(state, fired);
                    Ok(value)
                }
                Received::Promised(promise, fired) => {
                    drop(state);
                    drop(fired);
                    match self.await_promise(promise) {
                        Some(value) => Ok(value),
                        None => continue,
                    }
                }
                Received::Empty => Err(TryRecvError::Empty),
                Received::Closed => Err(TryRecvError::Closed),
            };
        }
    }

    /// As [`recv`](Self::recv), for at most `limit`. A value is never lost to a time-out. (Once a
    /// `select!` on the other side of a rendezvous has begun to make the value, this waits for it.)
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::chan::{self, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (_tx, rx) = chan::unbounded::<u8>();
    /// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Until::After(limit))
    }

    /// As [`recv`](Self::recv), up to `deadline`. A value is never lost to a time-out.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Until::At(deadline))
    }

    /// As [`recv`](Self::recv), until `ctx` is done. A value is never lost to the context's end.
    ///
    /// # Errors
    /// [`RecvCtxError`]. If the context is done already, nothing is received even if there is a
    /// value.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, chan::{self, RecvCtxError}, context::ContextError};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let (_tx, rx) = chan::unbounded::<u8>();
    /// let late = RecvCtxError::Context(ContextError::DeadlineExceeded);
    /// assert_eq!(rx.recv_ctx(&ctx), Err(late));
    /// ```
    pub fn recv_ctx(&self, ctx: &Context) -> Result<T, RecvCtxError> {
        ctx.check()?;
        self.recv_until(Until::Done(ctx)).map_err(|error| match error {
            RecvTimeoutError::Timeout => RecvCtxError::Context(ctx.why()),
            RecvTimeoutError::Closed => RecvCtxError::Closed,
        })
    }

    /// As [`recv`](Self::recv), as a future for tasks.
    ///
    /// Dropping the future never loses a value: one that was already handed to it goes to the next
    /// receiver, or back to the front of the channel; another receiver may have got later ones
    /// meanwhile. (A future that is *leaked* while it waits keeps its place in the line, and takes
    /// the value that comes to it along.)
    ///
    /// # Errors
    /// [`RecvError`] if the channel is closed and empty, or closes while this waits.
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        RecvFuture::new(self)
    }

    /// `Timeout` if `until` came first, whatever it is.
    fn recv_until(&self, mut until: Until<'_>) -> Result<T, RecvTimeoutError> {
        loop {
            let mut state = self.shared.lock();
            let promise = match state.recv() {
                Received::Done(value, fired) => {
                    self.received(state, fired);
                    return Ok(value);
                }
                Received::Closed => return Err(RecvTimeoutError::Closed),
                Received::Promised(promise, fired) => {
                    drop(state);
                    drop(fired);
                    promise
                }
                Received::Empty => {
                    let park = |waiting: Waiting| {
                        until = until.fixed();
                        waiting.park_until(WaitReason::ChanRecv, until)
                    };
                    match self.wait(state, park) {
                        (Handed::Value(value), _) => return Ok(value),
                        (Handed::Promise(promise), _) => promise,
                        (Handed::Nothing, Outcome::Fired(_)) => {
                            return Err(RecvTimeoutError::Closed);
                        }
                        (Handed::Nothing, _) => return Err(RecvTimeoutError::Timeout),
                    }
                }
            };
            if let Some(value) = self.await_promise(promise) {
                return Ok(value);
            }
        }
    }

    /// After a step that received: unlocks and resumes the sender.
    #[inline]
    fn received(&self, state: Slow<'_, T>, fired: Option<Fired>) {
        drop(state);
        drop(fired);
        coop::spend();
    }

    /// After a step that found nothing: waits, and returns what was handed over. Apart from those
    /// who try first, so that one that need not wait saves no registers for this.
    #[inline(never)]
    fn wait(
        &self,
        mut state: Slow<'_, T>,
        park: impl FnOnce(Waiting) -> Outcome,
    ) -> (Handed<T>, Outcome) {
        let waiting = Waiting::begin();
        let key = state.register_recv(waiting.ticket(), 0, false);
        drop(state);
        let outcome = park(waiting);
        let handed = self.shared.lock().finish_recv(key);
        (handed, outcome)
    }

    /// The value that a `select!` on the other side is making, or one that comes after it.
    #[cold]
    fn recv_promised(&self, promise: PromiseKey) -> Result<T, RecvTimeoutError> {
        match self.await_promise(promise) {
            Some(value) => Ok(value),
            None => self.recv_until(Until::Forever),
        }
    }

    /// Waits for what a `select!` on the other side is making; `None` if that came to nothing.
    #[cold]
    fn await_promise(&self, promise: PromiseKey) -> Option<T> {
        let mut state = self.shared.lock();
        if state.is_open(&promise) {
            let waiting = Waiting::begin();
            state.expect(&promise, waiting.ticket());
            drop(state);
            waiting.park(WaitReason::ChanRecv, None);
            state = self.shared.lock();
        }
        let (value, fired) = state.take_promised(promise);
        drop(state);
        drop(fired);
        value
    }

    /// Receives until the channel is closed and empty. Each step parks as [`recv`](Self::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what there is, without waiting.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Closes the channel for everyone. What is buffered is still delivered; senders that wait,
    /// and later sends, fail and keep their values. Closing again does nothing.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the channel is closed. `true` stays true; values may still be buffered.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// How many values are buffered. Values of senders that wait do not count.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether nothing is buffered; for a rendezvous nearly always `true`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values can be buffered: 0 for a rendezvous, `None` for unbounded.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity()
    }

    /// Whether both are handles to one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        retain(&shared.receivers);
        Self { shared }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if release(&self.shared.receivers) {
            let (fired, discarded) = self.shared.lock().discard();
            // Senders first: dropping a value runs code that may take long, or panic.
            drop(fired);
            drop(discarded);
        }
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

//! The sending end: its handle and the forms that wait by parking or blocking.
//!
//! Try, register and finish are the steps of `state`; this file gives them a caller, and turns what
//! they find into the results that users see. A value that is not sent comes back in the error. The
//! last sender that goes closes the channel.

use super::future::SendFuture;
use super::quick::Slow;
use super::state::{Sent, State};
use super::{SendCtxError, SendError, SendTimeoutError, Shared, TrySendError, release, retain};
use crate::until::Until;
use millpond_prim::sync::{Arc, Guard};
use millpond_rt::wait::line::{self, Giver, Giving};
use millpond_rt::wait::{Fired, Outcome, WaitReason, Waiting};
use millpond_rt::{Context, coop};
use std::fmt;
use std::time::{Duration, Instant};

/// The sending end of a channel. Cloning it makes another handle to the same channel; when the
/// last one is dropped, the channel closes. See [the module](super) for what closing means.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// let (tx, rx) = millpond::chan::bounded(1);
/// tx.send("hello").unwrap();
/// assert_eq!(rx.recv(), Ok("hello"));
/// drop(rx);
/// assert_eq!(tx.send("anyone?").unwrap_err().into_inner(), "anyone?");
/// ```
pub struct Sender<T> {
    pub(super) shared: Arc<Shared<T>>,
}

/// A send up to its wait.
enum Begun<T> {
    /// It is over: the value, if it was not sent.
    Over(Option<T>),
    /// The goroutine is in line.
    Leaving(Giver<T>),
}

impl<T> Sender<T> {
    /// Sends `value`. Parks the goroutine, or blocks the plain thread, while the buffer is full;
    /// for a rendezvous, until a receiver takes it.
    ///
    /// The send happens before the receive of `value` completes.
    ///
    /// # Errors
    /// [`SendError`] with the value if the channel is closed, or closes while this waits.
    // In the caller's frame, so that the switch is there: see `millpond_rt::wait::line`.
    #[inline(always)]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let kept = match self.begin(value) {
            Begun::Over(kept) => kept,
            Begun::Leaving(giver) => giver.leave(),
        };
        kept.map_or(Ok(()), |value| Err(SendError(value)))
    }

    /// All of a send but its wait.
    #[inline(never)]
    fn begin(&self, value: T) -> Begun<T> {
        match self.shared.send_quickly(value) {
            Ok(()) => {
                coop::spend();
                Begun::Over(None)
            }
            Err((value, state)) => self.join(value, state),
        }
    }

    /// A send after the quick step, under the same lock. Apart from it, so that a send that need not
    /// wait saves no registers for this.
    #[inline(never)]
    fn join(&self, value: T, state: Guard<'_, State<T>>) -> Begun<T> {
        if line::fits::<T>() && state.is_plain() {
            match line::give(state, |state| &mut state.givers, value, WaitReason::ChanSend) {
                Giving::Over(kept) => Begun::Over(kept),
                Giving::Leaving(giver) => Begun::Leaving(giver),
            }
        } else {
            self.send_slowly(value, Slow::new(state))
        }
    }

    #[cold]
    #[inline(never)]
    fn send_slowly(&self, value: T, mut state: Slow<'_, T>) -> Begun<T> {
        let kept = match state.send(value) {
            Sent::Done(fired) => {
                self.sent(state, fired);
                None
            }
            Sent::Closed(value) => Some(value),
            Sent::Full(value) => {
                self.wait(state, value, |waiting| waiting.park(WaitReason::ChanSend, None)).0
            }
        };
        Begun::Over(kept)
    }

    /// Sends `value` if that is possible without waiting: there is room, or a receiver waits.
    /// Does not park; when it succeeds it may let other goroutines run first, as any operation of
    /// a channel may.
    ///
    /// # Errors
    /// [`TrySendError`] with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.shared.lock();
        match state.send(value) {
            Sent::Done(fired) => {
                self.sent(state, fired);
                Ok(())
            }
            Sent::Full(value) => Err(TrySendError::Full(value)),
            Sent::Closed(value) => Err(TrySendError::Closed(value)),
        }
    }

    /// As [`send`](Self::send), for at most `limit`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the value, which nobody has received then.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::chan::{self, SendTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (tx, _rx) = chan::bounded(0);
    /// let error = tx.send_timeout(7, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error, SendTimeoutError::Timeout(7));
    /// ```
    pub fn send_timeout(&self, value: T, limit: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Until::After(limit))
    }

    /// As [`send`](Self::send), up to `deadline`.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the value, which nobody has received then.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Until::At(deadline))
    }

    /// As [`send`](Self::send), until `ctx` is done.
    ///
    /// # Errors
    /// [`SendCtxError`] with the value, which nobody has received then. If the context is done
    /// already, the value is not sent even if there is room.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, chan::{self, SendCtxError}, context::ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (tx, _rx) = chan::bounded(1);
    /// tx.send_ctx(&ctx, 1).unwrap();
    /// cancel.cancel();
    /// let error = tx.send_ctx(&ctx, 2).unwrap_err();
    /// assert_eq!(error, SendCtxError::Context(2, ContextError::Cancelled));
    /// ```
    pub fn send_ctx(&self, ctx: &Context, value: T) -> Result<(), SendCtxError<T>> {
        if let Some(error) = ctx.err() {
            return Err(SendCtxError::Context(value, error));
        }
        self.send_until(value, Until::Done(ctx)).map_err(|error| match error {
            SendTimeoutError::Timeout(value) => SendCtxError::Context(value, ctx.why()),
            SendTimeoutError::Closed(value) => SendCtxError::Closed(value),
        })
    }

    /// As [`send`](Self::send), as a future for tasks.
    ///
    /// Dropping the future before it is ready gives the value up: either a receiver has already
    /// taken it, or nobody will.
    ///
    /// # Errors
    /// [`SendError`] with the value if the channel is closed, or closes while this waits.
    pub fn send_async(&self, value: T) -> SendFuture<'_, T> {
        SendFuture::new(self, value)
    }

    /// `Timeout` if `until` came first, whatever it is.
    fn send_until(&self, value: T, until: Until<'_>) -> Result<(), SendTimeoutError<T>> {
        let mut state = self.shared.lock();
        match state.send(value) {
            Sent::Done(fired) => {
                self.sent(state, fired);
                Ok(())
            }
            Sent::Closed(value) => Err(SendTimeoutError::Closed(value)),
            Sent::Full(value) => {
                let park = |waiting: Waiting| waiting.park_until(WaitReason::ChanSend, until);
                match self.wait(state, value, park) {
                    (None, _) => Ok(()),
                    (Some(value), Outcome::Fired(_)) => Err(SendTimeoutError::Closed(value)),
                    (Some(value), _) => Err(SendTimeoutError::Timeout(value)),
                }
            }
        }
    }

    /// After a step that sent the value: unlocks and resumes.
    #[inline]
    fn sent(&self, state: Slow<'_, T>, fired: Option<Fired>) {
        drop(state);
        drop(fired);
        coop::spend();
    }

    /// After a step that found no room: waits for it, and returns the value if nobody took it. Apart
    /// from those who try first, so that one that need not wait saves no registers for this.
    #[inline(never)]
    fn wait(
        &self,
        mut state: Slow<'_, T>,
        value: T,
        park: impl FnOnce(Waiting) -> Outcome,
    ) -> (Option<T>, Outcome) {
        let waiting = Waiting::begin();
        let key = state.register_send(waiting.ticket(), 0, value);
        drop(state);
        let outcome = park(waiting);
        let kept = self.shared.lock().finish_send(key);
        (kept, outcome)
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

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        retain(&shared.senders);
        Self { shared }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if release(&self.shared.senders) {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

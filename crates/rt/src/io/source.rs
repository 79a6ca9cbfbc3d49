//! A source: a non-blocking descriptor whose operations wait.
//!
//! `T` is what performs the operations (a `std` socket, say) and owns the descriptor. A source
//! adds waiting to it, for all three kinds of caller, and is shared in an `Arc` by the clones of a
//! socket, so that they share one registration. Every form is one loop:
//!
//! 1. refuse if closed or past the deadline;
//! 2. if the direction may be ready, try the operation; done unless it would block;
//! 3. wait, then again from 1.
//!
//! Trying comes first: a busy socket never waits, and one that is never waited for is never
//! registered. An operation that succeeds is charged to the caller's cooperative budget, so that a
//! goroutine whose socket is always ready still yields.

use super::core::Core;
use super::future::AsyncWait;
use super::host;
use super::limit::Patience;
use crate::wait::{Until, WaitReason};
use millpond_sys::epoll::{Side, is_ready};
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A non-blocking descriptor whose operations wait. See the module documentation.
#[derive(Debug)]
pub struct Source<T: AsFd> {
    core: Core,
    /// `Some` until [`Source::into_inner`] or the drop.
    io: Option<T>,
}

/// One try of an operation.
pub(super) enum Attempt<R> {
    Done(io::Result<R>),
    WouldBlock,
}

impl<T: AsFd> Source<T> {
    /// Wraps `io`, which must be in non-blocking mode: else its operations block the thread, and
    /// every goroutine on it. Nothing is registered before somebody waits.
    pub fn new(io: T) -> Self {
        Self { core: Core::new(), io: Some(io) }
    }

    /// What performs the operations. Operations done on it directly never wait.
    #[inline]
    pub fn get_ref(&self) -> &T {
        self.io.as_ref().expect("present until into_inner or drop, which both end the source")
    }

    /// What it is without its type.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// Ends the source and returns what it wrapped, still in non-blocking mode.
    pub fn into_inner(mut self) -> T {
        let io = self.io.take().expect("present until into_inner or drop");
        self.core.deregister(io.as_fd());
        io
    }

    /// Performs `op`, waiting while it would block. Parks the goroutine, or blocks the plain
    /// thread. `reason` is what dumps show; `until` is this call's own limit, beside those of
    /// [`Source::set_deadline`] and [`Source::set_timeout`]; a context in it that is done fails the
    /// operation before it is tried.
    ///
    /// # Errors
    /// Those of `op`, except `WouldBlock` and `Interrupted`; `TimedOut`; `NotConnected` with
    /// [`Closed`](super::Closed) inside after [`Source::close`]; what a
    /// [`ContextError`](crate::context::ContextError) becomes.
    pub fn io<R>(
        &self,
        side: Side,
        reason: WaitReason,
        until: Until<'_>,
        op: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.drive(side, reason, until, op, |_| false)
    }

    /// As [`Source::io`], for reading up to `want` bytes from a byte stream that returns less only
    /// when it is empty (TCP does; a Unix stream that carries descriptors does not): the next call
    /// then waits without asking the kernel first.
    ///
    /// # Errors
    /// As [`Source::io`].
    pub fn read_stream(
        &self,
        want: usize,
        until: Until<'_>,
        op: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.drive(Side::Read, WaitReason::IoRead, until, op, |got| (1..want).contains(got))
    }

    fn drive<R>(
        &self,
        side: Side,
        reason: WaitReason,
        until: Until<'_>,
        mut op: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        until.context().map_or(Ok(()), crate::Context::check)?;
        let mut patience = Patience::new(until);
        loop {
            match self.attempt(side, || !host::in_goroutine(), &mut op, &drained) {
                Attempt::Done(result) => {
                    if reason == WaitReason::Accept {
                        host::charge_accept();
                    }
                    return result;
                }
                Attempt::WouldBlock => {
                    self.core.wait(self.get_ref().as_fd(), side, reason, &mut patience)?;
                }
            }
        }
    }

    /// Steps 1 and 2. `anyway`: try even if the direction is not known to be ready, which is
    /// right for callers that no poller informs.
    #[inline]
    pub(super) fn attempt<R>(
        &self,
        side: Side,
        anyway: impl Fn() -> bool,
        op: &mut impl FnMut(&T) -> io::Result<R>,
        drained: &impl Fn(&R) -> bool,
    ) -> Attempt<R> {
        loop {
            let seen = match self.core.admit(side) {
                Ok(seen) => seen,
                Err(error) => return Attempt::Done(Err(error)),
            };
            if !seen.is_ready() && !anyway() {
                return Attempt::WouldBlock;
            }
            match op(self.get_ref()) {
                Ok(value) => {
                    if drained(&value) {
                        self.core.direction(side).drained(seen);
                    }
                    host::spend();
                    return Attempt::Done(Ok(value));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.core.direction(side).would_block(seen);
                        return Attempt::WouldBlock;
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => return Attempt::Done(Err(error)),
                },
            }
        }
    }

    /// Performs `op`, or stores the waker of `cx` for when it may succeed. Several tasks may wait
    /// for one direction. A deadline that has passed fails the operation; none is waited for here,
    /// since a call leaves nothing behind that could time out: use a time-out around the future.
    ///
    /// # Errors
    /// As [`Source::io`].
    pub fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        op: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_drive(cx, side, op, |_| false)
    }

    /// [`Source::poll_io`] as [`Source::read_stream`] does it.
    ///
    /// # Errors
    /// As [`Source::io`].
    pub fn poll_read_stream(
        &self,
        cx: &mut Context<'_>,
        want: usize,
        op: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_drive(cx, Side::Read, op, |got| (1..want).contains(got))
    }

    fn poll_drive<R>(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        mut op: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        loop {
            match self.attempt(side, || false, &mut op, &drained) {
                Attempt::Done(result) => return Poll::Ready(result),
                Attempt::WouldBlock => {
                    match self.core.poll_wait(self.get_ref().as_fd(), side, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    }
                }
            }
        }
    }

    /// The twin of [`Source::io`] for tasks. Dropping the future withdraws; `op` has then not
    /// succeeded.
    ///
    /// # Errors
    /// As [`Source::io`].
    pub async fn io_async<R>(
        &self,
        side: Side,
        op: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.drive_async(side, op, |_| false).await
    }

    /// The twin of [`Source::read_stream`] for tasks.
    ///
    /// # Errors
    /// As [`Source::io`].
    pub async fn read_stream_async(
        &self,
        want: usize,
        op: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.drive_async(Side::Read, op, |got| (1..want).contains(got)).await
    }

    async fn drive_async<R>(
        &self,
        side: Side,
        mut op: impl FnMut(&T) -> io::Result<R>,
        drained: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        let mut wait = AsyncWait::new(&self.core, side);
        std::future::poll_fn(move |cx| {
            loop {
                match wait.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
                match self.attempt(side, || false, &mut op, &drained) {
                    Attempt::Done(result) => return Poll::Ready(result),
                    Attempt::WouldBlock => {
                        if let Err(error) = wait.begin(self.get_ref().as_fd()) {
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            }
        })
        .await
    }

    /// Waits until an operation on `side` would not block (it may still fail, and another clone
    /// may be faster). Parks the goroutine, or blocks the plain thread.
    ///
    /// # Errors
    /// `TimedOut`, [`Closed`](super::Closed), and the end of a context in `until`.
    pub fn ready(&self, side: Side, reason: WaitReason, until: Until<'_>) -> io::Result<()> {
        let mut asked = self.will_be_told(side);
        self.io(side, reason, until, |io| {
            // Told by an event after the question: that is the answer. A plain thread is told
            // nothing.
            if (asked && host::in_goroutine()) || is_ready(io.as_fd(), side)? {
                return Ok(());
            }
            asked = true;
            would_block()
        })
    }

    /// The twin of [`Source::ready`] for tasks.
    ///
    /// # Errors
    /// As [`Source::ready`].
    pub async fn ready_async(&self, side: Side) -> io::Result<()> {
        let mut asked = self.will_be_told(side);
        self.io_async(side, move |io| {
            if asked || is_ready(io.as_fd(), side)? {
                return Ok(());
            }
            asked = true;
            would_block()
        })
        .await
    }

    /// Whether the last operation has left nothing, so that only an event can make `side` ready: to
    /// ask the kernel then, as each message is waited for, would cost a system call for each.
    fn will_be_told(&self, side: Side) -> bool {
        !self.core.direction(side).seen().is_ready()
    }

    /// Until when operations on `side` may wait. Holds for those that wait already, and for all
    /// later ones: once it has passed they fail with `TimedOut`, until it is set again.
    pub fn set_deadline(&self, side: Side, at: Option<Instant>) {
        self.core.limit(side).set_deadline(at);
        self.core.kick(side);
    }

    /// The deadline of `side`.
    pub fn deadline(&self, side: Side) -> Option<Instant> {
        self.core.limit(side).deadline()
    }

    /// How long each later operation on `side` may wait.
    ///
    /// # Errors
    /// `InvalidInput` for zero, as in `std`.
    pub fn set_timeout(&self, side: Side, timeout: Option<Duration>) -> io::Result<()> {
        self.core.limit(side).set_timeout(timeout)
    }

    /// The time-out of `side`.
    pub fn timeout(&self, side: Side) -> Option<Duration> {
        self.core.limit(side).timeout()
    }

    /// Makes operations that wait try again: the descriptor was changed in a way (a shutdown) that
    /// the kernel need not tell them.
    pub fn touch(&self) {
        self.core.touch();
    }

    /// Fails all operations from now on, also those that wait. The descriptor itself is closed
    /// when the source is dropped.
    pub fn close(&self) {
        self.core.close();
    }
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        if let Some(io) = &self.io {
            self.core.deregister(io.as_fd());
        }
    }
}

fn would_block<R>() -> io::Result<R> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Hundreds of thousands of idle connections are the aim; this is what each of them keeps,
    /// beside its goroutine.
    #[test]
    fn a_source_at_rest_is_small() {
        let readiness = size_of::<super::super::readiness::Readiness>();
        let bytes = size_of::<Source<UnixStream>>() + readiness + 4 * size_of::<usize>();
        assert!(bytes <= 288, "{bytes} bytes");
    }
}

//! Waiting for a context to be done: in blocking code, as a future, as an arm.
//!
//! One value, [`Done`], for all three. It waits with a ticket in the scope's list of waiters, for
//! the cancellation, and with the context's deadline as the limit of the wait; a future, which has
//! no limit of its own, keeps a timer beside it.

use super::{Context, ContextError, Registration};
use crate::wait::{FutureWait, Ticket, Until, WaitReason, Waiting};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

/// Waits for a context to be done. From [`Context::done`]: `done().wait()` parks, `done().await`
/// is for tasks, and `_ = ctx.done() => ..` is an arm of `select!`.
#[must_use = "waits for nothing until it is awaited, or `wait` is called"]
pub struct Done<'a> {
    ctx: &'a Context,
    wait: FutureWait,
    /// With the context, while the future waits.
    registration: Option<Registration>,
    #[cfg(not(loom))]
    timer: Option<crate::time::Sleep>,
}

impl<'a> Done<'a> {
    pub(super) fn new(ctx: &'a Context) -> Self {
        Self {
            ctx,
            wait: FutureWait::new(),
            registration: None,
            #[cfg(not(loom))]
            timer: None,
        }
    }

    /// Waits until the context is done, and says why. Parks the goroutine, or blocks the plain
    /// thread; for ever if the context is one that nothing ends.
    pub fn wait(self) -> ContextError {
        loop {
            if let Some(error) = self.ctx.err() {
                crate::coop::spend();
                return error;
            }
            Waiting::begin().park_until(WaitReason::Context, Until::Done(self.ctx));
        }
    }

    /// For an arm: the answer, if there is one now.
    #[doc(hidden)]
    #[inline]
    pub fn due(&self) -> Option<ContextError> {
        self.ctx.err()
    }

    /// For an arm: when it is due at the latest. Does not change.
    #[doc(hidden)]
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.ctx.deadline()
    }

    /// For an arm: [`Context::enlist`].
    #[doc(hidden)]
    pub fn enlist(&self, ticket: &Ticket, outcome: u16) -> Option<Registration> {
        self.ctx.enlist(ticket, outcome)
    }

    /// For an arm: [`Context::delist`].
    #[doc(hidden)]
    pub fn delist(&self, registration: Registration) {
        self.ctx.delist(registration);
    }

    fn withdraw(&mut self) {
        self.wait.cancel();
        if let Some(registration) = self.registration.take() {
            self.ctx.delist(registration);
        }
    }

    /// Ready once the deadline has passed.
    #[cfg(not(loom))]
    fn poll_deadline(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let Some(at) = self.ctx.deadline() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| crate::time::Sleep::until(at));
        Pin::new(timer).poll(cx)
    }

    #[cfg(loom)]
    fn poll_deadline(&mut self, _cx: &mut task::Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Future for Done<'_> {
    type Output = ContextError;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<ContextError> {
        let this = self.get_mut();
        if this.registration.is_none() {
            let ticket = this.wait.arm();
            this.registration = this.ctx.enlist(&ticket, 0);
        }
        let ended = this.registration.is_none()
            || this.wait.poll(cx).is_ready()
            || this.poll_deadline(cx).is_ready();
        if !ended {
            return Poll::Pending;
        }
        this.withdraw();
        crate::coop::spend();
        Poll::Ready(this.ctx.why())
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Done").field(self.ctx).finish()
    }
}

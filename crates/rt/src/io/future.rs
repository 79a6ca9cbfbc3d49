//! The wait of a future that owns it: the `*_async` twins.
//!
//! A `poll_*` call leaves only a waker behind. A twin is a future of ours, so it can do better: it
//! waits with a ticket of its own (two futures of one task do not disturb each other) and
//! withdraws when it is dropped.

use super::core::Core;
use super::waiters::Waiter;
use crate::wait::{FutureWait, Ticket};
use millpond_sys::epoll::Side;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

/// One direction of one source, waited for by one future.
pub(super) struct AsyncWait<'a> {
    core: &'a Core,
    side: Side,
    wait: FutureWait,
    /// In line with this, while a wait is under way.
    ticket: Option<Ticket>,
}

impl<'a> AsyncWait<'a> {
    pub(super) fn new(core: &'a Core, side: Side) -> Self {
        Self { core, side, wait: FutureWait::new(), ticket: None }
    }

    /// Begins a wait, unless something has happened and the operation should be tried again.
    pub(super) fn begin(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let at = self.core.registered(fd)?;
        let ticket = self.wait.arm();
        if self.core.line_up(at, self.side, Waiter::Ticket(ticket.clone())) {
            self.ticket = Some(ticket);
        } else {
            self.wait.cancel();
        }
        Ok(())
    }

    /// Ready when no wait is under way (any more).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ticket.is_some() {
            if self.wait.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.ticket = None;
        }
        Poll::Ready(())
    }
}

impl Drop for AsyncWait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.wait.cancel();
            self.core.leave(self.side, &Waiter::Ticket(ticket));
        }
    }
}

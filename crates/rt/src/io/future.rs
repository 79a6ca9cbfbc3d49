//! The wait of a future that owns it: the `*_async` twins.
//!
//! A `poll_*` call leaves only a waker behind. A twin is a future of ours, so it can do better: it
//! waits with a ticket of its own (two futures of one task do not disturb each other), has a timer
//! if a deadline or a time-out is set, and withdraws when it is dropped.

use super::core::Core;
use super::limit::Patience;
use super::waiters::Waiter;
use crate::time::Sleep;
use crate::wait::{FutureWait, Ticket, Until};
use millpond_sys::epoll::Side;
use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// One direction of one source, waited for by one future.
pub(super) struct AsyncWait<'a> {
    core: &'a Core,
    side: Side,
    wait: FutureWait,
    /// In line with this, while a wait is under way.
    ticket: Option<Ticket>,
    patience: Patience<'static>,
    /// Ends the wait under way, if something limits it.
    timer: Option<Sleep>,
}

impl<'a> AsyncWait<'a> {
    pub(super) fn new(core: &'a Core, side: Side) -> Self {
        let (wait, patience) = (FutureWait::new(), Patience::new(Until::Forever));
        Self { core, side, wait, ticket: None, patience, timer: None }
    }

    /// Begins a wait, unless something has happened and the operation should be tried again.
    pub(super) fn begin(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let at = self.core.registered(fd, self.side)?;
        let ticket = self.wait.arm();
        if !self.core.line_up(at, self.side, Waiter::Ticket(ticket.clone())) {
            self.wait.cancel();
            return Ok(());
        }
        self.ticket = Some(ticket);
        self.timer = self.patience.limit(self.core.limit(self.side)).map(Sleep::until);
        Ok(())
    }

    /// Ready when no wait is under way (any more) and the operation should be tried.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ticket.is_none() {
            return Poll::Ready(Ok(()));
        }
        if self.wait.poll(cx).is_ready() {
            (self.ticket, self.timer) = (None, None);
            return Poll::Ready(Ok(()));
        }
        match &mut self.timer {
            None => return Poll::Pending,
            Some(timer) => ready!(Pin::new(timer).poll(cx)),
        }
        self.withdraw();
        Poll::Ready(self.core.still_time(self.side, &mut self.patience))
    }

    fn withdraw(&mut self) {
        self.timer = None;
        if let Some(ticket) = self.ticket.take() {
            self.wait.cancel();
            self.core.leave(self.side, &Waiter::Ticket(ticket));
        }
    }
}

impl Drop for AsyncWait<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

//! An operation on a source as an arm of a select.
//!
//! It stands in the line of its direction, as a wait of any other form does, with its number as the
//! outcome; an event wakes everybody there, so the arm that has won may find that another was faster,
//! and the select begins again. It registers with a poller whoever waits, a plain thread too: poll(2)
//! could not end with the other arms.
//!
//! What the last look left is not believed: a select with a `default` never stands in line, so nobody
//! may have registered the source, and then no event will ever tell of anything.

use super::core::Core;
use super::source::{Attempt, Source};
use super::waiters::Waiter;
use crate::select::{Arm, Finish, Tried};
use crate::wait::Ticket;
use millpond_sys::epoll::Side;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

/// The arm of an operation on a source. From [`Source::arm`].
pub struct IoArm<'a, T: AsFd, R, F> {
    source: &'a Source<T>,
    side: Side,
    op: F,
    /// While in line.
    waiter: Option<Waiter>,
    result: Option<io::Result<R>>,
}

impl<T: AsFd> Source<T> {
    /// `op` as an arm of a select: tried as [`Source::io`] tries it, under the deadline of `side`
    /// (but not its time-out), done when it would not block. It has not succeeded if another arm wins.
    pub fn arm<R, F: FnMut(&T) -> io::Result<R>>(&self, side: Side, op: F) -> IoArm<'_, T, R, F> {
        IoArm { source: self, side, op, waiter: None, result: None }
    }
}

impl<T: AsFd, R, F> IoArm<'_, T, R, F> {
    fn core(&self) -> &Core {
        self.source.core()
    }

    fn leave(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.core().leave(self.side, &waiter);
        }
    }
}

impl<T: AsFd, R, F: FnMut(&T) -> io::Result<R>> Arm for IoArm<'_, T, R, F> {
    fn attempt(&mut self) -> Tried {
        if self.result.is_none()
            && let Attempt::Done(result) =
                self.source.attempt(self.side, || true, &mut self.op, &|_| false)
        {
            self.result = Some(result);
        }
        if self.result.is_some() { Tried::Ready } else { Tried::NotReady }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        let arm = || Waiter::Arm(Box::new((ticket.clone(), outcome)));
        match self.core().registered(self.source.get_ref().as_fd(), self.side) {
            Ok(at) if self.core().line_up(at, self.side, arm()) => {
                self.waiter = Some(arm());
                return true;
            }
            // Something has happened since the attempt: to be looked at when settled.
            Ok(_) => drop(ticket.fire(outcome)),
            Err(error) => {
                if ticket.fire(outcome) {
                    self.result = Some(Err(error));
                }
            }
        }
        false
    }

    fn delist(&mut self) {
        self.leave();
    }

    fn settle(&mut self) -> Tried {
        self.leave();
        self.attempt()
    }

    fn deadline(&self) -> Option<Instant> {
        self.core().limit(self.side).deadline()
    }
}

impl<T: AsFd, R, F: FnMut(&T) -> io::Result<R>> Finish for IoArm<'_, T, R, F> {
    type Output = io::Result<R>;

    fn finish(mut self) -> io::Result<R> {
        self.result.take().expect("select: an operation that has not won")
    }
}

impl<T: AsFd, R, F> Drop for IoArm<'_, T, R, F> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T: AsFd, R, F> fmt::Debug for IoArm<'_, T, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoArm").field("done", &self.result.is_some()).finish_non_exhaustive()
    }
}

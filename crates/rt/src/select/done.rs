//! The arm `e = ctx.done()`: the end of a context.
//!
//! A cancellation claims the ticket; the deadline is the deadline of the arm. A context never stops being
//! done, so unlike other arms it finds something whenever it has won.

use super::{Arm, Finish, IntoArm, Tried};
use crate::context::{Context, ContextError, Done, Registration};
use crate::wait::Ticket;
use std::time::Instant;

/// The arm of a context. From `select!`.
#[derive(Debug)]
pub struct DoneArm<'a> {
    done: Done<'a>,
    /// While in line.
    registration: Option<Registration>,
    error: Option<ContextError>,
}

impl Context {
    /// The arm `self.done()` of a select.
    #[doc(hidden)]
    pub fn __select_done(&self) -> DoneArm<'_> {
        self.done().into_arm()
    }
}

impl<'a> IntoArm for Done<'a> {
    type Arm = DoneArm<'a>;

    fn into_arm(self) -> DoneArm<'a> {
        DoneArm { done: self, registration: None, error: None }
    }
}

impl Arm for DoneArm<'_> {
    fn attempt(&mut self) -> Tried {
        self.error = self.done.due();
        if self.error.is_some() { Tried::Ready } else { Tried::NotReady }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.registration = self.done.enlist(ticket, outcome);
        if self.registration.is_none() {
            ticket.fire(outcome);
        }
        self.registration.is_some()
    }

    fn delist(&mut self) {
        if let Some(registration) = self.registration.take() {
            self.done.delist(registration);
        }
    }

    fn settle(&mut self) -> Tried {
        self.delist();
        self.attempt()
    }

    fn deadline(&self) -> Option<Instant> {
        self.done.deadline()
    }
}

impl Finish for DoneArm<'_> {
    type Output = ContextError;

    fn finish(mut self) -> ContextError {
        self.error.take().expect("select: a context that has not won")
    }
}

impl Drop for DoneArm<'_> {
    fn drop(&mut self) {
        self.delist();
    }
}

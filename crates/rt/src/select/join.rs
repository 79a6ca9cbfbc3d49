//! The arm `v = handle.join()`: the end of a goroutine, a task, a child of a scope, a job.
//!
//! It borrows the handle. If another arm wins, the handle is as it was; if this one wins, the result
//! is out of it, and it is good for dropping only. The result stays with the handle until the arm is
//! settled: an arm that found the end while it got in line may still have lost.

use super::{Arm, Finish, IntoArm, Tried};
use crate::handle::{JoinError, JoinHandle, LocalJoinHandle};
use crate::wait::Ticket;
use std::fmt;

/// A handle that can be waited for in a select. For those who make handles.
pub trait Joins {
    /// The result.
    type Output;

    /// Takes the result out, if it is there.
    ///
    /// # Panics
    /// If it was taken before.
    fn take_now(&mut self) -> Option<Self::Output>;

    /// Leaves `ticket`, to be claimed with `outcome` at the end; `false`, with the result still in
    /// place, if that has come.
    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool;

    /// Takes the ticket back.
    fn delist(&mut self);
}

/// The arm of a handle. From `select!`.
pub struct JoinArm<'a, H: Joins> {
    handle: &'a mut H,
    in_line: bool,
    result: Option<H::Output>,
}

impl<'a, H: Joins> JoinArm<'a, H> {
    /// The arm of this handle.
    pub fn new(handle: &'a mut H) -> Self {
        Self { handle, in_line: false, result: None }
    }
}

impl<T> JoinHandle<T> {
    /// The arm `self.join()` of a select.
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, Self> {
        JoinArm::new(self)
    }
}

impl<T> LocalJoinHandle<T> {
    /// The arm `self.join()` of a select.
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, JoinHandle<T>> {
        JoinArm::new(self.handle_mut())
    }
}

impl<T> Joins for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn take_now(&mut self) -> Option<Self::Output> {
        self.take_if_ended()
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.leave_ticket(ticket, outcome)
    }

    fn delist(&mut self) {
        self.withdraw();
    }
}

impl<'a, H: Joins> IntoArm for &'a mut H {
    type Arm = JoinArm<'a, H>;

    fn into_arm(self) -> JoinArm<'a, H> {
        JoinArm::new(self)
    }
}

impl<H: Joins> Arm for JoinArm<'_, H> {
    fn attempt(&mut self) -> Tried {
        if self.result.is_none() {
            self.result = self.handle.take_now();
        }
        if self.result.is_some() { Tried::Ready } else { Tried::NotReady }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.in_line = self.handle.enlist(ticket, outcome);
        if !self.in_line {
            ticket.fire(outcome);
        }
        self.in_line
    }

    fn delist(&mut self) {
        if std::mem::take(&mut self.in_line) {
            self.handle.delist();
        }
    }

    fn settle(&mut self) -> Tried {
        self.delist();
        self.attempt()
    }
}

impl<H: Joins> Finish for JoinArm<'_, H> {
    type Output = H::Output;

    fn finish(mut self) -> H::Output {
        self.result.take().expect("select: a join that has not won")
    }
}

impl<H: Joins> Drop for JoinArm<'_, H> {
    fn drop(&mut self) {
        self.delist();
    }
}

impl<H: Joins> fmt::Debug for JoinArm<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinArm").field("done", &self.result.is_some()).finish_non_exhaustive()
    }
}

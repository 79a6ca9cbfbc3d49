//! The arm `v = handle.join()`: the end of a goroutine or task.
//!
//! It borrows the handle. If another arm wins, the handle is as it was; if this one wins, the
//! result is out of it, and it is good for dropping only.

use super::{Arm, Finish, IntoArm, Tried};
use crate::handle::{JoinError, JoinHandle, LocalJoinHandle};
use crate::wait::Ticket;
use std::task::{Context, Waker};

/// The arm of a handle. From `select!`.
#[derive(Debug)]
pub struct JoinArm<'a, T> {
    handle: &'a mut JoinHandle<T>,
    result: Option<Result<T, JoinError>>,
}

impl<T> JoinHandle<T> {
    /// The arm `self.join()` of a select.
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, T> {
        JoinArm { handle: self, result: None }
    }
}

impl<T> LocalJoinHandle<T> {
    /// The arm `self.join()` of a select.
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, T> {
        self.handle_mut().__select_join()
    }
}

impl<'a, T> IntoArm for &'a mut JoinHandle<T> {
    type Arm = JoinArm<'a, T>;

    fn into_arm(self) -> JoinArm<'a, T> {
        self.__select_join()
    }
}

impl<T> JoinArm<'_, T> {
    fn look(&mut self) -> Tried {
        if self.result.is_none() {
            self.result = self.handle.take_now(&mut Context::from_waker(Waker::noop()));
        }
        if self.result.is_some() { Tried::Ready } else { Tried::NotReady }
    }
}

impl<T> Arm for JoinArm<'_, T> {
    fn attempt(&mut self) -> Tried {
        self.look()
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        let in_line = self.handle.enlist(ticket, outcome);
        if !in_line {
            // The result stays with the handle until this arm is settled: another may have won.
            ticket.fire(outcome);
        }
        in_line
    }

    fn delist(&mut self) {
        self.handle.delist();
    }

    fn settle(&mut self) -> Tried {
        self.look()
    }
}

impl<T> Finish for JoinArm<'_, T> {
    type Output = Result<T, JoinError>;

    fn finish(self) -> Self::Output {
        self.result.expect("select: a join that has not won")
    }
}

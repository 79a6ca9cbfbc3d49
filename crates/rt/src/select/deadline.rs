//! The arm of a point in time.
//!
//! It has no timer and is in no line: what it has is a deadline, and the earliest deadline of the arms is
//! the limit of the wait. Asking whether it is due reads the clock, so a select asks once before it waits.

use super::{Arm, Finish, IntoArm, Tried};
use crate::wait::Ticket;
use std::time::Instant;

/// Possible from a point in time on, for ever.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineArm(Instant);

impl DeadlineArm {
    /// Possible from `at` on.
    pub fn new(at: Instant) -> Self {
        Self(at)
    }
}

impl Arm for DeadlineArm {
    fn attempt(&mut self) -> Tried {
        if Instant::now() >= self.0 { Tried::Ready } else { Tried::NotReady }
    }

    fn enlist(&mut self, _ticket: &Ticket, _outcome: u16) -> bool {
        // The wait has its deadline: nobody else needs to end it.
        true
    }

    fn delist(&mut self) {}

    fn settle(&mut self) -> Tried {
        self.attempt()
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}

impl Finish for DeadlineArm {
    type Output = Instant;

    fn finish(self) -> Instant {
        self.0
    }
}

impl IntoArm for DeadlineArm {
    type Arm = Self;

    fn into_arm(self) -> Self {
        self
    }
}

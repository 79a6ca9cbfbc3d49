//! The arms of time: `t = ticker.tick()` and `_ = after(duration)`.
//!
//! Neither has a timer: what is next is the deadline of the arm. A ticker that is reset or stopped
//! claims the ticket, and the select begins again.

use super::{Arm, DeadlineArm, Finish, IntoArm, Tried};
use crate::context::Registration;
use crate::time::{After, Ticker};
use crate::wait::Ticket;
use std::time::Instant;

/// The arm of a ticker. From `select!`.
#[derive(Debug)]
pub struct TickArm<'a> {
    ticker: &'a Ticker,
    /// While in line.
    registration: Option<Registration>,
    /// The tick that was taken.
    tick: Option<Instant>,
}

impl Ticker {
    /// The arm `self.tick()` of a select.
    #[doc(hidden)]
    pub fn __select_tick(&self) -> TickArm<'_> {
        self.into_arm()
    }
}

impl<'a> IntoArm for &'a Ticker {
    type Arm = TickArm<'a>;

    fn into_arm(self) -> TickArm<'a> {
        TickArm { ticker: self, registration: None, tick: None }
    }
}

impl Arm for TickArm<'_> {
    fn attempt(&mut self) -> Tried {
        self.tick = self.ticker.due();
        if self.tick.is_some() { Tried::Ready } else { Tried::NotReady }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.registration = self.ticker.enlist(ticket, outcome);
        true
    }

    fn delist(&mut self) {
        if let Some(registration) = self.registration.take() {
            self.ticker.delist(registration);
        }
    }

    fn settle(&mut self) -> Tried {
        self.delist();
        self.attempt()
    }

    fn deadline(&self) -> Option<Instant> {
        self.ticker.deadline()
    }
}

impl Finish for TickArm<'_> {
    type Output = Instant;

    fn finish(mut self) -> Instant {
        self.tick.take().expect("select: a tick that has not won")
    }
}

impl Drop for TickArm<'_> {
    fn drop(&mut self) {
        self.delist();
    }
}

impl IntoArm for After {
    type Arm = DeadlineArm;

    fn into_arm(self) -> DeadlineArm {
        DeadlineArm::new(self.deadline())
    }
}

impl IntoArm for &After {
    type Arm = DeadlineArm;

    fn into_arm(self) -> DeadlineArm {
        DeadlineArm::new(self.deadline())
    }
}

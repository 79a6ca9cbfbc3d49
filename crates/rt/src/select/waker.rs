//! A waker that claims a ticket: how the end of something that knows wakers only, a task, becomes
//! an arm of a select.
//!
//! One allocation per wait. A task keeps the waker until it is given another or ends; by then the
//! ticket is an old one, and its claim fails.

use crate::wait::Ticket;
use std::sync::Arc;
use std::task::{Wake, Waker};

struct Claims {
    ticket: Ticket,
    outcome: u16,
}

impl Wake for Claims {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ticket.fire(self.outcome);
    }
}

/// A waker that ends the wait of `ticket` with `outcome`.
pub(crate) fn waker(ticket: Ticket, outcome: u16) -> Waker {
    Waker::from(Arc::new(Claims { ticket, outcome }))
}

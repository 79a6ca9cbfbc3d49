//! One timer for a deadline that moves at each request.
//!
//! A connection's next deadline changes several times in a request, nearly always to a later point.
//! To set a timer each time would be the most expensive part of a small request. So the timer is
//! left where it is while it stands *before* the deadline; when it goes off too early, it is set
//! again. A connection that is never idle sets one timer per idle time-out.

use millpond_rt::time::Sleep;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// A deadline that may be moved cheaply.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Sleep>,
}

impl Alarm {
    /// Ready when `deadline` has passed; never without one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Sleep::until(deadline));
        if sleep.deadline() > deadline {
            sleep.reset(deadline);
        }
        while Pin::new(&mut *sleep).poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.reset(deadline);
        }
        Poll::Pending
    }
}

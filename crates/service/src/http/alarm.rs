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

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_rt::Builder;
    use std::future::poll_fn;
    use std::time::Duration;

    #[test]
    fn a_deadline_may_move_both_ways_and_is_never_early() {
        Builder::new()
            .procs(1)
            .private()
            .run(|| {
                let (mut alarm, began) = (Alarm::default(), Instant::now());
                let later = began + Duration::from_millis(30);
                millpond_rt::block_on(async {
                    // Set, moved nearer, moved away: polled once each.
                    for offset_ms in [10_000, 5, 30] {
                        let at = began + Duration::from_millis(offset_ms);
                        poll_fn(|cx| Poll::Ready(alarm.poll(cx, Some(at)).is_ready())).await;
                    }
                    poll_fn(|cx| alarm.poll(cx, Some(later))).await;
                });
                assert!(Instant::now() >= later);
                let mut never = poll_fn(|cx| Poll::Ready(alarm.poll(cx, None).is_pending()));
                let pinned = Pin::new(&mut never);
                assert!(millpond_rt::block_on(pinned));
            })
            .unwrap();
    }
}

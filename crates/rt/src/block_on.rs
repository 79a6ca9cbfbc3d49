//! Driving a future from blocking code: park between polls.
//!
//! The future is pinned in the heap, not on the caller's stack, so that other threads that refer
//! into it (wakers, I/O drivers) never refer into a stack that is at rest.
//!
//! The waker is a flag and a place for the ticket of the wait under way. `wake` sets the flag
//! first and then fires the ticket, if there is one; the poller leaves a ticket only when it finds
//! the flag down, under the same lock.

use crate::context::{Context, ContextError};
use crate::poll_stack;
use crate::wait::{Outcome, Ticket, Until, WaitReason, Waiting};
use millpond_prim::sync::Lock;
use std::future::Future;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};

#[derive(Default)]
struct Parker {
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    woken: bool,
    ticket: Option<Ticket>,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.woken = true;
        let ticket = state.ticket.take();
        drop(state);
        if let Some(ticket) = ticket {
            ticket.fire(0);
        }
    }
}

/// Runs `future` to its end. Parks the goroutine between polls, or blocks the plain thread.
///
/// # Panics
/// If the future does.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// assert_eq!(millpond::block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    block_on_until(WaitReason::BlockOn, Until::Forever, future)
        .expect("without a context there is none that could be done")
}

/// As [`block_on`], until `ctx` is done; then `future` is dropped.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// use millpond::{Context, block_on_ctx};
/// use std::{future::pending, time::Duration};
///
/// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
/// assert!(block_on_ctx(&ctx, pending::<()>()).is_err());
/// ```
///
/// # Errors
/// [`ContextError`] if the context is done first; if it is done already, `future` is not polled.
///
/// # Panics
/// If the future does.
pub fn block_on_ctx<F: Future>(ctx: &Context, future: F) -> Result<F::Output, ContextError> {
    ctx.check()?;
    block_on_until(WaitReason::BlockOn, Until::Done(ctx), future)
}

/// As [`block_on`]; when `until`, which is a context if it is anything, is done, `future` is dropped.
pub(crate) fn block_on_until<F: Future>(
    reason: WaitReason,
    until: Until<'_>,
    future: F,
) -> Result<F::Output, ContextError> {
    let mut future = Box::pin(future);
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut cx = task::Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = poll_stack::run(|| future.as_mut().poll(&mut cx)) {
            return Ok(output);
        }
        let waiting = Waiting::begin();
        let mut state = parker.state.lock();
        if std::mem::take(&mut state.woken) {
            drop(state);
            waiting.cancel();
            crate::coop::spend();
            continue;
        }
        state.ticket = Some(waiting.ticket());
        drop(state);
        if let Outcome::Cancelled(error) = waiting.park_until(reason, until) {
            return Err(error);
        }
        parker.state.lock().woken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_from_another_thread_before_or_after_parking_is_seen() {
        for _ in 0..1_000 {
            let mut thread = None;
            let mut polls = 0;
            let answer = block_on(std::future::poll_fn(|cx| {
                polls += 1;
                if polls == 3 {
                    return Poll::Ready(polls);
                }
                let waker = cx.waker().clone();
                let older = thread.replace(std::thread::spawn(move || waker.wake()));
                drop(older);
                Poll::Pending
            }));
            assert_eq!(answer, 3);
        }
    }
}

//! A future under a context: what `_ctx` forms are to blocking code, for tasks.
//!
//! One combinator instead of an async `_ctx` twin of everything: a future that is dropped withdraws
//! from whatever it waits for, so the end of the context needs to do nothing else. As with the
//! blocking forms, a context that is done keeps the future from being polled at all.

use super::{Context, ContextError, Done};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

impl Context {
    /// `future`, until the context is done; then it is dropped with the result.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// use millpond::{Context, block_on, context::ContextError};
    /// use std::future::{pending, ready};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert_eq!(block_on(ctx.run_until_done(ready(7))), Ok(7));
    /// cancel.cancel();
    /// assert_eq!(block_on(ctx.run_until_done(pending::<()>())), Err(ContextError::Cancelled));
    /// ```
    pub fn run_until_done<F: Future>(&self, future: F) -> RunUntilDone<'_, F> {
        RunUntilDone { future, done: self.done(), ctx: self, began: false }
    }
}

pin_project_lite::pin_project! {
    /// The future of [`Context::run_until_done`].
    #[must_use = "a future does nothing unless polled"]
    pub struct RunUntilDone<'a, F> {
        #[pin]
        future: F,
        done: Done<'a>,
        ctx: &'a Context,
        began: bool,
    }
}

impl<F: Future> Future for RunUntilDone<'_, F> {
    type Output = Result<F::Output, ContextError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !std::mem::replace(this.began, true) {
            this.ctx.check()?;
        }
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.done).poll(cx).map(Err)
    }
}

impl<F> fmt::Debug for RunUntilDone<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunUntilDone").field("ctx", self.ctx).finish_non_exhaustive()
    }
}

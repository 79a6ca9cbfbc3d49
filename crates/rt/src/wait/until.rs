//! How long an operation may wait: a time limit, a context, or both.
//!
//! Reading the clock costs as much as a whole uncontended operation, so a limit is carried as the
//! caller gave it and becomes a point in time only when the operation has to wait. A context is
//! borrowed for the same reason: nothing is registered with it before the wait.
//!
//! A primitive has one internal form that takes an [`Until`]; its plain, `_timeout` and `_ctx`
//! forms differ in the `Until` that they make. The rule that they share, and that Go's programs
//! follow by hand: *a context that is done fails the operation before it is tried*
//! ([`Context::check`]), one that is done later ends the wait.

use super::waiting::CANCELLED;
use super::{Outcome, WaitReason, Waiting};
use crate::context::{Context, ContextError};
use std::time::{Duration, Instant};

/// When a wait is over at the latest.
#[derive(Debug, Clone, Copy)]
pub enum Until<'a> {
    /// No limit.
    Forever,
    /// This long, counted from when the waiting begins.
    After(Duration),
    /// Up to this moment.
    At(Instant),
    /// Until the context is done.
    Done(&'a Context),
    /// Until the context is done, or up to this moment.
    DoneOrAt(&'a Context, Instant),
}

impl<'a> Until<'a> {
    /// Up to `at`, if that is a moment, and until `ctx` is done, if that is a context.
    pub fn new(at: Option<Instant>, ctx: Option<&'a Context>) -> Self {
        match (at, ctx) {
            (None, None) => Self::Forever,
            (Some(at), None) => Self::At(at),
            (None, Some(ctx)) => Self::Done(ctx),
            (Some(at), Some(ctx)) => Self::DoneOrAt(ctx, at),
        }
    }

    /// The time limit, beside that of the context. `None` means no limit, which a duration beyond
    /// the clock's range means too.
    #[inline]
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Forever | Self::Done(_) => None,
            Self::After(limit) => Instant::now().checked_add(limit),
            Self::At(at) | Self::DoneOrAt(_, at) => Some(at),
        }
    }

    /// The same limit, with a duration counted from now: for an operation of several waits.
    #[inline]
    pub fn fixed(self) -> Self {
        match self {
            Self::After(_) => Self::new(self.deadline(), None),
            other => other,
        }
    }

    /// The context.
    #[inline]
    pub fn context(self) -> Option<&'a Context> {
        match self {
            Self::Done(ctx) | Self::DoneOrAt(ctx, _) => Some(ctx),
            _ => None,
        }
    }
}

impl Waiting {
    /// As [`park`](Waiting::park), up to the limit `until`, which may include a context. If the
    /// context is done already, does not leave at all.
    ///
    /// # Panics
    /// As there.
    #[inline(always)]
    pub fn park_until(self, reason: WaitReason, until: Until<'_>) -> Outcome {
        match until.context() {
            None => self.park(reason, until.deadline()),
            Some(ctx) => self.park_under(reason, until.deadline(), ctx),
        }
    }

    #[inline(never)]
    fn park_under(self, reason: WaitReason, limit: Option<Instant>, ctx: &Context) -> Outcome {
        let registration = match ctx.enlist_as(self.ticket(), CANCELLED) {
            Ok(registration) => registration,
            Err(error) => {
                return self.cancel().map_or(Outcome::Cancelled(error), Outcome::Fired);
            }
        };
        let deadline = [limit, ctx.deadline()].into_iter().flatten().min();
        let outcome = self.park(reason, deadline);
        ctx.delist(registration);
        match outcome {
            // The end that the context recorded: its deadline may have come before a cancellation.
            Outcome::Fired(CANCELLED) => Outcome::Cancelled(ctx.why()),
            // Which of the two limits it was. If they are the same, it was the context's.
            Outcome::TimedOut if deadline == ctx.deadline() => Outcome::Cancelled(ctx.why()),
            outcome => outcome,
        }
    }
}

/// The context behind an `Until` has ended a wait; says why.
impl Context {
    /// Why a context is done of which a wait has said so.
    #[doc(hidden)]
    pub fn why(&self) -> ContextError {
        // The clock of a timer and that of `Instant` are one; a context without a cancellation
        // can only have ended a wait by its deadline.
        self.err().unwrap_or(ContextError::DeadlineExceeded)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_the_clock_is_no_limit() {
        assert!(Until::After(Duration::MAX).deadline().is_none());
        assert!(Until::After(Duration::from_secs(1)).deadline().is_some());
    }

    #[test]
    fn the_nearer_of_two_limits_says_what_ended_the_wait() {
        let (near, far) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        let (strict, _cancel) =
            Context::background().with_deadline(near + Duration::from_millis(1));
        let (lenient, _cancel) = Context::background().with_deadline(far);
        let park = |until| Waiting::begin().park_until(WaitReason::Sleep, until);
        let late = Outcome::Cancelled(ContextError::DeadlineExceeded);
        assert_eq!(park(Until::DoneOrAt(&strict, far)), late);
        assert_eq!(park(Until::DoneOrAt(&lenient, near)), Outcome::TimedOut);
        assert_eq!(park(Until::Done(&strict)), late, "done already");
    }

    #[test]
    fn a_cancelled_context_ends_the_wait_and_keeps_nothing() {
        let (ctx, cancel) = Context::background().with_cancel();
        let waiting = Waiting::begin();
        let party = {
            let ticket = waiting.ticket();
            std::thread::spawn(move || {
                cancel.cancel();
                ticket.fire(1)
            })
        };
        let outcome = waiting.park_until(WaitReason::Sleep, Until::Done(&ctx));
        let fired = party.join().unwrap();
        assert_eq!(outcome.is_fired(), fired);
        assert!(fired || outcome == Outcome::Cancelled(ContextError::Cancelled));
        assert_eq!(ctx.footprint().0, 0);
    }
}

//! Leaving a goroutine's stack and coming back: park, yield, budget.
//!
//! These run *on the goroutine's stack*. Each leaves a [`Request`] for the scheduler and switches;
//! the scheduler acts on it after the switch ([`super::run`]), which is what makes it impossible
//! to ready a goroutine that is still on its stack.
//!
//! # Returns that the processor can predict
//!
//! A processor predicts where a `ret` goes from the calls that it has seen: it expects each to be
//! answered. A switch is a call on the scheduler's stack, answered by a `ret` on the goroutine's
//! (corosensei takes care of that), so the prediction holds as long as the goroutine, between being resumed and
//! suspending, returns from nothing that it called before. A function that prepares, switches and
//! then returns to its caller breaks it, twice for each park: its own return is taken for the switch, and the
//! next switch for its return. That costs more than all of the rest (yield: 27 ns with, 13 without).
//!
//! So the switch itself must sit in the frame of the *user's* function. Everything here that
//! switches is `#[inline(always)]`, all the way up through the primitives' blocking forms to their
//! public faces; what prepares and what follows are calls that return before and begin after it.
//! Where a primitive is not written so, it works all the same, and costs two mispredictions.

use super::CurrentM;
use super::local::Request;
use crate::g::{GRef, Status};
use crate::wait::{TIMED_OUT, Ticket, WaitReason};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl CurrentM {
    /// Parks `g`, which runs here, until its wait `seq` is claimed.
    #[inline(always)]
    pub(crate) fn park(&self, g: &GRef, seq: u64, reason: WaitReason) {
        self.ask_to_park(g, seq, reason);
        Self::depart(g);
    }

    /// The first half of a park: what is to happen after the switch, which comes next.
    #[inline(always)]
    pub(crate) fn ask_to_park(&self, g: &GRef, seq: u64, reason: WaitReason) {
        let exec = g.exec(self);
        exec.accepted.set(reason == WaitReason::Accept);
        g.set_reason(reason);
        self.keep(g);
        self.local().request.set(Request::Park { seq });
    }

    /// The second half: `g`, which runs here, leaves its stack until it is resumed.
    #[inline(always)]
    pub(crate) fn depart(g: &GRef) {
        g.suspend();
        g.set_reason(WaitReason::None);
    }

    /// Before a park of `g` that is to last up to `at`.
    #[inline(never)]
    pub(crate) fn set_timer(&self, g: &GRef, seq: u64, at: Instant) {
        let (ticket, at_ns) = (Ticket::for_goroutine(g.clone(), seq), crate::clock::ns_of(at));
        g.exec(self).wakes_ns.set(at_ns);
        self.timers.insert(at_ns, ticket);
    }

    /// After it.
    #[inline(never)]
    pub(crate) fn unset_timer(&self, g: &GRef) {
        g.exec(self).wakes_ns.set(0);
        if g.wait_word().outcome() != Some(TIMED_OUT) {
            self.timers.forsake();
        }
    }

    /// Lets the others run; the running goroutine goes to the end of the queue. Nothing happens
    /// when no goroutine runs.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        if self.before_yield() {
            self.suspend_running();
        }
    }

    /// Whether there is a goroutine to suspend.
    #[inline(never)]
    fn before_yield(&self) -> bool {
        self.offer();
        self.before_giving_way()
    }

    #[inline]
    fn before_giving_way(&self) -> bool {
        let Some(g) = self.this() else { return false };
        g.set_status(Status::Runnable);
        self.keep(&g);
        self.local().request.set(Request::Yield);
        true
    }

    /// One operation succeeded without waiting: yields if there were enough of them.
    #[inline]
    pub(crate) fn spend(&self) {
        let left = self.local().budget.get();
        if left > 1 && !self.yield_requested.load(Ordering::Relaxed) {
            self.local().budget.set(left - 1);
        } else {
            self.spend_last();
        }
    }

    /// The last operation was worth more: `units` off the budget, at whose end the next one yields.
    pub(crate) fn charge(&self, units: u32) {
        let left = self.local().budget.get();
        self.local().budget.set(left.saturating_sub(units).max(1));
    }

    #[cold]
    fn spend_last(&self) {
        if self.before_giving_way() {
            self.suspend_running();
        }
    }

    /// A goroutine that is at home here has become runnable. If a goroutine did it, it runs next:
    /// it is waited for, and warm. If a timer or an event did it, it queues, so that those who
    /// were readied together run in that order.
    #[inline]
    pub(crate) fn push_ready(&self, g: GRef) {
        g.exec(self).warm();
        let local = self.local();
        if !self.is_running() {
            return local.ready.borrow_mut().push_back(g);
        }
        if let Some(older) = local.next.replace(Some(g)) {
            local.ready.borrow_mut().push_back(older);
        }
    }
}

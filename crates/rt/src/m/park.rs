//! Leaving a goroutine's stack and coming back: park, yield, budget.
//!
//! These run *on the goroutine's stack*. Each leaves a [`Request`] for the scheduler and switches;
//! the scheduler acts on it after the switch ([`super::run`]), which is what makes it impossible
//! to ready a goroutine that is still on its stack.

use super::CurrentM;
use super::local::{BUDGET, Request};
use crate::g::{GRef, Status};
use crate::wait::{TIMED_OUT, Ticket, WaitReason};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl CurrentM {
    /// Parks `g`, which runs here, until its wait `seq` is claimed.
    #[inline]
    pub(crate) fn park(&self, g: &GRef, seq: u64, reason: WaitReason) {
        let exec = g.exec(self);
        exec.accepted.set(reason == WaitReason::Accept);
        g.set_reason(reason);
        self.keep(g);
        self.count_talks(1);
        self.local().request.set(Request::Park { seq });
        exec.suspend();
        g.set_reason(WaitReason::None);
    }

    /// As [`park`](Self::park), up to `at`. Apart from it, so that who has no limit does not carry
    /// one across the switch.
    #[inline(never)]
    pub(crate) fn park_up_to(&self, g: &GRef, seq: u64, reason: WaitReason, at: Instant) {
        let ticket = Ticket::for_goroutine(g.clone(), seq);
        self.timers.insert(crate::clock::ns_of(at), ticket);
        self.park(g, seq, reason);
        if g.wait_word().outcome() != Some(TIMED_OUT) {
            self.timers.forsake();
        }
    }

    /// Lets the others run; the running goroutine goes to the end of the queue. Nothing happens
    /// when no goroutine runs.
    pub(crate) fn yield_now(&self) {
        self.offer();
        self.give_way();
    }

    /// As [`yield_now`](Self::yield_now), of one that was told to.
    fn give_way(&self) {
        if let Some(g) = self.running() {
            g.set_status(Status::Runnable);
            self.keep(&g);
            self.count_talks(0);
            self.local().request.set(Request::Yield);
            g.exec(self).suspend();
        }
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

    #[cold]
    fn spend_last(&self) {
        self.give_way();
        self.local().budget.set(BUDGET);
    }

    /// The running goroutine is about to leave its stack: what it spent of its budget, and one more
    /// if it waits, are `talks`.
    #[inline]
    fn count_talks(&self, waits: u64) {
        let spent = u64::from(BUDGET - self.local().budget.get());
        self.talks.store(self.talks.load(Ordering::Relaxed) + spent + waits, Ordering::Relaxed);
    }

    /// A goroutine that is at home here has become runnable. If a goroutine did it, it runs next:
    /// it is waited for, and warm. If a timer or an event did it, it queues, so that those who
    /// were readied together run in that order.
    #[inline]
    pub(crate) fn push_ready(&self, g: GRef) {
        let local = self.local();
        if !self.is_running() {
            return local.ready.borrow_mut().push_back(g);
        }
        if let Some(older) = local.next.replace(Some(g)) {
            local.ready.borrow_mut().push_back(older);
        }
    }
}

//! Going to sleep in the kernel, and waking: the sleeper's half of [`crate::queue::idle`].
//!
//! An M with nothing to run blocks in its own `epoll_wait`, with its next timer as the time-out and
//! its eventfd to be woken by. Before that it puts its licence back, so that whoever wakes first
//! may take it: a sleeper does not hold a processor.
//!
//! When goroutines of an M that sleeps are to be put to rest, sysmon wakes it. Rejected: a time-out. A sleep with one
//! costs 0.45 µs more than one without, because a timer of the kernel is set and taken back: a fiftieth of a
//! request of a server with little to do, for something that is due once in a second.
//!
//! An M above the runtime's number of processors exists because another one got stuck. When such
//! an M has had nothing to do for [`LINGER`] and nothing lives on it, it retires: its thread ends,
//! the M that owns index 0 polls for it (descriptors stay registered where they were first waited
//! for), and its record waits for the next time.

use super::CurrentM;
use crate::timers::NEVER;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a surplus M stays before it retires.
const LINGER: Duration = Duration::from_secs(2);

impl CurrentM {
    /// Sleeps until there may be something to do. `false`: this M has retired and its thread ends.
    pub(super) fn sleep(&self) -> bool {
        let sched = self.sched();
        if self.local().searching.replace(false) {
            sched.idle.end_search();
        }
        if self.rest_idle() || crate::stacks::settle(self.timers.next_ns()) {
            return true;
        }
        self.return_licence();
        // Also when nobody took the licence: a hand-off may have come too late and adopted us.
        self.take_back_poller();
        let surplus = self.index as usize >= sched.procs();
        self.publish_rest_due();
        sched.idle.enter(self.index);
        let mut idle_long = false;
        if self.bell.lie_down() {
            if !self.must_stay_up() {
                let timeout = self.sleep_limit(surplus);
                let events = self.poll_events(timeout);
                idle_long = surplus && events == 0;
            }
            self.bell.get_up();
        }
        if !sched.idle.leave(self.index) {
            self.local().searching.set(true);
            self.local().recruited.set(true);
            idle_long = false;
        }
        sched.note_awake();
        let now_ns = crate::clock::tick();
        if self.timers.fire(now_ns) > 0 {
            idle_long = false;
        }
        !(idle_long && self.retire())
    }

    /// The last look before the kernel. Rings of others are not looked at when their owner is up:
    /// it will get to them, and sysmon watches it.
    fn must_stay_up(&self) -> bool {
        let sched = self.sched();
        self.has_messages()
            || self.local().has_ready()
            || sched.is_stopping()
            || (sched.free_licences() > 0 && sched.has_abandoned_work())
    }

    fn sleep_limit(&self, surplus: bool) -> Option<Duration> {
        let next_ns = self.timers.next_ns();
        let timer = (next_ns != NEVER)
            .then(|| Duration::from_nanos(next_ns.saturating_sub(crate::clock::now_ns())));
        match (timer, surplus) {
            (timer, false) => timer,
            (Some(timer), true) => Some(timer.min(LINGER)),
            (None, true) => Some(LINGER),
        }
    }

    pub(super) fn try_licence(&self) {
        if self.sched().take_licence() {
            self.p.grant();
        }
    }

    pub(super) fn return_licence(&self) {
        if self.p.revoke() {
            self.sched().give_licence();
        }
    }

    /// Ends this M's thread if nothing is left that needs it.
    fn retire(&self) -> bool {
        crate::task::dismiss_runners(self);
        if !self.registry.lock().is_empty()
            || self.has_messages()
            || self.local().has_ready()
            || self.p.has_work()
            || self.timers.any_open()
            || self.adoptees.load(Ordering::SeqCst) > 0
        {
            return false;
        }
        self.return_licence();
        // Whoever polls for M0, if that is stuck itself: adoption does not nest.
        let by = self.sched().m(0).adopted_by.lock().unwrap_or(0);
        self.sched().adopt_poller(self, by, || true)
    }

    /// This M runs (again): its poller is its own business.
    pub(super) fn take_back_poller(&self) {
        self.sched().disown_poller(self);
    }
}

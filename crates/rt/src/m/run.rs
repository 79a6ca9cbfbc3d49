//! The scheduler's loop, on an M's own stack.
//!
//! One turn: take in what came from outside, pick, execute. What is picked:
//!
//! ```text
//!  every 7th turn      timers
//!  every 63rd turn     poller without waiting; then the global queue before the own
//!  newest first        Local::next, then P::next     (at most 32 turns in a row)
//!  then oldest first   Local::ready and the ring, in alternation
//!  then                global queue ─▶ poller ─▶ search (steal) ─▶ sleep
//! ```
//!
//! Newest first, because a goroutine that was just readied is usually waited for and warm in the
//! cache (two that talk run back and forth without touching a queue); 32 in a row, because two
//! that talk must not starve the rest; two in a row while fresh work waits in the ring, since those
//! that are made together probably talk to each other, and are to begin together. Started and fresh
//! work alternate, so neither starves the other. The global queue is looked at on every 63rd turn
//! even if the own never empties.
//!
//! A turn that goes from one goroutine at home here to another is *short*
//! ([`CurrentM::next_at_home`]): it looks at a few words and skips the rest of the loop, which is
//! four fifths of what a switch between two goroutines that talk would cost.

use super::local::{BUDGET, Request};
use super::{CURRENT, CurrentM, M};
use crate::g::{GRef, Status};
use crate::quiet::{Bomb, quietly};
use crate::sched::Sched;
use crate::work::Work;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Every how many turns timers are looked at; turns between those may be short.
const TIMER_TURNS: u32 = 7;
/// Every how many of those, all else is: 63 turns, which do not fall in step with [`STREAK`].
const FAIR_ROUNDS: u32 = 9;
pub(super) const STREAK: u32 = 32;
/// As [`STREAK`], for started work while fresh work waits.
const FRESH_STREAK: u32 = 2;

/// The life of an M's thread.
pub(crate) fn thread_main(sched: Arc<Sched>, index: u32) {
    let m: *const M = sched.m(index);
    CURRENT.set(m);
    let m = CurrentM::get().expect("set a line above");
    m.tid.store(millpond_sys::task::thread_id(), Ordering::Relaxed);
    let alt_stack = crate::overflow::enter_thread();
    m.local().stacks.replace(Some(crate::stacks::new_cache()));
    m.local().random.set(0x9E37_79B9 ^ (index + 1).wrapping_mul(0x85EB_CA6B));
    m.take_back_poller();
    let bomb = Bomb("the scheduler of an M unwound");
    m.work();
    bomb.defuse();
    m.local().stacks.replace(None);
    crate::g::store::release(&m);
    m.tid.store(0, Ordering::Relaxed);
    CURRENT.set(std::ptr::null());
    drop(alt_stack);
    sched.thread_ended(index);
}

impl CurrentM {
    /// Turns until the runtime ends or this M retires.
    fn work(&self) {
        let sched = self.sched();
        loop {
            if sched.is_stopping() {
                return self.close();
            }
            self.take_inbox();
            let fair = self.count_turn();
            if self.is_adopted.load(Ordering::Relaxed) {
                self.take_back_poller();
            }
            if !self.p.has_licence() {
                self.try_licence();
            }
            match self.pick(fair) {
                Some(work) => self.run(work),
                None if !self.sleep() => return,
                None => {}
            }
        }
    }

    /// Does what is due on every so many turns. Whether this turn is for the global queue first.
    fn count_turn(&self) -> bool {
        let local = self.local();
        if local.short_turns.get() > 0 {
            local.short_turns.set(local.short_turns.get() - 1);
            return false;
        }
        local.short_turns.set(TIMER_TURNS - 1);
        self.fire_timers();
        let rounds = local.rounds.get() + 1;
        let fair = rounds == FAIR_ROUNDS;
        local.rounds.set(if fair { 0 } else { rounds });
        if fair {
            self.look_around();
        }
        fair
    }

    /// The short turn: the goroutine to go on with, if it is one that is at home here and nothing
    /// else could come before it. The loop's other duties wait for [`TIMER_TURNS`] turns at most;
    /// what others have sent does not wait, since it may be older than what is here.
    #[inline]
    fn next_at_home(&self) -> Option<GRef> {
        let local = self.local();
        let left = local.short_turns.get();
        let streak = local.streak.get();
        if left == 0 || streak >= STREAK || self.has_messages() || self.sched().is_stopping() {
            return None;
        }
        if streak >= FRESH_STREAK && self.p.ring.len() > 0 {
            return None;
        }
        let g = match local.next.take() {
            Some(g) => {
                local.streak.set(streak + 1);
                g
            }
            None if self.p.has_work() => return None,
            None => {
                local.streak.set(0);
                local.ready.borrow_mut().pop_front()?
            }
        };
        local.short_turns.set(left - 1);
        Some(g)
    }

    /// From time to time, however busy: descriptors, if anybody waits for one, and work of which
    /// there is more than this M gets to.
    fn look_around(&self) {
        self.rest_excess();
        if self.poller.waiting_count() > 0 || self.adoptees.load(Ordering::Relaxed) > 0 {
            self.poll_events(Some(Duration::ZERO));
        }
        let ring = &self.p.ring;
        let waited = self.local().seen.replace(Some(ring.watch()));
        if waited.is_some_and(|then| ring.ripe(then) > 0) {
            self.call_for_help();
        }
    }

    pub(super) fn take_inbox(&self) {
        self.empty_inbox(|g| {
            self.local().ready.borrow_mut().push_back(g);
        });
    }

    pub(super) fn fire_timers(&self) -> usize {
        self.sched().errands.run(self);
        #[cfg(feature = "frames")]
        self.answer_survey();
        if self.timers.next_ns() == crate::timers::NEVER {
            return 0;
        }
        self.timers.fire(crate::clock::tick())
    }

    /// Lets the poller ready what has events; `None` waits without limit.
    pub(super) fn poll_events(&self, timeout: Option<Duration>) -> usize {
        match self.poller.wait(timeout) {
            Ok(events) => events,
            Err(error) => {
                // epoll_wait fails for a bad descriptor or pointer only.
                crate::say::line(format_args!("epoll_wait on M{} failed: {error}", self.index));
                crate::say::die("the poller is gone")
            }
        }
    }

    fn pick(&self, fair: bool) -> Option<Work> {
        let local = self.local();
        let licensed = self.p.has_licence() && !self.offers();
        if let Some(work) = (fair && licensed).then(|| self.sched().global.pop()).flatten() {
            return Some(work);
        }
        if let Some(work) = self.pick_newest(licensed) {
            return Some(work);
        }
        local.streak.set(0);
        // If the streak was cut, the P's next has been passed over for the M's each time. It takes
        // its place in the ring, where its turn comes.
        if licensed && let Some(work) = self.p.take_next() {
            self.push_ring(work);
        }
        let work = if local.fresh_last.replace(false) {
            self.pop_ready().or_else(|| self.pop_ring(licensed))
        } else {
            self.pop_ring(licensed).or_else(|| self.pop_ready())
        };
        // A streak that was cut short may have left the newest as the only work.
        work.or_else(|| self.pick_newest(licensed))
            .or_else(|| licensed.then(|| self.sched().global.pop_batch(&self.p)).flatten())
            .or_else(|| {
                (self.fire_timers() + self.poll_events(Some(Duration::ZERO)) > 0)
                    .then(|| self.pick_newest(licensed).or_else(|| self.pop_ready()))
                    .flatten()
            })
            .or_else(|| licensed.then(|| self.search()).flatten())
    }

    fn pick_newest(&self, licensed: bool) -> Option<Work> {
        let local = self.local();
        let streak = local.streak.get();
        if streak >= STREAK {
            return None;
        }
        local.streak.set(streak + 1);
        let started = streak < FRESH_STREAK || !licensed || self.p.ring.len() == 0;
        if let Some(g) = started.then(|| local.next.take()).flatten() {
            return Some(Work::Goroutine(g));
        }
        licensed.then(|| self.p.take_next()).flatten()
    }

    fn pop_ready(&self) -> Option<Work> {
        let g = self.local().ready.borrow_mut().pop_front()?;
        Some(Work::Goroutine(g))
    }

    fn pop_ring(&self, licensed: bool) -> Option<Work> {
        let work = licensed.then(|| self.p.pop()).flatten();
        self.local().fresh_last.set(work.is_some());
        work
    }

    fn run(&self, work: Work) {
        if self.local().searching.get() {
            self.end_search();
        }
        match work {
            Work::Goroutine(g) => self.execute(g),
            Work::Task(task) => crate::task::run_on_runner(self, task),
        }
    }

    /// Runs a goroutine until it suspends or ends, and then those that are next here, as long as
    /// turns may be short.
    pub(crate) fn execute(&self, g: GRef) {
        let mut next = Some(g);
        while let Some(g) = next {
            if g.m().is_null() {
                self.run_fresh(g);
            } else {
                self.run_until_off(g);
            }
            next = self.next_at_home();
        }
    }

    /// Runs a goroutine that has a stack until it has left it. Part of the loop above: what is not, costs
    /// each switch a call.
    #[inline(always)]
    pub(super) fn run_until_off(&self, mut g: GRef) {
        self.local().first_runs.set(false);
        self.unrest(&g);
        loop {
            self.enter(&g);
            self.count_switch();
            let ended = g.exec(self).resume();
            self.count_switch();
            self.leave();
            if let Some(stack) = ended {
                self.end(g);
                return self.give_back(stack);
            }
            match self.let_off(g) {
                Some(back) => g = back,
                None => return,
            }
        }
    }

    /// The goroutine is about to run.
    #[inline]
    pub(super) fn enter(&self, g: &GRef) {
        let local = self.local();
        g.set_status(Status::Running);
        local.budget.set(BUDGET);
        local.request.set(Request::None);
        self.running.store(g.as_ptr().cast_mut(), Ordering::Relaxed);
    }

    /// The goroutine does not run any more.
    #[inline]
    pub(super) fn leave(&self) {
        self.count_talks(u64::from(BUDGET - self.local().budget.get()));
        self.running.store(std::ptr::null_mut(), Ordering::Relaxed);
        if self.yield_requested.load(Ordering::Relaxed) {
            self.yield_requested.store(false, Ordering::Relaxed);
        }
    }

    /// Operations of a goroutine: what it spent of its budget, and one if it waits.
    #[inline]
    fn count_talks(&self, more: u64) {
        self.talks.store(self.talks.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count_switch(&self) {
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Does what a goroutine asked for as it suspended. Gives it back if it is to go on at once.
    #[inline(always)]
    pub(super) fn let_off(&self, g: GRef) -> Option<GRef> {
        match self.local().request.get() {
            Request::Park { seq } => {
                self.count_talks(1);
                g.set_since_ns(crate::clock::coarse_ns());
                g.set_status(Status::Waiting);
                // If it is parked, the registry and the tickets hold it, and another thread may
                // already have made it runnable, into our inbox. If not, it was claimed before it had left.
                if g.wait_word().commit(seq) { None } else { Some(g) }
            }
            Request::Yield => {
                self.local().ready.borrow_mut().push_back(g);
                None
            }
            Request::None => crate::say::die("a goroutine suspended without saying why"),
        }
    }

    /// Runs user code on the scheduler's stack, where it blocks the thread if it waits. It counts
    /// as a goroutine that runs, so that sysmon sees it and hands off.
    pub(super) fn as_if_inside(&self, f: impl FnOnce()) {
        self.count_switch();
        quietly(f);
        self.count_switch();
    }
}

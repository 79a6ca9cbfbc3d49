//! The scheduler's loop, on an M's own stack.
//!
//! One turn: take in what came from outside, pick, execute. What is picked:
//!
//! ```text
//!  every 61st turn     timers and poller without waiting; then the global queue before the own
//!  newest first        Local::next, then P::next     (at most 32 turns in a row)
//!  then oldest first   Local::ready and the ring, in alternation
//!  then                global queue ─▶ poller ─▶ search (steal) ─▶ sleep
//! ```
//!
//! Newest first, because a goroutine that was just readied is usually waited for and warm in the
//! cache (two that talk run back and forth without touching a queue); 32 in a row, because two
//! that talk must not starve the rest. Started and fresh work alternate, so neither starves the
//! other. The global queue is looked at on every 61st turn even if the own never empties (Go's
//! number: prime, so that it does not fall in step with anything).

use super::local::{BUDGET, Request};
use super::{CURRENT, CurrentM, M};
use crate::g::cell::Unwanted;
use crate::g::{GRef, Spec, Status, cell};
use crate::handle::{JoinError, JoinHandle};
use crate::quiet::{Bomb, quietly};
use crate::sched::Sched;
use crate::work::Work;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const FAIR_TICKS: u32 = 61;
const TIMER_TICKS: u32 = 8;
const STREAK: u32 = 32;

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
            let tick = self.local().tick.get().wrapping_add(1);
            self.local().tick.set(tick);
            if tick.is_multiple_of(FAIR_TICKS) {
                self.look_around();
            }
            if tick.is_multiple_of(TIMER_TICKS) {
                self.fire_timers();
            }
            if self.is_adopted.load(Ordering::Relaxed) {
                self.take_back_poller();
            }
            if !self.p.has_licence() {
                self.try_licence();
            }
            match self.pick(tick) {
                Some(work) => self.run(work),
                None if !self.sleep() => return,
                None => {}
            }
        }
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

    fn pick(&self, tick: u32) -> Option<Work> {
        let local = self.local();
        if let Some(work) = local.stash.take() {
            return Some(work);
        }
        let licensed = self.p.has_licence();
        let fair = licensed && tick.is_multiple_of(FAIR_TICKS);
        if let Some(work) = fair.then(|| self.sched().global.pop()).flatten() {
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
        let work = if tick.is_multiple_of(2) {
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
        if let Some(g) = local.next.take() {
            return Some(Work::Goroutine(g));
        }
        licensed.then(|| self.p.take_next()).flatten()
    }

    fn pop_ready(&self) -> Option<Work> {
        let g = self.local().ready.borrow_mut().pop_front()?;
        Some(Work::Goroutine(g))
    }

    fn pop_ring(&self, licensed: bool) -> Option<Work> {
        licensed.then(|| self.p.pop()).flatten()
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

    /// Runs a goroutine until it suspends or ends.
    pub(crate) fn execute(&self, g: GRef) {
        if g.m().is_null() && !self.start(&g) {
            return;
        }
        self.unrest(&g);
        let local = self.local();
        loop {
            g.set_status(Status::Running);
            local.budget.set(BUDGET);
            local.request.set(Request::None);
            self.running.store(g.as_ptr().cast_mut(), Ordering::Relaxed);
            self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Release);
            let ended = g.exec(self).resume();
            self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Release);
            self.running.store(std::ptr::null_mut(), Ordering::Relaxed);
            if self.yield_requested.load(Ordering::Relaxed) {
                self.yield_requested.store(false, Ordering::Relaxed);
            }
            if let Some(stack) = ended {
                return self.finish(g, stack);
            }
            match local.request.get() {
                Request::Park { seq } => {
                    g.set_since_ns(crate::clock::coarse_ns());
                    g.set_status(Status::Waiting);
                    if g.wait_word().commit(seq) {
                        // Parked. The registry and the tickets hold it; from here on another
                        // thread may already have made it runnable, into our inbox.
                        return;
                    }
                    // Claimed before it had left: it goes on at once.
                }
                Request::Yield => {
                    local.ready.borrow_mut().push_back(g);
                    return;
                }
                Request::None => crate::say::die("a goroutine suspended without saying why"),
            }
        }
    }

    /// Gives a fresh goroutine a stack and a home. `false` if it will not run.
    fn start(&self, g: &GRef) -> bool {
        let mut stacks = self.local().stacks.borrow_mut();
        let cache = stacks.as_mut().expect("an M has stacks while it works");
        let stack = match cache.take(g.spec.class) {
            Ok(stack) => stack,
            Err(error) => {
                drop(stacks);
                self.note_arrived(g);
                crate::stacks::report_failure(&error);
                let leftover = cell::end_without_running(g, JoinError::no_stack(error.to_string()));
                self.as_if_inside(|| drop(leftover));
                return false;
            }
        };
        drop(stacks);
        g.set_m(self.as_ptr());
        self.enlist(g);
        if !g.spec.system {
            self.live.store(self.live.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.note_arrived(g);
        g.attach(self, stack);
        true
    }

    /// A goroutine that was placed here has started, or never will. After it counts as live: a
    /// first stack takes long, and an M that looked empty meanwhile would be given more.
    fn note_arrived(&self, g: &GRef) {
        if g.placed.load(Ordering::Relaxed) {
            self.arriving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn finish(&self, g: GRef, stack: millpond_stack::Stack) {
        if !g.spec.system {
            self.live.store(self.live.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        self.dismiss(&g);
        if let Some(cache) = self.local().stacks.borrow_mut().as_mut() {
            cache.give(stack);
        }
        if let Some(unwanted) = cell::end(&g).filter(Unwanted::is_there) {
            // The handle went away in the last moment. The drop may wait, so it gets a stack; and
            // it stays on this thread.
            let spec =
                Spec { name: Some("drop of a result".into()), system: true, ..g.spec.clone() };
            let (dropper, handle) = cell::make(self.next_id(), spec, move || drop(unwanted));
            drop(JoinHandle::<()>::goroutine(handle));
            self.push_ready(dropper);
        }
    }

    /// Runs user code on the scheduler's stack, where it blocks the thread if it waits. It counts
    /// as a goroutine that runs, so that sysmon sees it and hands off.
    pub(super) fn as_if_inside(&self, f: impl FnOnce()) {
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Release);
        quietly(f);
        self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

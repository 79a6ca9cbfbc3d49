//! The first run of a goroutine, and its end.
//!
//! Most goroutines of a service that starts many never wait: they run once and end. What such a one
//! costs is mostly the switch to a stack and back. So a stack that was taken for one is used for the
//! next, and the next, without leaving it, as long as each ends without having suspended:
//!
//! ```text
//!   scheduler's stack            a goroutine's stack
//!   run_fresh ──switch──▶ first_runs: run A, end A, run B, end B, run C ...
//!                                                                   │ suspends: the stack is C's now
//!       C keeps the stack ◀──────────────switch─────────────────────┘
//! ```
//!
//! Whose count is whose: `run_fresh` gives the count of the goroutine that runs away, and it is kept
//! by [`M::running`](super::M); the code on the stack has no count of its own, since a stack that is frozen
//! with its runtime would never give it back. At an end `first_runs` takes the count; after a
//! suspension `run_fresh` does.
//!
//! A goroutine that has suspended and later ends leaves its stack in the ordinary way: the frame that resumed
//! it refers to its coroutine ([`Local::first_runs`](super::Local) tells the two apart).
//!
//! Several are one after the other only until the next whole turn of the loop, and then those who have
//! started come first. They wait less if the row takes long: it ends when the coarse clock, which sysmon
//! moves every 20 µs to 10 ms, has moved.

use super::CurrentM;
use super::run::STREAK;
use crate::g::cell::Unwanted;
use crate::g::exec::{Away, Fresh};
use crate::g::{GRef, Spec, cell};
use crate::handle::{JoinError, JoinHandle};
use crate::work::{Kind, Work};
use millpond_stack::{SizeClass, Stack};
use std::sync::atomic::Ordering;

impl CurrentM {
    /// Gives a fresh goroutine a stack and a home and runs it until it suspends or ends, and in the
    /// latter case others.
    #[inline(never)]
    pub(super) fn run_fresh(&self, g: GRef) {
        let Some(stack) = self.take_stack(&g) else { return };
        let (m, class) = (*self, g.spec.class);
        let fresh = Fresh::new(stack, move |away| m.first_runs(away, class));
        self.local().first_runs.set(true);
        self.local().row_since_ns.set(crate::clock::coarse_ns());
        self.begin(g);
        self.count_switch();
        let ran = fresh.run();
        self.count_switch();
        let fresh = match ran {
            Ok(stack) => return self.give_back(stack),
            Err(fresh) => fresh,
        };
        let g = self.take_running();
        g.exec(self).settle(fresh);
        self.leave();
        if let Some(g) = self.let_off(g) {
            self.run_until_off(g);
        }
    }

    /// On a goroutine's stack: the first run of the goroutine that is noted as running, and then of
    /// others, each to its end.
    fn first_runs(&self, away: Away, class: SizeClass) {
        loop {
            self.run_running(away);
            if !self.local().first_runs.get() {
                return;
            }
            let ended = self.take_running();
            self.leave();
            // What wakers say there, and panic hooks of them, does not fit on a small stack.
            self.local().between.set(Some(away));
            self.end(ended);
            self.local().between.set(None);
            let Some(next) = self.next_fresh(class) else { return };
            self.note_switch();
            self.begin(next);
        }
    }

    /// Another goroutine that may have its first run on a stack of this class, now. What is next and cannot
    /// stays where it is, for a whole turn of the loop or for a thief.
    fn next_fresh(&self, class: SizeClass) -> Option<GRef> {
        let local = self.local();
        let left = local.short_turns.get();
        let may = self.p.has_licence() && !self.offers() && !self.sched().is_stopping();
        if left == 0 || self.has_messages() || !may {
            return None;
        }
        let takes_long = crate::clock::coarse_ns() != local.row_since_ns.get();
        if takes_long && !local.ready.borrow().is_empty() {
            return None;
        }
        let (kind, streak) = (Kind::goroutine(class), local.streak.get());
        let (work, streak) = if streak < STREAK && self.p.peek_next() != 0 {
            (self.p.take_next_of(kind)?, streak + 1)
        } else {
            (self.p.pop_of(kind)?, 0)
        };
        let Work::Goroutine(g) = work else { unreachable!("of the kind that was asked for") };
        debug_assert!(g.m().is_null(), "what has started is in no queue of fresh work");
        local.short_turns.set(left - 1);
        local.fresh_last.set(true);
        local.streak.set(streak);
        Some(g)
    }

    /// A fresh goroutine is at home here from now on, and runs.
    #[inline]
    fn begin(&self, g: GRef) {
        g.set_m(self.as_ptr());
        self.enlist(&g);
        if !g.spec.system {
            self.live.store(self.live.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.note_arrived(&g);
        self.enter(&g);
        self.keep_running(g);
    }

    /// A stack for a fresh goroutine; without one, its end.
    fn take_stack(&self, g: &GRef) -> Option<Stack> {
        let mut stacks = self.local().stacks.borrow_mut();
        let cache = stacks.as_mut().expect("an M has stacks while it works");
        match cache.take(g.spec.class) {
            Ok(stack) => Some(stack),
            Err(error) => {
                drop(stacks);
                self.note_arrived(g);
                crate::stacks::report_failure(&error);
                let leftover = cell::end_without_running(g, JoinError::no_stack(error.to_string()));
                self.as_if_inside(|| drop(leftover));
                None
            }
        }
    }

    pub(super) fn give_back(&self, stack: Stack) {
        if let Some(cache) = self.local().stacks.borrow_mut().as_mut() {
            cache.give(stack);
        }
    }

    /// A goroutine that was placed here has started, or never will. After it counts as live: a
    /// first stack takes long, and an M that looked empty meanwhile would be given more.
    fn note_arrived(&self, g: &GRef) {
        if g.placed.load(Ordering::Relaxed) {
            self.arriving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A goroutine of this M has ended.
    pub(super) fn end(&self, g: GRef) {
        if !g.spec.system {
            self.live.store(self.live.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        self.dismiss(&g);
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
}

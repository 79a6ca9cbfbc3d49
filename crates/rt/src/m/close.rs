//! The end of a runtime, seen by one M.
//!
//! The body of `run` has returned. What has not started never will: closures and tasks are
//! dropped, and their handles answer "cancelled". What has started is frozen where it is: its
//! stack may be pinned by others, and nothing can unwind it from outside, so the stack is never
//! reused and never unmapped. Its handle answers "cancelled" too. A thread with frozen stacks may
//! not end either (its thread-locals may be borrowed from those stacks), so it sleeps for good.

use super::CurrentM;
use crate::g::cell::Leftover;
use crate::g::{GRef, cell};
use crate::handle::JoinError;
use crate::quiet::drop_quietly;
use crate::work::Work;

impl CurrentM {
    /// Drops what is queued, fails what is frozen; returns if the thread may end.
    pub(super) fn close(&self) {
        let sched = self.sched();
        // Whom this M still runs is who is told to end: no short turns to others.
        self.local().short_turns.set(0);
        // A runner without a task holds nothing of anybody's, so it need not be frozen.
        crate::task::dismiss_runners(self);
        // Handles first, closures after: a closure's drop may wait for any of these.
        let mut leftovers = self.cancel_queues();
        self.poller.clear();
        self.timers.end();
        let frozen: Vec<GRef> = self.registry.lock().to_vec();
        for g in &frozen {
            // Not resumed any more: nobody but this thread could. What it waits for goes to the
            // next in line, not to it.
            g.wait_word().disarm();
            leftovers.extend(cell::end_without_running(g, JoinError::cancelled()));
        }
        let last = frozen.is_empty();
        drop(frozen);
        // The drops may place work again, and poller and timers have readied what is frozen.
        while !leftovers.is_empty() {
            self.as_if_inside(|| drop(leftovers));
            leftovers = self.cancel_queues();
        }
        if !last {
            crate::g::store::release(self);
            sched.note_frozen();
            // Keeps the runtime, and with it every record that a frozen stack refers to.
            std::mem::forget(sched.keep_alive());
            loop {
                std::thread::park();
            }
        }
    }

    /// Empties every queue that this M may empty; what is in them answers "cancelled". Returns
    /// what there is to drop.
    fn cancel_queues(&self) -> Vec<Leftover> {
        let mut leftovers = Vec::new();
        loop {
            self.take_inbox();
            let ready: Vec<GRef> = self.local().ready.borrow_mut().drain(..).collect();
            let works: Vec<Work> = ready
                .into_iter()
                .chain(self.local().next.take())
                .map(Work::Goroutine)
                .chain(self.p.take_next())
                .chain(std::iter::from_fn(|| self.p.pop()))
                .chain(std::iter::from_fn(|| self.sched().global.pop()))
                .collect();
            if works.is_empty() {
                return leftovers;
            }
            leftovers.extend(works.into_iter().filter_map(cancel_work));
        }
    }
}

/// Cancels work that will not run; the closure, if there is one, is the caller's to drop.
#[must_use]
pub(crate) fn cancel_work(work: Work) -> Option<Leftover> {
    match work {
        // A started one is still in its registry and is failed from there.
        Work::Goroutine(g) if !g.m().is_null() => None,
        Work::Goroutine(g) => cell::end_without_running(&g, JoinError::cancelled()),
        Work::Task(task) => {
            drop_quietly(task);
            None
        }
    }
}

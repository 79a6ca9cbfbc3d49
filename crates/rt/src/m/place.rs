//! Where a new goroutine, or a task that has become due, is put.
//!
//! - Made by a goroutine: the P's `next`, and what was there moves to the ring. Its maker probably
//!   waits for it.
//! - Made by a goroutine that accepts connections: the M with the fewest live goroutines. A
//!   connection stays where it starts.
//! - Made by a plain thread: the global queue. It has no P.
//! - Asked for (`go_local`, `.local()`, `.spread()`): there.
//!
//! Work in a ring may be stolen until it starts. Placed work goes through an inbox and may not.

use super::CurrentM;
use super::close::cancel_work;
use crate::g::GRef;
use crate::work::Work;

/// Where the maker wants a goroutine to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Placement {
    /// As the module documentation says.
    #[default]
    Auto,
    /// On the M with the fewest live goroutines.
    Spread,
    /// On this M.
    Local,
}

impl CurrentM {
    /// Puts a goroutine that has not started where it is to start.
    #[inline]
    pub(crate) fn place(&self, g: GRef, placement: Placement) {
        if self.sched().is_stopping() {
            drop(cancel_work(Work::Goroutine(g)));
            return;
        }
        match placement {
            Placement::Auto if !self.accepts() => self.push_fresh(Work::Goroutine(g)),
            Placement::Auto | Placement::Spread => self.spread(g),
            Placement::Local => {
                self.count_in(&g);
                self.push_ready(g);
            }
        }
    }

    fn accepts(&self) -> bool {
        self.running().is_some_and(|g| g.exec(self).accepted.get())
    }

    /// Queues work without a home as the next of this P.
    #[inline]
    pub(crate) fn push_fresh(&self, work: Work) {
        if let Some(older) = self.p.swap_next(work) {
            self.push_ring(older);
        }
        self.call_for_help();
    }

    /// Queues work without a home as the last of this P.
    #[inline]
    pub(crate) fn push_last(&self, work: Work) {
        self.push_ring(work);
        self.call_for_help();
    }

    /// Somebody else may want what was queued. With a licence this M gets to it itself, and a
    /// wake-up that is missed, or left out because the last ones did not pay, costs some parallelism
    /// until sysmon looks. Without one it must not be missed: see
    /// [`crate::sched::Sched::recruit_surely`].
    #[inline]
    pub(super) fn call_for_help(&self) {
        if self.p.has_licence() {
            if !self.sched().is_calm() {
                self.sched().recruit();
            }
        } else {
            self.sched().recruit_surely();
        }
    }

    pub(super) fn push_ring(&self, mut work: Work) {
        while let Err(back) = self.p.ring.push(work) {
            work = back;
            self.sched().global.extend(self.p.ring.take_half());
        }
    }

    fn spread(&self, g: GRef) {
        let sched = self.sched();
        let m = sched.m(sched.least_loaded(self.index, self.local().random()));
        m.count_in(&g);
        if m.index == self.index {
            // Not as the next: its maker goes on accepting.
            self.local().ready.borrow_mut().push_back(g);
        } else {
            m.post(g);
            if sched.is_stopping() {
                // That M may have emptied its inbox for the last time before the post.
                sched.cancel_inbox(m);
            }
        }
    }
}

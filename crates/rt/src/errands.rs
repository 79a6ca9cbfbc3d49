//! What an M that is away leaves undone, done by another.
//!
//! An M that sleeps in a blocking call, or computes for long, fires no timers and polls no
//! descriptors, and tasks and goroutines of other Ms may wait for those. sysmon notices, but must not
//! do it itself: firing a timer runs wakers, which are user code, and sysmon is the one thread that
//! is never stuck. So it leaves an errand here, and any M that is up (or is woken for it) runs it:
//! fires what is due, and adopts the poller until the M is back.

use crate::m::CurrentM;
use millpond_prim::sync::Lock;
use std::sync::atomic::{AtomicBool, Ordering};

/// For an M that is away: its index, and its switch count when sysmon saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) away: u32,
    pub(crate) switches: u64,
}

/// The errands that nobody has run yet; at most one for each M.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    /// Whether the list is not empty. Atomic: written under the lock.
    any: AtomicBool,
    list: Lock<Vec<Errand>>,
}

impl Errands {
    /// sysmon: leaves an errand.
    pub(crate) fn leave(&self, errand: Errand) {
        let mut list = self.list.lock();
        list.retain(|other| other.away != errand.away);
        list.push(errand);
        self.any.store(true, Ordering::Release);
    }

    /// An M: runs what there is. Costs one load when there is nothing.
    #[inline]
    pub(crate) fn run(&self, m: &CurrentM) {
        if self.any.load(Ordering::Relaxed) {
            self.run_all(m);
        }
    }

    #[cold]
    fn run_all(&self, m: &CurrentM) {
        let errands = {
            let mut list = self.list.lock();
            self.any.store(false, Ordering::Release);
            std::mem::take(&mut *list)
        };
        let sched = m.sched();
        for errand in errands.into_iter().filter(|errand| errand.away != m.index) {
            let away = sched.m(errand.away);
            away.timers.fire(crate::clock::tick());
            let still_away = || away.switches.load(Ordering::Acquire) == errand.switches;
            if still_away() {
                sched.move_adoptees(errand.away, m.index);
            }
            sched.adopt_poller(away, m.index, still_away);
        }
    }
}

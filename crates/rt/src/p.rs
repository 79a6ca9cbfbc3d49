//! P: the licence to take fresh work, and the queue of it.
//!
//! There are as many licences as processors the process may use. An M that holds one may take
//! work that has no home yet: goroutines that have not started, and tasks. Goroutines that have
//! started wait in queues of their M, and to run those needs no licence: nobody else could.
//!
//! In Go a P is one object that moves from thread to thread with its queue. Here the licence
//! moves and the queue stays: each M has one [`P`] for life, and only its thread ever puts into
//! its ring. When sysmon takes the licence of an M that sleeps in the kernel, the queue needs no
//! hand-over protocol: thieves empty it as they empty any other, sysmon as a thief moves to the global
//! queue what they leave ([`Sched::salvage`](crate::sched::Sched::salvage)), and should the M wake in the
//! middle of a `go`, its ring still has its one producer.
//!
//! `next` is Go's `runnext`: the work made last runs first, since it is warm and somebody probably
//! waits for it. Thieves may take it too, but last.

use crate::work::{Kind, Work, WorkRing, WorkSlot};
use std::sync::atomic::{AtomicBool, Ordering};

/// The P of one M.
#[derive(Debug)]
pub(crate) struct P {
    pub(crate) ring: WorkRing,
    /// The work made last. Atomic: swapped by owner and thieves.
    next: WorkSlot,
    /// Whether this M may take fresh work. Set by its thread; cleared by its thread or by sysmon,
    /// whoever swaps first.
    licence: AtomicBool,
    /// Whether thieves may take from the ring without waiting. Written by the owner, read by thieves.
    offered: AtomicBool,
}

impl P {
    pub(crate) fn new() -> Self {
        Self {
            ring: WorkRing::new(),
            next: WorkSlot::default(),
            licence: AtomicBool::new(false),
            offered: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn has_licence(&self) -> bool {
        self.licence.load(Ordering::Relaxed)
    }

    /// Owner: a licence has been taken from the runtime's count for it.
    pub(crate) fn grant(&self) {
        self.licence.store(true, Ordering::Release);
    }

    /// Owner or sysmon: `true` if the caller took the licence off, and must put it back into the
    /// runtime's count.
    pub(crate) fn revoke(&self) -> bool {
        self.licence.swap(false, Ordering::AcqRel)
    }

    /// Whether the owner leaves its ring to others for now. A hint.
    pub(crate) fn is_offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }

    /// Owner.
    pub(crate) fn set_offered(&self, offered: bool) {
        self.offered.store(offered, Ordering::Relaxed);
    }

    /// Owner: makes `work` the next; what was next is returned, to be queued.
    #[inline]
    pub(crate) fn swap_next(&self, work: Work) -> Option<Work> {
        self.next.swap(work)
    }

    /// Owner or thief: takes the next.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<Work> {
        self.next.take()
    }

    /// What is in `next`, as a number to compare with later; 0 if nothing.
    pub(crate) fn peek_next(&self) -> usize {
        self.next.mark()
    }

    /// Owner: takes the oldest of the ring.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Work> {
        self.ring.pop()
    }

    /// Owner: the next, if it is of this kind.
    #[inline]
    pub(crate) fn take_next_of(&self, kind: Kind) -> Option<Work> {
        self.next.take_of(kind)
    }

    /// Owner: the oldest of the ring, if it is of this kind.
    #[inline]
    pub(crate) fn pop_of(&self, kind: Kind) -> Option<Work> {
        self.ring.pop_of(kind)
    }

    /// Whether there is any work in it. A hint from other threads.
    pub(crate) fn has_work(&self) -> bool {
        self.ring.len() > 0 || self.peek_next() != 0
    }
}

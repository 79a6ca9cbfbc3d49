//! The global run queue: fresh work from plain threads, and what overflows from the rings.
//!
//! A lock and a length beside it, so that looking at an empty queue costs one load. It is the slow
//! road: an M takes a batch from it into its ring when it has nothing else, and one item on every
//! 61st turn, so that what waits here is not starved by rings that never empty.

use crate::p::P;
use crate::work::Work;
use millpond_prim::sync::Lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Global {
    queue: Lock<VecDeque<Work>>,
    /// Length of the queue. Atomic: written under the lock.
    len: AtomicUsize,
}

/// As many as fit into a ring beside what an M may hold already.
const BATCH: usize = 64;

impl Global {
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    pub(crate) fn extend(&self, works: impl IntoIterator<Item = Work>) {
        let mut queue = self.queue.lock();
        queue.extend(works);
        self.len.store(queue.len(), Ordering::SeqCst);
    }

    /// As [`extend`](Self::extend), with what `works` finds under the lock. It runs no user code.
    pub(crate) fn extend_with<I: IntoIterator<Item = Work>>(&self, works: impl FnOnce() -> I) {
        let mut queue = self.queue.lock();
        queue.extend(works());
        self.len.store(queue.len(), Ordering::SeqCst);
    }

    /// Takes all that is there, and looks under the lock: whoever holds it comes first.
    pub(crate) fn take_all(&self) -> VecDeque<Work> {
        let mut queue = self.queue.lock();
        self.len.store(0, Ordering::SeqCst);
        std::mem::take(&mut *queue)
    }

    pub(crate) fn pop(&self) -> Option<Work> {
        if self.len() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let work = queue.pop_front();
        self.len.store(queue.len(), Ordering::SeqCst);
        work
    }

    /// Takes a batch: the oldest for now, some more into the ring of `p`, which the caller owns.
    pub(crate) fn pop_batch(&self, p: &P) -> Option<Work> {
        if self.len() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let first = queue.pop_front();
        for _ in 0..BATCH.min(queue.len() / 2) {
            let Some(work) = queue.pop_front() else { break };
            if let Err(back) = p.ring.push(work) {
                queue.push_front(back);
                break;
            }
        }
        self.len.store(queue.len(), Ordering::SeqCst);
        first
    }
}

//! Warm stacks that no cache has room for: the waiting room between the caches and the kernel.
//!
//! When a million goroutines end, their stacks come back by the hundred thousand. Giving the pages
//! of each batch to the kernel at once costs a third of the burst's processor time: the calls, and
//! the interrupts by which the kernel tells the other processors that the pages are gone; and the
//! next goroutine pays for a page of zeros again. So a cache that defers
//! ([`crate::Cache::deferring`]) leaves its surplus here, pages and all, and whoever has nothing
//! better to do calls [`crate::Pool::settle`], a batch at a time, until nothing is left.
//!
//! The walk of a batch: in at the back; out at the back when a cache runs dry (the warmest first,
//! and before any chunk is opened, so what waits here never adds to the largest number of stacks
//! that there ever was); out at the front to the kernel.
//!
//! Who keeps it from staying: the pool counts the chunks that it opens
//! ([`crate::Pool::growth`]). An owner of deferring caches settles when it is idle, and in any
//! case some time after that count has last moved. A pool that cannot open a chunk settles
//! everything first: stacks of one class wait here while another has no mapping left.
//!
//! Rejected: letting each M keep its surplus to itself until it is idle. The other Ms, which have
//! none, would open chunks meanwhile: the peak would be multiplied by the number of Ms.

use crate::class::SizeClass;
use crate::slot::Stack;
use millpond_prim::sync::Lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Batches of warm stacks of every class.
#[derive(Debug, Default)]
pub(crate) struct Depot {
    /// Coldest batch first. A leaf lock.
    batches: Lock<[VecDeque<Vec<Stack>>; SizeClass::COUNT]>,
    /// Stacks in `batches`, per class. Atomic: written under the lock, read by anyone.
    counts: [AtomicUsize; SizeClass::COUNT],
}

impl Depot {
    /// Stacks of a class that wait here.
    pub(crate) fn count(&self, class: SizeClass) -> usize {
        self.counts[class.index()].load(Ordering::Relaxed)
    }

    /// Whether nothing waits, as far as this thread can see: what it has put in, it sees.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// Puts a batch in. All of it must be of `class`.
    pub(crate) fn put(&self, class: SizeClass, batch: Vec<Stack>) {
        debug_assert!(batch.iter().all(|stack| stack.class() == class));
        let mut batches = self.batches.lock();
        self.counts[class.index()].fetch_add(batch.len(), Ordering::Relaxed);
        batches[class.index()].push_back(batch);
    }

    /// The batch that came last, for a cache that has run dry.
    pub(crate) fn take(&self, class: SizeClass) -> Option<Vec<Stack>> {
        if self.count(class) == 0 {
            return None;
        }
        let mut batches = self.batches.lock();
        let batch = batches[class.index()].pop_back()?;
        self.counts[class.index()].fetch_sub(batch.len(), Ordering::Relaxed);
        Some(batch)
    }

    /// The batches of one class that have waited longest, about `stacks` stacks: at least one
    /// batch, unless nothing is here.
    pub(crate) fn take_coldest(&self, stacks: usize) -> Option<(SizeClass, Vec<Stack>)> {
        if self.is_empty() {
            return None;
        }
        let mut batches = self.batches.lock();
        // Under the lock: another thread may just have taken what a count still told of.
        let class = SizeClass::ALL.into_iter().find(|class| !batches[class.index()].is_empty())?;
        let shelf = &mut batches[class.index()];
        let mut taken = shelf.pop_front()?;
        while shelf.front().is_some_and(|next| taken.len() + next.len() <= stacks) {
            taken.extend(shelf.pop_front().into_iter().flatten());
        }
        self.counts[class.index()].fetch_sub(taken.len(), Ordering::Relaxed);
        Some((class, taken))
    }
}

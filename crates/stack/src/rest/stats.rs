//! What rest has done, and what it holds now: counters that the owners and the handler of a fault add
//! to, and a picture of them. Sums and not samples, because the handler may neither allocate nor wait;
//! the distribution of live bytes is kept where there is a name for it, per place of start, by the
//! scheduler.

use super::block::Block;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// All atomic, statistics only. The handler of a fault counts here too.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Batches begun.
    batches: AtomicU64,
    resting: AtomicUsize,
    copy_bytes: AtomicUsize,
    live_bytes: AtomicUsize,
    page_bytes: AtomicUsize,
    rested: AtomicU64,
    woken: AtomicU64,
    foreign: AtomicU64,
    shrunk_bytes: AtomicU64,
    rest_ns: AtomicU64,
    wake_ns: AtomicU64,
}

impl Counters {
    pub(super) fn began(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves whenever a stack may have been away since.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    pub(super) fn rested(&self, block: Block, page_bytes: usize) {
        self.resting.fetch_add(1, Ordering::Relaxed);
        self.page_bytes.fetch_add(page_bytes, Ordering::Relaxed);
        self.copy_bytes.fetch_add(block.own_bytes(), Ordering::Relaxed);
        self.live_bytes.fetch_add(block.live_bytes(), Ordering::Relaxed);
    }

    pub(super) fn took(&self, stacks: usize, ns: u64) {
        self.rested.fetch_add(stacks as u64, Ordering::Relaxed);
        self.rest_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn woke(&self, block: Block, page_bytes: usize, foreign: bool, ns: u64) {
        self.resting.fetch_sub(1, Ordering::Relaxed);
        self.page_bytes.fetch_sub(page_bytes, Ordering::Relaxed);
        self.live_bytes.fetch_sub(block.live_bytes(), Ordering::Relaxed);
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.foreign.fetch_add(u64::from(foreign), Ordering::Relaxed);
        self.wake_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn freed(&self, block: Block) {
        self.copy_bytes.fetch_sub(block.own_bytes(), Ordering::Relaxed);
    }

    pub(super) fn shrunk(&self, bytes: usize) {
        self.shrunk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RestStats {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gauge = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        RestStats {
            resting: gauge(&self.resting),
            copy_bytes: gauge(&self.copy_bytes),
            live_bytes: gauge(&self.live_bytes),
            page_bytes: gauge(&self.page_bytes),
            rested: number(&self.rested),
            woken: number(&self.woken),
            foreign_wakes: number(&self.foreign),
            shrunk_bytes: number(&self.shrunk_bytes),
            rest_ns: number(&self.rest_ns),
            wake_ns: number(&self.wake_ns),
        }
    }
}

/// Stacks at rest, of one pool. See [`crate::Pool::rest_stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestStats {
    /// Stacks that are at rest now.
    pub resting: usize,
    /// Bytes of the copies that are kept now, without what the allocator adds.
    pub copy_bytes: usize,
    /// Bytes of stack that these copies stand for.
    pub live_bytes: usize,
    /// Bytes of the pages that these stacks would hold: the least that is saved is this less
    /// `copy_bytes`.
    pub page_bytes: usize,
    /// Times that a stack was put to rest so far.
    pub rested: u64,
    /// Times that one was woken so far.
    pub woken: u64,
    /// Of these, by a thread that was not its goroutine's own.
    pub foreign_wakes: u64,
    /// Bytes below stack pointers that were given back without resting so far.
    pub shrunk_bytes: u64,
    /// Time spent putting to rest so far.
    pub rest_ns: u64,
    /// Time spent waking so far.
    pub wake_ns: u64,
}

impl RestStats {
    /// Bytes that rest saves at the moment.
    pub fn saved_bytes(&self) -> usize {
        self.page_bytes.saturating_sub(self.copy_bytes)
    }

    /// What it takes on average to put one stack to rest.
    pub fn mean_rest_ns(&self) -> u64 {
        self.rest_ns / self.rested.max(1)
    }

    /// What it takes on average to wake one.
    pub fn mean_wake_ns(&self) -> u64 {
        self.wake_ns / self.woken.max(1)
    }
}

impl fmt::Display for RestStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "stacks at rest: {} in {} B of copies, {} B saved; rested {}, woken {}, foreign {}; {} ns to \
             rest, {} ns to wake",
            self.resting,
            self.copy_bytes,
            self.saved_bytes(),
            self.rested,
            self.woken,
            self.foreign_wakes,
            self.mean_rest_ns(),
            self.mean_wake_ns()
        )
    }
}

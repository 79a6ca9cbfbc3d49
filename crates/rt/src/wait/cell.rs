//! The wait word of those who are not goroutines: plain threads and futures.
//!
//! A plain thread has one cell for its whole life, in a thread-local; it can wait for one thing at
//! a time. A future has a cell of its own, because many futures wait on one thread. Resuming is
//! `unpark` for the one and the stored waker for the other.

use super::word::WaitWord;
use millpond_prim::sync::{Arc, Lock};
use millpond_prim::thread::{self, Thread};
use std::task::Waker;

/// A wait word together with the way to resume its owner.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(super) word: WaitWord,
    pub(super) wake: Wake,
}

#[derive(Debug)]
pub(super) enum Wake {
    /// A plain thread.
    Thread(Thread),
    /// A future: the waker of its last poll. The lock orders poll and resume.
    Task(Lock<Option<Waker>>),
}

impl Cell {
    pub(super) fn for_thread() -> Arc<Self> {
        Arc::new(Self { word: WaitWord::new(), wake: Wake::Thread(thread::current()) })
    }

    pub(super) fn for_future() -> Arc<Self> {
        Arc::new(Self { word: WaitWord::new(), wake: Wake::Task(Lock::new(None)) })
    }

    /// The winner of a claim from PARKED calls this, once.
    pub(super) fn resume(&self) {
        match &self.wake {
            Wake::Thread(thread) => thread.unpark(),
            Wake::Task(waker) => {
                // Taken out first: a waker may run arbitrary code, and not under our lock.
                let waker = waker.lock().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

/// How many plain threads wait without a time limit: such a thread cannot wake anybody, which is
/// what the deadlock report needs to know.
#[cfg(not(loom))]
static BLOCKED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Plain threads that wait in this crate without a time limit.
#[cfg(not(loom))]
pub(crate) fn blocked_threads() -> usize {
    BLOCKED.load(std::sync::atomic::Ordering::SeqCst)
}

/// Counts the calling thread as blocked until dropped.
#[cfg(not(loom))]
pub(super) struct CountBlocked;

#[cfg(not(loom))]
impl CountBlocked {
    pub(super) fn new() -> Self {
        BLOCKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Self
    }
}

#[cfg(not(loom))]
impl Drop for CountBlocked {
    fn drop(&mut self) {
        BLOCKED.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

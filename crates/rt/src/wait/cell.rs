//! The wait word of those who are not goroutines: plain threads and futures.
//!
//! A plain thread has one cell for its whole life, in a thread-local; it can wait for one thing at
//! a time. A future has a cell of its own, because many futures wait on one thread. Resuming is
//! `unpark` for the one and the stored waker for the other.

use super::place::Place;
use super::word::WaitWord;
use millpond_prim::sync::{Arc, Lock};
use millpond_prim::thread::{self, Thread};
use std::task::Waker;

/// A wait word together with the way to resume its owner.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(super) word: WaitWord,
    pub(super) wake: Wake,
    /// The wait under way has a time limit. Atomic: written by the owner before it parks.
    #[cfg(not(loom))]
    pub(super) timed: std::sync::atomic::AtomicBool,
}

#[derive(Debug)]
pub(super) enum Wake {
    /// A plain thread, with its place in a line. Boxed: futures, of which there are many, have none.
    Thread(Thread, Box<Place>),
    /// A future: the waker of its last poll. The lock orders poll and resume.
    Task(Lock<Option<Waker>>),
}

impl Cell {
    pub(super) fn for_thread() -> Arc<Self> {
        let cell = Arc::new(Self::new(Wake::Thread(thread::current(), Box::new(Place::new()))));
        #[cfg(not(loom))]
        register(&cell);
        cell
    }

    pub(super) fn for_future() -> Arc<Self> {
        Arc::new(Self::new(Wake::Task(Lock::new(None))))
    }

    fn new(wake: Wake) -> Self {
        Self {
            word: WaitWord::new(),
            wake,
            #[cfg(not(loom))]
            timed: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// The place in a line. Of a thread: futures stand in none.
    pub(super) fn place(&self) -> &Place {
        match &self.wake {
            Wake::Thread(_, place) => place,
            Wake::Task(_) => unreachable!("a line is joined by goroutines and threads"),
        }
    }

    /// The winner of a claim from PARKED calls this, once.
    pub(super) fn resume(&self) {
        match &self.wake {
            Wake::Thread(thread, _) => thread.unpark(),
            Wake::Task(waker) => {
                // Taken out first: a waker may run arbitrary code, and not under our lock.
                let waker = waker.lock().take();
                if let Some(waker) = waker {
                    wake(waker);
                }
            }
        }
    }
}

/// Runs a waker: user code, which must not unwind into whoever claimed.
#[cfg(not(loom))]
pub(crate) fn wake(waker: Waker) {
    crate::quiet::quietly(|| waker.wake());
}

/// Runs a waker.
#[cfg(loom)]
pub(crate) fn wake(waker: Waker) {
    waker.wake();
}

/// The cells of plain threads, for [`blocked_threads`]. Protected by the lock; swept when it grows.
#[cfg(not(loom))]
static THREADS: Lock<Vec<std::sync::Weak<Cell>>> = Lock::new(Vec::new());

#[cfg(not(loom))]
fn register(cell: &Arc<Cell>) {
    let mut threads = THREADS.lock();
    if threads.len() == threads.capacity() {
        threads.retain(|cell| cell.strong_count() > 0);
    }
    threads.push(Arc::downgrade(cell));
}

/// Plain threads that wait here without a time limit and that nobody has woken: such a thread
/// cannot wake anybody, which is what the deadlock report needs to know. A thread that has been
/// woken and has not run yet does not count: it is the state of its wait word that is read, not a
/// counter that the thread itself would have to keep.
#[cfg(not(loom))]
pub(crate) fn blocked_threads() -> usize {
    use std::sync::atomic::Ordering;
    let stuck = |cell: Arc<Cell>| cell.word.is_parked() && !cell.timed.load(Ordering::Acquire);
    THREADS
        .lock()
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .filter(|cell| stuck(cell.clone()))
        .count()
}

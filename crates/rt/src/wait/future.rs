//! Waiting as a future does it: arm, return `Pending`, be polled again.
//!
//! The word's `commit` is the first poll that stores a waker. A party that claims before it finds
//! nobody to wake, and that poll sees the claim; a party that claims after it takes the waker.

use super::cell::{Cell, Wake};
use super::ticket::{Target, Ticket};
use millpond_prim::sync::Arc;
use std::task::{Context, Poll};

/// The wait of a future. Lives in the future; usable for one wait after another.
///
/// Dropping it while a wait is open withdraws, and drops the waker here, on the thread and in the context of
/// whoever drops the future: tickets may outlive it, in a queue of timers or under somebody's lock, and must
/// not take user code along. If what a party hands over must not be lost, the
/// future's own `Drop` calls [`FutureWait::cancel`] and looks at the answer.
#[derive(Debug, Default)]
pub struct FutureWait {
    /// Made at the first wait: most polls find the operation possible and never need it.
    cell: Option<Arc<Cell>>,
    /// The wait under way.
    seq: Option<u64>,
}

impl FutureWait {
    /// A wait that has not begun. Does not allocate.
    pub const fn new() -> Self {
        Self { cell: None, seq: None }
    }

    /// Whether a wait is under way.
    pub fn is_armed(&self) -> bool {
        self.seq.is_some()
    }

    /// Begins a wait and returns a ticket for it.
    ///
    /// # Panics
    /// If one is under way.
    pub fn arm(&mut self) -> Ticket {
        assert!(self.seq.is_none(), "FutureWait::arm: a wait is already under way");
        let cell = self.cell.get_or_insert_with(Cell::for_future);
        let seq = cell.word.arm();
        self.seq = Some(seq);
        Ticket { target: Target::Cell(cell.clone()), seq }
    }

    /// Ready with the outcome once a party has ended the wait; until then stores `cx`'s waker.
    ///
    /// # Panics
    /// If no wait is under way.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u16> {
        let (Some(cell), Some(seq)) = (&self.cell, self.seq) else {
            panic!("FutureWait::poll: no wait is under way; call arm first");
        };
        if cell.word.outcome().is_none() {
            let Wake::Task(cell_slot) = &cell.wake else {
                unreachable!("made by Cell::for_future")
            };
            let slot = cell_slot.lock();
            let known = slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            drop(slot);
            if !known {
                // Cloning and dropping a waker is user code: not under the lock. Between the two
                // locks only a claim can come, and that shows below.
                let waker = cx.waker().clone();
                let older = cell_slot.lock().replace(waker);
                drop(older);
            }
            // Fails when already parked (an earlier poll did it) or when claimed: told apart below.
            cell.word.commit(seq);
            if cell.word.outcome().is_none() {
                return Poll::Pending;
            }
        }
        self.seq = None;
        Poll::Ready(cell.word.finish())
    }

    /// Withdraws. `Some(outcome)` if a party was faster.
    pub fn cancel(&mut self) -> Option<u16> {
        self.seq.take()?;
        self.cell.as_ref()?.word.disarm()
    }
}

impl Drop for FutureWait {
    fn drop(&mut self) {
        self.cancel();
        if let Some(cell) = &self.cell
            && let Wake::Task(slot) = &cell.wake
        {
            // After the lock. `None` if a party has claimed the wait and is about to run it.
            let waker = slot.lock().take();
            drop(waker);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    struct Counts<'a>(&'a AtomicUsize);

    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl std::task::Wake for Counts<'static> {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    #[test]
    fn a_waker_goes_with_the_future_and_not_with_the_last_ticket() {
        static DROPPED: AtomicUsize = AtomicUsize::new(0);
        let waker = Waker::from(std::sync::Arc::new(Counts(&DROPPED)));
        let mut wait = FutureWait::new();
        let ticket = wait.arm();
        assert!(wait.poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 0);
        drop(wait);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
        assert!(!ticket.fire(1));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::future::block_on;
    use loom::thread;

    /// A future waits while two parties race: it is always polled again.
    #[test]
    fn a_future_is_never_forgotten() {
        loom::model(|| {
            let mut wait = FutureWait::new();
            let ticket = wait.arm();
            let parties: Vec<_> = (1..3u16)
                .map(|outcome| {
                    let ticket = ticket.clone();
                    thread::spawn(move || ticket.fire(outcome))
                })
                .collect();
            let outcome = block_on(std::future::poll_fn(|cx| wait.poll(cx)));
            let won: Vec<_> = parties.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(won.iter().filter(|won| **won).count(), 1);
            assert!(won[usize::from(outcome) - 1]);
        });
    }
}

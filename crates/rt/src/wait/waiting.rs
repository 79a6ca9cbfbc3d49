//! A wait under way, seen by its owner: begin, hand out tickets, park.
//!
//! [`Waiting::begin`] finds out who calls, once. From then on a goroutine and a plain thread
//! differ only in how they leave.

use super::cell::Cell;
use super::reason::WaitReason;
use super::ticket::{Target, Ticket};
use crate::context::ContextError;
use crate::g::GRef;
use millpond_prim::sync::Arc;
use std::marker::PhantomData;
use std::time::Instant;

/// The outcome that timers use; no primitive may.
pub(crate) const TIMED_OUT: u16 = (1 << 14) - 1;

/// The outcome that [`Waiting::park_until`] gives to a context; no primitive may use it.
pub(crate) const CANCELLED: u16 = TIMED_OUT - 1;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A party ended it, with this outcome.
    Fired(u16),
    /// The deadline passed first. No party can have won: what it would have handed over is still
    /// with it.
    TimedOut,
    /// The context of [`Waiting::park_until`] was done first. No party can have won, as above.
    Cancelled(ContextError),
}

impl Outcome {
    /// Whether a party ended the wait.
    #[inline]
    pub fn is_fired(self) -> bool {
        matches!(self, Self::Fired(_))
    }
}

/// A wait that the caller has begun and not yet finished. Not `Send`: it belongs to the goroutine
/// or thread that began it.
#[derive(Debug)]
pub struct Waiting {
    /// `None` once finished; the drop then has nothing to withdraw.
    owner: Option<Target>,
    seq: u64,
    not_send: PhantomData<*const ()>,
}

impl Waiting {
    /// Begins a wait of the calling goroutine, or of the calling plain thread.
    #[inline]
    pub fn begin() -> Self {
        let owner = match GRef::current() {
            Some(g) => Target::Goroutine(g),
            None => Target::Cell(thread_cell()),
        };
        let seq = owner.word().arm();
        Self { owner: Some(owner), seq, not_send: PhantomData }
    }

    /// A ticket for this wait, to put in a queue.
    #[inline]
    pub fn ticket(&self) -> Ticket {
        Ticket { target: self.owner().clone(), seq: self.seq }
    }

    /// Leaves until a party ends the wait or `deadline` passes. Parks the goroutine, or blocks the
    /// plain thread.
    ///
    /// # Panics
    /// If another goroutine of the same thread began the wait: only its own may leave its stack.
    #[inline(always)]
    pub fn park(mut self, reason: WaitReason, deadline: Option<Instant>) -> Outcome {
        let outcome = self.leave(reason, deadline);
        drop(self.owner.take());
        // The drop would find nothing to do, and is not free.
        std::mem::forget(self);
        match outcome {
            TIMED_OUT => Outcome::TimedOut,
            outcome => Outcome::Fired(outcome),
        }
    }

    /// Leaves, unless the wait has ended, and finishes it. By reference: `self` is not copied on the
    /// way to the switch.
    #[inline(always)]
    fn leave(&self, reason: WaitReason, deadline: Option<Instant>) -> u16 {
        match self.owner() {
            Target::Goroutine(g) => g.wait_for(self.seq, reason, deadline),
            Target::Cell(cell) => self.leave_thread(cell, deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_thread(&self, cell: &Cell, deadline: Option<Instant>) -> u16 {
        if cell.word.outcome().is_none() {
            block(cell, self.seq, deadline);
        }
        cell.word.finish()
    }

    /// Withdraws without leaving. `Some(outcome)` if a party was faster.
    #[inline]
    pub fn cancel(mut self) -> Option<u16> {
        self.owner.take()?.word().disarm()
    }

    #[inline]
    fn owner(&self) -> &Target {
        self.owner.as_ref().expect("present until the wait is finished, which consumes it")
    }
}

impl Drop for Waiting {
    #[inline]
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            // Begun and abandoned (an unwinding primitive): leave the word usable.
            owner.word().disarm();
        }
    }
}

/// Blocks the thread until its wait is over.
#[cfg(not(loom))]
pub(super) fn block(cell: &Cell, seq: u64, deadline: Option<Instant>) {
    let word = &cell.word;
    // Before the commit, whose release makes it visible with PARKED.
    cell.timed.store(deadline.is_some(), std::sync::atomic::Ordering::Relaxed);
    if !word.commit(seq) {
        return;
    }
    while word.outcome().is_none() {
        match deadline {
            None => std::thread::park(),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    // Either we end it ourselves, or a party just did: both leave FIRED.
                    word.claim(seq, TIMED_OUT);
                } else {
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}

/// In a model time does not pass, so a deadline is a party of its own there.
#[cfg(loom)]
pub(super) fn block(cell: &Cell, seq: u64, deadline: Option<Instant>) {
    assert!(deadline.is_none(), "a model has no clock");
    let word = &cell.word;
    if word.commit(seq) {
        while word.outcome().is_none() {
            millpond_prim::thread::park();
        }
    }
}

#[cfg(not(loom))]
thread_local! {
    static CELL: Arc<Cell> = Cell::for_thread();
}

/// The calling thread's cell. During thread-local destruction, or when a wait of this thread is
/// already under way (a waker that blocks), a fresh one.
#[cfg(not(loom))]
pub(super) fn thread_cell() -> Arc<Cell> {
    CELL.try_with(|cell| cell.word.is_idle().then(|| cell.clone()))
        .ok()
        .flatten()
        .unwrap_or_else(Cell::for_thread)
}

/// loom's thread-locals do not outlive an iteration; a fresh cell each time is simpler and proves
/// the same.
#[cfg(loom)]
pub(super) fn thread_cell() -> Arc<Cell> {
    Cell::for_thread()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_plain_thread_is_woken_by_a_party() {
        let waiting = Waiting::begin();
        let ticket = waiting.ticket();
        let party = std::thread::spawn(move || ticket.fire(3));
        assert_eq!(waiting.park(WaitReason::ChanRecv, None), Outcome::Fired(3));
        assert!(party.join().unwrap());
    }

    #[test]
    fn a_deadline_ends_the_wait_and_closes_the_ticket() {
        let waiting = Waiting::begin();
        let ticket = waiting.ticket();
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(waiting.park(WaitReason::Sleep, Some(deadline)), Outcome::TimedOut);
        assert!(!ticket.is_open());
        assert!(!ticket.fire(1));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::thread;

    /// A thread parks while two parties try to end the wait: it always wakes, with the winner's
    /// outcome.
    #[test]
    fn park_is_never_missed() {
        loom::model(|| {
            let waiting = Waiting::begin();
            let parties: Vec<_> = (1..3u16)
                .map(|outcome| {
                    let ticket = waiting.ticket();
                    thread::spawn(move || ticket.fire(outcome))
                })
                .collect();
            let outcome = waiting.park(WaitReason::ChanRecv, None);
            let won: Vec<_> = parties.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(won.iter().filter(|won| **won).count(), 1);
            let winner = won.iter().position(|won| *won).unwrap() as u16 + 1;
            assert_eq!(outcome, Outcome::Fired(winner));
        });
    }
}

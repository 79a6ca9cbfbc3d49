//! The count of a scope's live children, and who waits for it.
//!
//! ```text
//!   enter: live < limit? live + 1     full? queue a ticket, park; woken, the place is ours
//!   leave: somebody queued? the place is his    else live - 1; was it the last? wake the owner
//!   wait : live > 0? leave the owner's ticket, park, look again
//! ```
//!
//! [`Member`] is one place in the count. Its drop is the one way to give the place back, so a
//! child that holds it as its last field gives it back after everything else of the child, and a
//! child whose frame is frozen for ever never does.
//!
//! The count is counted itself (`Arc`). The last child lets the owner go while it still holds the
//! lock's memory and the owner's ticket; the owner may have returned, and its frame be gone, before
//! that child has unlocked. So nothing of the count lies in the owner's frame (`std::thread::scope`
//! keeps its `ScopeData` in an `Arc` for the same reason).
//!
//! *A scope that failed cancels its context*, if it has one. The right to cancel is left here, under
//! the lock, by whoever makes the context ([`Count::cancels`]), and used by whoever fails first: each
//! of the two sees what the other did, whichever comes first. It is used after unlocking, because a
//! cancellation runs wakers, which are user code.
//!
//! Everything is under one lock: a child takes it twice in its life, and the tickets in here come
//! from parked goroutines and threads, never from futures, so dropping one under it runs no code
//! of a user. Rejected: an atomic count with the lock for its edges only, as a wait group has it;
//! with a limit every leave has to look at the queue as well.

use crate::context::Cancel;
use crate::coop;
use crate::wait::{Fired, Ticket, WaitReason, Waiting};
use millpond_prim::sync::atomic::{AtomicBool, Ordering};
use millpond_prim::sync::{Arc, Lock};
use std::collections::VecDeque;

/// How a child came to its end without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It panicked.
    Panic,
    /// Its closure was dropped without having run.
    Lost,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Count {
    state: Lock<State>,
    /// Atomic: goes up once, under the lock. Whether anything failed, also what a join has dealt with.
    failed: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Places taken.
    live: usize,
    /// No more places than this.
    limit: usize,
    /// Children that panicked and whose panic nobody took.
    panicked: usize,
    /// Children that never ran and whose joiner, if any, was not told.
    lost: usize,
    /// Who waits for `live` to be zero: the scope itself.
    owner: Option<Ticket>,
    /// Who waits for a place, longest first.
    queue: VecDeque<Ticket>,
    /// Ends the scope's context, from when that is made until something fails.
    cancel: Option<Cancel>,
}

impl Count {
    /// Nothing counted, and room for `limit`.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let (owner, queue, cancel) = (None, VecDeque::new(), None);
        let state = State { live: 0, limit, panicked: 0, lost: 0, owner, queue, cancel };
        Arc::new(Self { state: Lock::new(state), failed: AtomicBool::new(false) })
    }

    /// Takes a place; waits for one if all are taken.
    pub(crate) fn enter(this: &Arc<Self>) -> Member {
        let mut state = this.state.lock();
        if state.live < state.limit {
            state.live += 1;
        } else {
            let waiting = Waiting::begin();
            state.queue.push_back(waiting.ticket());
            drop(state);
            // Whoever ends this wait has left his place to us.
            waiting.park(WaitReason::Semaphore, None);
        }
        Member(this.clone())
    }

    /// Takes a place if one is free.
    pub(crate) fn try_enter(this: &Arc<Self>) -> Option<Member> {
        let mut state = this.state.lock();
        if state.live >= state.limit {
            return None;
        }
        state.live += 1;
        Some(Member(this.clone()))
    }

    /// The owner, which enters nobody any more: waits until every place is given back. What was
    /// done before each happens before this returns.
    pub(crate) fn wait(&self) {
        loop {
            let mut state = self.state.lock();
            if state.live == 0 {
                break;
            }
            let waiting = Waiting::begin();
            state.owner = Some(waiting.ticket());
            drop(state);
            waiting.park(WaitReason::Join, None);
        }
        coop::spend();
    }

    /// A child failed, and nobody knows yet.
    pub(crate) fn note(&self, failure: Failure) {
        *self.state.lock().of(failure) += 1;
        self.fail();
    }

    /// Somebody has been told of a failure that was noted.
    pub(crate) fn forgive(&self, failure: Failure) {
        *self.state.lock().of(failure) -= 1;
    }

    /// A failure that nobody has been told of; a panic before anything else.
    pub(crate) fn unforgiven(&self) -> Option<Failure> {
        let state = self.state.lock();
        match (state.panicked, state.lost) {
            (0, 0) => None,
            (0, _) => Some(Failure::Lost),
            _ => Some(Failure::Panic),
        }
    }

    /// Something has failed: the one place where that becomes known. Cancels the scope's context.
    pub(crate) fn fail(&self) {
        let mut state = self.state.lock();
        self.failed.store(true, Ordering::Release);
        let cancel = state.cancel.take();
        drop(state);
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// The scope has a context now, which `cancel` ends: when something fails, or at once if
    /// something has.
    pub(crate) fn cancels(&self, cancel: Cancel) {
        let mut state = self.state.lock();
        if !self.failed.load(Ordering::Relaxed) {
            state.cancel = Some(cancel);
            return;
        }
        drop(state);
        cancel.cancel();
    }

    /// The scope has ended, and its context with it.
    pub(crate) fn end(&self) {
        let cancel = self.state.lock().cancel.take();
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// Whether anything has failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Places taken.
    #[cfg(not(loom))]
    pub(crate) fn live(&self) -> usize {
        self.state.lock().live
    }
}

impl State {
    fn of(&mut self, failure: Failure) -> &mut usize {
        match failure {
            Failure::Panic => &mut self.panicked,
            Failure::Lost => &mut self.lost,
        }
    }

    /// A place is given back; returns whom that wakes.
    fn leave(&mut self) -> Option<Fired> {
        // A wait that has ended otherwise is one of a goroutine that its runtime's end has frozen.
        while let Some(ticket) = self.queue.pop_front() {
            if let Some(fired) = ticket.claim(0) {
                return Some(fired);
            }
        }
        self.live -= 1;
        if self.live > 0 {
            return None;
        }
        self.owner.take()?.claim(0)
    }
}

/// A place in the count; dropping it gives it back. See the module documentation.
#[derive(Debug)]
pub(crate) struct Member(Arc<Count>);

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let fired = state.leave();
        drop(state);
        drop(fired);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// The owner's frame: children read it, and the owner frees it when the wait is over.
    struct Frame {
        cells: [UnsafeCell<u32>; 2],
        count: Arc<Count>,
    }

    impl Frame {
        fn new(limit: usize) -> Arc<Self> {
            let cells = [UnsafeCell::new(0), UnsafeCell::new(0)];
            Arc::new(Self { cells, count: Count::new(limit) })
        }

        /// A child that works in cell `i` of the frame.
        fn child(this: &Arc<Self>, member: Member, i: usize) -> thread::JoinHandle<()> {
            let frame = this.clone();
            thread::spawn(move || {
                frame.work(i);
                drop(member);
            })
        }

        fn work(&self, i: usize) {
            // SAFETY: one child per cell; that the owner comes later is what the model shows.
            self.cells[i].with_mut(|cell| unsafe { *cell += 1 });
        }

        fn end(&self) -> [u32; 2] {
            self.count.wait();
            // SAFETY: as above. Writing is the strongest access: it races with any of a child's.
            [0, 1].map(|i| self.cells[i].with_mut(|cell| unsafe { std::mem::take(&mut *cell) }))
        }
    }

    #[test]
    fn the_owner_comes_after_all_that_its_children_did() {
        loom::model(|| {
            let frame = Frame::new(usize::MAX);
            let children = [0, 1].map(|i| Frame::child(&frame, Count::enter(&frame.count), i));
            assert_eq!(frame.end(), [1, 1]);
            children.into_iter().for_each(|child| child.join().unwrap());
        });
    }

    #[test]
    fn a_child_that_a_child_started_is_waited_for() {
        loom::model(|| {
            let frame = Frame::new(usize::MAX);
            let member = Count::enter(&frame.count);
            let parent = {
                let frame = frame.clone();
                thread::spawn(move || {
                    let child = Frame::child(&frame, Count::enter(&frame.count), 1);
                    frame.work(0);
                    drop(member);
                    child
                })
            };
            assert_eq!(frame.end(), [1, 1]);
            parent.join().unwrap().join().unwrap();
        });
    }

    #[test]
    fn a_place_is_handed_on_and_the_limit_holds() {
        loom::model(|| {
            let frame = Frame::new(1);
            let inside = Arc::new(AtomicUsize::new(0));
            let children = [0, 1].map(|i| {
                let member = Count::enter(&frame.count);
                let (frame, inside) = (frame.clone(), inside.clone());
                thread::spawn(move || {
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
                    frame.work(i);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    drop(member);
                })
            });
            assert_eq!(frame.end(), [1, 1]);
            children.into_iter().for_each(|child| child.join().unwrap());
        });
    }

    /// A context is made while something fails: it is cancelled, whichever came first.
    #[test]
    fn a_failure_always_reaches_the_context() {
        loom::model(|| {
            let count = Count::new(usize::MAX);
            let failing = {
                let count = count.clone();
                thread::spawn(move || count.note(Failure::Panic))
            };
            let (ctx, cancel) = crate::context::Context::background().with_cancel();
            count.cancels(cancel);
            failing.join().unwrap();
            assert!(ctx.is_done() && count.is_failed());
        });
    }

    #[test]
    fn two_who_wait_for_one_place_both_get_it() {
        loom::model(|| {
            let frame = Frame::new(1);
            let first = Count::enter(&frame.count);
            let children = [0, 1].map(|i| {
                let frame = frame.clone();
                thread::spawn(move || {
                    let member = Count::enter(&frame.count);
                    frame.work(i);
                    drop(member);
                })
            });
            drop(first);
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!(frame.end(), [1, 1]);
        });
    }
}

//! What loom explores of contexts: every meeting of two of cancel, wait, give up, make, drop.
//!
//! Threads and futures wait. No context here has a deadline, since a model has no clock: what a
//! deadline does to the state is the second arrow in the essay of `scope`, one compare-and-swap.

use super::*;
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{self, Waker};

/// A thread begins to wait while the context is cancelled: it is woken, whichever was first, and
/// sees what the canceller did before.
#[test]
fn cancel_against_enlist_forgets_no_waiter() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let word = loom::sync::Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let canceller = {
            let word = word.clone();
            thread::spawn(move || {
                word.store(1, loom::sync::atomic::Ordering::Relaxed);
                cancel.cancel();
            })
        };
        assert_eq!(ctx.done().wait(), ContextError::Cancelled);
        assert_eq!(word.load(loom::sync::atomic::Ordering::Relaxed), 1);
        canceller.join().unwrap();
    });
}

/// The same for a future.
#[test]
fn a_future_is_not_forgotten_either() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let canceller = thread::spawn(move || cancel.cancel());
        assert_eq!(block_on(ctx.done()), ContextError::Cancelled);
        canceller.join().unwrap();
    });
}

/// A future gives up while the context is cancelled: the wait that comes next in the same place
/// has an end of its own.
#[test]
fn cancel_against_delist_leaves_the_others_alone() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let waiting = {
            let ctx = ctx.clone();
            thread::spawn(move || ctx.done().wait())
        };
        let canceller = thread::spawn(move || cancel.cancel());
        {
            let mut given_up = pin!(ctx.done());
            let _ = given_up.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        }
        assert_eq!(waiting.join().unwrap(), ContextError::Cancelled);
        canceller.join().unwrap();
        assert_eq!(ctx.footprint().0, 0);
    });
}

/// Two cancel at once: for each of them the context is done when it returns, and the waiter is
/// woken.
#[test]
fn two_cancels_are_one() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let other = {
            let (ctx, cancel) = (ctx.clone(), cancel.clone());
            thread::spawn(move || {
                cancel.cancel();
                assert!(ctx.is_done());
            })
        };
        let waiting = {
            let ctx = ctx.clone();
            thread::spawn(move || ctx.done().wait())
        };
        cancel.cancel();
        assert!(ctx.is_done());
        assert_eq!(waiting.join().unwrap(), ContextError::Cancelled);
        other.join().unwrap();
    });
}

/// A child is made while its parent is cancelled: it is done in the end, and who waits for it
/// learns so.
#[test]
fn a_child_cannot_slip_past_its_parents_end() {
    loom::model(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let canceller = thread::spawn(move || cancel.cancel());
        let (child, _cancel) = parent.with_cancel();
        assert_eq!(child.done().wait(), ContextError::Cancelled);
        canceller.join().unwrap();
    });
}

/// A child is dropped, and another made in its place, while their parent is cancelled.
#[test]
fn a_child_may_go_while_its_parent_is_cancelled() {
    loom::model(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let (child, _) = parent.with_cancel();
        let canceller = thread::spawn(move || cancel.cancel());
        drop(child);
        let (next, _) = parent.with_cancel();
        canceller.join().unwrap();
        assert!(parent.is_done() && next.is_done());
        assert_eq!(parent.footprint().1, 0);
    });
}

/// A grandchild is cancelled from above and by its own hand.
#[test]
fn an_end_from_above_and_an_end_of_its_own() {
    loom::model(|| {
        let (top, cancel_top) = Context::background().with_cancel();
        let (middle, _) = top.with_cancel();
        let (bottom, cancel_bottom) = middle.with_cancel();
        let above = thread::spawn(move || cancel_top.cancel());
        let own = thread::spawn(move || cancel_bottom.cancel());
        assert_eq!(bottom.done().wait(), ContextError::Cancelled);
        above.join().unwrap();
        own.join().unwrap();
        assert!(middle.is_done());
    });
}

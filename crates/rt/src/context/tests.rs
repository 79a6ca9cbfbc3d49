//! What contexts promise, without a scheduler: threads and futures wait.
//!
//! Goroutines and tasks, which need one, wait in `tests/context.rs`. The chains of 100,000 run on
//! threads with a stack too small to recurse over them.

use super::*;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, Waker};

struct Name;
impl Key for Name {
    type Value = &'static str;
}

struct Depth;
impl Key for Depth {
    type Value = usize;
}

fn poll_done(done: &mut std::pin::Pin<&mut Done<'_>>) -> Poll<ContextError> {
    use std::future::Future;
    done.as_mut().poll(&mut task::Context::from_waker(Waker::noop()))
}

#[test]
fn a_cancellation_goes_down_and_not_up() {
    let (root, cancel_root) = Context::background().with_cancel();
    let (left, cancel_left) = root.with_cancel();
    let (right, _cancel) = root.with_cancel();
    let (below, _cancel) = left.with_value::<Depth>(2).with_cancel();
    cancel_left.cancel();
    assert_eq!(below.err(), Some(ContextError::Cancelled));
    assert!(left.is_done() && !root.is_done() && !right.is_done());
    cancel_root.cancel();
    assert!(root.is_done() && right.is_done());
    assert!(root.with_cancel().0.is_done(), "a child of what is done is done");
}

#[test]
fn the_earliest_deadline_of_the_ancestors_holds() {
    let soon = Instant::now() + Duration::from_secs(1000);
    let (outer, _cancel) = Context::background().with_deadline(soon);
    let (inner, _cancel) = outer.with_deadline(soon + Duration::from_secs(1));
    assert_eq!(inner.deadline(), Some(soon));
    let (sooner, _cancel) = inner.with_timeout(Duration::from_secs(1));
    assert!(sooner.deadline().unwrap() < soon);
    assert_eq!(outer.with_timeout(Duration::MAX).0.deadline(), Some(soon));
    assert_eq!(Context::background().with_timeout(Duration::MAX).0.deadline(), None);
}

#[test]
fn the_reason_never_changes() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::ZERO);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    cancel.cancel();
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));

    let at = Instant::now() + Duration::from_millis(2);
    let (ctx, cancel) = Context::background().with_deadline(at);
    cancel.cancel();
    let reason = ctx.err();
    while Instant::now() <= at {
        std::hint::spin_loop();
    }
    assert_eq!(ctx.err(), reason);
}

#[test]
fn a_cancellation_after_the_deadline_says_deadline_exceeded_to_all() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::ZERO);
    let (child, _cancel) = ctx.with_cancel();
    cancel.cancel();
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
}

#[test]
fn values_are_found_by_the_type_of_their_key() {
    let ctx = Context::background().with_value::<Name>("outer").with_value::<Depth>(1);
    let (inner, cancel) = ctx.with_value::<Name>("inner").with_cancel();
    assert_eq!((inner.value::<Name>(), inner.value::<Depth>()), (Some(&"inner"), Some(&1)));
    assert_eq!(ctx.value::<Name>(), Some(&"outer"));
    assert_eq!(Context::background().value::<Name>(), None);
    cancel.cancel();
    let rest = inner.without_cancel();
    assert!(!rest.is_done());
    assert_eq!(rest.value::<Name>(), Some(&"inner"));
}

#[test]
fn a_value_is_dropped_with_the_last_context_that_has_it() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct Counter;
    impl Key for Counter {
        type Value = Counted;
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let ctx = Context::background().with_value::<Counter>(Counted(dropped.clone()));
    let child = ctx.with_value::<Counter>(Counted(dropped.clone()));
    drop(ctx);
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(child);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn dropping_a_cancel_cancels_nothing_and_its_guard_does_unless_disarmed() {
    let (ctx, cancel) = Context::background().with_cancel();
    drop(cancel.clone());
    cancel.on_drop().disarm();
    assert!(!ctx.is_done());
    drop(cancel.on_drop());
    assert_eq!(ctx.err(), Some(ContextError::Cancelled));
}

#[test]
fn a_cancel_reaches_children_whose_parent_nobody_holds() {
    let (parent, cancel) = Context::background().with_cancel();
    let (child, _cancel) = parent.with_cancel();
    drop(parent);
    cancel.cancel();
    assert!(child.is_done());
}

#[test]
fn a_long_lived_parent_holds_no_more_children_than_are_alive() {
    let (parent, _cancel) = Context::background().with_cancel();
    for _ in 0..100_000 {
        let (child, _cancel) = parent.with_cancel();
        assert!(!child.is_done());
    }
    let (_, children, room) = parent.footprint();
    assert_eq!(children, 0);
    assert!(room <= 64, "room for {room} children kept");
    let many: Vec<_> = (0..1000).map(|_| parent.with_cancel()).collect();
    assert_eq!(parent.footprint().1, 1000);
    drop(many);
    assert_eq!(parent.footprint(), (0, 0, 0));
}

/// On a thread with a small stack: recursion over the chain would overflow it.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(f);
    thread.unwrap().join().unwrap();
}

#[test]
fn a_chain_of_100_000_contexts_is_cancelled_and_dropped_without_recursion() {
    on_a_small_stack(|| {
        let (root, cancel) = Context::background().with_cancel();
        let mut last = root.clone();
        for _ in 0..100_000 {
            last = last.with_cancel().0;
        }
        cancel.cancel();
        assert_eq!(last.err(), Some(ContextError::Cancelled));
        drop((root, cancel));
        drop(last);
    });
}

#[test]
fn a_chain_of_100_000_contexts_is_dropped_uncancelled_from_below() {
    on_a_small_stack(|| {
        let (root, _cancel) = Context::background().with_cancel();
        let mut last = root.clone();
        for _ in 0..100_000 {
            last = last.with_cancel().0;
        }
        assert_eq!(root.footprint().1, 1);
        drop(last);
        assert_eq!(root.footprint().1, 0);
    });
}

#[test]
fn a_chain_of_100_000_values_is_dropped_without_recursion() {
    on_a_small_stack(|| {
        let mut ctx = Context::background();
        for depth in 0..100_000 {
            ctx = ctx.with_value::<Depth>(depth);
        }
        assert_eq!(ctx.value::<Depth>(), Some(&99_999));
    });
}

#[test]
fn done_is_a_future_that_leaves_nothing_behind() {
    let (ctx, cancel) = Context::background().with_cancel();
    {
        let mut given_up = pin!(ctx.done());
        assert!(poll_done(&mut given_up).is_pending());
        assert_eq!(ctx.footprint().0, 1);
    }
    assert_eq!(ctx.footprint().0, 0);
    let mut done = pin!(ctx.done());
    assert!(poll_done(&mut done).is_pending());
    cancel.cancel();
    assert_eq!(poll_done(&mut done), Poll::Ready(ContextError::Cancelled));
    assert_eq!(poll_done(&mut done), Poll::Ready(ContextError::Cancelled), "and stays so");
    assert_eq!(ctx.footprint().0, 0);
}

#[test]
fn a_plain_thread_waits_for_a_cancellation_and_for_a_deadline() {
    let (ctx, cancel) = Context::background().with_cancel();
    let waiter = {
        let ctx = ctx.clone();
        std::thread::spawn(move || ctx.done().wait())
    };
    cancel.cancel();
    assert_eq!(waiter.join().unwrap(), ContextError::Cancelled);
    let (late, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    assert_eq!(late.done().wait(), ContextError::DeadlineExceeded);
}

#[test]
fn a_ticket_is_claimed_by_a_cancellation_and_refused_after_it() {
    let (ctx, cancel) = Context::background().with_cancel();
    let mut wait = crate::wait::FutureWait::new();
    let registration = ctx.enlist(&wait.arm(), 9).unwrap();
    cancel.cancel();
    assert_eq!(wait.cancel(), Some(9));
    ctx.delist(registration);
    assert!(ctx.enlist(&wait.arm(), 9).is_none());
    wait.cancel();
    let background = Context::background();
    let registration = background.enlist(&wait.arm(), 9).unwrap();
    background.delist(registration);
}

#[test]
fn errors_carry_their_reason_through_io_and_are_never_retried() {
    for reason in [ContextError::Cancelled, ContextError::DeadlineExceeded] {
        let error = std::io::Error::from(reason);
        assert_eq!(ContextError::of(&error), Some(reason));
        assert_ne!(error.kind(), std::io::ErrorKind::Interrupted);
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    assert_eq!(ContextError::of(&std::io::ErrorKind::TimedOut.into()), None);
}

#[test]
fn threads_that_make_cancel_and_drop_one_tree_leave_nothing_behind() {
    let (root, cancel_root) = Context::background().with_cancel();
    let places: Vec<_> = (0..16).map(|_| std::sync::Mutex::new(root.clone())).collect();
    std::thread::scope(|s| {
        for thread in 0..4u64 {
            let (places, root) = (&places, &root);
            s.spawn(move || {
                let mut random = 0x9E37_79B9_7F4A_7C15 ^ thread;
                for _ in 0..10_000 {
                    // xorshift: any sequence will do, the same in each run.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let place = |n: u64| &places[(random >> n) as usize % places.len()];
                    let (child, cancel) = place(8).lock().unwrap().with_cancel();
                    let mut done = pin!(child.done());
                    let ended = poll_done(&mut done).is_ready();
                    if random % 8 == 0 {
                        cancel.cancel();
                        assert!(poll_done(&mut done).is_ready());
                    } else {
                        assert!(!ended || child.is_done());
                    }
                    // Now and then the root again: below what is done, all is done.
                    let next = match random % 4 {
                        1 => root.clone(),
                        _ => child.with_timeout(Duration::from_secs(3600)).0,
                    };
                    let older = std::mem::replace(&mut *place(16).lock().unwrap(), next);
                    drop(older);
                }
            });
        }
    });
    cancel_root.cancel();
    assert!(places.iter().all(|place| place.lock().unwrap().is_done()));
    drop(places);
    assert_eq!((root.footprint().0, root.footprint().1), (0, 0));
}

//! The `_ctx` forms: a context that is done fails them before they try, one that ends later ends
//! their wait, and neither loses a value, a lock or a place in a list.
//!
//! An end "in the middle of the wait" is waited for, by looking at what goroutines wait for.

#![cfg(not(loom))]

mod common;

use common::{Rng, runtime, seed};
use millpond_rt::context::{Cancel, ContextError};
use millpond_rt::wait::WaitReason;
use millpond_rt::{Context, go, goroutines, yield_now};
use millpond_sync::chan::{self, RecvCtxError, SendCtxError};
use millpond_sync::{Mutex, WaitGroup};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CANCELLED: ContextError = ContextError::Cancelled;

/// Cancels as soon as somebody waits for this reason.
fn cancel_in_the_middle(cancel: Cancel, reason: WaitReason) {
    drop(go(move || {
        while !goroutines().iter().any(|g| g.reason == reason) {
            yield_now();
        }
        cancel.cancel();
    }));
}

fn on_one_and_two(body: impl Fn() + Send + Sync + Copy + 'static) {
    for procs in [1, 2] {
        runtime(procs, body);
    }
}

#[test]
fn a_context_that_ends_meanwhile_ends_the_wait() {
    on_one_and_two(|| {
        let under = |reason| {
            let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(3600));
            cancel_in_the_middle(cancel, reason);
            ctx
        };
        let (tx, rx) = chan::bounded::<u8>(1);
        let ctx = under(WaitReason::ChanRecv);
        assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(CANCELLED)));
        tx.send(1).unwrap();
        let ctx = under(WaitReason::ChanSend);
        assert_eq!(tx.send_ctx(&ctx, 2), Err(SendCtxError::Context(2, CANCELLED)));
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]);

        let mutex = Mutex::new(());
        let held = mutex.lock();
        assert_eq!(mutex.lock_ctx(&under(WaitReason::Mutex)).unwrap_err(), CANCELLED);
        drop(held);
        assert!(mutex.try_lock().is_some());

        let group = WaitGroup::new();
        group.add(1);
        assert_eq!(group.wait_ctx(&under(WaitReason::WaitGroup)), Err(CANCELLED));
        group.done();
        group.wait();
    });
}

#[test]
fn a_context_that_is_done_fails_what_would_have_been_possible() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let (tx, rx) = chan::bounded(2);
    tx.send(1).unwrap();
    assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(CANCELLED)));
    assert_eq!(tx.send_ctx(&ctx, 2), Err(SendCtxError::Context(2, CANCELLED)));
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(Mutex::new(()).lock_ctx(&ctx).unwrap_err(), CANCELLED);
    assert_eq!(WaitGroup::new().wait_ctx(&ctx), Err(CANCELLED));
    tx.close();
    assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(CANCELLED)), "also when closed");
    let background = Context::background();
    assert_eq!(rx.recv_ctx(&background), Err(RecvCtxError::Closed));
    assert_eq!(tx.send_ctx(&background, 3), Err(SendCtxError::Closed(3)));
}

#[test]
fn a_plain_thread_keeps_to_a_deadline() {
    let (_tx, rx) = chan::unbounded::<u8>();
    let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    let late = ContextError::DeadlineExceeded;
    assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(late)));
    let mutex = Mutex::new(());
    let _held = mutex.lock();
    assert_eq!(mutex.lock_ctx(&ctx).unwrap_err(), late);
}

/// Workers that send and receive under contexts that end at random: what was sent is what arrives.
fn storm(procs: usize) {
    const WORKERS: usize = 64;
    const ROUNDS: usize = 200;
    let seed = seed();
    runtime(procs, move || {
        let (tx, rx) = chan::bounded::<usize>(1);
        let (root, _cancel) = Context::background().with_cancel();
        let sent = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (root, tx, rx, sent) = (root.clone(), tx.clone(), rx.clone(), sent.clone());
                let received = received.clone();
                go(move || {
                    let mut rng = Rng::new(seed ^ (worker as u64) << 32);
                    for value in 0..ROUNDS {
                        let (ctx, cancel) = root.with_cancel();
                        match rng.below(3) {
                            0 => drop(go(move || cancel.cancel())),
                            1 => cancel.cancel(),
                            _ => drop(go(move || (0..3).for_each(|_| yield_now()))),
                        }
                        // A limit, so that a round in which all send comes to an end.
                        let (ctx, _cancel) = ctx.with_timeout(Duration::from_millis(1));
                        if rng.below(2) == 0 {
                            match tx.send_ctx(&ctx, value) {
                                Ok(()) => drop(sent.fetch_add(1, Ordering::Relaxed)),
                                Err(error) => assert_eq!(error.into_inner(), value),
                            }
                        } else if rx.recv_ctx(&ctx).is_ok() {
                            received.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        let sent = sent.load(Ordering::Relaxed);
        let left = rx.try_iter().count();
        assert_eq!(received.load(Ordering::Relaxed) + left, sent, "seed {seed}");
        assert!(sent > 0, "seed {seed}");
    });
}

#[test]
fn contexts_that_end_at_random_lose_and_double_nothing() {
    for procs in [1, 2, 8] {
        storm(procs);
    }
}

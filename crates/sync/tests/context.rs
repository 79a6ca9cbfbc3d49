//! The `_ctx` forms against what else could be said (closed), and in a storm of contexts that end at
//! random. What holds for each of the forms alone is in `limits.rs`.

#![cfg(not(loom))]

mod common;

use common::{Rng, runtime, seed};
use millpond_rt::context::ContextError;
use millpond_rt::{Context, go, yield_now};
use millpond_sync::chan::{self, RecvCtxError, SendCtxError};
use millpond_sync::pool::Workers;
use millpond_sync::{AcquireCtxError, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CANCELLED: ContextError = ContextError::Cancelled;

#[test]
fn a_context_that_is_done_goes_before_closed() {
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let (tx, rx) = chan::bounded(2);
    tx.send(1).unwrap();
    assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(CANCELLED)));
    assert_eq!(tx.send_ctx(&ctx, 2), Err(SendCtxError::Context(2, CANCELLED)));
    assert_eq!(rx.recv(), Ok(1));
    tx.close();
    assert_eq!(rx.recv_ctx(&ctx), Err(RecvCtxError::Context(CANCELLED)));
    let background = Context::background();
    assert_eq!(rx.recv_ctx(&background), Err(RecvCtxError::Closed));
    assert_eq!(tx.send_ctx(&background, 3), Err(SendCtxError::Closed(3)));

    let permits = Arc::new(Semaphore::new(0));
    permits.close();
    let (done, closed) = (AcquireCtxError::Context(CANCELLED), AcquireCtxError::Closed);
    assert_eq!(permits.acquire_ctx(&ctx).unwrap_err(), done);
    assert_eq!(permits.acquire_ctx(&background).unwrap_err(), closed);
    assert_eq!(permits.acquire_owned_ctx(&background).unwrap_err(), closed);
}

#[test]
fn a_close_ends_waits_under_a_context_as_closed() {
    for procs in [1, 2] {
        runtime(procs, || {
            let (ctx, _cancel) = Context::background().with_cancel();
            let permits = Arc::new(Semaphore::new(0));
            let workers = Workers::builder(1).queue(1).build();
            let (gate, shut) = chan::bounded::<()>(0);
            let (started, starts) = chan::bounded(0);
            drop(workers.submit(move || {
                started.send(()).unwrap();
                shut.recv()
            }));
            starts.recv().unwrap();
            drop(workers.submit(|| ()));
            let acquiring = go({
                let (ctx, permits) = (ctx.clone(), permits.clone());
                move || permits.acquire_owned_ctx(&ctx).unwrap_err()
            });
            let submitting = go({
                let (ctx, workers) = (ctx.clone(), workers.clone());
                move || workers.submit_ctx(&ctx, || ()).map(|job| job.join())
            });
            while ctx.waiters() < 2 {
                yield_now();
            }
            permits.close();
            workers.close();
            assert_eq!(acquiring.join().unwrap(), AcquireCtxError::Closed);
            assert!(submitting.join().unwrap().unwrap().unwrap_err().is_cancelled());
            assert_eq!(ctx.waiters(), 0);
            gate.close();
            workers.join();
        });
    }
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

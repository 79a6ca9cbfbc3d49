//! What a `select_async!` leaves behind that is dropped, or forgotten, before it is done.

use crate::callers::runtime;
use millpond::time::after;
use millpond::{block_on, chan, go, select, select_async, spawn, yield_async};
use std::future::Future;
use std::mem::forget;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Polls once, which is not enough.
fn begin(future: impl Future) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(future).poll(&mut cx).is_pending());
}

/// As [`begin`], and the future is never dropped.
fn begin_and_forget(future: impl Future) {
    let mut future = Box::pin(future);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    forget(future);
}

#[test]
fn a_handle_is_as_it_was_after_a_select_that_was_given_up() {
    runtime(|| {
        for leaves in [false, true] {
            let (quit, stop) = chan::bounded::<()>(0);
            let mut goroutine = go({
                let stop = stop.clone();
                move || stop.recv().is_err()
            });
            let mut task = spawn({
                let stop = stop.clone();
                async move { stop.recv_async().await.is_err() }
            });
            let workers = millpond::pool::Workers::new(1);
            let mut job = workers.submit(move || stop.recv().is_err());
            let give_up = async {
                select_async! {
                    _ = goroutine.join() => panic!("it has not ended"),
                    _ = task.join() => panic!("it has not ended"),
                    _ = job.join() => panic!("it has not ended"),
                }
            };
            if leaves {
                begin(give_up)
            } else {
                begin_and_forget(give_up)
            }
            begin(&mut goroutine);
            begin(&mut task);
            begin(&mut job);
            let ended = block_on(async {
                drop(quit);
                [goroutine.await.unwrap(), task.await.unwrap(), job.await.unwrap()]
            });
            assert_eq!(ended, [true; 3]);
        }
    });
}

#[test]
fn a_handle_may_be_waited_for_in_any_form_after_another() {
    runtime(|| {
        // The goroutine may end at any moment between the steps.
        for round in 0..200 {
            let mut handle = go(move || round);
            let poll = async {
                select_async! { v = handle.join() => Some(v.unwrap()) }
            };
            let mut cx = Context::from_waker(Waker::noop());
            if let std::task::Poll::Ready(v) = pin!(poll).poll(&mut cx) {
                assert_eq!(v, Some(round));
                continue;
            }
            assert_eq!(block_on(handle).unwrap(), round);
        }
    });
}

#[test]
fn a_value_that_is_given_up_half_made_was_not_sent() {
    runtime(|| {
        for capacity in [0, 1] {
            let (tx, rx) = chan::bounded(capacity);
            let receiver = go({
                let rx = rx.clone();
                move || (rx.recv(), rx.recv())
            });
            let made = AtomicBool::new(false);
            let half = async {
                select_async! {
                    r = tx.send({
                        made.store(true, Ordering::Relaxed);
                        yield_async().await;
                        yield_async().await;
                        1
                    }) => r.unwrap(),
                }
            };
            block_on(async {
                let mut half = Box::pin(half);
                while !made.load(Ordering::Relaxed) {
                    let mut cx = Context::from_waker(Waker::noop());
                    assert!(half.as_mut().poll(&mut cx).is_pending());
                    yield_async().await;
                }
            });
            tx.send(2).unwrap();
            drop(tx);
            assert_eq!(receiver.join().unwrap().0, Ok(2));
        }
    });
}

#[test]
fn a_task_whose_select_is_always_ready_lets_the_others_run() {
    millpond::runtime::Builder::new()
        .private()
        .procs(1)
        .run(|| {
            for waits in [true, false] {
                let (tx, rx) = chan::bounded::<()>(0);
                drop(tx);
                let stop = Arc::new(AtomicBool::new(false));
                let task = spawn({
                    let stop = stop.clone();
                    async move {
                        while !stop.load(Ordering::Relaxed) {
                            match waits {
                                true => select_async! { v = rx.recv() => v.unwrap_err() },
                                false => select_async! { default => chan::RecvError },
                            };
                        }
                    }
                });
                // It runs before this goroutine does again; and this one is to run again.
                millpond::yield_now();
                stop.store(true, Ordering::Relaxed);
                task.join().unwrap();
            }
        })
        .unwrap();
}

#[test]
fn a_time_that_never_comes_is_no_hindrance() {
    crate::callers::from_each(|| {
        let far = [Duration::MAX, Duration::from_secs(u64::MAX >> 1), Duration::from_secs(1 << 40)];
        for far in far {
            let (tx, rx) = chan::bounded(0);
            let sender = go(move || tx.send(1));
            let limit = after(far);
            let got = select! { v = rx.recv() => v, _ = &limit => panic!("so soon") };
            assert_eq!(got, Ok(1));
            sender.join().unwrap().unwrap();
            let Some(at) = Instant::now().checked_add(far) else { continue };
            let (ctx, cancel) = millpond::Context::background().with_deadline(at);
            go(move || cancel.cancel());
            select! { _ = ctx.done() => {}, _ = rx.recv(), if false => {}, _ = &limit => panic!() }
        }
    });
}

//! What loom explores of primitives and contexts together.
//!
//! A cancelled context is one party more that may end a wait. The primitives' own models show that
//! a wait that ends early leaves the others alone, and those of `rt` that a context ends every wait
//! it was given to; here both happen at once.

use crate::chan::{self, RecvCtxError, SendCtxError};
use crate::{AcquireCtxError, Barrier, Condvar, Mutex, OnceCell, RwLock, Semaphore};
use loom::sync::Arc;
use loom::thread;
use millpond_rt::Context;
use millpond_rt::context::ContextError;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Waker};

/// A send, a receive, and the end of the receiver's context: the value is with exactly one.
#[test]
fn a_value_is_received_or_still_there() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(1);
        let canceller = thread::spawn(move || cancel.cancel());
        let sender = thread::spawn(move || tx.send(7).unwrap());
        let got = rx.recv_ctx(&ctx);
        sender.join().unwrap();
        canceller.join().unwrap();
        match got {
            Ok(value) => assert_eq!(value, 7),
            Err(RecvCtxError::Context(ContextError::Cancelled)) => assert_eq!(rx.recv(), Ok(7)),
            Err(error) => panic!("{error}"),
        }
    });
}

/// A rendezvous and the end of the sender's context: given, or given back.
#[test]
fn a_value_is_sent_or_given_back() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded(0);
        let canceller = thread::spawn(move || cancel.cancel());
        let receiver = thread::spawn(move || rx.recv());
        let sent = tx.send_ctx(&ctx, 7);
        drop(tx);
        let got = receiver.join().unwrap();
        canceller.join().unwrap();
        match sent {
            Ok(()) => assert_eq!(got, Ok(7)),
            Err(SendCtxError::Context(7, ContextError::Cancelled)) => assert!(got.is_err()),
            Err(error) => panic!("{error}"),
        }
    });
}

/// Two wait for a lock, the context of one ends while the lock is released: whatever it was woken
/// with, the other gets the lock.
#[test]
fn a_lock_is_passed_on_by_who_gave_up() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let under_context = {
            let mutex = mutex.clone();
            thread::spawn(move || mutex.lock_ctx(&ctx).map(|mut guard| *guard += 1).is_ok())
        };
        let other = {
            let mutex = mutex.clone();
            thread::spawn(move || *mutex.lock() += 1)
        };
        cancel.cancel();
        drop(held);
        let locked = under_context.join().unwrap();
        other.join().unwrap();
        assert_eq!(*mutex.lock(), 1 + i32::from(locked));
    });
}

/// A permit that comes back, and the end of the context of the one that waits for it: it is with
/// exactly one.
#[test]
fn a_permit_is_acquired_or_still_there() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let permits = Arc::new(Semaphore::new(0));
        let canceller = thread::spawn(move || cancel.cancel());
        let giver = {
            let permits = permits.clone();
            thread::spawn(move || permits.add_permits(1))
        };
        match permits.acquire_ctx(&ctx) {
            Ok(permit) => permit.forget(),
            Err(error) => {
                assert_eq!(error, AcquireCtxError::Context(ContextError::Cancelled));
                permits.acquire().unwrap().forget();
            }
        }
        giver.join().unwrap();
        canceller.join().unwrap();
        assert_eq!(permits.available_permits(), 0);
    });
}

/// A writer that waits behind a reader gives up with its context, while another reader waits behind
/// the writer: that one gets in, in any case.
#[test]
fn a_writer_whose_context_ends_stands_in_nobody_s_way() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let lock = Arc::new(RwLock::new(0));
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || lock.write_ctx(&ctx).map(|mut value| *value += 1).is_ok())
        };
        let reading = lock.read();
        let canceller = thread::spawn(move || cancel.cancel());
        canceller.join().unwrap();
        // Waits for the writer at most, which the end of its context keeps from waiting for us.
        let again = *lock.read();
        assert!(again <= 1);
        drop(reading);
        let wrote = writer.join().unwrap();
        assert_eq!(*lock.try_read().expect("nobody is left in line"), u32::from(wrote));
        assert!(lock.try_write().is_some());
    });
}

/// One notification for two who wait, and the end of the context of one of them: if that one was
/// not notified, the other was.
#[test]
fn a_notification_goes_to_one_whose_wait_is_open() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let mut other = shared.1.wait_async(shared.0.lock());
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (guard, result) = shared.1.wait_ctx(&ctx, shared.0.lock());
                drop(guard);
                result.is_ok()
            })
        };
        let canceller = thread::spawn(move || cancel.cancel());
        let polled = Pin::new(&mut other).poll(&mut task::Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        shared.1.notify_one();
        canceller.join().unwrap();
        // The other is in line, so the notification was spent, on the one or the other.
        let notified = waiter.join().unwrap();
        let polled = Pin::new(&mut other).poll(&mut task::Context::from_waker(Waker::noop()));
        assert!(polled.is_ready() != notified, "one of two");
    });
}

/// A barrier for two, at which one of them gives up with its context: through together, or neither.
#[test]
fn a_barrier_opens_for_all_it_counted() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let barrier = Arc::new(Barrier::new(2));
        let canceller = thread::spawn(move || cancel.cancel());
        let other = {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait().is_leader())
        };
        let leads = match barrier.wait_ctx(&ctx) {
            Ok(result) => result.is_leader(),
            Err(_) => barrier.wait().is_leader(),
        };
        assert_ne!(other.join().unwrap(), leads);
        canceller.join().unwrap();
    });
}

/// A value is set while the context of one who waits for it ends: it is seen, or the context is done.
#[test]
fn a_cell_s_value_is_seen_or_the_context_is_done() {
    loom::model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let cell = Arc::new(OnceCell::new());
        let canceller = thread::spawn(move || cancel.cancel());
        let setter = {
            let cell = cell.clone();
            thread::spawn(move || cell.set(7).unwrap())
        };
        match cell.wait_ctx(&ctx) {
            Ok(value) => assert_eq!(*value, 7),
            Err(error) => assert_eq!((error, ctx.is_done()), (ContextError::Cancelled, true)),
        }
        setter.join().unwrap();
        canceller.join().unwrap();
        assert_eq!(cell.get(), Some(&7));
    });
}

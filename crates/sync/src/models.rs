//! What loom explores of primitives and contexts together.
//!
//! A cancelled context is one party more that may end a wait. The primitives' own models show that
//! a wait that ends early leaves the others alone, and those of `rt` that a context ends every wait
//! it was given to; here both happen at once.

use crate::Mutex;
use crate::chan::{self, RecvCtxError, SendCtxError};
use loom::thread;
use millpond_rt::Context;
use millpond_rt::context::ContextError;

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
        let mutex = loom::sync::Arc::new(Mutex::new(0));
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

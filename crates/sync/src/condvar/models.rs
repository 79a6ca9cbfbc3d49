//! What loom explores: no notification is lost, whoever gives up, and none is counted twice.
//!
//! The models use the real mutex: a wait begins, ends and is dropped around its unlock and its lock,
//! and that is where a notification could slip through.

use super::{Condvar, CondvarWaitFuture};
use crate::mutex::Mutex;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

struct Shared {
    /// How many may go on.
    tokens: Mutex<u32>,
    more: Condvar,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { tokens: Mutex::new(0), more: Condvar::new() })
    }

    fn put_one(&self) {
        *self.tokens.lock() += 1;
        self.more.notify_one();
    }

    fn take_one(&self) {
        *self.more.wait_while(self.tokens.lock(), |tokens| *tokens == 0) -= 1;
    }

    async fn take_one_async(&self) {
        let mut tokens = self.tokens.lock_async().await;
        while *tokens == 0 {
            tokens = self.more.wait_async(tokens).await;
        }
        *tokens -= 1;
    }
}

/// A thread and a future take what a third puts, one notification each.
#[test]
fn each_notification_wakes_one() {
    loom::model(|| {
        let shared = Shared::new();
        let takers: Vec<_> = (0..2)
            .map(|i| {
                let shared = shared.clone();
                thread::spawn(move || {
                    if i == 0 {
                        shared.take_one();
                    } else {
                        block_on(shared.take_one_async());
                    }
                })
            })
            .collect();
        shared.put_one();
        shared.put_one();
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(*shared.tokens.lock(), 0);
    });
}

#[test]
fn notifying_all_wakes_all() {
    loom::model(|| {
        let shared = Shared::new();
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || shared.take_one())
            })
            .collect();
        *shared.tokens.lock() = 2;
        shared.more.notify_all();
        for taker in takers {
            taker.join().unwrap();
        }
    });
}

/// A future that waits is dropped while one notification is made: a thread behind it, which would
/// otherwise wait for ever, gets it.
#[test]
fn a_dropped_wait_passes_its_notification_on() {
    loom::model(|| {
        let shared = Shared::new();
        let mut dropped = Box::pin(shared.more.wait_async(shared.tokens.lock()));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(dropped.as_mut().poll(cx).is_pending());
        let taker = {
            let shared = shared.clone();
            thread::spawn(move || shared.take_one())
        };
        let putter = {
            let shared = shared.clone();
            thread::spawn(move || shared.put_one())
        };
        // It may be woken by now: then this brings it to the mutex, or past it.
        if dropped.as_mut().poll(cx).is_ready() {
            // It has the notification and uses it: the taker finds its token by itself or is told.
            shared.more.notify_one();
        }
        drop(dropped);
        putter.join().unwrap();
        taker.join().unwrap();
    });
}

/// Without a notification a wait does not end, whatever happens to the mutex and to the neighbours.
#[test]
fn a_wait_ends_only_when_it_is_notified() {
    fn is_ready(wait: &mut Pin<Box<CondvarWaitFuture<'_, u32>>>) -> bool {
        wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
    loom::model(|| {
        let shared = Shared::new();
        let mut first = Box::pin(shared.more.wait_async(shared.tokens.lock()));
        assert!(!is_ready(&mut first));
        let mut second = Box::pin(shared.more.wait_async(shared.tokens.lock()));
        assert!(!is_ready(&mut second));
        let putter = {
            let shared = shared.clone();
            thread::spawn(move || shared.put_one())
        };
        let early = is_ready(&mut second);
        putter.join().unwrap();
        assert!(!early && !is_ready(&mut second), "the second was not notified");
        assert!(is_ready(&mut first), "the first was");
    });
}

//! What loom explores: exclusion, wake-ups that are never lost, and waiters that give up.
//!
//! The models drive `RawMutex`, where the protocol is, with a cell whose accesses loom watches.
//! A race is then a failed model, not a wrong number.

use super::Mutex;
use super::raw::{Enqueued, RawMutex, Waiter, YOURS};
use crate::until::Until;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use millpond_rt::wait::FutureWait;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

struct Counter {
    raw: RawMutex,
    /// Protected by `raw`.
    count: UnsafeCell<u32>,
}

impl Counter {
    fn new() -> Arc<Self> {
        Arc::new(Self { raw: RawMutex::new(), count: UnsafeCell::new(0) })
    }

    /// The caller has the lock.
    fn add(&self) {
        // SAFETY: the caller has the lock; loom fails the model if somebody else is here.
        self.count.with_mut(|count| unsafe { *count += 1 });
        self.raw.unlock();
    }

    fn lock_and_add(&self) {
        assert!(self.raw.lock(Until::Forever));
        self.add();
    }

    fn get(&self) -> u32 {
        assert!(self.raw.lock(Until::Forever));
        // SAFETY: we have the lock.
        let count = self.count.with(|count| unsafe { *count });
        self.raw.unlock();
        count
    }
}

#[test]
fn one_at_a_time_and_nobody_forgotten() {
    loom::model(|| {
        let counter = Counter::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let counter = counter.clone();
                thread::spawn(move || counter.lock_and_add())
            })
            .collect();
        counter.lock_and_add();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(counter.get(), 3);
    });
}

/// One thread locks again and again beside a future that waits: the future is passed over at most
/// once, then handed the lock. The model must have met a hand-off, or it proves nothing.
#[test]
fn a_starving_waiter_is_handed_the_lock() {
    static HAND_OFFS: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let counter = Counter::new();
        assert!(counter.raw.try_lock());
        let busy = {
            let counter = counter.clone();
            thread::spawn(move || {
                // The lock that was taken above: it has no owner.
                counter.add();
                counter.lock_and_add();
                counter.lock_and_add();
            })
        };
        let mut wait = FutureWait::new();
        let mut waiter = Waiter::new();
        let mut looks = 0;
        while let Enqueued::Waits(key) = counter.raw.enqueue(waiter, || wait.arm()) {
            let outcome = block_on(std::future::poll_fn(|cx| wait.poll(cx)));
            counter.raw.leave(key);
            if outcome == YOURS {
                HAND_OFFS.fetch_add(1, Ordering::Relaxed);
                break;
            }
            waiter.looks();
            looks += 1;
            assert!(looks < 2, "passed over more often than PATIENCE");
        }
        counter.add();
        busy.join().unwrap();
        assert_eq!(counter.get(), 4);
    });
    assert!(HAND_OFFS.load(Ordering::Relaxed) > 0, "no interleaving came to a hand-off");
}

/// A lock future that is in line is dropped while the holder unlocks and a thread gets in line
/// behind it: whatever was handed to the future goes on to the thread.
#[test]
fn a_dropped_lock_future_passes_the_lock_on() {
    loom::model(|| {
        let mutex = Arc::new(Mutex::new(0));
        assert!(mutex.raw.try_lock());
        let mut future = Box::pin(mutex.lock_async());
        let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let waiter = {
            let mutex = mutex.clone();
            thread::spawn(move || *mutex.lock() += 1)
        };
        let holder = {
            let mutex = mutex.clone();
            thread::spawn(move || mutex.raw.unlock())
        };
        drop(future);
        holder.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(*mutex.lock(), 1);
    });
}

/// Futures and threads in one line.
#[test]
fn a_future_and_a_thread_take_turns() {
    loom::model(|| {
        let mutex = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..2)
            .map(|i| {
                let mutex = mutex.clone();
                thread::spawn(move || {
                    if i == 0 {
                        *mutex.lock() += 1;
                    } else {
                        block_on(async { *mutex.lock_async().await += 1 });
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*mutex.lock(), 2);
    });
}

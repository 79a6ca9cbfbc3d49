//! What one thread can see: order, limits, and notifications that are passed on.
//!
//! Interleavings are explored by the models beside; histories with all kinds of callers are in
//! `tests/locks.rs`.

use super::*;
use crate::mutex::Mutex;
use crate::tests::poll_once;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

impl Condvar {
    fn is_quiet(&self) -> bool {
        self.waiters.lock().footprint().0 == 0
    }
}

#[test]
fn the_longest_waiting_is_notified_first() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let mut waits: Vec<_> = (0..3)
        .map(|_| {
            let mut wait = condvar.wait_async(mutex.lock());
            assert!(poll_once(&mut wait).is_pending());
            wait
        })
        .collect();
    for _ in 0..3 {
        condvar.notify_one();
        let woken: Vec<_> = waits.iter_mut().map(|wait| poll_once(wait).is_ready()).collect();
        assert_eq!(woken.iter().position(|woken| *woken), Some(0));
        assert_eq!(woken.iter().filter(|woken| **woken).count(), 1);
        drop(waits.remove(0));
    }
    assert!(condvar.is_quiet());
}

#[test]
fn a_notification_without_waiters_is_not_kept() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    condvar.notify_one();
    condvar.notify_all();
    let mut wait = condvar.wait_async(mutex.lock());
    assert!(poll_once(&mut wait).is_pending());
    assert!(condvar.wait_timeout(mutex.lock(), Duration::ZERO).1.timed_out());
}

#[test]
fn a_dropped_future_passes_one_on_and_not_all() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let start = || {
        let mut wait = condvar.wait_async(mutex.lock());
        assert!(poll_once(&mut wait).is_pending());
        wait
    };
    let (woken, mut next) = (start(), start());
    condvar.notify_one();
    drop(woken);
    assert!(poll_once(&mut next).is_ready());
    let woken = start();
    condvar.notify_all();
    let mut later = start();
    drop(woken);
    assert!(poll_once(&mut later).is_pending(), "it was not there when all were notified");
}

#[test]
fn a_future_dropped_in_the_line_of_the_mutex_passes_its_notification_on() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let mut woken = condvar.wait_async(mutex.lock());
    assert!(poll_once(&mut woken).is_pending());
    let mut next = condvar.wait_async(mutex.lock());
    assert!(poll_once(&mut next).is_pending());
    let guard = mutex.lock();
    condvar.notify_one();
    assert!(poll_once(&mut woken).is_pending(), "the mutex is locked");
    drop(woken);
    drop(guard);
    assert!(poll_once(&mut next).is_ready());
    assert!(condvar.is_quiet());
}

#[test]
fn an_unpolled_future_holds_the_lock_and_gives_it_back() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let wait = condvar.wait_async(mutex.lock());
    assert!(mutex.try_lock().is_none());
    drop(wait);
    assert!(mutex.try_lock().is_some() && condvar.is_quiet());
}

#[test]
fn limits_in_a_loop_leave_no_entry() {
    const SOON: Duration = Duration::from_micros(50);
    let (mutex, condvar) = (Mutex::new(1), Condvar::new());
    for _ in 0..100 {
        assert!(condvar.wait_timeout(mutex.lock(), Duration::ZERO).1.timed_out());
        let (ctx, _cancel) = millpond_rt::Context::background().with_timeout(SOON);
        assert!(condvar.wait_ctx(&ctx, mutex.lock()).1.is_err());
        let (guard, result) =
            condvar.wait_timeout_while(mutex.lock(), Duration::from_micros(1), |n| *n == 1);
        assert!(result.timed_out() && *guard == 1);
    }
    let (_guard, result) = condvar.wait_timeout_while(mutex.lock(), Duration::ZERO, |n| *n == 2);
    assert!(!result.timed_out(), "the condition was false from the start");
    assert!(condvar.is_quiet());
}

/// The waker of a task that stands in line for the mutex runs inside `wait`, when that unlocks. It
/// notifies the waiter, and waits for something itself: both must work.
#[test]
fn a_waker_that_notifies_and_waits_may_run_in_the_unlock() {
    struct Busy {
        condvar: Condvar,
        other: Mutex<()>,
    }
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            self.condvar.notify_one();
            assert!(Condvar::new().wait_timeout(self.other.lock(), Duration::ZERO).1.timed_out());
        }
    }
    let body = || {
        let busy = Arc::new(Busy { condvar: Condvar::new(), other: Mutex::new(()) });
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        let mut in_line = mutex.lock_async();
        let waker = Waker::from(busy.clone());
        let polled = Pin::new(&mut in_line).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        // Ends only because the waker notified.
        let (guard, notified) = busy.condvar.wait_until(guard, Until::Forever);
        assert!(notified);
        drop(guard);
        assert!(matches!(poll_once(&mut in_line), Poll::Ready(_)));
        assert!(busy.condvar.is_quiet());
    };
    body();
    millpond_rt::Builder::new().procs(1).private().run(body).expect("the runtime starts");
}

#[test]
fn waits_travel_with_what_is_locked() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>() {}
    sync::<Condvar>();
    let (mutex, condvar) = (Mutex::new(std::cell::Cell::new(1)), Condvar::new());
    send(&condvar.wait_async(mutex.lock()));
}

/// A waker whose drop panics, once told to.
struct Grudge(Arc<AtomicBool>);

impl Wake for Grudge {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Grudge {
    fn drop(&mut self) {
        if self.0.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("the waker's drop"));
        }
    }
}

#[test]
fn a_waker_that_panics_leaves_no_place_and_loses_no_notification() {
    let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    let panics = Arc::new(AtomicBool::new(false));
    let poll_with_grudge = |wait: &mut CondvarWaitFuture<'_, ()>| {
        let waker = Waker::from(Arc::new(Grudge(panics.clone())));
        assert!(Pin::new(wait).poll(&mut Context::from_waker(&waker)).is_pending());
    };
    // The next poll replaces the waker of the last.
    let poll_in_vain = |wait: &mut CondvarWaitFuture<'_, ()>| {
        panics.store(true, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| poll_once(wait))).is_err());
    };
    let mut waiting = condvar.wait_async(mutex.lock());
    poll_with_grudge(&mut waiting);
    poll_in_vain(&mut waiting);
    drop(waiting);
    assert!(condvar.is_quiet());

    let mut locking = condvar.wait_async(mutex.lock());
    assert!(poll_once(&mut locking).is_pending());
    let mut next = condvar.wait_async(mutex.lock());
    assert!(poll_once(&mut next).is_pending());
    let guard = mutex.lock();
    condvar.notify_one();
    poll_with_grudge(&mut locking);
    poll_in_vain(&mut locking);
    drop(locking);
    drop(guard);
    assert!(poll_once(&mut next).is_ready(), "the notification was passed on");
    assert!(condvar.is_quiet());
}

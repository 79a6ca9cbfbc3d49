//! Exclusion, time-outs, guards that travel, and fairness.
//!
//! What one thread can see; interleavings are explored by the models beside, which also show that
//! a waiter that gives up passes on what it was given.

use super::*;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn increments_are_not_lost() {
    let mutex = Mutex::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..5_000).for_each(|_| *mutex.lock() += 1));
        }
    });
    assert!(mutex.raw.is_quiet());
    assert_eq!(mutex.into_inner(), 20_000);
}

#[test]
fn time_outs_in_a_loop_leave_no_entry() {
    let mutex = Mutex::new(());
    let guard = mutex.lock();
    for _ in 0..100 {
        assert!(mutex.lock_timeout(Duration::ZERO).is_none());
        assert!(poll_once(&mut mutex.lock_async()).is_pending());
    }
    drop(guard);
    assert!(mutex.raw.is_quiet());
    assert!(mutex.lock_timeout(Duration::ZERO).is_some());
}

#[test]
fn a_guard_may_be_dropped_by_another_thread() {
    let mutex = Mutex::new(1);
    let guard = mutex.lock();
    std::thread::scope(|s| {
        s.spawn(move || drop(guard));
    });
    assert_eq!(*mutex.try_lock().unwrap(), 1);
}

#[test]
fn a_panic_does_not_poison() {
    let mutex = Mutex::new(1);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut guard = mutex.lock();
        *guard = 2;
        panic!("with the lock held");
    }));
    assert!(panic.is_err());
    assert_eq!(*mutex.lock(), 2);
}

/// One thread locks again as soon as it has unlocked, until the other one has had the lock ten
/// times: it ends only because a waiter that is passed over is handed the lock.
#[test]
fn a_busy_owner_does_not_starve_a_waiter() {
    let mutex = Mutex::new(());
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(mutex.lock());
            }
        });
        for _ in 0..10 {
            drop(mutex.lock());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_woken_future_may_be_passed_over_and_is_then_handed_the_lock() {
    let mutex = Mutex::new(());
    let mut guard = Some(mutex.lock());
    let mut waiting = mutex.lock_async();
    let mut passed_over = 0;
    while guard.is_some() {
        assert!(poll_once(&mut waiting).is_pending());
        drop(guard.take());
        // The lock is free for whoever comes first, or has been handed over.
        guard = mutex.try_lock();
        passed_over += usize::from(guard.is_some());
    }
    // Once at least; not always four times, for it is starving after a millisecond too.
    assert!((1..=4).contains(&passed_over), "passed over {passed_over} times");
    assert!(poll_once(&mut waiting).is_ready());
    assert!(mutex.raw.is_quiet());
}

#[test]
fn a_dropped_future_passes_on_what_it_got() {
    let mutex = Mutex::new(());
    let guard = mutex.lock();
    let mut first = mutex.lock_async();
    let mut second = mutex.lock_async();
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    drop(guard);
    drop(first);
    assert!(poll_once(&mut second).is_ready());
    assert!(mutex.raw.is_quiet());
}

#[test]
fn unsized_values_and_formats() {
    let mutex: Box<Mutex<[u8]>> = Box::new(Mutex::new([1, 2, 3]));
    mutex.lock()[1] = 5;
    assert_eq!(format!("{mutex:?}"), "Mutex { value: [1, 5, 3] }");
    let guard = mutex.lock();
    assert_eq!(format!("{mutex:?} {guard:?}"), "Mutex { value: <locked> } [1, 5, 3]");
}

#[test]
fn guards_are_send_and_sync_as_their_values_are() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>(_: &T) {}
    let mutex = Mutex::new(0u8);
    let guard = mutex.lock();
    send(&guard);
    sync(&guard);
}

//! What one thread can see: limits, order, closing, and permits that are split, merged, forgotten.
//!
//! Interleavings are explored by the models beside; random sequences are compared with a model in
//! `tests/model_locks.rs`.

use super::*;
use crate::tests::poll_once;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_big_request_is_not_overtaken() {
    let semaphore = Semaphore::new(2);
    let one = semaphore.acquire().unwrap();
    let mut big = semaphore.acquire_many_async(2);
    let mut small = semaphore.acquire_async();
    assert!(poll_once(&mut big).is_pending());
    assert!(poll_once(&mut small).is_pending());
    assert_eq!(semaphore.available_permits(), 1);
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    drop(one);
    let both = poll_once(&mut big);
    assert!(both.is_ready() && poll_once(&mut small).is_pending());
    drop(both);
    assert!(poll_once(&mut small).is_ready());
    assert!(semaphore.raw.is_quiet());
}

#[test]
fn one_that_gives_up_lets_those_behind_it_go() {
    let semaphore = Semaphore::new(1);
    let mut big = semaphore.acquire_many_async(2);
    let mut small = semaphore.acquire_async();
    assert!(poll_once(&mut big).is_pending());
    assert!(poll_once(&mut small).is_pending());
    drop(big);
    assert!(poll_once(&mut small).is_ready());
    assert!(semaphore.raw.is_quiet());
}

#[test]
fn time_outs_in_a_loop_leave_no_entry_and_take_nothing() {
    let semaphore = Arc::new(Semaphore::new(1));
    for _ in 0..100 {
        let late = semaphore.acquire_many_timeout(2, Duration::ZERO);
        assert_eq!(late.unwrap_err(), AcquireTimeoutError::Timeout);
        assert!(poll_once(&mut semaphore.acquire_many_async(2)).is_pending());
    }
    assert!(semaphore.raw.is_quiet());
    let owned = semaphore.clone().acquire_owned_timeout(Duration::ZERO).unwrap();
    let late = semaphore.clone().acquire_owned_timeout(Duration::ZERO);
    assert_eq!(late.unwrap_err(), AcquireTimeoutError::Timeout);
    drop(owned);
    assert!(semaphore.acquire_timeout(Duration::ZERO).is_ok());
}

#[test]
fn a_closed_semaphore_gives_out_nothing_and_takes_back() {
    let semaphore = Arc::new(Semaphore::new(2));
    let held = semaphore.clone().acquire_owned().unwrap();
    let mut waiting = semaphore.acquire_many_async(2);
    assert!(poll_once(&mut waiting).is_pending());
    semaphore.close();
    semaphore.close();
    let std::task::Poll::Ready(end) = poll_once(&mut waiting) else { panic!("still waits") };
    assert_eq!(end.unwrap_err(), AcquireError);
    assert_eq!(semaphore.acquire().unwrap_err(), AcquireError);
    assert_eq!(semaphore.try_acquire_many(0).unwrap_err(), TryAcquireError::Closed);
    assert_eq!(semaphore.clone().acquire_owned().unwrap_err(), AcquireError);
    drop(held);
    assert_eq!(semaphore.available_permits(), 2);
    assert!(semaphore.is_closed() && semaphore.raw.is_quiet());
}

#[test]
fn permits_are_split_merged_and_forgotten() {
    let semaphore = Arc::new(Semaphore::new(10));
    let mut five = semaphore.acquire_many(5).unwrap();
    assert!(five.split(6).is_none());
    let mut two = five.split(2).unwrap();
    assert_eq!((five.num_permits(), two.num_permits()), (3, 2));
    two.merge(five);
    assert_eq!(semaphore.available_permits(), 5);
    drop(two);
    assert_eq!(semaphore.available_permits(), 10);
    let mut owned = semaphore.clone().acquire_many_owned(4).unwrap();
    owned.split(1).unwrap().forget();
    owned.merge(semaphore.clone().try_acquire_owned().unwrap());
    assert!(Arc::ptr_eq(owned.semaphore(), &semaphore));
    drop(owned);
    assert_eq!(semaphore.available_permits(), 9);
    assert_eq!(semaphore.forget_permits(20), 9);
    semaphore.add_permits(1);
    assert!(semaphore.try_acquire().is_ok());
}

#[test]
fn permits_of_different_semaphores_do_not_merge() {
    let (one, other) = (Semaphore::new(1), Semaphore::new(1));
    let mixed = catch_unwind(AssertUnwindSafe(|| {
        one.acquire().unwrap().merge(other.acquire().unwrap());
    }));
    assert!(mixed.is_err());
    assert_eq!((one.available_permits(), other.available_permits()), (1, 1));
}

#[test]
fn too_many_permits_are_refused_and_change_nothing() {
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    assert!(catch_unwind(AssertUnwindSafe(|| semaphore.add_permits(1))).is_err());
    assert!(catch_unwind(|| Semaphore::new(Semaphore::MAX_PERMITS + 1)).is_err());
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
    let waiting = semaphore.acquire_many(7).unwrap();
    semaphore.add_permits(7);
    assert!(catch_unwind(AssertUnwindSafe(move || drop(waiting))).is_err());
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS);
}

#[test]
fn permits_and_futures_travel() {
    fn travels<T: Send + Sync>() {}
    travels::<Semaphore>();
    travels::<SemaphorePermit<'static>>();
    travels::<OwnedSemaphorePermit>();
    travels::<AcquireFuture<'static>>();
    travels::<AcquireOwnedFuture>();
    static ONE: Semaphore = Semaphore::new(1);
    let permit = ONE.acquire().unwrap();
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(format!("{ONE:?}"), "Semaphore { available_permits: 1, is_closed: false }");
}

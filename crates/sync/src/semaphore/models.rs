//! What loom explores: permits that are neither lost nor doubled, whoever gives up, and a big
//! request that small ones do not overtake.
//!
//! They drive `RawSemaphore` with a cell whose accesses loom watches: a permit too many is a race.

use super::raw::{Acquiring, RawSemaphore};
use super::{AcquireTimeoutError, TryAcquireError};
use crate::until::Until;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;
use std::task::{Context, Waker};

struct Shared {
    raw: RawSemaphore,
    /// Protected by the permits: who has all of them may write, who has one may read.
    value: UnsafeCell<u32>,
}

impl Shared {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { raw: RawSemaphore::new(permits), value: UnsafeCell::new(0) })
    }

    /// The caller has all permits, which are `n`.
    fn write(&self, n: usize) {
        // SAFETY: the caller has all permits; loom fails the model if somebody else is here.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.raw.release(n);
    }

    /// The caller has a permit.
    fn read(&self) -> u32 {
        // SAFETY: the caller has a permit, so nobody has all of them.
        let value = self.value.with(|value| unsafe { *value });
        self.raw.release(1);
        value
    }

    fn take(&self, n: usize) {
        self.raw.acquire_until(n, Until::Forever).unwrap();
    }
}

async fn take_async(raw: &RawSemaphore, n: usize) {
    let mut acquiring = Acquiring::new(n);
    poll_fn(|cx| acquiring.poll(raw, cx)).await.unwrap();
}

#[test]
fn one_permit_is_a_lock() {
    loom::model(|| {
        let shared = Shared::new(1);
        let others: Vec<_> = (0..2)
            .map(|i| {
                let shared = shared.clone();
                thread::spawn(move || {
                    if i == 0 {
                        shared.take(1);
                    } else {
                        block_on(take_async(&shared.raw, 1));
                    }
                    shared.write(1);
                })
            })
            .collect();
        shared.take(1);
        shared.write(1);
        for other in others {
            other.join().unwrap();
        }
        shared.take(1);
        assert_eq!(shared.read(), 3);
        assert_eq!(shared.raw.available(), 1);
    });
}

/// Two small holders and a big one that needs both permits: it excludes them, and all come to
/// their end.
#[test]
fn a_big_request_is_met_between_small_ones() {
    loom::model(|| {
        let shared = Shared::new(2);
        let small: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.take(1);
                    shared.read()
                })
            })
            .collect();
        shared.take(2);
        shared.write(2);
        for small in small {
            assert!(small.join().unwrap() <= 1);
        }
        assert_eq!(shared.raw.available(), 2);
    });
}

/// A future at the front that needs much is dropped while a permit is given back: the one behind it,
/// which needs little, is never left waiting, and nothing is lost.
#[test]
fn a_dropped_future_passes_its_permits_and_its_place_on() {
    loom::model(|| {
        let shared = Shared::new(2);
        shared.take(1);
        let mut front = Acquiring::new(2);
        assert!(front.poll(&shared.raw, &mut Context::from_waker(Waker::noop())).is_pending());
        let behind = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.take(1);
                shared.raw.release(1);
            })
        };
        let holder = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.release(1))
        };
        front.give_up(&shared.raw);
        holder.join().unwrap();
        behind.join().unwrap();
        assert_eq!(shared.raw.available(), 2);
        assert_eq!(shared.raw.try_acquire(2), Ok(()));
    });
}

/// As before, and nobody gives anything back: only the one that gives up can let the other go.
#[test]
fn who_gives_up_lets_those_behind_it_go() {
    loom::model(|| {
        let shared = Shared::new(1);
        let mut front = Acquiring::new(2);
        assert!(front.poll(&shared.raw, &mut Context::from_waker(Waker::noop())).is_pending());
        let behind = {
            let shared = shared.clone();
            thread::spawn(move || shared.take(1))
        };
        front.give_up(&shared.raw);
        behind.join().unwrap();
        assert_eq!(shared.raw.available(), 0);
        shared.raw.release(1);
    });
}

/// Closing against a waiter and a permit that is given back: the waiter gets the one or the other,
/// and whoever is told of the close sees what was done before it.
#[test]
fn closing_ends_every_wait() {
    loom::model(|| {
        let shared = Shared::new(0);
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || match shared.raw.acquire_until(1, Until::Forever) {
                Ok(()) => shared.raw.release(1),
                Err(AcquireTimeoutError::Timeout) => unreachable!("there is no limit"),
                // SAFETY: the only write happens before the close.
                Err(_) => assert_eq!(shared.value.with(|value| unsafe { *value }), 1),
            })
        };
        let giver = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.release(1))
        };
        // SAFETY: others read it only after the close.
        shared.value.with_mut(|value| unsafe { *value = 1 });
        shared.raw.close();
        waiter.join().unwrap();
        giver.join().unwrap();
        assert_eq!(shared.raw.available(), 1);
        assert_eq!(shared.raw.try_acquire(1), Err(TryAcquireError::Closed));
    });
}

/// The limit is lowered while a permit is given back and somebody waits: what is forgotten, held
/// and left adds up.
#[test]
fn forgetting_takes_nothing_that_was_granted() {
    loom::model(|| {
        let shared = Shared::new(1);
        shared.take(1);
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.try_acquire(1).is_ok())
        };
        let giver = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.release(1))
        };
        let forgotten = shared.raw.forget(1);
        giver.join().unwrap();
        let held = usize::from(waiter.join().unwrap());
        assert_eq!(forgotten + held + shared.raw.available(), 1);
    });
}

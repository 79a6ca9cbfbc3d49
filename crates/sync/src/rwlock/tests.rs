//! Who is next, what is left behind, and what may travel, as one thread can see it.
//!
//! Interleavings are explored by the models beside; random sequences are compared with a model in
//! `tests/model_locks.rs`.

use super::*;
use crate::tests::poll_once;
use std::task::Poll;

fn guard<G>(poll: Poll<G>) -> G {
    let Poll::Ready(guard) = poll else { panic!("still waits") };
    guard
}

#[test]
fn writers_and_readers_take_turns() {
    let lock = RwLock::new(());
    let writing = lock.write();
    let (mut read_1, mut write_1) = (lock.read_async(), lock.write_async());
    let (mut write_2, mut read_2) = (lock.write_async(), lock.read_async());
    assert!(poll_once(&mut read_1).is_pending() && poll_once(&mut write_1).is_pending());
    assert!(poll_once(&mut write_2).is_pending() && poll_once(&mut read_2).is_pending());
    drop(writing);
    // The readers that came while it wrote, together; then the writers, in their order.
    let (reading_1, reading_2) = (guard(poll_once(&mut read_1)), guard(poll_once(&mut read_2)));
    let mut read_3 = lock.read_async();
    assert!(poll_once(&mut read_3).is_pending(), "writers wait");
    drop(reading_1);
    assert!(poll_once(&mut write_1).is_pending(), "somebody reads");
    drop(reading_2);
    assert!(poll_once(&mut write_2).is_pending());
    let writing = guard(poll_once(&mut write_1));
    drop(writing);
    let reading = guard(poll_once(&mut read_3));
    assert!(poll_once(&mut write_2).is_pending());
    drop(reading);
    drop(guard(poll_once(&mut write_2)));
    assert!(lock.inner.raw.is_quiet());
}

#[test]
fn a_writer_that_gives_up_lets_readers_in_beside_those_who_read() {
    let lock = RwLock::new(());
    let reading = lock.read();
    let (mut write, mut read) = (lock.write_async(), lock.read_async());
    assert!(poll_once(&mut write).is_pending() && poll_once(&mut read).is_pending());
    assert!(lock.try_read().is_none());
    drop(write);
    drop(guard(poll_once(&mut read)));
    assert!(lock.try_read().is_some());
    drop(reading);
    assert!(lock.inner.raw.is_quiet());
}

#[test]
fn a_dropped_future_that_was_let_in_leaves() {
    let lock = RwLock::new(());
    for write_first in [true, false] {
        let writing = lock.write();
        let (mut write, mut read) = (lock.write_async(), lock.read_async());
        if write_first {
            assert!(poll_once(&mut write).is_pending());
        }
        assert!(poll_once(&mut read).is_pending());
        drop(writing);
        drop(read);
        if write_first {
            drop(guard(poll_once(&mut write)));
        }
        assert!(lock.inner.raw.is_quiet());
    }
}

#[test]
fn time_outs_in_a_loop_leave_no_entry() {
    let lock = RwLock::new(());
    let writing = lock.write();
    for _ in 0..100 {
        assert!(lock.read_timeout(Duration::ZERO).is_none());
        assert!(lock.write_timeout(Duration::ZERO).is_none());
        assert!(poll_once(&mut lock.read_async()).is_pending());
    }
    drop(writing);
    assert!(lock.inner.raw.is_quiet());
    let reading = lock.read_timeout(Duration::ZERO).unwrap();
    assert!(lock.write_timeout(Duration::ZERO).is_none());
    assert!(lock.try_read().is_some(), "the writer has given up");
    drop(reading);
    assert!(lock.write_timeout(Duration::ZERO).is_some());
}

#[test]
fn downgrading_lets_waiting_readers_in_and_keeps_writers_out() {
    let lock = RwLock::new(0);
    let mut writing = lock.write();
    let (mut write, mut read) = (lock.write_async(), lock.read_async());
    assert!(poll_once(&mut write).is_pending() && poll_once(&mut read).is_pending());
    *writing = 1;
    let reading = RwLockWriteGuard::downgrade(writing);
    assert_eq!(*guard(poll_once(&mut read)), 1);
    assert!(poll_once(&mut write).is_pending());
    drop(reading);
    *guard(poll_once(&mut write)) += 1;
    let alone = RwLockWriteGuard::downgrade(lock.write());
    assert_eq!((*alone, lock.try_read().map(|value| *value)), (2, Some(2)));
    drop(alone);
    assert!(lock.inner.raw.is_quiet());
}

#[test]
fn a_panic_does_not_poison() {
    let lock = RwLock::new(1);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        *lock.write() = 2;
        let _reading = lock.read();
        panic!("with the lock held");
    }));
    assert!(panic.is_err());
    assert_eq!(*lock.write(), 2);
}

/// Readers that relieve each other would keep a writer out for ever if they were let in past it: this
/// ends only because they are not; and the other way round for the readers.
#[test]
fn busy_readers_and_writers_do_not_starve_each_other() {
    let lock = RwLock::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| while *lock.read() < 50 {});
        }
        s.spawn(|| (0..50).for_each(|_| *lock.write() += 1));
    });
    assert!(lock.inner.raw.is_quiet());
    assert_eq!(lock.into_inner(), 50);
}

#[test]
fn unsized_values_and_formats() {
    let lock: Box<RwLock<[u8]>> = Box::new(RwLock::new([1, 2, 3]));
    lock.write()[1] = 5;
    assert_eq!(format!("{lock:?}"), "RwLock { value: [1, 5, 3] }");
    let writing = lock.write();
    assert_eq!(format!("{lock:?} {writing:?}"), "RwLock { value: <locked> } [1, 5, 3]");
    drop(writing);
    let mut lock = RwLock::from(1);
    *lock.get_mut() += 1;
    assert_eq!(format!("{}", lock.read()), "2");
}

#[test]
fn locks_guards_and_futures_travel_with_what_may() {
    fn travels<T: Send + Sync>() {}
    travels::<RwLock<u8>>();
    travels::<RwLockReadGuard<'static, u8>>();
    travels::<RwLockWriteGuard<'static, u8>>();
    travels::<ReadFuture<'static, u8>>();
    travels::<WriteFuture<'static, u8>>();
    fn send<T: Send>() {}
    send::<RwLock<std::cell::Cell<u8>>>();
    static LOCK: RwLock<u8> = RwLock::new(1);
    let reading = LOCK.read();
    std::thread::spawn(move || drop(reading)).join().unwrap();
    assert!(LOCK.inner.raw.is_quiet());
}

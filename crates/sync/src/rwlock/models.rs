//! What loom explores: exclusion, who is next, and waiters that give up.
//!
//! The models drive `RawRwLock`, where the protocol is, with a cell whose accesses loom watches: a
//! reader and a writer at once, or a lock that does not order them, is a failed model.

use super::raw::{Access, Locking, RawRwLock};
use crate::until::Until;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;
use std::task::{Context, Waker};

struct Shared {
    raw: RawRwLock,
    /// Protected by `raw`.
    value: UnsafeCell<u32>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { raw: RawRwLock::new(), value: UnsafeCell::new(0) })
    }

    fn lock(&self, access: Access) {
        assert!(self.raw.lock_until(access, Until::Forever));
    }

    /// The caller is in, to write.
    fn add(&self) -> u32 {
        // SAFETY: the caller is in, to write; loom fails the model if somebody else is here.
        self.value.with_mut(|value| unsafe {
            *value += 1;
            *value
        })
    }

    /// The caller is in.
    fn get(&self) -> u32 {
        // SAFETY: the caller is in; loom fails the model if somebody writes.
        self.value.with(|value| unsafe { *value })
    }

    fn read(&self) -> u32 {
        self.lock(Access::Read);
        let value = self.get();
        self.raw.unlock(Access::Read);
        value
    }

    fn write(&self) {
        self.lock(Access::Write);
        self.add();
        self.raw.unlock(Access::Write);
    }
}

fn is_in(locking: &mut Locking, shared: &Shared) -> bool {
    locking.poll(&shared.raw, &mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn readers_and_writers_exclude_each_other_and_nobody_is_forgotten() {
    loom::model(|| {
        let shared = Shared::new();
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || shared.read())
        };
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || shared.write())
        };
        shared.write();
        assert!(reader.join().unwrap() <= 2);
        writer.join().unwrap();
        assert_eq!(shared.read(), 2);
    });
}

#[test]
fn futures_and_threads_share_the_lines() {
    loom::model(|| {
        let shared = Shared::new();
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut locking = Locking::new(Access::Read);
                block_on(poll_fn(|cx| locking.poll(&shared.raw, cx)));
                let value = shared.get();
                shared.raw.unlock(Access::Read);
                value
            })
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.read())
        };
        let mut locking = Locking::new(Access::Write);
        block_on(poll_fn(|cx| locking.poll(&shared.raw, cx)));
        shared.add();
        shared.raw.unlock(Access::Write);
        assert!(reader.join().unwrap() <= 1 && other.join().unwrap() <= 1);
    });
}

/// A writer waits while somebody reads: a reader that comes then sees what the writer wrote.
#[test]
fn a_waiting_writer_goes_before_new_readers() {
    loom::model(|| {
        let shared = Shared::new();
        shared.lock(Access::Read);
        let mut writer = Locking::new(Access::Write);
        assert!(!is_in(&mut writer, &shared));
        let late = {
            let shared = shared.clone();
            thread::spawn(move || shared.read())
        };
        let first = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.unlock(Access::Read))
        };
        block_on(poll_fn(|cx| writer.poll(&shared.raw, cx)));
        shared.add();
        shared.raw.unlock(Access::Write);
        assert_eq!(late.join().unwrap(), 1, "it came in before the writer that waited");
        first.join().unwrap();
    });
}

/// A reader and a writer wait while somebody writes: the reader goes before the second writer.
#[test]
fn readers_that_waited_go_before_the_next_writer() {
    loom::model(|| {
        let shared = Shared::new();
        shared.lock(Access::Write);
        let mut reader = Locking::new(Access::Read);
        assert!(!is_in(&mut reader, &shared));
        let second = {
            let shared = shared.clone();
            thread::spawn(move || shared.write())
        };
        shared.add();
        shared.raw.unlock(Access::Write);
        block_on(poll_fn(|cx| reader.poll(&shared.raw, cx)));
        assert_eq!(shared.get(), 1, "the next writer went before the reader that waited");
        shared.raw.unlock(Access::Read);
        second.join().unwrap();
    });
}

/// A writer that waits is dropped while the reader before it leaves and another comes: whoever is
/// let in leaves again, and the late reader is never left waiting.
#[test]
fn a_dropped_writer_lets_the_readers_in() {
    loom::model(|| {
        let shared = Shared::new();
        shared.lock(Access::Read);
        let mut writer = Locking::new(Access::Write);
        assert!(!is_in(&mut writer, &shared));
        let late = {
            let shared = shared.clone();
            thread::spawn(move || shared.read())
        };
        let first = {
            let shared = shared.clone();
            thread::spawn(move || shared.raw.unlock(Access::Read))
        };
        writer.give_up(&shared.raw);
        late.join().unwrap();
        first.join().unwrap();
        assert!(shared.raw.try_lock(Access::Write), "something is left behind");
    });
}

/// As before, and nobody leaves: only the writer that gives up can let the late reader in.
#[test]
fn a_dropped_writer_lets_readers_in_beside_those_who_read() {
    loom::model(|| {
        let shared = Shared::new();
        shared.lock(Access::Read);
        let mut writer = Locking::new(Access::Write);
        assert!(!is_in(&mut writer, &shared));
        let late = {
            let shared = shared.clone();
            thread::spawn(move || shared.read())
        };
        writer.give_up(&shared.raw);
        late.join().unwrap();
        shared.raw.unlock(Access::Read);
        assert!(shared.raw.try_lock(Access::Write), "something is left behind");
    });
}

/// A writer becomes a reader between two others: nobody writes between its write and its read.
#[test]
fn nobody_writes_while_a_writer_becomes_a_reader() {
    loom::model(|| {
        let shared = Shared::new();
        let others: Vec<_> = [Access::Read, Access::Write]
            .into_iter()
            .map(|access| {
                let shared = shared.clone();
                thread::spawn(move || match access {
                    Access::Read => drop(shared.read()),
                    Access::Write => shared.write(),
                })
            })
            .collect();
        shared.lock(Access::Write);
        let wrote = shared.add();
        shared.raw.downgrade();
        assert_eq!(shared.get(), wrote);
        shared.raw.unlock(Access::Read);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(shared.read(), 2);
    });
}

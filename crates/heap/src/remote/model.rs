//! loom: blocks that come from several threads are neither lost nor taken twice, one of them owes
//! a message, and the last block of a span without an owner gives it back exactly once.
//!
//! Links are plain cells, so a walk that is not ordered after the push is a race that loom reports.

use super::Remote;
use loom::sync::Arc;
use millpond_prim::cell::UnsafeCell;
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU32, Ordering};

struct Span {
    remote: Remote,
    links: [UnsafeCell<Option<u32>>; 3],
    /// What the central lock protects: whether the span is there, and how often it was given back.
    central: Lock<(bool, u32)>,
    /// Written under the central lock, read by whoever has pushed.
    used: AtomicU32,
}

// SAFETY: what the models are there to show.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    fn new(used: u32) -> Self {
        let links = [(); 3].map(|()| UnsafeCell::new(None));
        Self {
            remote: Remote::new(),
            links,
            central: Lock::new((true, 0)),
            used: AtomicU32::new(used),
        }
    }

    /// A free by a thread that is not the owner, of a span without one: the walk of `central`.
    fn free(&self, block: u32) -> bool {
        let pushed = self.remote.push(block, |next| {
            // SAFETY: a block belongs to the thread that frees it until it is pushed.
            self.links[block as usize].with_mut(|link| unsafe { *link = next });
        });
        if pushed.owes || pushed.count >= self.used.load(Ordering::Relaxed) {
            let mut central = self.central.lock();
            if pushed.owes {
                self.remote.settle();
            }
            if central.0 {
                self.gather();
                if self.used.load(Ordering::Relaxed) == 0 && !self.remote.is_owed() {
                    *central = (false, central.1 + 1);
                }
            }
        }
        pushed.owes
    }

    /// The walk of `central::gather`, under the lock.
    fn gather(&self) {
        loop {
            let seen = self.walk();
            self.used.store(self.used.load(Ordering::Relaxed) - seen, Ordering::Relaxed);
            loom::sync::atomic::fence(Ordering::SeqCst);
            if self.remote.count() == 0 {
                return;
            }
        }
    }

    fn walk(&self) -> u32 {
        let taken = self.remote.collect();
        let mut next = (taken.count > 0).then_some(taken.head);
        let mut seen = 0;
        while let Some(block) = next {
            seen += 1;
            // SAFETY: taken from the list, hence ours.
            next = self.links[block as usize].with(|link| unsafe { *link });
        }
        assert_eq!(seen, taken.count);
        seen
    }
}

#[test]
fn blocks_pushed_while_the_owner_collects_are_all_seen_once() {
    loom::model(|| {
        let span = Arc::new(Span::new(u32::MAX));
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let span = span.clone();
                loom::thread::spawn(move || span.free(block))
            })
            .collect();
        let mut seen = span.walk();
        threads.into_iter().for_each(|thread| {
            thread.join().unwrap();
        });
        seen += span.walk();
        assert_eq!(seen, 2);
    });
}

#[test]
fn an_armed_list_is_told_of_once() {
    loom::model(|| {
        let span = Arc::new(Span::new(u32::MAX));
        let other = span.clone();
        let thread = loom::thread::spawn(move || other.free(0));
        let armed = span.remote.arm();
        let mine = span.free(1);
        let theirs = thread.join().unwrap();
        // Not armed means that the other block was there already, and the owner has seen it.
        assert_eq!(u32::from(mine) + u32::from(theirs), u32::from(armed));
        let gathered = u32::MAX - span.used.load(Ordering::Relaxed);
        assert_eq!(gathered + span.walk(), 2);
    });
}

#[test]
fn the_last_block_of_a_span_without_an_owner_gives_it_back_once() {
    loom::model(|| {
        let span = Arc::new(Span::new(2));
        assert!(span.remote.arm());
        let other = span.clone();
        let thread = loom::thread::spawn(move || other.free(0));
        span.free(1);
        thread.join().unwrap();
        assert_eq!(*span.central.lock(), (false, 1));
    });
}

#[test]
fn the_last_block_of_a_span_is_not_missed_while_the_holder_brings_home_what_was_freed() {
    loom::model(|| {
        let span = Arc::new(Span::new(2));
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let span = span.clone();
                loom::thread::spawn(move || span.free(block))
            })
            .collect();
        {
            let mut central = span.central.lock();
            if central.0 {
                span.gather();
                if span.used.load(Ordering::Relaxed) == 0 {
                    *central = (false, central.1 + 1);
                }
            }
        }
        threads.into_iter().for_each(|thread| {
            thread.join().unwrap();
        });
        assert_eq!(*span.central.lock(), (false, 1));
    });
}

//! The goroutine that runs on an M for the first time, as other threads see it.
//!
//! Most goroutines of a service that starts many never wait: they run once and end. Entering such
//! a one into the M's registry and taking it out again would be most of what its life costs, so a
//! goroutine is registered when it first leaves its stack. Until then its M says here who it is:
//!
//! ```text
//!   start ──▶ announced ──suspends──▶ registered (under the registry's lock: in the list, not here)
//!                 └───────ends──────▶ forgotten
//! ```
//!
//! Who looks (dumps, sysmon) holds the registry's lock, reads the list, then this. Everything that
//! is live since before the look is seen: what is not in the list was announced, and can only
//! leave by that same lock or by its end.
//!
//! It is a sequence lock: one writer, words that are atomics and mean nothing alone. The writer
//! pays plain stores. A reader that meets the writer tries again; it gives up when the M goes
//! through goroutines faster than it reads, and has then missed nothing but what began meanwhile.
//! A goroutine with a name is registered at its start, because a name is not a word.
//!
//! Rejected: a pointer to the goroutine (a reader could not take a count before it is freed without
//! making each start and end wait for readers: an atomic exchange each, which is the price that
//! this saves).

use millpond_prim::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::panic::Location;

/// How often a reader tries.
#[cfg(not(loom))]
const TRIES: u32 = 64;

/// What is said of a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) location: &'static Location<'static>,
    pub(crate) stack_bytes: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct FirstRun {
    /// Odd while the rest is being written. Written by the M.
    sequence: AtomicUsize,
    /// 0: nobody. Written by the M, as what follows.
    id: AtomicU64,
    location: AtomicPtr<Location<'static>>,
    stack_bytes: AtomicUsize,
}

impl FirstRun {
    pub(crate) fn new() -> Self {
        Self {
            sequence: AtomicUsize::new(0),
            id: AtomicU64::new(0),
            location: AtomicPtr::new(std::ptr::null_mut()),
            stack_bytes: AtomicUsize::new(0),
        }
    }

    /// The M: this one is about to run for the first time.
    #[inline]
    pub(crate) fn announce(&self, seen: Seen) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Whoever reads a word from below also finds the sequence moved.
        fence(Ordering::Release);
        self.id.store(seen.id, Ordering::Relaxed);
        self.location.store(std::ptr::from_ref(seen.location).cast_mut(), Ordering::Relaxed);
        self.stack_bytes.store(seen.stack_bytes, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The M: it has ended, or is in the registry, whose lock the M holds.
    #[inline]
    pub(crate) fn forget(&self) {
        // Alone, because the words of who was here stay as they are: a reader gets all or nobody.
        self.id.store(0, Ordering::Relaxed);
    }

    /// Anyone who holds the registry's lock.
    #[cfg(not(loom))]
    pub(crate) fn read(&self) -> Option<Seen> {
        (0..TRIES).find_map(|_| self.try_read())?
    }

    /// `None` if the writer was met.
    fn try_read(&self) -> Option<Option<Seen>> {
        let sequence = self.sequence.load(Ordering::Acquire);
        let id = self.id.load(Ordering::Relaxed);
        let location = self.location.load(Ordering::Relaxed);
        let stack_bytes = self.stack_bytes.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if !sequence.is_multiple_of(2) || self.sequence.load(Ordering::Relaxed) != sequence {
            return None;
        }
        // SAFETY: null or made of a `&'static` in `announce`; there is no other writer.
        let location = unsafe { location.as_ref() };
        Some(location.filter(|_| id != 0).map(|location| Seen { id, location, stack_bytes }))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_announced_is_seen_until_it_is_forgotten() {
        let first_run = FirstRun::new();
        assert_eq!(first_run.read(), None);
        for id in 1..4 {
            let seen = Seen { id, location: Location::caller(), stack_bytes: 64 };
            first_run.announce(seen);
            assert_eq!(first_run.read(), Some(seen));
        }
        first_run.forget();
        assert_eq!(first_run.read(), None);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::thread;
    use millpond_prim::sync::{Arc, Lock};

    /// Two goroutines that differ in everything.
    fn two() -> [Seen; 2] {
        let places = [Location::caller(), Location::caller()];
        assert_ne!(places[0], places[1]);
        [
            Seen { id: 1, location: places[0], stack_bytes: 10 },
            Seen { id: 2, location: places[1], stack_bytes: 20 },
        ]
    }

    struct M {
        first_run: FirstRun,
        registry: Lock<Vec<u64>>,
    }

    impl M {
        /// What a dump does.
        fn look(&self) -> (Vec<u64>, Option<Seen>) {
            let list = self.registry.lock();
            let running = self.first_run.try_read().flatten();
            (list.clone(), running)
        }
    }

    fn new() -> Arc<M> {
        Arc::new(M { first_run: FirstRun::new(), registry: Lock::new(Vec::new()) })
    }

    #[test]
    fn a_picture_is_of_one_goroutine() {
        let two = two();
        loom::model(move || {
            let m = new();
            let reader = {
                let m = m.clone();
                thread::spawn(move || m.first_run.try_read())
            };
            for one in two {
                m.first_run.announce(one);
                m.first_run.forget();
            }
            if let Some(Some(found)) = reader.join().unwrap() {
                assert!(two.contains(&found), "{found:?}");
            }
        });
    }

    /// It was announced before the look and lives on: it is in the list or here, and not in both.
    #[test]
    fn what_is_live_throughout_is_seen_once() {
        let [first, second] = two();
        loom::model(move || {
            let m = new();
            m.first_run.announce(first);
            let reader = {
                let m = m.clone();
                thread::spawn(move || m.look())
            };
            // It suspends, and another has its first run.
            let mut list = m.registry.lock();
            list.push(1);
            m.first_run.forget();
            drop(list);
            m.first_run.announce(second);
            let (list, running) = reader.join().unwrap();
            let here = running.is_some_and(|found| found.id == 1);
            assert!(list.contains(&1) != here, "list {list:?}, running {running:?}");
        });
    }
}

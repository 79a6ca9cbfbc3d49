//! The hand-shake between an M that goes to sleep and whoever makes work.
//!
//! Two mistakes are possible: a maker sees everybody awake while the last one falls asleep (a
//! missed wake-up: work waits for ever), and a maker wakes somebody at each item although a
//! searcher is about to find it (a storm). Go's answer (`src/runtime/proc.go`, "Worker thread
//! parking/unparking") is taken over:
//!
//! ```text
//! maker                                   sleeper
//! 1. put the work in a queue              1. stop counting as a searcher
//! 2. fence                                2. enter the idle list
//! 3. a searcher? no more to do            3. fence
//!    nobody idle? no more to do           4. look through every queue once more;
//! 4. take one idle M, make it a              work: leave the list, go on
//!    searcher, wake it                    5. sleep
//! ```
//!
//! The fences order 1 before 3 on the left and 2 before 4 on the right, so at least one of the two
//! sees the other. A searcher that finds work and was the last one looks for a successor, because
//! makers kept quiet while it searched.
//!
//! [`SleepWord`] is the last step: a bell that remembers having rung.

use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// Who sleeps and who searches, of one runtime.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Ms that sleep or are about to, last in last. Protected by the lock.
    list: Lock<Vec<u32>>,
    /// Length of `list`, to be read without the lock. Atomic: written under the lock.
    count: AtomicUsize,
    /// Ms that search other Ms' queues. Atomic.
    searching: AtomicUsize,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self {
            list: Lock::new(Vec::new()),
            count: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
        }
    }

    /// Ms in the list.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Ms that search. A hint.
    pub(crate) fn searching(&self) -> usize {
        self.searching.load(Ordering::Relaxed)
    }

    /// Maker, after the work is in its queue: the M to wake, if one should be. It has been counted
    /// as a searcher already and must be told so.
    #[inline]
    pub(crate) fn recruit(&self) -> Option<u32> {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) != 0 || self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.recruit_slowly()
    }

    #[cold]
    fn recruit_slowly(&self) -> Option<u32> {
        // One recruiter at a time: the others' work will be seen by the searcher that this makes.
        if self.searching.compare_exchange(0, 1, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return None;
        }
        let mut list = self.list.lock();
        let m = list.pop();
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        if m.is_none() {
            self.searching.fetch_sub(1, Ordering::SeqCst);
        }
        // Whoever is told of the sleeper's absence next (sysmon) must see the shorter list.
        fence(Ordering::SeqCst);
        m
    }

    /// sysmon: takes a sleeper whether or not somebody searches, and counts it as a searcher.
    pub(crate) fn conscript(&self) -> Option<u32> {
        let mut list = self.list.lock();
        let m = list.pop()?;
        self.count.store(list.len(), Ordering::Relaxed);
        self.searching.fetch_add(1, Ordering::SeqCst);
        Some(m)
    }

    /// An M begins to search of its own accord, if fewer than `limit` do.
    pub(crate) fn begin_search(&self, limit: usize) -> bool {
        let mut now = self.searching.load(Ordering::Relaxed);
        while now < limit {
            match self.searching.compare_exchange(now, now + 1, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// A searcher stops. `true` if it was the last: if it found work, it should recruit a
    /// successor.
    pub(crate) fn end_search(&self) -> bool {
        let before = self.searching.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "idle: a search ended that had not begun");
        before == 1
    }

    /// Sleeper: enters the list. Look through every queue after this, before sleeping.
    pub(crate) fn enter(&self, m: u32) {
        let mut list = self.list.lock();
        debug_assert!(!list.contains(&m), "idle: M{m} is in the list already");
        list.push(m);
        // Release: sysmon, which finds everybody here, then reads what they have left it.
        self.count.store(list.len(), Ordering::Release);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Sleeper, awake again: leaves the list. `false` if a maker took it out: the M has been
    /// counted as a searcher.
    pub(crate) fn leave(&self, m: u32) -> bool {
        let mut list = self.list.lock();
        let Some(at) = list.iter().position(|other| *other == m) else { return false };
        list.remove(at);
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
        true
    }
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const RUNG: u32 = 2;

/// A bell on the bed of one M.
///
/// | state | meaning | who leaves it |
/// |---|---|---|
/// | AWAKE | runs, or has not decided to sleep | owner → ASLEEP; ringer → RUNG |
/// | ASLEEP | blocked in the kernel, or about to | ringer → RUNG and writes to its eventfd; owner → AWAKE |
/// | RUNG | must look again before it sleeps | owner → AWAKE |
#[derive(Debug)]
pub(crate) struct SleepWord(AtomicU32);

impl SleepWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(AWAKE))
    }

    /// Owner: `true` if it may block in the kernel now; `false` if the bell rang since the last
    /// time, and it must look again first. Look at the inbox **after** this and before blocking.
    pub(crate) fn lie_down(&self) -> bool {
        let ok =
            self.0.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if !ok {
            self.0.store(AWAKE, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        ok
    }

    /// Owner: has returned from the kernel, or decided not to go.
    pub(crate) fn get_up(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// Anyone, after putting something into the owner's inbox: `true` if the owner sleeps and the
    /// caller is the one to write to its eventfd.
    #[inline]
    pub(crate) fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        // An awake owner looks at its inbox before it sleeps: nothing to write, not even here.
        self.0.load(Ordering::Relaxed) == ASLEEP
            && self.0.compare_exchange(ASLEEP, RUNG, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Anyone: rings even if the owner is awake, so that it looks again before it sleeps.
    pub(crate) fn ring_surely(&self) -> bool {
        self.0.swap(RUNG, Ordering::SeqCst) == ASLEEP
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_recruit_at_a_time() {
        let idle = Idle::new();
        idle.enter(4);
        idle.enter(7);
        assert_eq!(idle.recruit(), Some(7));
        assert_eq!(idle.recruit(), None, "a searcher is on its way");
        assert!(!idle.leave(7), "taken out by the recruiter");
        assert!(idle.end_search());
        assert_eq!(idle.recruit(), Some(4));
        assert_eq!((idle.count(), idle.searching()), (0, 1));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// The kernel's side of sleeping: an eventfd.
    struct Bed {
        idle: Idle,
        word: SleepWord,
        rung: loom::sync::Mutex<bool>,
        bell: loom::sync::Condvar,
        work: AtomicUsize,
        done: AtomicBool,
    }

    impl Bed {
        fn new() -> Self {
            Self {
                idle: Idle::new(),
                word: SleepWord::new(),
                rung: loom::sync::Mutex::new(false),
                bell: loom::sync::Condvar::new(),
                work: AtomicUsize::new(0),
                done: AtomicBool::new(false),
            }
        }

        fn write_eventfd(&self) {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }

        fn wait_eventfd(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.bell.wait(rung).unwrap();
            }
            *rung = false;
        }

        /// What an M does when it finds nothing, until it has `wanted` items.
        fn consume(&self, wanted: usize) {
            let mut got = 0;
            let mut searching = false;
            loop {
                while self.work.load(Ordering::Acquire) > 0 {
                    self.work.fetch_sub(1, Ordering::AcqRel);
                    got += 1;
                }
                if std::mem::take(&mut searching) {
                    self.idle.end_search();
                }
                if got == wanted {
                    return;
                }
                self.idle.enter(0);
                if self.word.lie_down() {
                    if self.work.load(Ordering::Relaxed) == 0 {
                        self.wait_eventfd();
                    }
                    self.word.get_up();
                }
                searching = !self.idle.leave(0);
            }
        }

        fn make(&self) {
            self.work.fetch_add(1, Ordering::Release);
            if self.idle.recruit().is_some() && self.word.ring_surely() {
                self.write_eventfd();
            }
        }
    }

    /// Two makers, one M that sleeps whenever it finds nothing: it gets both items, always.
    #[test]
    fn no_work_is_left_behind_by_a_sleeper() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let bed = Arc::new(Bed::new());
            let makers: Vec<_> = (0..2)
                .map(|_| {
                    let bed = bed.clone();
                    thread::spawn(move || bed.make())
                })
                .collect();
            bed.consume(2);
            makers.into_iter().for_each(|maker| maker.join().unwrap());
        });
    }

    /// A message to the inbox of one M: `ring` may skip the bell only if the owner will look.
    #[test]
    fn a_message_to_a_sleeper_is_never_missed() {
        loom::model(|| {
            let bed = Arc::new(Bed::new());
            let sender = {
                let bed = bed.clone();
                thread::spawn(move || {
                    bed.done.store(true, Ordering::Release);
                    if bed.word.ring() {
                        bed.write_eventfd();
                    }
                })
            };
            while !bed.done.load(Ordering::Acquire) {
                if bed.word.lie_down() {
                    if !bed.done.load(Ordering::Acquire) {
                        bed.wait_eventfd();
                    }
                    bed.word.get_up();
                }
            }
            sender.join().unwrap();
        });
    }
}

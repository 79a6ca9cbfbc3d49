//! Questions that anybody may put to an M, and that it answers between two turns.
//!
//! A list under a lock, and a flag beside it that says whether the list is empty, because an M that nobody asks
//! anything looks on every seventh turn. Who asks rings the M's bell afterwards ([`super::idle::SleepWord`]), surely:
//! an M that is about to sleep looks once more then, and one that sleeps is woken.

use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicBool, Ordering, fence};

/// See the module documentation.
pub(crate) struct Questions<Q> {
    /// Whether the list is not empty. Atomic: written under the lock.
    any: AtomicBool,
    list: Lock<Vec<Q>>,
}

impl<Q> Questions<Q> {
    pub(crate) fn new() -> Self {
        Self { any: AtomicBool::new(false), list: Lock::new(Vec::new()) }
    }

    /// Anyone. The bell has to be rung afterwards. The fence orders the flag before the ring: an M that wipes
    /// that ring out with one of its own makes a fence too, and then looks at the flag.
    pub(crate) fn put(&self, question: Q) {
        let mut list = self.list.lock();
        list.push(question);
        self.any.store(true, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Anyone: takes a question back that has not been taken.
    pub(crate) fn withdraw(&self, is_it: impl FnMut(&Q) -> bool) -> Option<Q> {
        let mut list = self.list.lock();
        let at = list.iter().position(is_it)?;
        Some(list.swap_remove(at))
    }

    /// The M: a hint, which is right when the bell has rung.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The M: all there are.
    pub(crate) fn take(&self) -> Vec<Q> {
        let mut list = self.list.lock();
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *list)
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::super::idle::SleepWord;
    use super::*;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// An M that only sleeps and answers, and its eventfd.
    struct Asked {
        questions: Questions<u32>,
        bell: SleepWord,
        rung: Mutex<bool>,
        event: Condvar,
    }

    impl Asked {
        fn ask(&self, question: u32) {
            self.questions.put(question);
            if self.bell.ring_surely() {
                *self.rung.lock().unwrap() = true;
                self.event.notify_one();
            }
        }

        /// Turns of the M until it has seen so many.
        fn answer(&self, wanted: usize) -> Vec<u32> {
            let mut seen = Vec::new();
            loop {
                if self.questions.any() {
                    seen.extend(self.questions.take());
                }
                if seen.len() == wanted {
                    return seen;
                }
                if self.bell.lie_down() {
                    let mut rung = self.rung.lock().unwrap();
                    while !*rung {
                        rung = self.event.wait(rung).unwrap();
                    }
                    *rung = false;
                    drop(rung);
                    self.bell.get_up();
                }
            }
        }
    }

    /// Two that ask an M which falls asleep whenever it finds nothing.
    #[test]
    fn every_question_is_seen_once_by_an_m_that_would_rather_sleep() {
        loom::model(|| {
            let asked = Arc::new(Asked {
                questions: Questions::new(),
                bell: SleepWord::new(),
                rung: Mutex::new(false),
                event: Condvar::new(),
            });
            let askers: Vec<_> = [1, 2]
                .map(|question| {
                    let asked = asked.clone();
                    thread::spawn(move || asked.ask(question))
                })
                .into();
            let mut seen = asked.answer(2);
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
            askers.into_iter().for_each(|asker| asker.join().unwrap());
        });
    }

    /// One that has lost its patience: the question is with one of the two.
    #[test]
    fn a_question_is_taken_or_withdrawn() {
        loom::model(|| {
            let questions = Arc::new(Questions::new());
            questions.put(7);
            let m = {
                let questions = questions.clone();
                thread::spawn(move || questions.take().len())
            };
            let back = questions.withdraw(|&question| question == 7);
            assert_eq!(m.join().unwrap() + usize::from(back.is_some()), 1);
        });
    }
}

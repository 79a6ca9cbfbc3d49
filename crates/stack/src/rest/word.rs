//! Who may touch a stack that is at rest, as one word per stack and one per chunk.
//!
//! ```text
//!            owner: begin        owner: publish         anyone: claim        same: restored
//!   Warm ───────────────▶ Closing ─────────────▶ Resting ───────────▶ Waking ─────────────▶ Restored
//!    ▲ ▲  owner: abandon    │                                                                  │
//!    │ └────────────────────┘                                                                  │
//!    └───────────────────────────────────────── owner: take ───────────────────────────────────┘
//! ```
//!
//! The *owner* is the thread on which the stack's goroutine is at home; *anyone* is the owner that is
//! about to switch to it, or a thread that touched it and faulted. The word holds the address of the
//! copy from `publish` to `take`: whoever claims reads it, the owner alone frees it, after `take`.
//! In `Closing` and `Waking` the pages belong to one thread, which makes system calls and waits for
//! nobody, so others wait for it ([`pause`](millpond_prim::thread::yield_now)).
//!
//! A *chunk* whose stacks all rest may be closed as a whole: no access, no markers, no page tables.
//! Whoever wants one of its stacks opens it first, which marks all of them. While a chunk is `Closed` every
//! stack in it is `Resting` and nobody can claim one, so the opener may read every copy.
//!
//! Rejected: a lock per stack. It would be held across system calls by whom the kernel may take off its
//! processor, as here, but a handler that interrupts its holder on the same thread would wait for ever;
//! here the owner is in `Closing` or `Waking` only where it touches no stack.

use millpond_prim::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use millpond_prim::thread::yield_now;

const STATE: u64 = 7;
const WARM: u64 = 0;
const CLOSING: u64 = 1;
const RESTING: u64 = 2;
const WAKING: u64 = 3;
const RESTORED: u64 = 4;

/// State of one stack, and where its copy is. All zeros: warm.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct SlotWord(AtomicU64);

/// What became of an attempt to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woke {
    /// Nothing was away.
    Warm,
    /// Somebody else has put it back.
    Others,
    /// This call has put it back.
    Ours,
}

impl SlotWord {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(WARM))
    }

    /// The owner: whether it may begin.
    pub(crate) fn is_warm(&self) -> bool {
        self.0.load(Ordering::Acquire) == WARM
    }

    /// The owner, before anything is taken away. `false` if it is not warm, or was restored and not
    /// taken.
    pub(crate) fn begin(&self) -> bool {
        // Only the owner leaves `Warm`, so nobody comes between. The system calls that follow order
        // this store before the first fault.
        let warm = self.0.load(Ordering::Relaxed) == WARM;
        if warm {
            self.0.store(CLOSING, Ordering::SeqCst);
        }
        warm
    }

    /// The owner: everything is as it was.
    pub(crate) fn abandon(&self) {
        self.0.store(WARM, Ordering::Release);
    }

    /// The owner: the content is in the copy at `block` and nowhere else.
    pub(crate) fn publish(&self, block: usize) {
        debug_assert!(block as u64 & STATE == 0);
        self.0.store(block as u64 | RESTING, Ordering::Release);
    }

    /// The owner: the copy is its own again, if there is one and it was put back.
    pub(crate) fn take(&self) -> Option<usize> {
        let word = self.0.load(Ordering::Acquire);
        if word & STATE != RESTORED {
            return None;
        }
        self.0.store(WARM, Ordering::Relaxed);
        Some((word & !STATE) as usize)
    }

    /// The copy of a stack that nobody can claim at the moment.
    pub(crate) fn block(&self) -> usize {
        (self.0.load(Ordering::Acquire) & !STATE) as usize
    }

    /// Anyone: returns when the content is back. `open` opens the chunk, `restore` puts the content
    /// of a copy back; each is called by one thread at a time.
    pub(crate) fn wake(
        &self,
        chunk: &ChunkWord,
        mut open: impl FnMut(),
        mut restore: impl FnMut(usize),
    ) -> Woke {
        loop {
            let word = self.0.load(Ordering::Acquire);
            match word & STATE {
                WARM => return Woke::Warm,
                RESTORED => return Woke::Others,
                RESTING => {}
                _ => {
                    yield_now();
                    continue;
                }
            }
            if !chunk.open_with(&mut open) {
                yield_now();
                continue;
            }
            let waking = word & !STATE | WAKING;
            let claimed =
                self.0.compare_exchange(word, waking, Ordering::Acquire, Ordering::Relaxed);
            if claimed.is_ok() {
                restore((word & !STATE) as usize);
                self.0.store(word & !STATE | RESTORED, Ordering::Release);
                return Woke::Ours;
            }
        }
    }
}

const OPEN: u32 = 0;
const CLOSED: u32 = 1;
const OPENING: u32 = 2;

/// Whether a chunk is closed as a whole. All zeros: open.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct ChunkWord(AtomicU32);

impl ChunkWord {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(OPEN))
    }

    /// The owner of all stacks in it, while all are `Closing`: published with them.
    pub(crate) fn close(&self) {
        self.0.store(CLOSED, Ordering::Release);
    }

    /// `true` if the chunk is open, `false` if somebody is at it.
    fn open_with(&self, open: &mut impl FnMut()) -> bool {
        match self.0.load(Ordering::Acquire) {
            OPEN => return true,
            OPENING => return false,
            _ => {}
        }
        let claimed =
            self.0.compare_exchange(CLOSED, OPENING, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_ok() {
            open();
            self.0.store(OPEN, Ordering::Release);
        }
        claimed.is_ok()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;
    use millpond_prim::sync::Lock;

    /// A page as the kernel keeps it: every access is one step, and faults if the page is closed.
    struct Page {
        open: bool,
        value: u64,
    }

    struct World {
        page: Lock<Page>,
        slot: SlotWord,
        chunk: ChunkWord,
        /// The copy at address 8; 0 when freed.
        copy: Lock<u64>,
    }

    const START: u64 = 100;

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                page: Lock::new(Page { open: true, value: START }),
                slot: SlotWord::new(),
                chunk: ChunkWord::new(),
                copy: Lock::new(0),
            })
        }

        /// The owner puts the stack to rest; `whole` with its chunk.
        fn rest(&self, whole: bool) {
            assert!(self.slot.begin());
            self.page.lock().open = false;
            let value = std::mem::replace(&mut self.page.lock().value, 0);
            *self.copy.lock() = value;
            if whole {
                self.chunk.close();
            }
            self.slot.publish(8);
        }

        fn wake(&self) -> Woke {
            self.slot.wake(
                &self.chunk,
                || assert!(!self.page.lock().open, "opened twice"),
                |block| {
                    assert_eq!(block, 8);
                    let value = *self.copy.lock();
                    assert!(value >= START, "a copy that was freed, or is not there yet");
                    let mut page = self.page.lock();
                    assert!(!page.open && page.value == 0, "put back twice");
                    *page = Page { open: true, value };
                },
            )
        }

        /// What a foreign thread does: touches, and if that faults waits until it can.
        fn increment(&self) {
            loop {
                let mut page = self.page.lock();
                if page.open {
                    assert!(page.value >= START, "zeros were seen");
                    page.value += 1;
                    return;
                }
                drop(page);
                self.wake();
            }
        }

        fn owner_wakes(&self) {
            self.wake();
            assert_eq!(self.slot.take(), Some(8));
            *self.copy.lock() = 0;
            assert!(self.page.lock().open);
        }
    }

    fn nothing_is_lost(whole: bool) {
        loom::model(move || {
            let world = World::new();
            let foreign = {
                let world = world.clone();
                thread::spawn(move || {
                    world.increment();
                    world.increment();
                })
            };
            world.rest(whole);
            world.owner_wakes();
            world.page.lock().value += 1;
            foreign.join().unwrap();
            assert_eq!(world.page.lock().value, START + 3);
        });
    }

    #[test]
    fn a_foreign_writer_loses_nothing_while_a_stack_rests_and_wakes() {
        nothing_is_lost(false);
    }

    #[test]
    fn a_foreign_writer_loses_nothing_while_a_chunk_closes_and_opens() {
        nothing_is_lost(true);
    }

    /// Two that want it at the same moment: both foreign, or one of them the owner.
    #[test]
    fn of_two_wakes_at_once_one_puts_back_and_the_other_waits() {
        loom::model(|| {
            let world = World::new();
            world.rest(true);
            let foreign = {
                let world = world.clone();
                thread::spawn(move || {
                    let woke = world.wake();
                    assert!(world.page.lock().open);
                    woke == Woke::Ours
                })
            };
            let ours = world.wake() == Woke::Ours;
            assert!(world.page.lock().open);
            assert_ne!(foreign.join().unwrap(), ours);
            assert_eq!(world.slot.take(), Some(8));
            assert_eq!(world.page.lock().value, START);
        });
    }

    /// Two stacks of one chunk that is closed: it is opened once, and each comes back.
    #[test]
    fn a_closed_chunk_is_opened_once_for_both_of_its_stacks() {
        loom::model(|| {
            let chunk = Arc::new((ChunkWord::new(), SlotWord::new(), SlotWord::new()));
            let opened = Arc::new(Lock::new(0));
            assert!(chunk.1.begin() && chunk.2.begin());
            chunk.0.close();
            chunk.1.publish(8);
            chunk.2.publish(16);
            let wake = |slot: &SlotWord, word: &ChunkWord, opened: &Lock<i32>| {
                let restore = |_| assert_eq!(*opened.lock(), 1, "put back into a closed chunk");
                assert_eq!(slot.wake(word, || *opened.lock() += 1, restore), Woke::Ours);
            };
            let other = {
                let (chunk, opened) = (chunk.clone(), opened.clone());
                thread::spawn(move || wake(&chunk.1, &chunk.0, &opened))
            };
            wake(&chunk.2, &chunk.0, &opened);
            other.join().unwrap();
            assert_eq!((chunk.1.take(), chunk.2.take()), (Some(8), Some(16)));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_a_warm_stack_begins_and_only_the_owner_ends() {
        let (slot, chunk) = (SlotWord::new(), ChunkWord::new());
        assert!(slot.begin() && !slot.begin());
        slot.publish(64);
        assert!(!slot.is_warm() && !slot.begin());
        assert_eq!((slot.block(), slot.take()), (64, None));
        assert_eq!(slot.wake(&chunk, || unreachable!(), |_| ()), Woke::Ours);
        assert_eq!(slot.wake(&chunk, || unreachable!(), |_| ()), Woke::Others);
        assert!(!slot.begin(), "its copy is still there");
        assert_eq!(slot.take(), Some(64));
        assert_eq!(slot.wake(&chunk, || unreachable!(), |_| ()), Woke::Warm);
        assert!(slot.begin());
        slot.abandon();
        assert!(slot.begin());
    }
}

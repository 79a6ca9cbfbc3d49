//! The run queue of a P: a ring of words with one producer and many takers.
//!
//! After Go's `runqput`, `runqget` and `runqgrab` (`src/runtime/proc.go`). The owner puts at the
//! tail without a read-modify-write and takes from the head by compare-and-swap; a thief copies up
//! to half and then claims what it copied with one compare-and-swap on the head, into a ring of
//! its own. `head` and `tail` run freely over 32 bits and are reduced on access, so full and empty
//! are told apart without a spare slot.
//!
//! A thief that reads a slot may read a word that the owner is overwriting one lap later. It
//! notices: the head has then moved, and the claim fails. The slots are atomics, so the torn race
//! is not a data race.
//!
//! *Patience.* Work that its owner would have reached in a moment is better left where its
//! neighbours are. [`Ring::watch`] notes the tail; [`Ring::ripe`] says how many of the items that
//! were there *then* are there still, [`Ring::left_since`] how many have gone. A thief that waits between
//! the two steals only what has really waited, and the owner pays nothing for it (no time stamps on the fast path).
//!
//! Rejected: Chase–Lev with a growing buffer (the owner would take the newest first, which starves
//! the oldest); a lock per queue (measured at 10 ns on each spawn).

use millpond_prim::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Slots of a ring: four times Go's, since what overflows is taken by anybody at once, without the
/// patience that keeps together what talks; four in a model, where more could never be filled.
pub(crate) const CAPACITY: u32 = if cfg!(loom) { 4 } else { 1024 };

/// A run queue. The words are never zero.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Next to take. Atomic: moved by compare-and-swap by owner and thieves.
    head: AtomicU32,
    /// Next to put. Written by the owner alone, read by thieves.
    tail: AtomicU32,
    /// Written by the owner, in slots outside `head..tail`; read by anyone.
    slots: Box<[AtomicUsize]>,
}

/// What a thief saw in a ring, to compare with later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    head: u32,
    tail: u32,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            slots: (0..CAPACITY).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    fn slot(&self, position: u32) -> &AtomicUsize {
        &self.slots[(position % CAPACITY) as usize]
    }

    /// Items in the ring. From another thread a hint.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        let head = self.head.load(Ordering::Acquire);
        let len = self.tail.load(Ordering::Acquire).wrapping_sub(head);
        // The two loads are not one: a thief between them can make the difference negative.
        if len > CAPACITY { 0 } else { len }
    }

    /// Owner: puts `word` at the tail; gives it back when the ring is full.
    #[inline]
    pub(crate) fn push(&self, word: usize) -> Result<(), usize> {
        debug_assert_ne!(word, 0);
        // Acquire: a slot is reused only after the taker that emptied it has read it.
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) >= CAPACITY {
            return Err(word);
        }
        self.slot(tail).store(word, Ordering::Relaxed);
        // Release: the slot, and what the word points to, before the tail.
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Owner: takes the oldest.
    #[inline]
    pub(crate) fn pop(&self) -> Option<usize> {
        self.pop_if(|_| true)
    }

    /// Owner: takes the oldest if it is `wanted`, which is asked before it is taken, and may be asked about
    /// what a thief takes meanwhile: it looks at the word and follows nothing.
    #[inline]
    pub(crate) fn pop_if(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head == self.tail.load(Ordering::Relaxed) {
                return None;
            }
            let word = self.slot(head).load(Ordering::Relaxed);
            if !wanted(word) {
                return None;
            }
            let next = head.wrapping_add(1);
            match self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(word),
                Err(seen) => head = seen,
            }
        }
    }

    /// Anyone: takes half out in one step, to be put elsewhere, be it because the ring is full or because its
    /// owner is away. Empty if thieves made room meanwhile.
    pub(crate) fn take_half(&self) -> Vec<usize> {
        let mut batch = Vec::new();
        let taken = self.grab(u32::MAX, |offset, word| {
            batch.truncate(offset as usize);
            batch.push(word);
        });
        batch.truncate(taken as usize);
        batch
    }

    /// Thief: moves up to half of the ring, and at most `limit` items, into `to`, which the thief
    /// owns and which is empty or nearly so. Returns how many.
    pub(crate) fn steal_into(&self, to: &Ring, limit: u32) -> u32 {
        let room = CAPACITY - to.len();
        let tail = to.tail.load(Ordering::Relaxed);
        let taken = self.grab(limit.min(room), |offset, word| {
            to.slot(tail.wrapping_add(offset)).store(word, Ordering::Relaxed);
        });
        if taken > 0 {
            to.tail.store(tail.wrapping_add(taken), Ordering::Release);
        }
        taken
    }

    /// Copies up to `min(half, limit)` of the oldest words to `put`, each with its number, then claims them; returns
    /// how many. `put` may be called for words that are then not claimed, and again from the start, so it writes to
    /// slots (or to a list) that count only once this returns. No copy between: an M may be about to overflow its
    /// ring on the stack of a small goroutine.
    fn grab(&self, limit: u32, mut put: impl FnMut(u32, usize)) -> u32 {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let len = self.tail.load(Ordering::Acquire).wrapping_sub(head);
            if len > CAPACITY {
                continue; // the two loads are not one; look again
            }
            let count = (len - len / 2).min(limit);
            if count == 0 {
                return 0;
            }
            for offset in 0..count {
                put(offset, self.slot(head.wrapping_add(offset)).load(Ordering::Relaxed));
            }
            let next = head.wrapping_add(count);
            // AcqRel: the words' contents become ours, and the owner's reuse comes after our reads.
            if self.head.compare_exchange(head, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return count;
            }
        }
    }

    /// Thief: notes what is there now.
    pub(crate) fn watch(&self) -> Sighting {
        let head = self.head.load(Ordering::Acquire);
        Sighting { head, tail: self.tail.load(Ordering::Acquire) }
    }

    /// Thief: how many items have left since [`Ring::watch`], by whatever hand.
    pub(crate) fn left_since(&self, then: Sighting) -> u32 {
        self.head.load(Ordering::Acquire).wrapping_sub(then.head)
    }

    /// Thief: how many of the items seen by [`Ring::watch`] are still waiting.
    pub(crate) fn ripe(&self, then: Sighting) -> u32 {
        let left = then.tail.wrapping_sub(self.head.load(Ordering::Acquire));
        if left > CAPACITY { 0 } else { left }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_over_many_laps_and_full_is_told() {
        let ring = Ring::new();
        let mut next = 1;
        for lap in 0..1_000usize {
            for i in 0..(lap % CAPACITY as usize) {
                ring.push(next + i).unwrap();
            }
            while let Some(word) = ring.pop() {
                assert_eq!(word, next);
                next += 1;
            }
        }
        for i in 0..CAPACITY as usize {
            ring.push(i + 1).unwrap();
        }
        assert_eq!(ring.push(999), Err(999));
        assert_eq!(ring.take_half().len(), CAPACITY as usize / 2);
        assert_eq!(ring.len(), CAPACITY / 2);
    }

    #[test]
    fn only_what_was_there_at_the_first_look_is_ripe() {
        let ring = Ring::new();
        (1..=4).for_each(|word| ring.push(word).unwrap());
        let seen = ring.watch();
        ring.push(5).unwrap();
        assert_eq!(ring.ripe(seen), 4);
        (1..=3).for_each(|word| assert_eq!(ring.pop(), Some(word)));
        assert_eq!(ring.ripe(seen), 1);
        (4..=5).for_each(|word| assert_eq!(ring.pop(), Some(word)));
        assert_eq!(ring.ripe(seen), 0);
    }

    #[test]
    fn what_is_not_wanted_stays_the_oldest() {
        let ring = Ring::new();
        assert_eq!(ring.pop_if(|_| true), None);
        (1..=2).for_each(|word| ring.push(word).unwrap());
        assert_eq!((ring.pop_if(|word| word == 2), ring.len()), (None, 2));
        assert_eq!(ring.pop_if(|word| word == 1), Some(1));
        assert_eq!(ring.pop(), Some(2));
    }

    #[test]
    fn what_has_left_is_counted_whoever_took_it() {
        let (ring, thief) = (Ring::new(), Ring::new());
        ring.push(1).unwrap();
        ring.pop();
        let seen = ring.watch();
        (2..=5).for_each(|word| ring.push(word).unwrap());
        assert_eq!(ring.left_since(seen), 0);
        ring.pop();
        ring.steal_into(&thief, 1);
        assert_eq!((ring.left_since(seen), ring.len()), (2, 2));
    }

    #[test]
    fn a_thief_takes_the_older_half() {
        let (from, to) = (Ring::new(), Ring::new());
        (1..=5).for_each(|word| from.push(word).unwrap());
        assert_eq!(from.steal_into(&to, u32::MAX), 3);
        assert_eq!(to.pop(), Some(1));
        assert_eq!(from.pop(), Some(4));
        assert_eq!(from.steal_into(&to, 0), 0);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn drain(ring: &Ring) -> Vec<usize> {
        std::iter::from_fn(|| ring.pop()).collect()
    }

    fn assert_each_once(mut all: Vec<usize>, upto: usize) {
        all.sort_unstable();
        assert_eq!(all, (1..=upto).collect::<Vec<_>>());
    }

    /// The owner puts and takes, through a wrap of the ring, while two thieves steal: each item is
    /// taken by exactly one.
    #[test]
    fn nothing_is_lost_or_taken_twice() {
        loom::model(|| {
            let ring = Arc::new(Ring::new());
            ring.push(1).unwrap();
            ring.push(2).unwrap();
            let thieves: Vec<_> = (0..2)
                .map(|_| {
                    let ring = ring.clone();
                    thread::spawn(move || {
                        let mine = Ring::new();
                        ring.steal_into(&mine, u32::MAX);
                        drain(&mine)
                    })
                })
                .collect();
            let mut all = Vec::new();
            for word in 3..=5 {
                if ring.push(word).is_err() {
                    all.extend(ring.take_half());
                    ring.push(word).unwrap();
                }
            }
            all.extend(drain(&ring));
            for thief in thieves {
                all.extend(thief.join().unwrap());
            }
            assert_each_once(all, 5);
        });
    }

    /// The owner takes the oldest only if it is even while a thief steals: what it gets is even, and what it
    /// leaves is there for the thief or for later.
    #[test]
    fn what_is_not_wanted_is_left_to_thieves() {
        loom::model(|| {
            let ring = Arc::new(Ring::new());
            (1..=3).for_each(|word| ring.push(word).unwrap());
            let thief = {
                let ring = ring.clone();
                thread::spawn(move || {
                    let mine = Ring::new();
                    ring.steal_into(&mine, u32::MAX);
                    drain(&mine)
                })
            };
            let even = |word: usize| word.is_multiple_of(2);
            let mut all: Vec<_> = (0..2).filter_map(|_| ring.pop_if(even)).collect();
            assert!(all.iter().all(|&word| even(word)));
            ring.push(4).unwrap();
            all.extend(thief.join().unwrap());
            all.extend(drain(&ring));
            assert_each_once(all, 4);
        });
    }
}

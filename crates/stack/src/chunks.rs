//! Which slots of which chunk are free: the one part of the stack pool that threads race on.
//!
//! Every M takes and gives slots here, a whole chunk at a time, and any thread may give back the
//! slot of a stack that was dropped outside a cache. Under one lock lies only arithmetic; the
//! kernel is called outside it, and the *phase* of a chunk says who may touch it meanwhile:
//!
//! ```text
//!            take finds nothing free                 open() done
//!  ┌──────┐ ───────────────────────► ┌─────────┐ ──────────────► ┌──────┐
//!  │Closed│   (or a chunk never used)│ Opening │                 │ Open │ ◄─ take, give
//!  │      │ ◄─────────────────────── └─────────┘                 └──────┘
//!  │      │        open() failed                                    │ the last slot came back
//!  │      │                           ┌─────────┐                   │
//!  │      │ ◄──────────────────────── │ Closing │ ◄─────────────────┘
//!  └──────┘      close() returned     └─────────┘
//! ```
//!
//! - `Open`: its guards are set. `free` says which slots are in the pool; the others are out.
//! - `Opening`, `Closing`: belongs to the one thread that set the phase. In no set, so no other
//!   thread finds it.
//! - `Closed`: whatever guards it has mean nothing; `open` sets them all anew. So a `close` that
//!   the kernel refused half-way needs no phase of its own: what it cost is pages, never a guard.
//!
//! Lowest address first, always: leftovers then gather at the low end and high chunks empty out.
//!
//! Identity, under the lock: `total = open + closed + moving + (total - touched)`, and the slots
//! of open chunks are either free or taken ([`Chunks::check`]).
//!
//! Rejected: a lock-free stack of chunks. The lock is taken once per 32 stacks of 64 KiB, next to
//! a system call; and address order, which keeps memory low after a burst, needs a set.

use millpond_prim::sync::Lock;
use millpond_prim::thread;
use std::collections::BTreeSet;
use std::io;

/// Slots of one chunk as bits; a chunk has at most 128.
pub(crate) type Mask = u128;

/// What a chunk stands on. Chunks are numbered from 0 without gaps.
pub(crate) trait Backing {
    /// Obtains more chunks, the first of which has number `first`; returns how many. Called with
    /// the lock held, which is why it must not come back to these chunks.
    fn grow(&self, first: u32) -> io::Result<u32>;
    /// Makes every slot of a chunk usable and guarded.
    fn open(&self, chunk: u32) -> io::Result<()>;
    /// Gives everything behind a chunk back.
    fn close(&self, chunk: u32) -> io::Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Opening,
    Open,
    Closing,
}

#[derive(Debug)]
struct Chunk {
    /// Slots in the pool. Meaningful while `Open` only.
    free: Mask,
    phase: Phase,
}

/// Numbers of one set of chunks at one moment. `taken + free` are the slots of `open` chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) total: usize,
    pub(crate) untouched: usize,
    pub(crate) open: usize,
    pub(crate) closed: usize,
    pub(crate) moving: usize,
    pub(crate) taken_slots: usize,
    pub(crate) free_slots: usize,
    /// Cumulative.
    pub(crate) times_closed: u64,
    /// Cumulative: the kernel refused to close.
    pub(crate) close_failures: u64,
}

/// All of it protected by the lock of [`Chunks`].
#[derive(Debug, Default)]
struct State {
    /// Chunks that were opened at least once; the ones above, up to `total`, were never touched.
    chunks: Vec<Chunk>,
    /// Open chunks with a free slot.
    available: BTreeSet<u32>,
    closed: BTreeSet<u32>,
    count: Count,
}

/// The chunks of one size class.
#[derive(Debug)]
pub(crate) struct Chunks<B> {
    backing: B,
    whole: Mask,
    /// A leaf lock, but for what [`Backing::grow`] takes.
    state: Lock<State>,
}

impl<B: Backing> Chunks<B> {
    pub(crate) fn new(backing: B, slots_per_chunk: usize) -> Self {
        assert!((1..=128).contains(&slots_per_chunk));
        let whole = Mask::MAX >> (128 - slots_per_chunk);
        Self { backing, whole, state: Lock::new(State::default()) }
    }

    pub(crate) fn backing(&self) -> &B {
        &self.backing
    }

    /// Takes all free slots of one chunk: its number and the slots, at least one.
    ///
    /// # Errors
    /// Whatever growing or opening says, if no slot is free.
    pub(crate) fn take(&self) -> io::Result<(u32, Mask)> {
        loop {
            let mut state = self.state.lock();
            if let Some(found) = state.take_available() {
                return Ok(found);
            }
            let Some(chunk) = state.start_opening() else {
                match self.backing.grow(state.count.total as u32) {
                    Ok(more) => {
                        state.count.total += more as usize;
                        state.count.untouched += more as usize;
                    }
                    // Somebody is closing or opening a chunk right now: it will not be long.
                    Err(_) if state.count.moving > 0 => {
                        drop(state);
                        thread::yield_now();
                    }
                    Err(error) => return Err(error),
                }
                continue;
            };
            drop(state);
            let opened = self.backing.open(chunk);
            let mut state = self.state.lock();
            match opened {
                Ok(()) => {
                    state.finish_opening(chunk, self.whole);
                    return Ok((chunk, self.whole));
                }
                Err(error) => {
                    state.finish_closing(chunk, Phase::Opening);
                    if state.available.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Puts slots back, and closes the chunks that are wholly free then.
    ///
    /// # Panics
    /// If a slot was not out: it would be handed out twice.
    pub(crate) fn give(&self, groups: &[(u32, Mask)]) {
        let mut closing = Vec::new();
        let mut state = self.state.lock();
        for &(chunk, slots) in groups {
            if state.put(chunk, slots, self.whole) {
                closing.push(chunk);
            }
        }
        drop(state);
        self.close(&closing);
    }

    /// Of slots that are out and the caller's, takes the chunks of which these are all that was
    /// missing: their numbers, to be passed to [`Self::close`] with whatever their pages hold, and
    /// the groups that are not like that, which stay the caller's.
    ///
    /// # Panics
    /// As [`Self::give`].
    pub(crate) fn claim_whole(&self, groups: &[(u32, Mask)]) -> (Vec<u32>, Vec<(u32, Mask)>) {
        let (mut closing, mut rest) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        for &(chunk, slots) in groups {
            if state.chunks[chunk as usize].free | slots != self.whole {
                rest.push((chunk, slots));
            } else if state.put(chunk, slots, self.whole) {
                closing.push(chunk);
            }
        }
        (closing, rest)
    }

    /// Closes chunks that [`Self::claim_whole`] gave to the caller.
    pub(crate) fn close(&self, claimed: &[u32]) {
        for &chunk in claimed {
            let closed = self.backing.close(chunk);
            let mut state = self.state.lock();
            state.count.times_closed += 1;
            state.count.close_failures += u64::from(closed.is_err());
            state.finish_closing(chunk, Phase::Closing);
        }
    }

    pub(crate) fn count(&self) -> Count {
        self.state.lock().count
    }

    /// Whether all of `slots` are out. For invariant walkers.
    pub(crate) fn are_taken(&self, chunk: u32, slots: Mask) -> bool {
        let state = self.state.lock();
        let chunk = state.chunks.get(chunk as usize);
        chunk.is_some_and(|chunk| chunk.phase == Phase::Open && chunk.free & slots == 0)
    }

    /// Walks every chunk and compares with the sets and the counts; says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.state.lock().check(self.whole)
    }
}

impl State {
    fn take_available(&mut self) -> Option<(u32, Mask)> {
        let chunk = self.available.pop_first()?;
        let slots = std::mem::take(&mut self.chunks[chunk as usize].free);
        let number = slots.count_ones() as usize;
        self.count.free_slots -= number;
        self.count.taken_slots += number;
        Some((chunk, slots))
    }

    /// Picks a chunk that is not open, or none if all are.
    fn start_opening(&mut self) -> Option<u32> {
        let chunk = match self.closed.pop_first() {
            Some(chunk) => {
                self.count.closed -= 1;
                chunk
            }
            None if self.count.untouched > 0 => {
                self.count.untouched -= 1;
                self.chunks.push(Chunk { free: 0, phase: Phase::Closed });
                self.chunks.len() as u32 - 1
            }
            None => return None,
        };
        self.count.moving += 1;
        self.chunks[chunk as usize].phase = Phase::Opening;
        Some(chunk)
    }

    /// The chunk is open, and all its slots go to the thread that opened it.
    fn finish_opening(&mut self, chunk: u32, whole: Mask) {
        self.chunks[chunk as usize] = Chunk { free: 0, phase: Phase::Open };
        self.count.moving -= 1;
        self.count.open += 1;
        self.count.taken_slots += whole.count_ones() as usize;
    }

    fn finish_closing(&mut self, chunk: u32, from: Phase) {
        let found = std::mem::replace(&mut self.chunks[chunk as usize].phase, Phase::Closed);
        assert_eq!(found, from, "close stack chunk {chunk}: another thread moved it meanwhile");
        self.closed.insert(chunk);
        self.count.moving -= 1;
        self.count.closed += 1;
    }

    /// Puts slots back; `true` if the chunk is wholly free and is the caller's to close.
    fn put(&mut self, number: u32, slots: Mask, whole: Mask) -> bool {
        let chunk = &mut self.chunks[number as usize];
        assert!(
            chunk.phase == Phase::Open && chunk.free & slots == 0 && slots & !whole == 0,
            "give back slots {slots:#x} of stack chunk {number}: expected all of them out, found \
             {chunk:?}; a stack was given back twice"
        );
        chunk.free |= slots;
        self.count.taken_slots -= slots.count_ones() as usize;
        self.count.free_slots += slots.count_ones() as usize;
        if chunk.free != whole {
            self.available.insert(number);
            return false;
        }
        chunk.free = 0;
        chunk.phase = Phase::Closing;
        self.available.remove(&number);
        self.count.free_slots -= whole.count_ones() as usize;
        self.count.open -= 1;
        self.count.moving += 1;
        true
    }

    fn check(&self, whole: Mask) -> Result<(), String> {
        let count = |phase| self.chunks.iter().filter(|chunk| chunk.phase == phase).count();
        let free: usize = self.chunks.iter().map(|chunk| chunk.free.count_ones() as usize).sum();
        let open = count(Phase::Open);
        let found = Count {
            total: self.chunks.len() + self.count.untouched,
            untouched: self.count.untouched,
            open,
            closed: count(Phase::Closed),
            moving: count(Phase::Opening) + count(Phase::Closing),
            taken_slots: open * whole.count_ones() as usize - free,
            free_slots: free,
            ..self.count
        };
        if found != self.count {
            return Err(format!("stack chunks: counted {found:?}, expected {:?}", self.count));
        }
        for (number, chunk) in self.chunks.iter().enumerate() {
            let number = number as u32;
            let available = chunk.phase == Phase::Open && chunk.free != 0;
            let right = self.available.contains(&number) == available
                && self.closed.contains(&number) == (chunk.phase == Phase::Closed)
                && (chunk.phase == Phase::Open || chunk.free == 0)
                && chunk.free & !whole == 0;
            if !right {
                return Err(format!("stack chunk {number} is in the wrong set: {chunk:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// Grants `left` chunks; `fails` makes the next opening or closing fail.
    #[derive(Default)]
    struct Paper {
        left: AtomicU32,
        fails: AtomicBool,
    }

    impl Paper {
        fn answer(&self) -> io::Result<()> {
            match self.fails.swap(false, Ordering::Relaxed) {
                true => Err(io::ErrorKind::OutOfMemory.into()),
                false => Ok(()),
            }
        }
    }

    impl Backing for Paper {
        fn grow(&self, _first: u32) -> io::Result<u32> {
            match self.left.swap(0, Ordering::Relaxed) {
                0 => Err(io::ErrorKind::OutOfMemory.into()),
                more => Ok(more),
            }
        }
        fn open(&self, _chunk: u32) -> io::Result<()> {
            self.answer()
        }
        fn close(&self, _chunk: u32) -> io::Result<()> {
            self.answer()
        }
    }

    fn chunks(total: u32) -> Chunks<Paper> {
        Chunks::new(Paper { left: AtomicU32::new(total), fails: AtomicBool::new(false) }, 4)
    }

    #[test]
    fn the_lowest_chunk_with_room_is_taken_first() {
        let chunks = chunks(3);
        let all: Vec<_> = (0..3).map(|_| chunks.take().unwrap()).collect();
        assert_eq!(all, [(0, 0b1111), (1, 0b1111), (2, 0b1111)]);
        chunks.give(&[(2, 0b0001), (0, 0b0100)]);
        assert_eq!(chunks.take().unwrap(), (0, 0b0100));
        assert_eq!(chunks.take().unwrap(), (2, 0b0001));
        chunks.check().unwrap();
    }

    #[test]
    fn a_chunk_closes_when_its_last_slot_comes_back_and_is_used_again() {
        let chunks = chunks(2);
        assert_eq!(chunks.take().unwrap(), (0, 0b1111));
        chunks.give(&[(0, 0b0111)]);
        assert_eq!(chunks.count().times_closed, 0);
        chunks.give(&[(0, 0b1000)]);
        let count = chunks.count();
        assert_eq!((count.closed, count.open, count.times_closed), (1, 0, 1));
        assert_eq!(chunks.take().unwrap(), (0, 0b1111));
        chunks.check().unwrap();
    }

    #[test]
    fn exhaustion_is_an_error_and_ends_when_something_comes_back() {
        let chunks = chunks(1);
        chunks.take().unwrap();
        assert!(chunks.take().is_err());
        chunks.give(&[(0, 0b0010)]);
        assert_eq!(chunks.take().unwrap(), (0, 0b0010));
    }

    #[test]
    fn a_refused_opening_or_closing_leaves_the_chunk_closed_and_usable() {
        let chunks = chunks(1);
        chunks.backing().fails.store(true, Ordering::Relaxed);
        assert!(chunks.take().is_err());
        chunks.check().unwrap();
        assert_eq!(chunks.take().unwrap(), (0, 0b1111));
        chunks.backing().fails.store(true, Ordering::Relaxed);
        chunks.give(&[(0, 0b1111)]);
        assert_eq!((chunks.count().closed, chunks.count().close_failures), (1, 1));
        assert_eq!(chunks.take().unwrap(), (0, 0b1111));
    }

    #[test]
    fn a_chunk_is_claimed_whole_only_when_nothing_else_of_it_is_out() {
        let chunks = chunks(2);
        let (one, two) = (chunks.take().unwrap(), chunks.take().unwrap());
        chunks.give(&[(0, 0b0100)]);
        let (whole, rest) = chunks.claim_whole(&[(0, 0b1011), (1, 0b0111)]);
        assert_eq!((whole.as_slice(), rest.as_slice()), ([0].as_slice(), [(1, 0b0111)].as_slice()));
        chunks.check().unwrap();
        chunks.close(&whole);
        chunks.give(&rest);
        assert_eq!((one.1, two.1, chunks.count().taken_slots), (0b1111, 0b1111, 1));
        assert_eq!((chunks.count().closed, chunks.count().moving), (1, 0));
        chunks.check().unwrap();
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn giving_a_slot_back_twice_is_caught() {
        let chunks = chunks(1);
        chunks.take().unwrap();
        chunks.give(&[(0, 0b0001)]);
        chunks.give(&[(0, 0b0001)]);
    }
}

#[cfg(all(test, loom))]
mod model;

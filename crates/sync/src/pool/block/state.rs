//! The free list of a block pool. Everything here runs under the pool's lock.
//!
//! ```text
//!   parts: one per slab                   open: those with a free block, a stack
//!   ┌────────────────────────┐            ┌───┬───┐
//!   │ 0: free [b b b]   of 4 │            │ 2 │ 0 │◀─ take from the last, give pushes again
//!   │ 1: free []        of 4 │            └───┴───┘
//!   │ 2: free [b]       of 4 │
//!   └────────────────────────┘
//! ```
//!
//! A block knows the number of its slab, so taking and giving are a push and a pop each, and a slab
//! whose blocks are all here is seen at once. Invariants between two steps:
//! - a part is in `open` exactly if it has a free block; `free` is the sum over all;
//! - `made` is the sum of the parts' blocks and of what is being allocated now, at most `max`;
//! - somebody waits only while nothing is free.
//!
//! The bytes of a block are a piece that `bytes` has split off its slab: disjoint, owned, and the
//! slab's memory goes when its last piece has gone. So no unsafe code is needed to hand pieces of
//! one allocation to different threads. To this file they are any `B`, which a model uses.

use crate::wait_list::{Key, WaitList};
use millpond_rt::wait::{Fired, Ticket};
use slab::Slab;

/// One block, in the pool or out of it.
pub(super) struct Piece<B> {
    pub(super) bytes: B,
    /// The slab that it is of.
    pub(super) slab: u32,
}

/// One allocation, cut into blocks.
struct Part<B> {
    free: Vec<B>,
    /// How many blocks there are of it.
    blocks: usize,
    /// It was wholly free at the last shrink, and no block was taken since.
    marked: bool,
}

/// See the module documentation.
pub(super) struct State<B> {
    parts: Slab<Part<B>>,
    open: Vec<u32>,
    free: usize,
    made: usize,
    max: usize,
    /// How many blocks a slab is cut into.
    step: usize,
    closed: bool,
    /// A waiter's slot is filled by who gives a block.
    waiters: WaitList<Option<Piece<B>>>,
    pub(super) counts: Counts,
}

/// What has happened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) takes: u64,
    pub(super) gives: u64,
    pub(super) waits: u64,
    pub(super) slabs_made: u64,
    pub(super) slabs_dropped: u64,
}

/// What came of trying to take.
pub(super) enum Taken<B> {
    Piece(Piece<B>),
    /// So many more blocks may be made: the caller allocates and calls [`State::grow`].
    Grow(usize),
    Empty,
}

impl<B> State<B> {
    pub(super) fn new(max: usize, step: usize) -> Self {
        Self {
            parts: Slab::new(),
            open: Vec::new(),
            free: 0,
            made: 0,
            max,
            step,
            closed: false,
            waiters: WaitList::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a free block, or leave to make more.
    #[inline]
    pub(super) fn take(&mut self) -> Taken<B> {
        if let Some(piece) = self.pop() {
            self.counts.takes += 1;
            return Taken::Piece(piece);
        }
        // One at a time once nothing is kept any more.
        let step = if self.closed { 1 } else { self.step };
        let blocks = step.min(self.max - self.made);
        if blocks == 0 {
            return Taken::Empty;
        }
        self.made += blocks;
        Taken::Grow(blocks)
    }

    fn pop(&mut self) -> Option<Piece<B>> {
        let slab = *self.open.last()?;
        let part = &mut self.parts[slab as usize];
        let bytes = part.free.pop().expect("an open part has a free block");
        part.marked = false;
        if part.free.is_empty() {
            self.open.pop();
        }
        self.free -= 1;
        Some(Piece { bytes, slab })
    }

    /// Adds the slab that [`Taken::Grow`] allowed: one block is the caller's, the others go to those
    /// who wait and into the pool. What is left over, because the pool was closed meanwhile, is to
    /// be dropped after unlocking.
    pub(super) fn grow(&mut self, mut pieces: Vec<B>) -> (Piece<B>, Vec<Fired>, Vec<B>) {
        let bytes = pieces.pop().expect("a slab has a block");
        let part = Part { free: Vec::new(), blocks: pieces.len() + 1, marked: false };
        let slab = self.parts.insert(part);
        let slab = u32::try_from(slab).expect("there are fewer slabs than blocks");
        self.counts.slabs_made += 1;
        self.counts.takes += 1;
        let (mut fired, mut left) = (Vec::new(), Vec::new());
        for bytes in pieces {
            match self.hand(Piece { bytes, slab }) {
                Ok(waiter) => fired.push(waiter),
                Err(piece) => left.extend(self.put(piece)),
            }
        }
        (Piece { bytes, slab }, fired, left)
    }

    /// Gets in line. Only after [`Taken::Empty`], under the same lock.
    pub(super) fn enlist(&mut self, ticket: Ticket) -> Key {
        self.counts.waits += 1;
        self.waiters.push_back(ticket, None)
    }

    /// Leaves the line, with what was handed over.
    pub(super) fn leave(&mut self, key: Key) -> Option<Piece<B>> {
        self.waiters.remove(key)
    }

    /// Hands a block to the longest waiter.
    fn hand(&mut self, piece: Piece<B>) -> Result<Fired, Piece<B>> {
        match self.waiters.claim_front(|_| 0) {
            None => Err(piece),
            Some((slot, fired)) => {
                *slot = Some(piece);
                self.counts.takes += 1;
                Ok(fired)
            }
        }
    }

    /// Takes a clean block back: to the longest waiter, or into its part. What is returned is to be
    /// dropped after unlocking.
    #[inline]
    pub(super) fn give(&mut self, piece: Piece<B>) -> (Option<Fired>, Option<B>) {
        self.counts.gives += 1;
        match self.hand(piece) {
            Ok(fired) => (Some(fired), None),
            Err(piece) => (None, self.put(piece)),
        }
    }

    fn put(&mut self, piece: Piece<B>) -> Option<B> {
        let part = &mut self.parts[piece.slab as usize];
        if self.closed {
            part.blocks -= 1;
            self.made -= 1;
            if part.blocks == 0 {
                self.parts.remove(piece.slab as usize);
                self.counts.slabs_dropped += 1;
            }
            return Some(piece.bytes);
        }
        if part.free.is_empty() {
            self.open.push(piece.slab);
        }
        part.free.push(piece.bytes);
        self.free += 1;
        None
    }

    /// One step of shrinking: takes out the slabs that were marked and not used since, and marks
    /// what is wholly free beyond the share `keep`. What is returned is to be dropped.
    pub(super) fn shrink(&mut self, keep: f64) -> Vec<Vec<B>> {
        let dead = self.remove_if(|part| part.marked);
        let whole: Vec<usize> = self.whole().collect();
        let kept = ((whole.len() as f64 * keep) as usize).min(whole.len());
        // Those of the highest numbers, which a new slab does not get: the others fill up first.
        for &slab in &whole[kept..] {
            self.parts[slab].marked = true;
        }
        dead
    }

    /// Keeps nothing from now on. What is returned is to be dropped.
    pub(super) fn close(&mut self) -> Vec<Vec<B>> {
        self.closed = true;
        let mut dead = self.remove_if(|_| true);
        // Slabs of which some are out lose what is here now, and the rest as it comes back.
        for slab in std::mem::take(&mut self.open) {
            let part = &mut self.parts[slab as usize];
            let free = std::mem::take(&mut part.free);
            part.blocks -= free.len();
            self.made -= free.len();
            self.free -= free.len();
            dead.push(free);
        }
        dead
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Slabs with all their blocks here.
    fn whole(&self) -> impl Iterator<Item = usize> + '_ {
        let whole = self.parts.iter().filter(|(_, part)| part.free.len() == part.blocks);
        whole.map(|(slab, _)| slab)
    }

    fn remove_if(&mut self, wanted: impl Fn(&Part<B>) -> bool) -> Vec<Vec<B>> {
        let slabs: Vec<_> = self.whole().filter(|slab| wanted(&self.parts[*slab])).collect();
        if slabs.is_empty() {
            return Vec::new();
        }
        let dead: Vec<_> = slabs.into_iter().map(|slab| self.parts.remove(slab).free).collect();
        let blocks: usize = dead.iter().map(Vec::len).sum();
        self.open.retain(|slab| self.parts.contains(*slab as usize));
        self.free -= blocks;
        self.made -= blocks;
        self.counts.slabs_dropped += dead.len() as u64;
        dead
    }

    /// Free blocks, made blocks, slabs.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.free, self.made, self.parts.len())
    }

    /// The invariants of the module documentation, while nothing is being allocated.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut free, mut made) = (0, 0);
        for (slab, part) in &self.parts {
            let listed = self.open.iter().filter(|open| **open as usize == slab).count();
            assert_eq!(listed, usize::from(!part.free.is_empty()));
            assert!(part.free.len() <= part.blocks && part.blocks > 0);
            free += part.free.len();
            made += part.blocks;
        }
        assert_eq!((self.free, self.made), (free, made));
        assert!(self.made <= self.max && self.open.len() <= self.parts.len());
        assert!(self.waiters.is_empty() || self.free == 0);
    }
}

//! Loose blocks: what a thread has freed last, by class, ready to be handed out again.
//!
//! A block that is freed and asked for again within some dozen operations need not go home in between. It lies on its
//! class's *shelf* in the thread's cache: an array of addresses, last in first out. Neither the free nor the next
//! allocation of it touches the record of its span, and what was freed last, which the processor still has, is used
//! next.
//!
//! ```text
//!   free ──► shelf has room? ──no──► the block's span
//!   alloc ─► shelf has a block? ─no─► the current span
//! ```
//!
//! A shelf that is full or empty is not emptied or filled in a batch: then everything is as if there were no shelf. The
//! number of blocks on it goes up and down as a program allocates and frees, and most of the time it is at neither end.
//!
//! *Room* is learned. A program that builds something large and then drops it has no use for loose blocks, each of
//! which keeps a span from becoming empty. So a shelf has room for 16 blocks and 16 KiB at first, and for twice as
//! many if it was full once and then empty when the current span had nothing left either: at most for 1,024 and 64
//! KiB. That it was full is read from its last slot, which is cleared beforehand, so it costs the fast paths nothing.
//!
//! *Only blocks of full spans and of the current one become loose.* A span with room waits to become empty, or to be
//! the current one; blocks that were used again out of turn would keep many spans a little in use instead of few. Such
//! spans name no shelf ([`crate::cache::NO_SHELF`]). (Where all may be loose, a map of 100,000 growing vectors peaks
//! at 53 MiB instead of 44, and takes a fifth longer.)
//!
//! *What is loose counts as used* in its span, which therefore stays the cache's: a cache puts its loose blocks back
//! before it gives up a span ([`crate::cache::Cache::surrender`]). So the spans of a shelf's blocks are all the
//! cache's. A shelf is *closed* (it has no room) from then on until the class is used again, so that the first free
//! after a rest takes the slow road, which wakes the scavenger.
//!
//! *A loose block is marked*: its first word is the heap's secret, xored with its address. It is looked at when the
//! block is handed out, and when a block is freed: a broken mark is a write after free, a mark in a block that is
//! freed is a double free for certain. Links of blocks in lists have the same upper half ([`crate::span`]), so that a
//! look at four bytes ([`is_suspect`]) tells whether a block may be free, be it loose or in a list.
//!
//! Protected by the holder of the cache, as all of a cache is. How many there are is read by anybody as a hint.
//!
//! Rejected: loose blocks in a list through themselves: each allocation would wait for the block's link, and a write
//! after free could lead the list astray. Batches that fill and empty a shelf (tcmalloc, jemalloc): a program that
//! frees a thousand blocks and then allocates a thousand does everything twice. A count and an array in the place of
//! three pointers: one more load, on which the next depends, is 8 % of a pair. Bits of free blocks beside the span in
//! the place of marks: a free would not wait for the block's line to come from memory (15 % where 100,000 blocks of
//! all sizes live), but an allocation would have to find the span again to clear the bit.

use crate::classes::{COUNT, SIZES};
use crate::ground;
use crate::span::{HARDENED, Span};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// The most blocks on a shelf.
const MOST: usize = 1024;

/// The most bytes on a shelf.
const MOST_BYTES: usize = 64 << 10;

/// The most blocks on a shelf at first.
const FEW: usize = 16;

/// The most bytes on a shelf at first.
const FEW_BYTES: usize = 16 << 10;

/// How many blocks of a class may be loose.
const fn most(class: usize) -> usize {
    let most = MOST_BYTES / SIZES[class] as usize;
    if most < MOST { most } else { MOST }
}

/// How many blocks of a class may be loose at first.
const fn few(class: usize) -> usize {
    match FEW_BYTES / SIZES[class] as usize {
        0 => 1,
        few if few < FEW => few,
        _ => FEW,
    }
}

/// Where the slots of each class begin once they are more than [`FEW`], and where those of the last one end. Before
/// them lie the first slots of all classes, close together: a thread that allocates little touches few pages.
const LONG: [u32; COUNT + 1] = {
    let mut first = [(COUNT * FEW) as u32; COUNT + 1];
    let mut class = 0;
    while class < COUNT {
        let slots = if most(class) > FEW { most(class) } else { 0 };
        first[class + 1] = first[class] + slots as u32;
        class += 1;
    }
    first
};

/// Bytes of the slots of all classes: they lie behind a cache, and are touched as far as they are used.
pub const SLOT_BYTES: usize = LONG[COUNT] as usize * size_of::<Slot>();

/// A loose block, or what was there once.
type Slot = *mut u64;

/// The loose blocks of a class, and the span that is asked when there are none.
///
/// ```text
///  base        top           end
///   │▓▓▓▓▓▓▓▓▓▓▓│             │        closed: end = base
/// ```
#[derive(Debug)]
#[repr(C, align(32))]
pub struct Shelf {
    /// Behind the last loose block. Written by the holder, read by anyone as a hint.
    top: AtomicPtr<Slot>,
    /// The first slot, or null if the shelf was never open. Written by the holder, read by anyone.
    base: AtomicPtr<Slot>,
    /// Behind the last slot that may be used. Holder.
    end: Cell<*mut Slot>,
    /// The span that blocks are taken from, or null. Holder.
    pub current: Cell<*mut Span>,
}

impl Shelf {
    /// An empty one, closed.
    pub const fn new() -> Self {
        Self {
            top: AtomicPtr::new(std::ptr::null_mut()),
            base: AtomicPtr::new(std::ptr::null_mut()),
            end: Cell::new(std::ptr::null_mut()),
            current: Cell::new(std::ptr::null_mut()),
        }
    }

    /// From here on blocks of the class are kept: a few of them, if the shelf was closed; twice as many as before,
    /// if it was full since it was last opened.
    ///
    /// # Safety
    /// The shelf must be empty. At `slots` there must be [`SLOT_BYTES`] that are used for this alone, the same each
    /// time.
    pub unsafe fn open(&self, class: usize, slots: *mut u8) {
        // SAFETY: within the slots, as the caller promises.
        let slot = |number: usize| unsafe { slots.cast::<Slot>().add(number) };
        let room = match self.room() {
            0 => few(class),
            // SAFETY: the last slot before `end`.
            _ if unsafe { *self.end.get().sub(1) }.is_null() => return,
            room => 2 * room,
        };
        let room = room.min(most(class));
        let base = if room > FEW { slot(LONG[class] as usize) } else { slot(class * FEW) };
        self.base.store(base, Relaxed);
        self.top.store(base, Relaxed);
        // SAFETY: `room` slots from `base` on are those of the class; no block lies there.
        unsafe {
            self.end.set(base.add(room));
            *base.add(room - 1) = std::ptr::null_mut();
        }
    }

    /// How many blocks there may be.
    fn room(&self) -> usize {
        (self.end.get() as usize - self.base.load(Relaxed) as usize) / size_of::<Slot>()
    }

    /// Whether nothing is put here.
    pub fn is_closed(&self) -> bool {
        self.room() == 0
    }

    /// From here on nothing is put here.
    pub fn close(&self) {
        self.end.set(self.base.load(Relaxed));
    }

    /// The span that blocks are taken from, if there is one.
    #[inline(always)]
    pub fn current(&self) -> Option<&'static Span> {
        // SAFETY: records live for ever.
        unsafe { self.current.get().as_ref() }
    }

    /// Blocks on the shelf.
    pub fn len(&self) -> usize {
        let (top, base) = (self.top.load(Relaxed) as usize, self.base.load(Relaxed) as usize);
        // Who looks from outside may see the one before and the other after a change.
        (top.saturating_sub(base) / size_of::<Slot>()).min(MOST)
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.top.load(Relaxed) == self.base.load(Relaxed)
    }

    /// The slot of the block that was put here last. There must be one.
    #[inline(always)]
    unsafe fn last_slot(&self) -> *mut Slot {
        // SAFETY: the caller's promise: `top` lies behind `base`, within the slots.
        unsafe { self.top.load(Relaxed).sub(1) }
    }

    /// The block that was put here last. For who wants to know whether the shelf is in use.
    pub fn last(&self) -> Option<usize> {
        // SAFETY: not empty, hence there is a last slot, and it was written.
        (!self.is_empty()).then(|| unsafe { *self.last_slot() } as usize)
    }

    /// Takes a block, if that is easy: the one that was freed last, if there is one and its mark is whole; its
    /// first word is cleared. Of the current span, if nothing is loose. Else null.
    #[inline(always)]
    pub fn pop(&self) -> *mut u8 {
        if self.is_empty() {
            return self.current().map_or(std::ptr::null_mut(), Span::pop);
        }
        // SAFETY: not empty. What lies here is a block of ours, free, and at least a word long.
        unsafe {
            let slot = self.last_slot();
            let block = *slot;
            if HARDENED {
                if *block != mark(block as usize) {
                    return std::ptr::null_mut();
                }
                *block = 0;
            }
            self.top.store(slot, Relaxed);
            block.cast()
        }
    }

    /// Puts a block here and writes its [`mark`]; `false` if there is no room. The block must be one of the class, in
    /// use, and of a span of this cache.
    #[inline(always)]
    pub fn put(&self, address: usize, mark: u64) -> bool {
        let slot = self.top.load(Relaxed);
        if slot >= self.end.get() {
            return false;
        }
        let block = address as *mut u64;
        // SAFETY: a slot before `end`, which is this shelf's alone; and, by the caller's promise, a block, which nobody
        // uses from here on.
        unsafe {
            if HARDENED {
                *block = mark;
            }
            *slot = block;
            self.top.store(slot.add(1), Relaxed);
        }
        true
    }

    /// The blocks. Holder only.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let base = self.base.load(Relaxed);
        // SAFETY: what is counted was put.
        (0..self.len()).map(move |number| unsafe { *base.add(number) } as usize)
    }

    /// Takes the block that was put here last without a look at it.
    pub fn remove(&self) -> Option<usize> {
        let last = self.last()?;
        // SAFETY: there is a last one.
        self.top.store(unsafe { self.last_slot() }, Relaxed);
        Some(last)
    }
}

/// What the first word of a loose block is.
#[inline(always)]
pub fn mark(block: usize) -> u64 {
    ground::secret() ^ block as u64
}

/// Whether the first word of a block has the upper half of a mark or a link, and is to be looked at. Four bytes only:
/// of a word that was written to in part a moment ago, the processor could not read the whole before it has reached the
/// cache.
#[inline(always)]
pub fn is_suspect(block: usize, mark: u64) -> bool {
    let upper = if cfg!(target_endian = "little") { 4 } else { 0 };
    // SAFETY: callers pass the start of a block, which is at least a word long.
    let found = unsafe { *((block + upper) as *const u32) };
    HARDENED && found == (mark >> 32) as u32
}

/// Whether a block bears the mark of a loose one. For certain: a word of somebody else's is that with a chance of 1
/// in 2^64.
pub fn is_marked(block: usize) -> bool {
    // SAFETY: callers pass the start of a block, which is at least a word long.
    HARDENED && unsafe { *(block as *const u64) } == mark(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of two words, whose first is looked at, and slots for a shelf.
    fn with_shelf(f: impl FnOnce(&Shelf, &mut [[u64; 2]], *mut u8)) {
        let mut slots = vec![0u64; SLOT_BYTES / 8];
        let mut blocks = vec![[1u64; 2]; 3000];
        f(&Shelf::new(), &mut blocks, slots.as_mut_ptr().cast());
    }

    /// How many of these blocks find room.
    fn fill(shelf: &Shelf, blocks: &mut [[u64; 2]]) -> usize {
        let addresses = blocks.iter_mut().map(|block| block.as_mut_ptr() as usize);
        addresses.take_while(|&block| shelf.put(block, mark(block))).count()
    }

    fn drain(shelf: &Shelf) -> usize {
        std::iter::from_fn(|| shelf.remove()).count()
    }

    #[test]
    fn the_block_that_was_freed_last_is_handed_out_first_and_cleared() {
        with_shelf(|shelf, blocks, slots| {
            assert!(shelf.pop().is_null() && fill(shelf, blocks) == 0, "closed until it is opened");
            // SAFETY: the shelf is empty, and the slots are its own.
            unsafe { shelf.open(1, slots) };
            assert_eq!(fill(shelf, &mut blocks[..3]), 3);
            assert_eq!(shelf.iter().count(), shelf.len());
            for at in (0..3).rev() {
                let block = blocks[at].as_mut_ptr();
                assert_eq!(
                    HARDENED,
                    is_marked(block as usize) && is_suspect(block as usize, mark(block as usize))
                );
                assert_eq!(shelf.pop().cast(), block);
                assert_eq!(blocks[at], [if HARDENED { 0 } else { 1 }, 1]);
            }
            assert!(shelf.pop().is_null());
        });
    }

    #[test]
    fn a_block_that_was_written_to_is_not_handed_out() {
        with_shelf(|shelf, blocks, slots| {
            // SAFETY: the shelf is empty, and the slots are its own.
            unsafe { shelf.open(1, slots) };
            assert_eq!(fill(shelf, &mut blocks[..1]), 1);
            blocks[0][0] ^= 1 << 40;
            assert_eq!(shelf.pop().is_null(), HARDENED);
        });
    }

    #[test]
    fn room_doubles_when_it_was_used_up_and_begins_anew_after_a_rest() {
        with_shelf(|shelf, blocks, slots| {
            let open = || {
                // SAFETY: the shelf is empty each time, and the slots are its own.
                unsafe { shelf.open(1, slots) };
                shelf.room()
            };
            assert_eq!((open(), open()), (FEW, FEW), "not full meanwhile");
            let mut room = FEW;
            while room < MOST {
                assert_eq!(fill(shelf, blocks), room);
                assert_eq!(drain(shelf), room);
                room *= 2;
                assert_eq!((open(), open()), (room, room));
            }
            assert_eq!((fill(shelf, blocks), drain(shelf), open()), (MOST, MOST, MOST));
            shelf.close();
            assert!(shelf.is_closed() && fill(shelf, blocks) == 0);
            assert_eq!(open(), FEW);
        });
    }

    #[test]
    fn the_slots_of_all_classes_lie_beside_each_other_within_their_bounds() {
        let mut ends = Vec::new();
        for class in 0..COUNT {
            assert!(few(class) >= 1 && few(class) <= most(class).min(FEW));
            assert!(most(class) * SIZES[class] as usize <= MOST_BYTES);
            let base = if most(class) > FEW { LONG[class] as usize } else { class * FEW };
            ends.push(base + most(class));
            assert!(most(class) <= FEW || base + most(class) == LONG[class + 1] as usize);
        }
        assert!(ends.iter().all(|&end| end <= SLOT_BYTES / size_of::<Slot>()));
    }
}

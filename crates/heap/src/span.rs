//! A span: some pages cut into blocks of one size, or lent out whole.
//!
//! ```text
//!  start                                                          start + pages × 8 KiB
//!  ├────────┬────────┬────────┬────────┬── ─ ─ ──┬────────┬──────┤
//!  │ in use │  free ─┼───────►│  free  │         │ not    │ tail │
//!  └────────┴────────┴────────┴────────┴── ─ ─ ──┴ carved ┴──────┘
//!
//!  blocks = in use + free in the list + in the remote list + not carved
//!  used   = in use + loose + in the remote list (+ 1 while the span is a cache's current one)
//! ```
//!
//! *Carving* puts blocks into the free list, those that begin in one 4 KiB page at a time, so a fresh
//! span touches no more pages than it lends out. Pages whose blocks are all free can be given back to
//! the kernel without the rest of the span: their blocks leave the list and are not carved again
//! until they are needed ([`holes`]). One mask, `uncarved`, says both.
//!
//! *Links* are offsets into the span, xored with a secret and the block's address, in the first word of the block. The
//! upper half of the secret is the heap's, the lower half the span's own. Only 18 of the 64 bits may differ from zero
//! after decoding. A write after free or an overflow from the block before is seen when the block is taken; a block
//! whose first word *is* a link when it is freed is probably free already, and [`Span::is_free`] makes sure. Taking a
//! block clears its first word, so that a block that was never written to is not suspected.
//!
//! *Who may touch what*: fields in a [`Cell`] belong to the holder of the span: the thread whose cache
//! owns it, or whoever has the central lock of its class if it has no owner, or the page heap. Atomic
//! fields say who writes them. Records are never unmapped, so a late look at one is a look at memory
//! that holds a span, if perhaps another one.
//!
//! The record is three lines, by who writes: what frees read from whatever thread, what the holder changes with each
//! block that leaves or comes home, what other threads change. (With the first two in one, the thread that frees what
//! another allocates takes the line away from it with each look: 1.4 times as long.)
//!
//! Rejected: a bitmap of free blocks beside the list. It would make every misuse certain at once, for
//! two more cache misses per operation.

mod holes;

pub use self::holes::Holes;
use crate::cache::{Cache, NO_SHELF};
use crate::classes::{CLASSES, COUNT, Class, MAX_BLOCKS, PAGE};
use crate::ground;
use crate::loose;
use crate::misuse;
use crate::remote::Remote;
use std::cell::Cell;
use std::sync::atomic::{
    AtomicPtr, AtomicU16, AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};

/// The link of the last block of a list. No block begins there.
pub const END: u32 = 0x3_FFF8;

/// Decoded links are below this.
const LINK_LIMIT: u64 = 0x4_0000;

/// Whether links are encoded and blocks are looked at before they are believed. Built with
/// `--cfg millpond_unhardened` they are not: that is decided by whoever builds a program, in its flags.
/// Rejected: a feature of the crate, which any library among a program's dependencies could set for all.
pub const HARDENED: bool = cfg!(not(millpond_unhardened));

/// Bytes of a page of the kernel, by which spans are carved and given back.
pub const OS_PAGE: usize = 4096;

/// Blocks that carving makes at least, if there are so many.
const CARVE_BLOCKS: usize = 8;

/// In [`Span::class`]: not small blocks.
pub const NO_CLASS: usize = u8::MAX as usize;

/// Where [`Span::kind`] has the class.
const CLASS_SHIFT: u32 = 8;

const _: () = assert!(COUNT <= NO_CLASS);

/// Pages of 4 KiB of all spans of small blocks that are not resident for certain: never touched, or given back. What
/// is kept free is measured by what is really there, and not by spans that are mostly holes. Changed with the mask of
/// each span; a sum, so no order is needed.
pub static HOLLOW: AtomicUsize = AtomicUsize::new(0);

/// What a span is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// A record without pages.
    Gone,
    /// In a cache: blocks are taken from it.
    Current,
    /// In a cache: has room.
    Partial,
    /// In a cache: had no room when it was last looked at.
    Full,
    /// In the central list: has room, and no owner.
    Central,
    /// Without an owner, and without room when it was last looked at.
    Alone,
    /// One object with pages of its own.
    Large,
    /// One small object with pages of its own, because it was sampled.
    Sampled,
}

impl State {
    fn from_byte(byte: u8) -> Self {
        use State::{Alone, Central, Current, Full, Gone, Large, Partial, Sampled};
        [Gone, Current, Partial, Full, Central, Alone, Large, Sampled][byte as usize]
    }
}

/// Both in one word: [`Span::kind`].
const fn kind(state: State, class: usize) -> u16 {
    (class << CLASS_SHIFT) as u16 | state as u16
}

/// The record of a span.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Span {
    // The first line is what every free reads, from whatever thread, and what seldom changes.
    /// The cache whose thread may free here without a second look; null if nobody may. Written by
    /// the holder.
    pub local: AtomicPtr<Cache>,
    /// The cache that owns the span, or null. Changed under the central lock of the class, and by
    /// the page heap for a new span.
    pub owner: AtomicPtr<Cache>,
    /// First address. Set before the span is published, as are `magic` and `key`.
    pub start: Cell<usize>,
    /// See [`Class::magic`].
    pub magic: Cell<u64>,
    /// The secret of the links: the upper half is that of the heap's, whose top bit is set, so a word of
    /// zeros is no link.
    pub key: Cell<u64>,
    /// Bytes that were asked for; for large and sampled objects. Set by whoever has the object.
    pub bytes: Cell<usize>,
    /// Blocks below this offset are carved. 0 while there are holes, which sends frees to the exact
    /// check. Written by the holder, read by anyone who frees.
    pub carved: AtomicU32,
    /// Where a block that is freed lies down: the class's shelf, in bytes from the start of the owner's cache, or
    /// [`NO_SHELF`]: it goes home. Holder.
    pub shelf: Cell<u32>,
    /// Pages of 8 KiB. Set before the span is published; changed under the page lock.
    pub pages: Cell<u32>,
    /// What the span is: a [`State`], written by the holder, and from [`CLASS_SHIFT`] on the size class or
    /// [`NO_CLASS`], written by the page heap. One word: who asks
    /// whether a span is *this* in *that* class must not put together the
    /// halves of two lives of a record.
    kind: AtomicU16,
    /// Whether the mapping was moved here (see `large`): freeing has to mend it. Page lock.
    pub moved: Cell<bool>,

    // The second line is what the holder writes when a block leaves the span or comes home.
    /// The first free block, or [`END`]. Holder.
    pub free: Cell<u32>,
    /// See the essay. Written by the holder, read by anyone as a hint.
    pub used: AtomicU32,
    /// Bit n: the blocks that begin in the n-th 4 KiB are not carved. Written by the holder.
    pub uncarved: AtomicU32,
    /// Bit n: the n-th 4 KiB may be resident. Written by the holder. Small spans only.
    pub dirty: AtomicU32,
    /// Neighbours in the list of what a cache owns. Holder of the cache.
    pub owned_next: Cell<*mut Span>,
    /// As `owned_next`.
    pub owned_prev: Cell<*mut Span>,
    /// Neighbours in the list that the state names. Holder of that list.
    pub next: Cell<*mut Span>,
    /// As `next`.
    pub prev: Cell<*mut Span>,
    /// The next span in an inbox. Central lock of the class.
    pub inbox_next: Cell<*mut Span>,
    /// Whether the cache keeps this span although it is empty. Holder.
    pub spare: Cell<bool>,

    // The third line is what other threads write: they would take one of the others away from the holder.
    /// Blocks freed by other threads.
    pub remote: Remote,
}

// Each line where it should be.
const _: () =
    assert!(std::mem::offset_of!(Span, free) == 64 && std::mem::offset_of!(Span, remote) == 128);

// SAFETY: see "who may touch what" in the essay.
unsafe impl Sync for Span {}
// SAFETY: as above.
unsafe impl Send for Span {}

impl Span {
    /// A record without pages.
    pub const fn empty() -> Self {
        Self {
            local: AtomicPtr::new(std::ptr::null_mut()),
            owner: AtomicPtr::new(std::ptr::null_mut()),
            start: Cell::new(0),
            magic: Cell::new(0),
            key: Cell::new(1 << 63),
            bytes: Cell::new(0),
            carved: AtomicU32::new(0),
            shelf: Cell::new(0),
            pages: Cell::new(0),
            kind: AtomicU16::new(kind(State::Gone, NO_CLASS)),
            moved: Cell::new(false),
            free: Cell::new(END),
            used: AtomicU32::new(0),
            uncarved: AtomicU32::new(0),
            dirty: AtomicU32::new(0),
            owned_next: Cell::new(std::ptr::null_mut()),
            owned_prev: Cell::new(std::ptr::null_mut()),
            next: Cell::new(std::ptr::null_mut()),
            prev: Cell::new(std::ptr::null_mut()),
            inbox_next: Cell::new(std::ptr::null_mut()),
            spare: Cell::new(false),
            remote: Remote::new(),
        }
    }

    /// Makes the record that of a span of small blocks, none of them carved. The page heap only.
    pub fn set_up_small(&self, start: usize, class: usize, key: u64, dirty: u32) {
        let Class { pages, magic, .. } = CLASSES[class];
        let key = u64::from(key as u32) ^ ground::secret();
        self.set_up(start, pages, key, State::Current, class);
        self.magic.set(magic);
        self.shelf.set(NO_SHELF);
        self.used.store(0, Relaxed);
        let all = u32::MAX >> (32 - pages * (PAGE / OS_PAGE) as u32);
        self.uncarved.store(all, Relaxed);
        self.dirty.store(dirty, Relaxed);
        HOLLOW.fetch_add(self.hollow_pages(), Relaxed);
    }

    /// The pages of a span of small blocks go back to the page heap, which knows for itself what is resident.
    pub fn tear_down_small(&self) {
        HOLLOW.fetch_sub(self.hollow_pages(), Relaxed);
    }

    /// Pages of 4 KiB that are not resident for certain.
    fn hollow_pages(&self) -> usize {
        let all = self.geometry().pages as usize * (PAGE / OS_PAGE);
        all - self.dirty.load(Relaxed).count_ones() as usize
    }

    /// Other pages may be resident from here on. Holder only.
    fn set_dirty(&self, dirty: u32) {
        let before = self.dirty.load(Relaxed);
        if before != dirty {
            self.dirty.store(dirty, Relaxed);
            let fewer = (before.count_ones() as usize).wrapping_sub(dirty.count_ones() as usize);
            HOLLOW.fetch_add(fewer, Relaxed);
        }
    }

    /// Makes the record that of one object. The page heap only.
    pub fn set_up_whole(&self, start: usize, pages: u32, bytes: usize, state: State) {
        self.set_up(start, pages, ground::secret(), state, NO_CLASS);
        self.magic.set(0);
        self.shelf.set(NO_SHELF);
        self.used.store(1, Relaxed);
        self.bytes.set(bytes);
    }

    fn set_up(&self, start: usize, pages: u32, key: u64, state: State, class: usize) {
        self.local.store(std::ptr::null_mut(), Relaxed);
        self.owner.store(std::ptr::null_mut(), Relaxed);
        self.start.set(start);
        self.pages.set(pages);
        self.key.set(key);
        self.free.set(END);
        self.carved.store(0, Relaxed);
        self.spare.set(false);
        self.moved.set(false);
        self.bytes.set(0);
        self.uncarved.store(0, Relaxed);
        self.dirty.store(u32::MAX, Relaxed);
        self.kind.store(kind(state, class), Release);
    }

    /// The span is one of a cache's with room: what is freed of it goes home, so that it may become empty.
    pub fn set_partial(&self) {
        self.set_state(State::Partial);
        self.shelf.set(NO_SHELF);
    }

    /// What the span is. Certain for its holder, a hint for others.
    pub fn state(&self) -> State {
        State::from_byte(self.kind.load(Acquire) as u8)
    }

    /// Whether the span had no room when its holder last looked. As [`Self::state`], and one comparison.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.kind.load(Relaxed) as u8 == State::Full as u8
    }

    /// Whether the span is this and of that class, both at one moment.
    pub fn is_of(&self, state: State, class: usize) -> bool {
        self.kind.load(Acquire) == kind(state, class)
    }

    /// The holder says what the span is now.
    pub fn set_state(&self, state: State) {
        // Nobody else writes: the page heap sets a class when it is the holder.
        self.kind.store(kind(state, self.class()), Release);
    }

    /// The size class of a span of small blocks; [`NO_CLASS`] for objects with pages of their own.
    pub fn class(&self) -> usize {
        (self.kind.load(Relaxed) >> CLASS_SHIFT) as usize
    }

    /// Sizes and counts of a span of small blocks.
    pub fn geometry(&self) -> &'static Class {
        &CLASSES[self.class()]
    }

    fn word(&self, offset: u32) -> *mut u64 {
        (self.start.get() + offset as usize) as *mut u64
    }

    #[inline(always)]
    fn decode(&self, block: *mut u64) -> u64 {
        // SAFETY: callers pass the start of a block of this span, which holds at least a word.
        unsafe { *block ^ self.mask(block) }
    }

    #[inline(always)]
    fn link(&self, block: *mut u64, next: u32) {
        // SAFETY: as above, and the block is free: nobody else uses it.
        unsafe { *block = u64::from(next) ^ self.mask(block) };
    }

    /// What the link in a block is xored with.
    #[inline(always)]
    fn mask(&self, block: *mut u64) -> u64 {
        if HARDENED { self.key.get() ^ block as u64 } else { 0 }
    }

    /// Takes the first free block; its first word is cleared. Null if there is none, or if its link is
    /// broken: [`Self::pop_or_abort`] tells. Holder only.
    #[inline(always)]
    pub fn pop(&self) -> *mut u8 {
        let free = self.free.get();
        if free == END {
            return std::ptr::null_mut();
        }
        let block = self.word(free);
        let next = self.decode(block);
        if HARDENED && next >= LINK_LIMIT {
            return std::ptr::null_mut();
        }
        self.free.set(next as u32);
        self.used.store(self.used.load(Relaxed).wrapping_add(1), Relaxed);
        if HARDENED {
            // SAFETY: the block is the caller's now, and holds at least a word.
            unsafe { *block = 0 };
        }
        block.cast()
    }

    /// As [`Self::pop`], but a broken link ends the process.
    pub fn pop_or_abort(&self) -> *mut u8 {
        let block = self.pop();
        if block.is_null() && self.has_free() {
            misuse::corrupted(self, self.word(self.free.get()) as usize);
        }
        block
    }

    /// Puts a block back, and says how many are used now. Holder only; the block must be one of this
    /// span's, and in use.
    #[inline(always)]
    pub fn push(&self, block: usize) -> u32 {
        self.link(block as *mut u64, self.free.get());
        self.free.set((block - self.start.get()) as u32);
        let used = self.used.load(Relaxed).wrapping_sub(1);
        self.used.store(used, Relaxed);
        used
    }

    /// Whether an address is that of a carved block, as far as can be told without the mask. `false`
    /// means: look again with [`Self::is_block`].
    #[inline(always)]
    pub fn is_carved_block(&self, address: usize) -> bool {
        let offset = address.wrapping_sub(self.start.get()) as u64;
        let magic = self.magic.get();
        offset < u64::from(self.carved.load(Relaxed)) && offset.wrapping_mul(magic) < magic
    }

    /// Whether an address is that of a carved block. Exact.
    pub fn is_block(&self, address: usize) -> bool {
        let class = self.geometry();
        let offset = address.wrapping_sub(self.start.get());
        offset < class.blocks as usize * class.size as usize
            && (offset as u64).wrapping_mul(class.magic) < class.magic
            && self.uncarved.load(Relaxed) >> (offset / OS_PAGE) & 1 == 0
    }

    /// Whether the first word of a block is a link of this span's or the mark of a loose block: then the block is
    /// free, or holds by chance (1 in 2^46) what looks like that.
    pub fn looks_free(&self, block: usize) -> bool {
        HARDENED && (self.decode(block as *mut u64) < LINK_LIMIT || loose::is_marked(block))
    }

    /// Frees a block from a thread that does not hold the span.
    pub fn push_remote(&self, block: usize) -> crate::remote::Pushed {
        let offset = (block - self.start.get()) as u32;
        self.remote.push(offset, |next| self.link(block as *mut u64, next.unwrap_or(END)))
    }

    /// Brings home what other threads freed; `false` if there was nothing. Holder only.
    pub fn absorb(&self) -> bool {
        // Most often there is nothing, and a look costs less than an exchange.
        if self.remote.count() == 0 {
            return false;
        }
        let taken = self.remote.collect();
        if self.free.get() != END {
            // Behind the last of theirs come ours.
            let mut last = self.word(taken.head);
            for _ in 1..taken.count {
                let next = self.decode(last);
                if next >= u64::from(END) {
                    misuse::corrupted(self, last as usize);
                }
                last = self.word(next as u32);
            }
            self.link(last, self.free.get());
        }
        self.free.set(taken.head);
        let used = self.used.load(Relaxed);
        if taken.count > used {
            misuse::too_many_frees(self, taken.count, used);
        }
        self.used.store(used - taken.count, Relaxed);
        true
    }

    /// Puts blocks that were never used, or whose pages were given back, into the free list; `false`
    /// if there are none. Holder only.
    pub fn carve(&self) -> bool {
        let class = self.geometry();
        let (size, end) = (class.size as usize, (class.blocks * class.size) as usize);
        let mut uncarved = self.uncarved.load(Relaxed);
        let mut dirty = self.dirty.load(Relaxed);
        let (mut made, mut last) = (0, None);
        let behind = self.free.get();
        while uncarved != 0 && made < CARVE_BLOCKS {
            let page = uncarved.trailing_zeros() as usize;
            uncarved &= uncarved - 1;
            let mut offset = (page * OS_PAGE).next_multiple_of(size);
            let stop = ((page + 1) * OS_PAGE).min(end);
            if offset < stop {
                let through = (stop - 1) / size * size + size - 1;
                dirty |= mask_of(offset / OS_PAGE, through / OS_PAGE);
            }
            while offset < stop {
                match last {
                    None => self.free.set(offset as u32),
                    Some(last) => self.link(self.word(last), offset as u32),
                }
                last = Some(offset as u32);
                made += 1;
                offset += size;
            }
        }
        if let Some(last) = last {
            self.link(self.word(last), behind);
        }
        self.set_dirty(dirty);
        self.set_uncarved(uncarved);
        made > 0
    }

    fn set_uncarved(&self, uncarved: u32) {
        self.uncarved.store(uncarved, Relaxed);
        let class = self.geometry();
        let end = class.blocks * class.size;
        let pages = class.pages * (PAGE / OS_PAGE) as u32;
        let carved = match uncarved.trailing_zeros() {
            32 => end,
            // Only the pages from the first one on: no holes.
            first if uncarved.count_ones() == pages - first => end.min(first * OS_PAGE as u32),
            _ => 0,
        };
        self.carved.store(carved, Relaxed);
    }

    /// Has the processor fetch the block that will be taken first. Holder only.
    pub fn prefetch(&self) {
        prefetch(self.start.get() + self.free.get() as usize);
    }

    /// Whether the list has a block. Holder only.
    pub fn has_free(&self) -> bool {
        self.free.get() != END
    }

    /// Whether a block could be taken. Holder only.
    pub fn has_room(&self) -> bool {
        self.has_free() || self.uncarved.load(Relaxed) != 0
    }

    /// Whether a block is loose or in one of the lists, for certain. Holder only: other threads may push
    /// meanwhile, but nobody takes.
    pub fn is_free(&self, block: usize) -> bool {
        if loose::is_marked(block) {
            return true;
        }
        let wanted = (block - self.start.get()) as u32;
        let from = |mut at: u32| {
            for _ in 0..=MAX_BLOCKS {
                if at == wanted {
                    return true;
                }
                if at >= END {
                    return false;
                }
                at = self.decode(self.word(at)).min(u64::from(END)) as u32;
            }
            false
        };
        from(self.free.get()) || self.remote.head().is_some_and(from)
    }

    /// Walks the list and says what is wrong, if anything is. Holder only.
    pub fn check(&self) -> Result<(), &'static str> {
        let class = self.geometry();
        let (mut at, mut listed) = (self.free.get(), 0);
        while at != END {
            if !self.is_block(self.start.get() + at as usize) {
                return Err("a link leads to what is no carved block");
            }
            listed += 1;
            if listed > class.blocks {
                return Err("the free list is a circle");
            }
            let next = self.decode(self.word(at));
            if next >= LINK_LIMIT {
                return Err("a link cannot be decoded");
            }
            at = next as u32;
        }
        let uncarved = self.uncarved.load(Relaxed);
        let page = |index: u32| index * class.size / OS_PAGE as u32;
        let missing = (0..class.blocks).filter(|&index| uncarved >> page(index) & 1 == 1).count();
        let held = u32::from(self.state() == State::Current);
        match listed + missing as u32 + self.used.load(Relaxed) == class.blocks + held {
            true => Ok(()),
            false => Err("free, used and uncarved blocks are not all blocks"),
        }
    }
}

/// Tells the processor of an address that will be read from soon. Any address will do: it never faults.
#[inline(always)]
fn prefetch(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, for whatever address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Bits `first` to `last`.
fn mask_of(first: usize, last: usize) -> u32 {
    (u32::MAX >> (31 - (last - first))) << first
}

//! The first tier: what one thread allocates from, without atomic instructions.
//!
//! A cache *owns* spans, many per class. What its thread frees lies down on the class's shelf ([`crate::loose`]), to be
//! used next, or goes straight back to its span, so that spans become wholly free again. Per class ([`Bin`]):
//!
//! ```text
//!   shelf   ── loose blocks, of full spans and of the current one: asked first
//!   current ── blocks are taken from here (a list per span, the next block is on top)
//!   partial ── spans with room, in the order in which they got it
//!   full    ── spans without, in no list; they come back by a free of this thread, or through the inbox
//!   inbox   ── full spans that other threads have freed blocks of
//!   owned   ── all of these but the loose blocks
//! ```
//!
//! Down, when the current span has no block ([`Cache::refill`]): carve more of it; bring home what
//! other threads freed; set it aside as full and take the next partial one; look into the inbox; ask
//! the central list; ask the page heap. Up, when the last block of a span that is not the current one
//! comes back ([`Cache::emptied`]): one empty span per class is kept if the current one is nearly full, the others
//! return their pages; and large loose blocks go home, so that they keep no other span.
//!
//! A shelf names the current span once more, so that an allocation that finds nothing loose has it at hand; in the
//! checked mode it does not, and has no room either, so every operation takes the slow road.
//!
//! All fields belong to the holder of the cache: its thread, or who has claimed it ([`crate::claim`]),
//! or the lock of the common cache. The list of threads and the inbox say otherwise for themselves.
//!
//! Rejected: loose blocks of all spans alike (tcmalloc). They make every span a little in use for ever, and no
//! span wholly free while a cache is warm.

use crate::central;
use crate::checked;
use crate::classes::{BY_WORDS, COUNT, DIRECT, SIZES};
use crate::ground::span_of;
use crate::list::{List, Owned, address};
use crate::loose::{self, Shelf};
use crate::misuse;
use crate::pages;
use crate::scavenge;
use crate::span::{HARDENED, Span, State};
use crate::threads::Local;
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed};

/// Empty spans that a cache keeps, per class.
const SPARES: usize = 1;

/// Bytes of blocks from which on loose ones go home when a span becomes empty. Such spans are large, and have few
/// blocks: one that is loose keeps all of it.
const LARGE: u32 = 2 << 10;

/// What a cache has of one class.
#[derive(Debug)]
pub struct Bin {
    /// The span that blocks are taken from, or null.
    current: Cell<*mut Span>,
    /// Spans with room.
    pub partial: List,
    /// All spans of the cache.
    pub owned: Owned,
    /// Partial spans that are kept although they are empty.
    spares: Cell<usize>,
    /// What the scavenger saw last, to know whether the bin is in use: see `scavenge`. Scavenger.
    pub seen: Cell<u64>,
    /// Full spans with a message, by `inbox_next`. Written under the central lock of the class.
    pub inbox: AtomicPtr<Span>,
}

impl Bin {
    const fn new() -> Self {
        Self {
            current: Cell::new(std::ptr::null_mut()),
            partial: List::new(),
            owned: Owned::new(),
            spares: Cell::new(0),
            seen: Cell::new(0),
            inbox: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// The span that blocks are taken from, if there is one.
    pub fn current(&self) -> Option<&'static Span> {
        // SAFETY: records live for ever.
        unsafe { self.current.get().as_ref() }
    }
}

/// See the essay.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Cache {
    /// Loose blocks and the current span, per class.
    pub shelves: [Shelf; COUNT],
    /// Per class.
    pub bins: [Bin; COUNT],
    /// Where loose blocks lie: [`loose::SLOT_BYTES`]; null for caches that have none. Set before the cache is used.
    pub slots: Cell<*mut u8>,
    /// The thread's own record; null for caches without a thread. Lock of the threads.
    pub local: Cell<*const Local>,
    /// Neighbours in the list of threads, or of spare caches. Lock of the threads.
    pub next: Cell<*const Cache>,
    /// As `next`.
    pub prev: Cell<*const Cache>,
}

/// In the place of [`shelf_offset`]: none.
pub const NO_SHELF: u32 = u32::MAX;

/// Where the shelf of a class lies in a cache.
pub const fn shelf_offset(class: usize) -> u32 {
    (std::mem::offset_of!(Cache, shelves) + class * size_of::<Shelf>()) as u32
}

/// As [`shelf_offset`], by words of a request.
static SHELF_BY_WORDS: [u16; DIRECT] = {
    let mut table = [0; DIRECT];
    let mut words = 0;
    while words < DIRECT {
        table[words] = shelf_offset(BY_WORDS[words] as usize) as u16;
        words += 1;
    }
    table
};

/// Where the shelf for a request of so many words lies in a cache.
#[inline(always)]
pub fn shelf_by_words(words: usize) -> u32 {
    u32::from(SHELF_BY_WORDS[words])
}

// SAFETY: see the last paragraph but one of the essay.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

impl Cache {
    /// A cache that owns nothing.
    pub const fn new() -> Self {
        Self {
            shelves: [const { Shelf::new() }; COUNT],
            bins: [const { Bin::new() }; COUNT],
            slots: Cell::new(std::ptr::null_mut()),
            local: Cell::new(std::ptr::null()),
            next: Cell::new(std::ptr::null()),
            prev: Cell::new(std::ptr::null()),
        }
    }

    /// The shelf that lies so far into a cache.
    ///
    /// # Safety
    /// The caller must hold the cache, or it must be the stand-in; the offset must come from [`shelf_offset`].
    #[inline(always)]
    pub unsafe fn shelf<'a>(cache: *const Self, offset: u32) -> &'a Shelf {
        // SAFETY: a shelf of the cache, which lives for ever.
        unsafe { &*cache.cast::<u8>().add(offset as usize).cast::<Shelf>() }
    }

    /// Takes a block of a class, with all that may have to be done for it; null when there is no
    /// memory.
    pub fn take(&self, class: usize) -> *mut u8 {
        let shelf = &self.shelves[class];
        if let Some(last) = shelf.last() {
            let block = shelf.pop();
            if block.is_null() {
                refuse_broken(last);
            }
            return block;
        }
        let block = self.bins[class].current().map_or(std::ptr::null_mut(), Span::pop_or_abort);
        if block.is_null() { self.refill(class) } else { block }
    }

    fn refill(&self, class: usize) -> *mut u8 {
        loop {
            let current = self.bins[class].current();
            if let Some(span) = current
                && (span.has_free() || span.carve() || span.absorb())
            {
                return span.pop_or_abort();
            }
            let Some(next) = self.next_span(class) else { return std::ptr::null_mut() };
            self.set_current(class, Some(next));
            if let Some(span) = current {
                self.set_aside(span, class);
            }
            if let Some(span) = self.bins[class].partial.first() {
                span.prefetch();
            }
        }
    }

    /// What was the current span is full, unless a block comes from elsewhere at this moment.
    fn set_aside(&self, span: &'static Span, class: usize) {
        if span.remote.arm() {
            span.set_state(State::Full);
        } else {
            span.set_partial();
            self.bins[class].partial.push_front(span);
        }
    }

    /// A span with room, in no list.
    fn next_span(&self, class: usize) -> Option<&'static Span> {
        let bin = &self.bins[class];
        loop {
            if let Some(span) = bin.partial.pop_front() {
                if span.spare.replace(false) {
                    bin.spares.set(bin.spares.get() - 1);
                }
                return Some(span);
            }
            if bin.inbox.load(Relaxed).is_null() {
                break;
            }
            self.open_inbox(class);
        }
        let span = match central::fetch(class, self) {
            Some(span) => {
                scavenge::nudge();
                span
            }
            None => {
                let span = pages::small(class)?;
                span.owner.store(self.address(), Relaxed);
                span
            }
        };
        bin.owned.push_front(span);
        self.let_free(span);
        Some(span)
    }

    /// Spans that other threads have freed blocks of have room again.
    fn open_inbox(&self, class: usize) {
        let mut next = central::take_inbox(class, self);
        // SAFETY: records live for ever.
        while let Some(span) = unsafe { next.as_ref() } {
            next = span.inbox_next.get();
            span.remote.settle();
            match span.state() {
                // Filled up again since the message was sent: armed, unless more has come.
                State::Full if !span.absorb() && span.remote.arm() => {}
                State::Full => {
                    span.absorb();
                    self.unfill(span, class);
                    if span.used.load(Relaxed) == 0 {
                        self.emptied(span);
                    }
                }
                // A free of this thread was faster; but while there was a debt, the span stayed.
                State::Partial if span.used.load(Relaxed) == 0 && !span.spare.get() => {
                    self.emptied(span);
                }
                _ => {}
            }
        }
    }

    /// A full span has room. It is the last to be used: until then more blocks of it will have come back.
    /// (The first, so that its block is taken while the processor has it: measured, and 30 % slower where
    /// 100,000 blocks live, as then nearly every allocation changes the span.)
    fn unfill(&self, span: &'static Span, class: usize) {
        self.bins[class].partial.push_back(span);
        span.set_partial();
        if self.shelves[class].is_closed() {
            self.open(class);
        }
        // Its free blocks may be all that ever comes: nobody else would tell the scavenger.
        scavenge::nudge();
    }

    /// This cache's thread may free into the span without a second look.
    fn let_free(&self, span: &Span) {
        if !checked::is_on() {
            span.local.store(self.address(), Relaxed);
        }
    }

    fn set_current(&self, class: usize, span: Option<&'static Span>) {
        let bin = &self.bins[class];
        let held = |span: &Span, change: u32| {
            span.used.store(span.used.load(Relaxed).wrapping_add(change), Relaxed);
        };
        if let Some(old) = bin.current() {
            held(old, u32::MAX);
        }
        if let Some(new) = span {
            held(new, 1);
            new.set_state(State::Current);
            new.shelf.set(shelf_offset(class));
        }
        let pointer = span.map_or(std::ptr::null_mut(), address);
        bin.current.set(pointer);
        if !checked::is_on() {
            self.shelves[class].current.set(pointer);
        }
        if span.is_some() {
            self.open(class);
        }
    }

    /// From here on blocks of the class may be loose. None is at the moment.
    fn open(&self, class: usize) {
        let slots = self.slots.get();
        if !slots.is_null() && !checked::is_on() {
            debug_assert_eq!(self.shelves[class].len(), 0);
            // SAFETY: whoever made the cache gave it slots, once; and the callers see to it that the shelf is empty.
            unsafe { self.shelves[class].open(class, slots) };
        }
    }

    /// Puts loose blocks back into their spans, and closes the shelf. `f` is called for the span of each.
    fn put_back(&self, class: usize, f: impl Fn(&'static Span)) {
        let shelf = &self.shelves[class];
        shelf.close();
        while let Some(address) = shelf.remove() {
            let (Some(span), true) = (span_of(address), !HARDENED || loose::is_marked(address))
            else {
                refuse_broken(address)
            };
            span.push(address);
            if span.state() == State::Full {
                self.bins[class].partial.push_back(span);
                span.set_partial();
            }
            f(span);
        }
    }

    /// Frees a block of a span of this cache, on the slow road: the block was looked at.
    pub fn give(&self, span: &'static Span, block: usize) {
        let used = span.push(block);
        if span.state() == State::Full {
            self.unfill(span, span.class());
        }
        if used == 0 {
            self.emptied(span);
        }
    }

    /// The last block of a span has come back; the span is not the current one.
    pub fn emptied(&self, span: &'static Span) {
        let class = span.class();
        self.keep_or_retire(span);
        if SIZES[class] >= LARGE && !self.shelves[class].is_empty() {
            self.put_back(class, |span| {
                if span.state() == State::Partial && span.used.load(Relaxed) == 0 {
                    self.keep_or_retire(span);
                }
            });
        }
    }

    /// An empty span stays as the spare one, or returns its pages.
    fn keep_or_retire(&self, span: &'static Span) {
        let bin = &self.bins[span.class()];
        debug_assert_eq!(span.state(), State::Partial);
        if span.spare.get() {
            return;
        }
        // Where the current span has room for a quarter of its blocks, nobody will ask soon.
        let is_roomy = |current: &Span| {
            let held = current.used.load(Relaxed) - 1;
            4 * held <= 3 * current.geometry().blocks
        };
        if bin.spares.get() < SPARES && !bin.current().is_some_and(is_roomy) {
            span.spare.set(true);
            bin.spares.set(bin.spares.get() + 1);
        } else {
            central::retire(span, || {
                bin.partial.remove(span);
                bin.owned.remove(span);
            });
        }
    }

    /// What a bin holds, as a number that changes when the bin is used. Looks at few spans.
    pub fn fingerprint(&self, class: usize) -> u64 {
        let (bin, shelf) = (&self.bins[class], &self.shelves[class]);
        let mix = |sum: u64, span: &Span| {
            let used = u64::from(span.used.load(Relaxed));
            (sum ^ used ^ span.start.get() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        let spans = bin.current().into_iter().chain(bin.partial.iter().take(64));
        let loose = shelf.len() as u64 ^ shelf.last().unwrap_or(0) as u64;
        let first = (bin.partial.len() as u64 + 1) ^ loose.rotate_left(32);
        let sum = spans.fold(first, mix);
        sum ^ bin.inbox.load(Acquire) as u64
    }

    /// Whether a bin holds anything that could be given up.
    pub fn holds_room(&self, class: usize) -> bool {
        let (bin, shelf) = (&self.bins[class], &self.shelves[class]);
        let holds = bin.current().is_some() || !shelf.is_empty();
        holds || bin.partial.len() > 0 || !bin.inbox.load(Relaxed).is_null()
    }

    /// Gives up the spans of a class: those with room, or all. Whole ones return their pages, the
    /// others go to the central list.
    pub fn surrender(&self, class: usize, full_ones_too: bool) {
        let bin = &self.bins[class];
        if bin.owned.len() == 0 {
            return;
        }
        let current = self.bins[class].current();
        self.put_back(class, |_| ());
        self.set_current(class, None);
        if let Some(span) = current {
            span.set_partial();
            bin.partial.push_front(span);
        }
        central::surrender(class, self, full_ones_too);
        bin.spares.set(0);
    }

    /// As spans hold it.
    pub fn address(&self) -> *mut Cache {
        std::ptr::from_ref(self).cast_mut()
    }

    fn check_loose(&self, class: usize) -> Result<(), &'static str> {
        for block in self.shelves[class].iter() {
            let span = span_of(block).filter(|span| span.class() == class && span.is_block(block));
            let Some(span) = span else { return Err("a loose block is none of its class") };
            if span.owner.load(Relaxed) != self.address() {
                return Err("a loose block's span has another owner");
            }
            if HARDENED && !loose::is_marked(block) {
                return Err("a loose block is not marked");
            }
        }
        Ok(())
    }

    /// Walks every span and says what is wrong, if anything is.
    pub fn check(&self) -> Result<(), &'static str> {
        for (class, bin) in self.bins.iter().enumerate() {
            self.check_loose(class)?;
            let mut full = 0;
            for span in bin.owned.iter() {
                if span.owner.load(Relaxed) != self.address() {
                    return Err("a span in a cache has another owner");
                }
                span.check()?;
                if span.state() == State::Full {
                    full += 1;
                    if span.has_room() {
                        return Err("a full span has room");
                    }
                }
            }
            let listed = usize::from(bin.current().is_some()) + bin.partial.len();
            if full + listed != bin.owned.len() {
                return Err("a span of a cache is neither current nor partial nor full");
            }
        }
        Ok(())
    }
}

/// The mark of a loose block is broken.
#[cold]
#[inline(never)]
fn refuse_broken(block: usize) -> ! {
    match span_of(block) {
        Some(span) => misuse::corrupted(span, block),
        None => misuse::not_a_block("allocation", block),
    }
}

/// Whether a free of a block that looks free is a double free. Holder of the span only.
pub fn refuse_double_free(operation: &str, span: &Span, block: usize) {
    if span.looks_free(block) && span.is_free(block) {
        misuse::double_free(operation, span, block);
    }
}

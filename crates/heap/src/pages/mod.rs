//! The page heap: which pages are whose, and the table from an address to its span.
//!
//! It owns two reservations. *Heap* is what is lent out, in pages of 8 KiB. *Meta* holds what the
//! allocator knows about it, one array after the other, so that `address → span` is a subtraction, a
//! shift and a load ([`crate::ground`]):
//!
//! ```text
//!  meta   │ table: a pointer per page │ map: bits, summaries │ backing: bits │ huge: bits │ records ─► │
//! ```
//!
//! - *table*: for each page of a span of small blocks, and for the first page of an object with pages
//!   of its own, the span. Null otherwise.
//! - *map*: which pages are taken ([`summary`]).
//! - *backing*: which *free* pages may be resident, and how many in each chunk ([`backing`]).
//! - *huge*: which 2 MiB may be one page of the kernel ([`huge`]).
//! - *records*: spans and caches, taken from the front and kept for ever once made; those of spans that
//!   are gone are used again.
//!
//! All of it is protected by one lock, but for the table, which anyone reads, and *huge*. The walk down: [`small`] and
//! [`Pages::whole`] take the lowest run of pages that is long enough and make a span of it; where the heap grows
//! densely, 2 MiB are made resident first. The walk back: [`Pages::free`]; the pages stay resident until
//! [`Pages::take_idle`] lends them to the scavenger, which returns them by [`Pages::put_idle`].
//!
//! Identity, under the lock: `top = pages of spans + idle + released + moving`, where `top` is the
//! highest page that was ever used.

pub mod backing;
pub mod huge;
pub mod summary;

use crate::classes::{CLASSES, COUNT, PAGE, PAGE_SHIFT};
use crate::ground::GROUND;
use crate::list::address;
use crate::lock::{Lock, Rank};
use crate::scavenge;
use crate::span::{HOLLOW, OS_PAGE, Span, State};
use backing::{Backing, Claim};
use huge::HUGE_PAGES;
use millpond_policy::growth::{Growth, Next};
use millpond_sys::arena::{self, Arena, HUGE_BYTES};
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, Ordering};
use summary::{CHUNK_PAGES, Map, words_for};

/// Address space that is asked for first, in bytes; half of it again and again if refused.
const HEAP_BYTES: usize = 1 << 40;

/// The least that is worth having.
const LEAST_HEAP_BYTES: usize = 4 * CHUNK_BYTES;

/// Bytes of a chunk, of which a heap is a multiple.
const CHUNK_BYTES: usize = CHUNK_PAGES * PAGE;

/// Pages that are opened at a time where the kernel charges for them.
const OPEN_PAGES: usize = 4096;

/// Bytes of records that are opened at a time.
const OPEN_RECORDS: usize = 1 << 20;

/// How the mapping shows in `/proc/self/maps`.
pub const NAME: &std::ffi::CStr = c"millpond heap";

/// Numbers of the page heap, all in pages unless they say otherwise. Protected by the page lock.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Of spans of small blocks, by class.
    pub small: [usize; COUNT],
    /// Of objects with pages of their own.
    pub large: usize,
    /// Of all spans: the sum of `small` and `large`.
    pub lent: usize,
    /// Objects with pages of their own: how many.
    pub large_objects: usize,
    /// Bytes that were asked for in these.
    pub large_bytes: usize,
    /// Free, and perhaps resident.
    pub idle: usize,
    /// Lent to the scavenger at the moment, or to a thread that makes them resident.
    pub moving: usize,
    /// The highest page ever used, plus one.
    pub top: usize,
    /// Bytes of records and caches.
    pub record_bytes: usize,
    /// Bytes given back to the kernel so far, whole pages.
    pub released_bytes: u64,
    /// Times that the kernel refused to take pages back.
    pub refused: u64,
}

/// A run that the scavenger has on loan, or a thread that makes it resident.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loan {
    /// First page.
    pub first: usize,
    /// Pages.
    pub count: usize,
}

/// The page heap of the process; made when it is first asked for.
static PAGES: Lock<Option<Pages>> = Lock::new(Rank::Pages, None);

/// Does something with the page heap, under its lock; `None` if there is none to be had.
pub fn with<R>(f: impl FnOnce(&mut Pages) -> Option<R>) -> Option<R> {
    let mut pages = PAGES.lock();
    if pages.is_none() {
        *pages = Pages::new();
    }
    let pages = pages.as_mut()?;
    let result = f(pages);
    scavenge::look_at(&pages.counts);
    result
}

/// A new span of small blocks. It has no owner yet, and nobody knows of it.
pub fn small(class: usize) -> Option<&'static Span> {
    let made = with(|pages| {
        let first = pages.find(CLASSES[class].pages as usize, 1)?;
        match pages.what_about(first, class) {
            Some(Next::AtOnce) => Some(None),
            next => {
                pages.leave(next, first, class);
                Some(Some(pages.small(class, first)?))
            }
        }
    });
    made?.or_else(|| huge::small(class))
}

/// As [`with`], but makes none: in a program that has chosen another allocator there is nothing to say.
pub fn if_any<R>(f: impl FnOnce(&mut Pages) -> Option<R>) -> Option<R> {
    PAGES.lock().as_mut().and_then(f)
}

/// Takes the lock for a `fork`.
pub fn hold() {
    huge::hold();
    PAGES.hold();
}

/// Undoes [`hold`].
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
pub unsafe fn let_go() {
    // SAFETY: the caller's promise.
    unsafe {
        PAGES.let_go();
        huge::let_go_of_growth();
    }
}

/// See the essay.
#[derive(Debug)]
pub struct Pages {
    heap: Arena,
    meta: Arena,
    map: Map,
    backing: Backing,
    /// What is known of how the heap grows.
    growth: Growth,
    /// First page of the 2 MiB that are to be looked at.
    probe: usize,
    /// First address of the records that is not used.
    records: usize,
    /// Records up to here are opened.
    records_opened: usize,
    /// Pages below this are opened.
    opened: usize,
    /// Records of spans that are gone, by `next`.
    gone: *mut Span,
    /// State of the generator of secrets.
    secret: u64,
    /// See [`Counts`].
    pub counts: Counts,
}

// SAFETY: the pointers lead into `meta`, which belongs to this value.
unsafe impl Send for Pages {}

impl Pages {
    /// Reserves and sets up; `None` when not even the smallest heap can be had.
    pub fn new() -> Option<Self> {
        let most = (arena::physical_bytes() as usize).saturating_mul(2);
        let bytes = HEAP_BYTES.max(most.checked_next_power_of_two().unwrap_or(HEAP_BYTES));
        // Under `ulimit -v` the program needs some addresses for its code, its stacks and its files.
        let room = arena::address_limit_bytes().map_or(u64::MAX, |limit| limit / 4 * 3);
        let sizes = std::iter::successors(Some(bytes.min(room as usize)), |bytes| Some(bytes / 2));
        let sizes = sizes.map(|bytes| bytes - bytes % CHUNK_BYTES);
        sizes.take_while(|&bytes| bytes >= LEAST_HEAP_BYTES).find_map(Self::with_bytes)
    }

    fn with_bytes(bytes: usize) -> Option<Self> {
        let pages = bytes / PAGE;
        let chunks = pages / CHUNK_PAGES;
        let table = pages * size_of::<AtomicPtr<Span>>();
        let (map, backed, huge) = (words_for(pages) * 8, pages / 8, huge::bytes_for(pages));
        let arrays = (table + map + backed + huge + chunks * 2).next_multiple_of(4096);
        let meta_bytes = arrays + pages * size_of::<Span>();
        let heap = Arena::reserve(bytes, HUGE_BYTES, NAME)?;
        let meta = Arena::reserve(meta_bytes, 4096, c"millpond heap records");
        // The table is opened as the heap grows; the rest of the arrays is small.
        let opened = |meta: &Arena| meta.open(meta.start() + table..meta.start() + arrays);
        let Some(meta) = meta.filter(opened) else {
            // SAFETY: nobody has used it. (Records that could not be opened stay: they are addresses, and few.)
            unsafe { heap.give_up() };
            return None;
        };
        let start = meta.start();
        let at = |offset: usize| (start + offset) as *mut u64;
        // SAFETY: fresh from the kernel, one behind the other, as long as each wants it, and used by nobody else.
        let (map, backing) = unsafe {
            huge::set_up(at(table + map + backed), heap.start());
            let idle = at(table + map + backed + huge).cast();
            (Map::new(at(table), pages), Backing::new(at(table + map), idle))
        };
        let mut this = Self {
            heap,
            meta,
            map,
            backing,
            growth: Growth::new(),
            probe: 0,
            records: start + arrays,
            records_opened: start + arrays,
            opened: 0,
            gone: std::ptr::null_mut(),
            secret: millpond_sys::hooks::seed(),
            counts: Counts {
                small: [0; COUNT],
                large: 0,
                lent: 0,
                large_objects: 0,
                large_bytes: 0,
                idle: 0,
                moving: 0,
                top: 0,
                record_bytes: 0,
                released_bytes: 0,
                refused: 0,
            },
        };
        GROUND.table.store(start as *mut AtomicPtr<Span>, Ordering::Relaxed);
        GROUND.pages.store(pages, Ordering::Relaxed);
        GROUND.secret.store(this.next_secret() | 1 << 63, Ordering::Relaxed);
        GROUND.base.store(this.heap.start(), Ordering::Release);
        Some(this)
    }

    /// A number that whoever reads the heap does not know.
    fn next_secret(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.secret = self.secret.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.secret;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Memory for a record, zeroed, that is never given back.
    pub fn record(&mut self, bytes: usize) -> Option<*mut u8> {
        let bytes = bytes.next_multiple_of(64);
        let end = self.records + bytes;
        if end > self.records_opened {
            let limit = self.meta.start() + self.meta.bytes();
            let target = end.next_multiple_of(OPEN_RECORDS).min(limit);
            if end > limit || !self.meta.open(self.records_opened..target) {
                return None;
            }
            self.records_opened = target;
        }
        let start = std::mem::replace(&mut self.records, end);
        self.counts.record_bytes += bytes;
        Some(start as *mut u8)
    }

    fn span(&mut self) -> Option<&'static Span> {
        // SAFETY: null, or a record whose span is gone: it is ours until it is one again.
        if let Some(span) = unsafe { self.gone.as_ref() } {
            self.gone = span.next.get();
            return Some(span);
        }
        let record = self.record(size_of::<Span>())?.cast::<Span>();
        // SAFETY: fresh memory for a span, aligned to 64 as all records are.
        unsafe {
            record.write(Span::empty());
            Some(&*record)
        }
    }

    /// Whether a run could be made usable, where that is not free.
    fn open(&mut self, end: usize) -> bool {
        if end <= self.opened {
            return true;
        }
        if !self.heap.must_open() {
            self.opened = self.map.pages();
            return true;
        }
        let (base, table) = (self.heap.start(), self.meta.start());
        let whole = end.next_multiple_of(OPEN_PAGES).min(self.map.pages());
        // A whole step, or just what is needed if that much is refused: the entries of a chunk fill
        // a page of the table.
        for end in [whole, end.next_multiple_of(CHUNK_PAGES).min(whole)] {
            if self.heap.open(base + self.opened * PAGE..base + end * PAGE)
                && self.meta.open(table + self.opened * 8..table + end * 8)
            {
                self.opened = end;
                return true;
            }
        }
        false
    }

    /// The first page of the lowest free run of `count` pages that is aligned to `align` pages.
    fn find(&self, count: usize, align: usize) -> Option<usize> {
        let found = self.map.find(count.checked_add(align - 1)?, self.counts.top)?;
        let base = self.heap.start() >> PAGE_SHIFT;
        Some((base + found).next_multiple_of(align) - base)
    }

    /// Takes a run of free pages.
    fn take(&mut self, first: usize, count: usize) -> Option<Claim> {
        if !self.open(first + count) {
            return None;
        }
        self.map.mark(first, count, true);
        self.counts.top = self.counts.top.max(first + count);
        Some(self.claim_backing(first, count))
    }

    /// The pages are a span's now: what is resident of them is its concern.
    fn claim_backing(&mut self, first: usize, count: usize) -> Claim {
        let claim = self.backing.claim(first, count);
        self.counts.idle -= claim.count;
        claim
    }

    /// Frees a run; `dirty` as in [`Backing::put`].
    fn put(&mut self, first: usize, count: usize, dirty: u32) {
        self.map.mark(first, count, false);
        self.counts.idle += self.backing.put(first, count, dirty);
    }

    fn entry(&self, page: usize) -> &'static AtomicPtr<Span> {
        debug_assert!(page < self.map.pages());
        // SAFETY: one entry per page, opened with it, and never unmapped.
        unsafe { &*(self.meta.start() as *const AtomicPtr<Span>).add(page) }
    }

    fn page_of(&self, span: &Span) -> usize {
        (span.start.get() - self.heap.start()) >> PAGE_SHIFT
    }

    /// A span of small blocks in a free run that is long enough.
    fn small(&mut self, class: usize, first: usize) -> Option<&'static Span> {
        let pages = CLASSES[class].pages as usize;
        let span = self.span()?;
        let Some(claim) = self.take(first, pages) else {
            self.bury(span);
            return None;
        };
        let start = self.heap.start() + (first << PAGE_SHIFT);
        let secret = self.next_secret();
        span.set_up_small(start, class, secret, claim.dirty);
        for page in first..first + pages {
            self.entry(page).store(address(span), Ordering::Release);
        }
        self.counts.small[class] += pages;
        self.counts.lent += pages;
        Some(span)
    }

    /// A new object with pages of its own, and the bytes of it outside of which it reads as zeros.
    pub fn whole(
        &mut self,
        bytes: usize,
        align: usize,
        state: State,
    ) -> Option<(&'static Span, Range<usize>)> {
        let pages = bytes.max(1).checked_next_multiple_of(PAGE)? / PAGE;
        let count = u32::try_from(pages).ok()?;
        let first = self.find(pages, (align / PAGE).max(1))?;
        let span = self.span()?;
        let Some(claim) = self.take(first, pages) else {
            self.bury(span);
            return None;
        };
        let start = self.heap.start() + (first << PAGE_SHIFT);
        span.set_up_whole(start, count, bytes, state);
        self.entry(first).store(address(span), Ordering::Release);
        self.counts.large += pages;
        self.counts.lent += pages;
        self.counts.large_objects += 1;
        self.counts.large_bytes += bytes;
        Some((span, claim.stale.start * PAGE..claim.stale.end * PAGE))
    }

    /// Takes a span's pages back. Nobody else may know of it any more.
    pub fn free(&mut self, span: &'static Span) {
        if span.moved.get() && !self.renew(span) {
            return self.keep(span);
        }
        let (first, pages) = (self.page_of(span), span.pages.get() as usize);
        let none = std::ptr::null_mut();
        self.counts.lent -= pages;
        match span.state() {
            State::Large | State::Sampled => {
                self.entry(first).store(none, Ordering::Release);
                self.counts.large -= pages;
                self.counts.large_objects -= 1;
                self.counts.large_bytes -= span.bytes.get();
                let dirty = span.dirty.load(Ordering::Relaxed);
                self.put(first, pages, if span.moved.get() { 0 } else { dirty });
            }
            _ => {
                for page in first..first + pages {
                    self.entry(page).store(none, Ordering::Release);
                }
                self.counts.small[span.class()] -= pages;
                span.tear_down_small();
                self.put(first, pages, span.dirty.load(Ordering::Relaxed));
            }
        }
        self.bury(span);
    }

    /// Maps an object's pages anew: they read as zeros, and lie in one mapping with their neighbours.
    pub fn renew(&self, span: &Span) -> bool {
        let start = span.start.get();
        let range = start..start + span.pages.get() as usize * PAGE;
        huge::let_go(&range);
        // SAFETY: the caller has the object, or it is free; and its pages are this heap's.
        unsafe { self.heap.renew(range, NAME) }
    }

    /// An object is gone, and its pages are nobody's for ever: the kernel may have unmapped them before it refused to
    /// map them anew. They stay lent out, to a span that is none, and a free of an address of theirs is a mistake.
    fn keep(&mut self, span: &'static Span) {
        self.counts.large_objects -= 1;
        self.counts.large_bytes -= span.bytes.get();
        span.set_state(State::Gone);
    }

    fn bury(&mut self, span: &'static Span) {
        span.set_state(State::Gone);
        // No address is that of a block of it.
        span.carved.store(0, Ordering::Relaxed);
        span.next.set(self.gone);
        self.gone = address(span);
    }

    /// Makes a large object longer or shorter where it stands; `None` if it cannot be. What is added may hold anything.
    pub fn resize(&mut self, span: &'static Span, bytes: usize) -> Option<()> {
        let (first, old) = (self.page_of(span), span.pages.get() as usize);
        let new = bytes.checked_next_multiple_of(PAGE)? / PAGE;
        let count = u32::try_from(new).ok()?;
        if new > old {
            if !self.map.is_free(first + old, new - old) {
                return None;
            }
            self.take(first + old, new - old)?;
        } else if new < old {
            if span.moved.get() {
                return None;
            }
            self.put(first + new, old - new, u32::MAX);
        }
        span.pages.set(count);
        self.counts.large = self.counts.large + new - old;
        self.counts.lent = self.counts.lent + new - old;
        self.counts.large_bytes = self.counts.large_bytes + bytes - span.bytes.get();
        span.bytes.set(bytes);
        Some(())
    }

    /// Lends the highest idle runs of one chunk below `below` to the caller, `most` pages and perhaps the rest of a
    /// huge page: taken, so that nobody uses them, and not backed. Returns how many runs, and where to go on; `None` at
    /// the bottom.
    pub fn take_idle(
        &mut self,
        below: usize,
        most: usize,
        loans: &mut [Loan],
    ) -> Option<(usize, usize)> {
        let chunks = below.min(self.counts.top).div_ceil(CHUNK_PAGES);
        let chunk = self.backing.highest_chunk(chunks)?;
        let (mut used, mut total) = (0, 0);
        let mut end = ((chunk + 1) * CHUNK_PAGES).min(below);
        while end > chunk * CHUNK_PAGES && used < loans.len() && total < most {
            let Some((first, count)) = self.backing.highest_run(chunk * CHUNK_PAGES..end) else {
                break;
            };
            let loan = self.cut(first, count, most - total);
            self.map.mark(loan.first, loan.count, true);
            self.claim_backing(loan.first, loan.count);
            loans[used] = loan;
            used += 1;
            total += loan.count;
            end = loan.first;
        }
        self.counts.moving += total;
        let next = if used == loans.len() || total >= most { end } else { chunk * CHUNK_PAGES };
        Some((used, next))
    }

    /// The end of a run: `most` pages, or a few more, rather than a part of a huge page that could go whole.
    fn cut(&self, first: usize, count: usize, most: usize) -> Loan {
        let end = first + count;
        let mut from = first.max(end.saturating_sub(most));
        if huge::is_huge(self.heap.start() + (from << PAGE_SHIFT)) {
            from = first.max(from / HUGE_PAGES * HUGE_PAGES);
        }
        Loan { first: from, count: end - from }
    }

    /// The addresses of a run.
    pub fn addresses(&self, loan: Loan) -> std::ops::Range<usize> {
        let start = self.heap.start() + (loan.first << PAGE_SHIFT);
        start..start + (loan.count << PAGE_SHIFT)
    }

    /// Takes a loan back; `clean` if the kernel has its pages now.
    pub fn put_idle(&mut self, loan: Loan, clean: bool) {
        self.counts.moving -= loan.count;
        self.put(loan.first, loan.count, if clean { 0 } else { u32::MAX });
        match clean {
            true => self.counts.released_bytes += (loan.count * PAGE) as u64,
            false => self.counts.refused += 1,
        }
    }

    /// Every span, lowest address first.
    pub fn spans(&self) -> impl Iterator<Item = &'static Span> {
        let mut page = 0;
        std::iter::from_fn(move || {
            while page < self.counts.top {
                // SAFETY: null or a record, as in every entry.
                if let Some(span) = unsafe { self.entry(page).load(Ordering::Relaxed).as_ref() } {
                    page += span.pages.get() as usize;
                    return Some(span);
                }
                page += 1;
            }
            None
        })
    }

    /// Bytes of the arrays and records that are in use.
    pub fn meta_bytes(&self) -> usize {
        let top = self.counts.top;
        let table = top * size_of::<AtomicPtr<Span>>();
        let bits = top / 8 + huge::bytes_for(top);
        table + words_for(top.next_multiple_of(64)) * 8 + bits + self.counts.record_bytes
    }

    /// Pages that are free and given back, or were never used, below the top.
    pub fn released(&self) -> usize {
        let counts = &self.counts;
        counts.top - counts.lent - counts.idle - counts.moving
    }

    /// Walks everything and says what is wrong, if anything is.
    pub fn check(&self) -> Result<(), &'static str> {
        let top = self.counts.top;
        if !self.map.is_valid(top) {
            return Err("a summary is not that of its pages");
        }
        let words = top.div_ceil(64);
        let mut backed = 0;
        for word in 0..words {
            let bits = self.backing.word(word);
            if bits & self.map.chunk_bits(word / 8)[word % 8] != 0 {
                return Err("a page is both taken and idle");
            }
            backed += bits.count_ones() as usize;
        }
        if backed != self.counts.idle {
            return Err("the number of idle pages is wrong");
        }
        let taken: u32 = (0..top.div_ceil(CHUNK_PAGES))
            .flat_map(|chunk| self.map.chunk_bits(chunk))
            .map(|word| word.count_ones())
            .sum();
        let spans: usize = self.spans().map(|span| span.pages.get() as usize).sum();
        if HOLLOW.load(Ordering::Relaxed) * OS_PAGE > self.counts.small.iter().sum::<usize>() * PAGE
        {
            return Err("more pages of spans are said not to be resident than spans have");
        }
        if spans != self.counts.lent {
            return Err("the number of pages that are lent out is wrong");
        }
        match spans + self.counts.moving == taken as usize {
            true => Ok(()),
            false => Err("pages are taken that no span has"),
        }
    }
}

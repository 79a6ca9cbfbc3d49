//! The page heap: which pages are whose, and the table from an address to its span.
//!
//! It owns two reservations. *Heap* is what is lent out, in pages of 8 KiB. *Meta* holds what the
//! allocator knows about it, one array after the other, so that `address → span` is a subtraction, a
//! shift and a load ([`crate::ground`]):
//!
//! ```text
//!  meta   │ table: a pointer per page │ map: bits, summaries │ backed: bits │ idle │ records ─► │
//! ```
//!
//! - *table*: for each page of a span of small blocks, and for the first page of an object with pages
//!   of its own, the span. Null otherwise.
//! - *map*: which pages are taken ([`summary`]).
//! - *backed*: which *free* pages may be resident. Taken ones are their span's concern.
//! - *idle*: how many pages of each chunk are free and backed; what the scavenger looks for.
//! - *records*: spans and caches, taken from the front and kept for ever once made; those of spans that
//!   are gone are used again.
//!
//! All of it is protected by one lock, but for the table, which anyone reads. The walk down:
//! [`Pages::small`] and [`Pages::whole`] take the lowest run of pages that is long enough and make a
//! span of it. The walk back: [`Pages::free`]; the pages stay resident until [`Pages::take_idle`]
//! lends them to the scavenger, which returns them by [`Pages::put_idle`].
//!
//! Identity, under the lock: `top = pages of spans + idle + released + moving`, where `top` is the
//! highest page that was ever used.

pub mod summary;

use crate::classes::{CLASSES, COUNT, PAGE, PAGE_SHIFT};
use crate::ground::GROUND;
use crate::list::address;
use crate::lock::{Lock, Rank};
use crate::scavenge;
use crate::span::{HOLLOW, OS_PAGE, Span, State};
use millpond_sys::arena::Arena;
use std::sync::atomic::{AtomicPtr, Ordering};
use summary::{CHUNK_PAGES, LEVELS, Map, level_pages, spans_of_words, words_for};

/// Address space that is asked for first, in bytes; half of it again and again if refused.
const HEAP_BYTES: usize = 1 << 40;

/// The least that is worth having.
const LEAST_HEAP_BYTES: usize = LEVEL_BYTES;

/// Bytes of an entry of the top level, of which a heap is a multiple.
const LEVEL_BYTES: usize = level_pages(LEVELS - 1) * PAGE;

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
    /// Lent to the scavenger at the moment.
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

/// A run of pages.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: usize,
    /// Two bits (of 4 KiB each) per page for the first 16 pages: may be resident.
    dirty: u32,
    /// No page is resident: it reads as zeros.
    zero: bool,
}

/// A run that the scavenger has on loan.
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

/// As [`with`], but makes none: in a program that has chosen another allocator there is nothing to say.
pub fn if_any<R>(f: impl FnOnce(&mut Pages) -> Option<R>) -> Option<R> {
    PAGES.lock().as_mut().and_then(f)
}

/// Takes the lock for a `fork`.
pub fn hold() {
    PAGES.hold();
}

/// Undoes [`hold`].
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
pub unsafe fn let_go() {
    // SAFETY: the caller's promise.
    unsafe { PAGES.let_go() };
}

/// See the essay.
#[derive(Debug)]
pub struct Pages {
    heap: Arena,
    meta: Arena,
    map: Map,
    backed: *mut u64,
    idle: *mut u16,
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
        let mut bytes = HEAP_BYTES;
        let most = (millpond_sys::arena::physical_bytes() as usize).saturating_mul(2);
        bytes = bytes.max(most.checked_next_power_of_two().unwrap_or(bytes));
        loop {
            if let Some(pages) = Self::with_bytes(bytes) {
                return Some(pages);
            }
            bytes /= 2;
            if bytes < LEAST_HEAP_BYTES {
                return None;
            }
        }
    }

    fn with_bytes(bytes: usize) -> Option<Self> {
        let pages = bytes / PAGE;
        let chunks = pages / CHUNK_PAGES;
        let table = pages * size_of::<AtomicPtr<Span>>();
        let (map, backed) = (words_for(pages) * 8, pages / 8);
        let arrays = (table + map + backed + chunks * 2).next_multiple_of(4096);
        let meta_bytes = arrays + pages * size_of::<Span>();
        let heap = Arena::reserve(bytes, 2 << 20, NAME)?;
        let meta = Arena::reserve(meta_bytes, 4096, c"millpond heap records")?;
        // The table is opened as the heap grows; the rest of the arrays is small.
        let start = meta.start();
        if !meta.open(start + table..start + arrays) {
            return None;
        }
        let at = |offset: usize| (start + offset) as *mut u64;
        // SAFETY: fresh from the kernel, as long as `words_for` says, and used by nobody else.
        let map = unsafe { Map::new(at(table), pages) };
        let mut this = Self {
            heap,
            meta,
            map,
            backed: at(table + words_for(pages) * 8),
            idle: at(table + words_for(pages) * 8 + backed).cast(),
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

    /// Takes the lowest run of `count` pages whose first page is aligned to `align` pages.
    fn take(&mut self, count: usize, align: usize) -> Option<Run> {
        let found = self.map.find(count.checked_add(align - 1)?, self.counts.top)?;
        let base = self.heap.start() >> PAGE_SHIFT;
        let first = (base + found).next_multiple_of(align) - base;
        if !self.open(first + count) {
            return None;
        }
        self.map.mark(first, count, true);
        self.counts.top = self.counts.top.max(first + count);
        let (dirty, zero) = self.claim_backing(first, count);
        Some(Run { first, dirty, zero })
    }

    /// The pages are a span's now: what is resident of them is its concern.
    fn claim_backing(&mut self, first: usize, count: usize) -> (u32, bool) {
        let (mut dirty, mut zero) = (0, true);
        for (word, mask) in spans_of_words(first..first + count) {
            // SAFETY: one word per 64 pages, and the map has checked the range.
            let bits = unsafe { &mut *self.backed.add(word) };
            let mut hit = *bits & mask;
            *bits &= !mask;
            if hit == 0 {
                continue;
            }
            zero = false;
            self.count_idle(word, -i32::from(hit.count_ones() as u16));
            while hit != 0 {
                let page = word * 64 + hit.trailing_zeros() as usize - first;
                hit &= hit - 1;
                if page < 16 {
                    dirty |= 3 << (2 * page);
                }
            }
        }
        (dirty, zero)
    }

    fn count_idle(&mut self, word: usize, change: i32) {
        // SAFETY: one number per chunk of 8 words.
        let idle = unsafe { &mut *self.idle.add(word / 8) };
        *idle = (i32::from(*idle) + change) as u16;
        self.counts.idle = (self.counts.idle as isize + change as isize) as usize;
    }

    /// Frees a run; `dirty` as in [`Run`] for a short one, all ones for a long one.
    fn put(&mut self, first: usize, count: usize, dirty: u32) {
        self.map.mark(first, count, false);
        for (word, mask) in spans_of_words(first..first + count) {
            let of_page = |page: usize| match (first + page) / 64 == word {
                true => u64::from(dirty >> (2 * page) & 3 != 0) << ((first + page) % 64),
                false => 0,
            };
            let backed = match dirty {
                u32::MAX => mask,
                0 => 0,
                _ => (0..count).map(of_page).fold(0, |bits, bit| bits | bit),
            };
            // SAFETY: as above.
            unsafe { *self.backed.add(word) |= backed };
            self.count_idle(word, backed.count_ones() as i32);
        }
    }

    fn entry(&self, page: usize) -> &'static AtomicPtr<Span> {
        debug_assert!(page < self.map.pages());
        // SAFETY: one entry per page, opened with it, and never unmapped.
        unsafe { &*(self.meta.start() as *const AtomicPtr<Span>).add(page) }
    }

    fn page_of(&self, span: &Span) -> usize {
        (span.start.get() - self.heap.start()) >> PAGE_SHIFT
    }

    /// A new span of small blocks. It has no owner yet, and nobody knows of it.
    pub fn small(&mut self, class: usize) -> Option<&'static Span> {
        let pages = CLASSES[class].pages as usize;
        let span = self.span()?;
        let Some(run) = self.take(pages, 1) else {
            self.bury(span);
            return None;
        };
        let start = self.heap.start() + (run.first << PAGE_SHIFT);
        let secret = self.next_secret();
        span.set_up_small(start, class, secret, run.dirty);
        for page in run.first..run.first + pages {
            self.entry(page).store(address(span), Ordering::Release);
        }
        self.counts.small[class] += pages;
        self.counts.lent += pages;
        Some(span)
    }

    /// A new object with pages of its own, and whether it reads as zeros.
    pub fn whole(
        &mut self,
        bytes: usize,
        align: usize,
        state: State,
    ) -> Option<(&'static Span, bool)> {
        let pages = bytes.max(1).checked_next_multiple_of(PAGE)? / PAGE;
        let count = u32::try_from(pages).ok()?;
        let span = self.span()?;
        let Some(run) = self.take(pages, (align / PAGE).max(1)) else {
            self.bury(span);
            return None;
        };
        let start = self.heap.start() + (run.first << PAGE_SHIFT);
        span.set_up_whole(start, count, bytes, state);
        self.entry(run.first).store(address(span), Ordering::Release);
        self.counts.large += pages;
        self.counts.lent += pages;
        self.counts.large_objects += 1;
        self.counts.large_bytes += bytes;
        Some((span, run.zero))
    }

    /// Takes a span's pages back. Nobody else may know of it any more.
    pub fn free(&mut self, span: &'static Span) {
        let (first, pages) = (self.page_of(span), span.pages.get() as usize);
        let none = std::ptr::null_mut();
        self.counts.lent -= pages;
        match span.state() {
            State::Large | State::Sampled => {
                self.entry(first).store(none, Ordering::Release);
                self.counts.large -= pages;
                self.counts.large_objects -= 1;
                self.counts.large_bytes -= span.bytes.get();
                let mended = span.moved.get() && self.renew(span);
                let dirty = span.dirty.load(Ordering::Relaxed);
                self.put(first, pages, if mended { 0 } else { dirty });
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
        // SAFETY: the caller has the object, or it is free; and its pages are this heap's.
        unsafe { self.heap.renew(range, NAME) }
    }

    fn bury(&mut self, span: &'static Span) {
        span.set_state(State::Gone);
        // No address is that of a block of it.
        span.carved.store(0, Ordering::Relaxed);
        span.next.set(self.gone);
        self.gone = address(span);
    }

    /// Makes a large object longer or shorter where it stands. `Some(zero)`: done, and whether what
    /// was added reads as zeros.
    pub fn resize(&mut self, span: &'static Span, bytes: usize) -> Option<bool> {
        let (first, old) = (self.page_of(span), span.pages.get() as usize);
        let new = bytes.checked_next_multiple_of(PAGE)? / PAGE;
        let count = u32::try_from(new).ok()?;
        let mut zero = true;
        if new > old {
            if !self.map.is_free(first + old, new - old) || !self.open(first + new) {
                return None;
            }
            self.map.mark(first + old, new - old, true);
            self.counts.top = self.counts.top.max(first + new);
            (_, zero) = self.claim_backing(first + old, new - old);
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
        Some(zero)
    }

    /// Lends the highest idle runs of one chunk below `below` to the caller: taken, so that nobody
    /// uses them, and not backed. Returns how many runs, and where to go on; `None` at the bottom.
    pub fn take_idle(
        &mut self,
        below: usize,
        most: usize,
        loans: &mut [Loan],
    ) -> Option<(usize, usize)> {
        let chunks = below.min(self.counts.top).div_ceil(CHUNK_PAGES);
        // SAFETY: one number per chunk.
        let chunk = (0..chunks).rev().find(|&chunk| unsafe { *self.idle.add(chunk) } > 0)?;
        let (mut used, mut total) = (0, 0);
        let mut end = ((chunk + 1) * CHUNK_PAGES).min(below);
        while end > chunk * CHUNK_PAGES && used < loans.len() && total < most {
            let Some((first, count)) = self.backed_run(chunk * CHUNK_PAGES, end) else { break };
            let count = count.min(most - total);
            let first = end.min(first + count) - count;
            self.map.mark(first, count, true);
            self.claim_backing(first, count);
            loans[used] = Loan { first, count };
            used += 1;
            total += count;
            end = first;
        }
        self.counts.moving += total;
        let next = if used == loans.len() || total >= most { end } else { chunk * CHUNK_PAGES };
        Some((used, next))
    }

    /// The highest run of backed pages in a range that begins at a word.
    fn backed_run(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        // SAFETY: one bit per page.
        let backed = |page: usize| unsafe { *self.backed.add(page / 64) } >> (page % 64) & 1 == 1;
        let last = (start..end).rev().find(|&page| backed(page))?;
        let first = (start..last).rev().find(|&page| !backed(page)).map_or(start, |page| page + 1);
        Some((first, last - first + 1))
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
        table + words_for(top.next_multiple_of(64)) * 8 + top / 8 + self.counts.record_bytes
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
            // SAFETY: one bit per page.
            let bits = unsafe { *self.backed.add(word) };
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

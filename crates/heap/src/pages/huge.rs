//! Growth by huge pages, and their end.
//!
//! Down: a span of small blocks is wanted, and the lowest run that is long enough ends in 2 MiB of which nothing is
//! used or resident. Is the heap going to fill them? [`millpond_policy::growth`] knows, from what became of the last 2
//! MiB that grew by faults: the *probe*. Then ([`small`]), one thread at a time:
//!
//! 1. look again: whoever had to wait finds the 2 MiB that another thread has made;
//! 2. take the 2 MiB out of the free pages, as a loan, and unlock the page heap;
//! 3. make them resident, by one huge page if the kernel has one;
//! 4. put them back as free pages, and take the span from them.
//!
//! Nobody has an address in them meanwhile, and a `fork` waits for the end of it.
//!
//! Back: resident pages are given back 4 KiB at a time, by the scavenger. Of a huge page that a part was discarded of,
//! the process has no more than the rest, but its cgroup and the machine pay for all of it, until they are short. So
//! one bit for each 2 MiB says "may be one huge page", and whoever is about to discard something ([`let_go`]) breaks
//! the page first if the bit is set, unless all of it goes. That costs 150 µs, once. Two that meet: one finds the bit
//! cleared, and may discard before the other has broken the page; the other breaks it all the same, by a page that is
//! its own to discard.
//!
//! Only spans of small blocks ask for it, as they are carved from the front and filled. Large objects get what is
//! there: some of them are never touched.
//!
//! Rejected: several threads at once. Each call waits for the others' in the kernel (all change the one mapping), and
//! threads that were refused meanwhile grew by faults: of 160 times 2 MiB, 19 were huge pages.

use super::{Loan, Pages};
use crate::classes::{CLASSES, PAGE};
use crate::lock::{Lock, Rank};
use crate::span::{HOLLOW, OS_PAGE, Span};
use millpond_policy::growth::{self, Next};
use millpond_sys::arena::{self, Arena, HUGE_BYTES};
use millpond_sys::clock;
use std::ops::Range;
use std::sync::atomic::{
    AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// Pages of the heap in a huge page.
pub const HUGE_PAGES: usize = HUGE_BYTES / PAGE;

/// The bits, and the address that the first one stands for. Set once, with the heap.
#[derive(Debug)]
struct Bits {
    words: AtomicUsize,
    base: AtomicUsize,
}

static BITS: Bits = Bits { words: AtomicUsize::new(0), base: AtomicUsize::new(0) };

/// Bytes of the bits of so many pages.
pub const fn bytes_for(pages: usize) -> usize {
    (pages / HUGE_PAGES).div_ceil(64) * 8
}

/// No page of the heap is a huge one.
///
/// # Safety
/// `words` must be zeros, as many bytes as [`bytes_for`] says for the heap that begins at `base`, which nobody else
/// ever uses.
pub unsafe fn set_up(words: *mut u64, base: usize) {
    BITS.words.store(words as usize, Relaxed);
    BITS.base.store(base, Release);
}

/// The word and the bit of an address of the heap.
fn bit(address: usize) -> (&'static AtomicU64, u64) {
    let number = (address - BITS.base.load(Acquire)) / HUGE_BYTES;
    let words = BITS.words.load(Relaxed) as *const AtomicU64;
    // SAFETY: the promise of `set_up`: a bit for each huge page of the heap, used by this module alone.
    (unsafe { &*words.add(number / 64) }, 1 << (number % 64))
}

/// Whether an address of the heap may be that of a part of a huge page.
pub fn is_huge(address: usize) -> bool {
    let (word, mask) = bit(address);
    word.load(Relaxed) & mask != 0
}

/// A range of the heap, all of it the caller's, is about to be discarded or moved away: huge pages of which a part
/// would stay are broken.
pub fn let_go(range: &Range<usize>) {
    let mut at = range.start;
    while at < range.end {
        let whole = at / HUGE_BYTES * HUGE_BYTES;
        let end = range.end.min(whole + HUGE_BYTES);
        if is_huge(at) {
            let (word, mask) = bit(at);
            let mine = word.fetch_and(!mask, Relaxed) & mask != 0;
            if mine && end - at < HUGE_BYTES {
                arena::shatter(at);
            }
        }
        at = end;
    }
}

/// One thread at a time.
static GROWING: Lock<()> = Lock::new(Rank::Growing, ());

/// Takes the lock for a `fork`.
pub fn hold() {
    GROWING.hold();
}

/// Undoes [`hold`].
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
pub unsafe fn let_go_of_growth() {
    // SAFETY: the caller's promise.
    unsafe { GROWING.let_go() };
}

/// A new span of small blocks, of pages that are made resident first, if no other thread has done that.
pub fn small(class: usize) -> Option<&'static Span> {
    let _turn = GROWING.lock();
    let made = super::with(|pages| {
        let first = pages.find(CLASSES[class].pages as usize, 1)?;
        match pages.what_about(first, class) {
            Some(Next::AtOnce) => Some(Err(pages.borrow(last_of(first, class)))),
            next => {
                pages.leave(next, first, class);
                pages.small(class, first).map(Ok)
            }
        }
    });
    let (loan, arena, range) = match made? {
        Ok(span) => return Some(span),
        Err(loan) => loan,
    };
    let before_ns = clock::my_cpu_ns();
    let cpu_ns = arena.back(range).then(|| clock::my_cpu_ns() - before_ns);
    super::with(|pages| {
        pages.put_ahead(loan, cpu_ns);
        let first = pages.find(CLASSES[class].pages as usize, 1)?;
        pages.small(class, first)
    })
}

/// The first page of the 2 MiB that a span at `first` would end in.
fn last_of(first: usize, class: usize) -> usize {
    (first + CLASSES[class].pages as usize - 1) / HUGE_PAGES * HUGE_PAGES
}

impl Pages {
    /// What to do about the 2 MiB that a span at `first` would end in; `None` if they are in use already.
    pub(super) fn what_about(&mut self, first: usize, class: usize) -> Option<Next> {
        let start = last_of(first, class);
        if !self.map.is_free(start, HUGE_PAGES) || !self.backing.is_clean(start, HUGE_PAGES) {
            return None;
        }
        if self.growth.is_ripe() {
            let (lent, resident) = self.look(self.probe);
            self.growth.seen(lent, resident);
        }
        match self.growth.next(self.has_room()) {
            Next::AtOnce if !self.open(start + HUGE_PAGES) => Some(Next::ByFaults),
            next => Some(next),
        }
    }

    /// A span at `first` will touch its pages by itself.
    pub(super) fn leave(&mut self, next: Option<Next>, first: usize, class: usize) {
        let Some(next) = next else { return };
        self.growth.went(next);
        if next == Next::Probe {
            self.probe = last_of(first, class);
        }
    }

    /// Takes 2 MiB out of the free pages.
    fn borrow(&mut self, first: usize) -> (Loan, Arena, Range<usize>) {
        let loan = Loan { first, count: HUGE_PAGES };
        self.growth.went(Next::AtOnce);
        self.map.mark(first, HUGE_PAGES, true);
        self.counts.top = self.counts.top.max(first + HUGE_PAGES);
        self.counts.moving += HUGE_PAGES;
        (loan, self.heap, self.addresses(loan))
    }

    fn has_room(&self) -> bool {
        let counts = &self.counts;
        let in_use = (counts.lent * PAGE).saturating_sub(HOLLOW.load(Relaxed) * OS_PAGE);
        let idle = (counts.idle + counts.moving) * PAGE;
        growth::has_room(in_use as u64, idle as u64, crate::scavenge::limit())
    }

    /// How many bytes of 2 MiB are lent out, and how many of these are resident.
    fn look(&self, first: usize) -> (u64, u64) {
        let range = self.addresses(Loan { first, count: HUGE_PAGES });
        let mut marks = [0; HUGE_BYTES / OS_PAGE];
        if !arena::residency(range, &mut marks) {
            return (0, 0);
        }
        let lent = |page: &usize| !self.map.is_free(first + page * OS_PAGE / PAGE, 1);
        let lent = (0..marks.len()).filter(lent);
        let counted = lent.fold((0, 0), |(lent, resident), page| {
            (lent + 1, resident + u64::from(marks[page] & 1))
        });
        (counted.0 * OS_PAGE as u64, counted.1 * OS_PAGE as u64)
    }

    /// Takes a loan of [`Self::borrow`] back, which has cost so much.
    fn put_ahead(&mut self, loan: Loan, cpu_ns: Option<u64>) {
        self.growth.paid(cpu_ns.unwrap_or(u64::MAX));
        if cpu_ns.is_some() {
            let (word, mask) = bit(self.addresses(loan).start);
            word.fetch_or(mask, Relaxed);
        }
        self.counts.moving -= loan.count;
        self.put(loan.first, loan.count, u32::MAX);
    }
}

//! The first tier: what one thread allocates from, without atomic instructions.
//!
//! A cache *owns* spans, many per class, and every block that its thread frees goes straight back to
//! its span, so that spans become wholly free again. Per class ([`Bin`]):
//!
//! ```text
//!   current ── blocks are taken from here (a list per span, the next block is on top)
//!   partial ── spans with room, in the order in which they got it
//!   full    ── spans without, in no list; they come back by a free of this thread, or through the inbox
//!   inbox   ── full spans that other threads have freed blocks of
//!   owned   ── all of these
//! ```
//!
//! Down, when the current span has no block ([`Cache::refill`]): carve more of it; bring home what
//! other threads freed; set it aside as full and take the next partial one; look into the inbox; ask
//! the central list; ask the page heap. Up, when the last block of a span that is not the current one
//! comes back ([`Cache::emptied`]): one empty span per class is kept, the others return their pages.
//!
//! `direct` is `current` once more, by the number of words of the request, which saves the fast path
//! the look-up of the class.
//!
//! All fields belong to the holder of the cache: its thread, or who has claimed it ([`crate::claim`]),
//! or the lock of the common cache. The list of threads and the inbox say otherwise for themselves.
//!
//! Rejected: bins of loose blocks (tcmalloc). They hold blocks of many spans, so that no span is ever
//! wholly free while a cache is warm; and a cache that sleeps then pins them all.

use crate::central;
use crate::checked;
use crate::classes::{CLASSES, COUNT, DIRECT, DIRECT_MAX};
use crate::list::{List, Owned, address};
use crate::misuse;
use crate::pages;
use crate::scavenge;
use crate::span::{Span, State};
use crate::threads::Local;
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed};

/// Empty spans that a cache keeps, per class.
const SPARES: usize = 1;

/// Stands for "no span": has no block to give.
static EMPTY: Span = Span::empty();

const fn none() -> *mut Span {
    (&raw const EMPTY).cast_mut()
}

/// What a cache has of one class.
#[derive(Debug)]
pub struct Bin {
    /// The span that blocks are taken from, or [`EMPTY`].
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
            current: Cell::new(none()),
            partial: List::new(),
            owned: Owned::new(),
            spares: Cell::new(0),
            seen: Cell::new(0),
            inbox: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Takes a block of the current span, if that is easy; else null.
    #[inline(always)]
    pub fn pop(&self) -> *mut u8 {
        // SAFETY: records live for ever.
        unsafe { &*self.current.get() }.pop()
    }

    /// The span that blocks are taken from, if there is one.
    pub fn current(&self) -> Option<&'static Span> {
        let current = self.current.get();
        // SAFETY: records live for ever.
        (!std::ptr::eq(current, none())).then(|| unsafe { &*current })
    }
}

/// See the essay.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Cache {
    /// The current span by words of the request. A copy of `bins[..].current`.
    pub direct: [Cell<*mut Span>; DIRECT],
    /// Per class.
    pub bins: [Bin; COUNT],
    /// The thread's own record; null for caches without a thread. Lock of the threads.
    pub local: Cell<*const Local>,
    /// Neighbours in the list of threads, or of spare caches. Lock of the threads.
    pub next: Cell<*const Cache>,
    /// As `next`.
    pub prev: Cell<*const Cache>,
}

// SAFETY: see the last paragraph but one of the essay.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

impl Cache {
    /// A cache that owns nothing.
    pub const fn new() -> Self {
        Self {
            direct: [const { Cell::new(none()) }; DIRECT],
            bins: [const { Bin::new() }; COUNT],
            local: Cell::new(std::ptr::null()),
            next: Cell::new(std::ptr::null()),
            prev: Cell::new(std::ptr::null()),
        }
    }

    /// Takes a block of a class, with all that may have to be done for it; null when there is no
    /// memory.
    pub fn take(&self, class: usize) -> *mut u8 {
        // SAFETY: records live for ever.
        let block = unsafe { &*self.bins[class].current.get() }.pop_or_abort();
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
            span.local.store(std::ptr::null_mut(), Relaxed);
        } else {
            span.set_state(State::Partial);
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
        span.set_state(State::Partial);
        self.let_free(span);
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
        }
        let pointer = span.map_or(none(), address);
        bin.current.set(pointer);
        let size = CLASSES[class].size as usize;
        if size <= DIRECT_MAX && !checked::is_on() {
            let below =
                class.checked_sub(1).map_or(0, |below| CLASSES[below].size as usize / 8 + 1);
            self.direct[below..=size / 8].iter().for_each(|entry| entry.set(pointer));
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
        let bin = &self.bins[span.class()];
        debug_assert_eq!(span.state(), State::Partial);
        if span.spare.get() {
            return;
        }
        if bin.spares.get() < SPARES {
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
        let bin = &self.bins[class];
        let mix = |sum: u64, span: &Span| {
            let used = u64::from(span.used.load(Relaxed));
            (sum ^ used ^ span.start.get() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        let spans = bin.current().into_iter().chain(bin.partial.iter().take(64));
        let sum = spans.fold(bin.partial.len() as u64 + 1, mix);
        sum ^ bin.inbox.load(Acquire) as u64
    }

    /// Whether a bin holds anything that could be given up.
    pub fn holds_room(&self, class: usize) -> bool {
        let bin = &self.bins[class];
        bin.current().is_some() || bin.partial.len() > 0 || !bin.inbox.load(Relaxed).is_null()
    }

    /// Gives up the spans of a class: those with room, or all. Whole ones return their pages, the
    /// others go to the central list.
    pub fn surrender(&self, class: usize, full_ones_too: bool) {
        let bin = &self.bins[class];
        if bin.owned.len() == 0 {
            return;
        }
        let current = bin.current();
        self.set_current(class, None);
        if let Some(span) = current {
            span.set_state(State::Partial);
            bin.partial.push_front(span);
        }
        central::surrender(class, self, full_ones_too);
        bin.spares.set(0);
    }

    /// As spans hold it.
    pub fn address(&self) -> *mut Cache {
        std::ptr::from_ref(self).cast_mut()
    }

    /// Walks every span and says what is wrong, if anything is.
    pub fn check(&self) -> Result<(), &'static str> {
        for bin in &self.bins {
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

/// Whether a free of a block that looks free is a double free. Holder of the span only.
pub fn refuse_double_free(operation: &str, span: &Span, block: usize) {
    if span.looks_free(block) && span.is_in_list(block) {
        misuse::double_free(operation, span, block);
    }
}

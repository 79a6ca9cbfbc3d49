//! Lists of spans, through the spans themselves.
//!
//! A span has two pairs of links. By `next` and `prev` it is in one list at a time, and its state says
//! in which ([`crate::span::State`]): a cache's partial ones, or a central list. By the other pair it is
//! in the list of all that a cache owns, from the day it comes to the day it goes ([`Owned`]). Whoever
//! may use a list may use the links of the spans in it. Nothing is allocated, and a span in the middle
//! is taken out without a walk.
//!
//! Rejected: an index into a vector per list, which would have to grow while allocating. A list of the
//! full ones: they fill up and get room again all the time, at random, and each time two neighbours would
//! have to be touched that nobody else has a use for.

use crate::span::Span;
use std::cell::Cell;

/// A doubly linked list of spans, through the spans.
#[derive(Debug)]
pub struct List<const OWNED: bool = false> {
    first: Cell<*mut Span>,
    last: Cell<*mut Span>,
    length: Cell<usize>,
}

// SAFETY: whoever may use the list may use it from any thread: a lock or an owner says who.
unsafe impl<const OWNED: bool> Send for List<OWNED> {}

impl<const OWNED: bool> List<OWNED> {
    /// An empty list.
    pub const fn new() -> Self {
        let none = std::ptr::null_mut();
        Self { first: Cell::new(none), last: Cell::new(none), length: Cell::new(0) }
    }

    /// The links that this kind of list goes by.
    fn next(span: &Span) -> &Cell<*mut Span> {
        if OWNED { &span.owned_next } else { &span.next }
    }

    fn prev(span: &Span) -> &Cell<*mut Span> {
        if OWNED { &span.owned_prev } else { &span.prev }
    }

    /// How many spans.
    pub fn len(&self) -> usize {
        self.length.get()
    }

    /// The first span.
    pub fn first(&self) -> Option<&'static Span> {
        // SAFETY: records live for ever, and the list holds what was pushed and not removed.
        unsafe { self.first.get().as_ref() }
    }

    /// All spans, first to last. The list must not change meanwhile.
    pub fn iter(&self) -> impl Iterator<Item = &'static Span> {
        // SAFETY: as above.
        std::iter::successors(self.first(), |span| unsafe { Self::next(span).get().as_ref() })
    }

    /// Adds a span at the front.
    pub fn push_front(&self, span: &'static Span) {
        let old = self.first.replace(address(span));
        Self::prev(span).set(std::ptr::null_mut());
        Self::next(span).set(old);
        // SAFETY: as above.
        match unsafe { old.as_ref() } {
            Some(old) => Self::prev(old).set(address(span)),
            None => self.last.set(address(span)),
        }
        self.length.set(self.length.get() + 1);
    }

    /// Adds a span at the back.
    pub fn push_back(&self, span: &'static Span) {
        let old = self.last.replace(address(span));
        Self::next(span).set(std::ptr::null_mut());
        Self::prev(span).set(old);
        // SAFETY: as above.
        match unsafe { old.as_ref() } {
            Some(old) => Self::next(old).set(address(span)),
            None => self.first.set(address(span)),
        }
        self.length.set(self.length.get() + 1);
    }

    /// Takes a span of this list out.
    pub fn remove(&self, span: &'static Span) {
        let (next, prev) = (Self::next(span).get(), Self::prev(span).get());
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => Self::prev(next).set(prev),
            None => self.last.set(prev),
        }
        // SAFETY: as above.
        match unsafe { prev.as_ref() } {
            Some(prev) => Self::next(prev).set(next),
            None => self.first.set(next),
        }
        self.length.set(self.length.get() - 1);
    }

    /// Takes the first span out.
    pub fn pop_front(&self) -> Option<&'static Span> {
        let span = self.first()?;
        self.remove(span);
        Some(span)
    }
}

/// All spans that a cache owns of a class.
pub type Owned = List<true>;

/// A span as lists and the table hold it.
pub fn address(span: &'static Span) -> *mut Span {
    std::ptr::from_ref(span).cast_mut()
}

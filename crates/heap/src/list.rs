//! Lists of spans, through the spans themselves.
//!
//! A span is in one list at a time, and its state says in which ([`crate::span::State`]): a cache's
//! partial or full ones, or a central list. Whoever may use the list may use `next` and `prev` of the
//! spans in it. Nothing is allocated, and a span in the middle is taken out without a walk, which is
//! what a free does that makes a full span a partial one.
//!
//! Rejected: an index into a vector per list. It would have to grow while allocating.

use crate::span::Span;
use std::cell::Cell;

/// A doubly linked list of spans, through the spans.
#[derive(Debug)]
pub struct List {
    first: Cell<*mut Span>,
    last: Cell<*mut Span>,
    length: Cell<usize>,
}

// SAFETY: whoever may use the list may use it from any thread: a lock or an owner says who.
unsafe impl Send for List {}

impl List {
    /// An empty list.
    pub const fn new() -> Self {
        let none = std::ptr::null_mut();
        Self { first: Cell::new(none), last: Cell::new(none), length: Cell::new(0) }
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
        std::iter::successors(self.first(), |span| unsafe { span.next.get().as_ref() })
    }

    /// Adds a span at the front.
    pub fn push_front(&self, span: &'static Span) {
        let old = self.first.replace(address(span));
        span.prev.set(std::ptr::null_mut());
        span.next.set(old);
        // SAFETY: as above.
        match unsafe { old.as_ref() } {
            Some(old) => old.prev.set(address(span)),
            None => self.last.set(address(span)),
        }
        self.length.set(self.length.get() + 1);
    }

    /// Adds a span at the back.
    pub fn push_back(&self, span: &'static Span) {
        let old = self.last.replace(address(span));
        span.next.set(std::ptr::null_mut());
        span.prev.set(old);
        // SAFETY: as above.
        match unsafe { old.as_ref() } {
            Some(old) => old.next.set(address(span)),
            None => self.first.set(address(span)),
        }
        self.length.set(self.length.get() + 1);
    }

    /// Takes a span of this list out.
    pub fn remove(&self, span: &'static Span) {
        let (next, prev) = (span.next.get(), span.prev.get());
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.prev.set(prev),
            None => self.last.set(prev),
        }
        // SAFETY: as above.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
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

/// A span as lists and the table hold it.
pub fn address(span: &'static Span) -> *mut Span {
    std::ptr::from_ref(span).cast_mut()
}

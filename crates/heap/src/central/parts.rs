//! What stands around `central` in a model: spans, caches, lists and the page heap, with as much of them as the
//! protocol is about. `central` is compiled against these under loom, and [`Remote`] is the real one.
//!
//! | part | here |
//! |---|---|
//! | span | up to three blocks; their links, its free list and its place in lists are plain cells |
//! | cache | a bin per class, of two; [`Cache`]'s functions are the walks of `cache`, step by step |
//! | list | a vector in a plain cell |
//! | page heap | counts what is given back, and takes only what may be given back |
//!
//! *Plain cell* means that loom knows each access to it, and fails the model when two are not ordered. So who has the
//! right to a span need not be modelled: who uses it without the right races with who has it. The class of a span
//! ([`Span::class`]) is such a cell too, beside the word that has it together with the state, and written by the page
//! heap when the span comes back and when its record is used again: who asks for the class of a span that may have
//! moved on races with that.

use super::{fetch, retire, surrender, take_inbox};
use crate::remote::{Pushed, Remote};
use millpond_prim::cell::UnsafeCell;
use millpond_prim::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use millpond_prim::sync::atomic::{AtomicPtr, AtomicU32};
use millpond_prim::sync::{Guard, Lock as Plain};

pub const COUNT: usize = 2;
pub const OS_PAGE: usize = 4096;
pub const MAX_SPAN: usize = 2 * OS_PAGE;

/// A `std::cell::Cell` that loom watches.
pub struct Cell<T>(UnsafeCell<T>);

impl<T: Copy> Cell<T> {
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub fn get(&self) -> T {
        // SAFETY: loom fails the model if another access is not ordered with this one.
        self.0.with(|value| unsafe { *value })
    }

    pub fn set(&self, value: T) {
        // SAFETY: as above.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Gone,
    Partial,
    Full,
    Central,
    Alone,
}

fn kind(state: State, class: usize) -> u32 {
    (class as u32) << 3 | state as u32
}

/// Blocks of a span.
pub const BLOCKS: usize = 3;

pub struct Span {
    pub local: AtomicPtr<Cache>,
    pub remote: Remote,
    pub owner: AtomicPtr<Cache>,
    pub used: AtomicU32,
    pub spare: Cell<bool>,
    pub inbox_next: Cell<*mut Span>,
    /// State and class.
    kind: AtomicU32,
    class: Cell<usize>,
    /// Blocks at home.
    free: Cell<u32>,
    links: [Cell<Option<u32>>; BLOCKS],
}

// SAFETY: what the models are there to show.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    /// A span of which so many blocks are in use, and none is free.
    pub fn new(used: u32) -> Self {
        let none = std::ptr::null_mut();
        Self {
            local: AtomicPtr::new(none),
            remote: Remote::new(),
            owner: AtomicPtr::new(none),
            used: AtomicU32::new(used),
            spare: Cell::new(false),
            inbox_next: Cell::new(std::ptr::null_mut()),
            kind: AtomicU32::new(kind(State::Partial, 0)),
            class: Cell::new(0),
            free: Cell::new(0),
            links: [(); BLOCKS].map(|()| Cell::new(None)),
        }
    }

    pub fn class(&self) -> usize {
        // Loom lets others come in at atomics only, and takes what lies between two of them for one moment.
        self.kind.load(Relaxed);
        self.class.get()
    }

    pub fn state(&self) -> State {
        let state = self.kind.load(Acquire) & 7;
        use State::{Alone, Central, Full, Gone, Partial};
        [Gone, Partial, Full, Central, Alone][state as usize]
    }

    pub fn is_of(&self, state: State, class: usize) -> bool {
        self.kind.load(Acquire) == kind(state, class)
    }

    pub fn set_state(&self, state: State) {
        self.kind.store(kind(state, self.class.get()), Release);
    }

    /// The record is that of another span, of this class, of which so many blocks are in use. The walk of
    /// `pages::small`, which has the record from the page heap and knows of no lock of a class.
    pub fn set_up(&self, class: usize, used: u32) {
        assert_eq!(self.state(), State::Gone);
        self.class.set(class);
        self.free.set(0);
        self.used.store(used, Relaxed);
        self.kind.store(kind(State::Partial, class), Release);
    }

    pub fn has_room(&self) -> bool {
        self.free.get() > 0
    }

    /// Of the address of a block, only its number is there.
    pub fn push_remote(&self, block: usize) -> Pushed {
        self.remote.push(block as u32, |next| self.links[block].set(next))
    }

    pub fn absorb(&self) -> bool {
        if self.remote.count() == 0 {
            return false;
        }
        let taken = self.remote.collect();
        let mut block = taken.head;
        for left in (1..=taken.count).rev() {
            let next = self.links[block as usize].get();
            assert_eq!(next.is_some(), left > 1, "a link was lost");
            block = next.unwrap_or_default();
        }
        self.free.set(self.free.get() + taken.count);
        let used = self.used.load(Relaxed).checked_sub(taken.count);
        self.used.store(used.expect("more came home than went out"), Relaxed);
        true
    }

    pub fn find_holes(&self) -> Holes {
        // A look at the list, as the real one.
        Holes(self.free.get())
    }

    pub fn addresses(&self, _holes: &Holes) -> impl Iterator<Item = std::ops::Range<usize>> {
        std::iter::empty()
    }

    pub fn clean(&self, holes: &Holes) {
        assert_eq!(holes.0, self.free.get(), "the list has changed under the holder");
    }
}

#[derive(Clone, Copy)]
pub struct Holes(u32);

pub fn address(span: &'static Span) -> *mut Span {
    std::ptr::from_ref(span).cast_mut()
}

/// A list, front first.
pub struct List(UnsafeCell<Vec<&'static Span>>);

// SAFETY: loom sees who uses it when.
unsafe impl Send for List {}

impl List {
    pub fn new() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Vec<&'static Span>) -> R) -> R {
        // SAFETY: loom fails the model if another access is not ordered with this one.
        self.0.with_mut(|list| change(unsafe { &mut *list }))
    }

    pub fn len(&self) -> usize {
        self.change(|list| list.len())
    }

    pub fn pop_front(&self) -> Option<&'static Span> {
        self.change(|list| (!list.is_empty()).then(|| list.remove(0)))
    }

    pub fn push_front(&self, span: &'static Span) {
        self.change(|list| {
            assert!(list.iter().all(|there| !std::ptr::eq(*there, span)), "in the list twice");
            list.insert(0, span);
        });
    }

    pub fn push_back(&self, span: &'static Span) {
        self.change(|list| list.push(span));
    }

    pub fn remove(&self, span: &'static Span) {
        self.change(|list| {
            let at = list.iter().position(|there| std::ptr::eq(*there, span));
            list.remove(at.expect("it is in this list"));
        });
    }
}

pub enum Rank {
    Central,
}

pub struct Lock<T>(Plain<T>);

impl<T> Lock<T> {
    pub fn new(_rank: Rank, value: T) -> Self {
        Self(Plain::new(value))
    }

    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }
}

pub struct Bin {
    pub partial: List,
    pub owned: List,
    pub inbox: AtomicPtr<Span>,
}

/// A cache without current spans; only the bin of class 0 is used. Whoever holds it calls the functions.
pub struct Cache {
    pub bins: [Bin; COUNT],
}

// SAFETY: loom sees who uses it when.
unsafe impl Send for Cache {}
// SAFETY: as above.
unsafe impl Sync for Cache {}

impl Cache {
    pub fn new() -> Self {
        let inbox = || AtomicPtr::new(std::ptr::null_mut());
        let bin = |()| Bin { partial: List::new(), owned: List::new(), inbox: inbox() };
        Self { bins: [(); COUNT].map(bin) }
    }

    pub fn address(&self) -> *mut Self {
        std::ptr::from_ref(self).cast_mut()
    }

    /// Takes over a span that nobody else knows of, without room.
    pub fn adopt(&self, span: &'static Span) {
        span.owner.store(self.address(), Relaxed);
        self.bins[0].owned.push_front(span);
    }

    /// The walk of `Cache::set_aside`.
    pub fn set_aside(&self, span: &'static Span) {
        if span.remote.arm() {
            span.set_state(State::Full);
        } else {
            span.set_state(State::Partial);
            self.bins[0].partial.push_front(span);
        }
    }

    /// A free by the owner: the walk of `Cache::give`.
    pub fn give(&self, span: &'static Span, _block: u32) {
        span.free.set(span.free.get() + 1);
        let used = span.used.load(Relaxed) - 1;
        span.used.store(used, Relaxed);
        if span.state() == State::Full {
            self.unfill(span);
        }
        if used == 0 {
            self.emptied(span);
        }
    }

    /// A span with room is used, what came from elsewhere comes home, and the last block is freed again.
    pub fn bring_home(&self, span: &'static Span) {
        if span.absorb() && span.used.load(Relaxed) == 0 {
            self.emptied(span);
        }
    }

    fn unfill(&self, span: &'static Span) {
        self.bins[0].partial.push_back(span);
        span.set_state(State::Partial);
    }

    fn emptied(&self, span: &'static Span) {
        retire(span, || {
            self.bins[0].partial.remove(span);
            self.bins[0].owned.remove(span);
        });
    }

    /// The walk of `Cache::open_inbox`, if there is something in it.
    pub fn open_inbox(&self) {
        if self.bins[0].inbox.load(Relaxed).is_null() {
            return;
        }
        let mut next = take_inbox(0, self);
        // SAFETY: records live as long as the model.
        while let Some(span) = unsafe { next.as_ref() } {
            assert!(matches!(span.state(), State::Full | State::Partial), "of no concern here");
            next = span.inbox_next.get();
            span.remote.settle();
            match span.state() {
                State::Full if !span.absorb() && span.remote.arm() => {}
                State::Full => {
                    span.absorb();
                    self.unfill(span);
                    if span.used.load(Relaxed) == 0 {
                        self.emptied(span);
                    }
                }
                State::Partial if span.used.load(Relaxed) == 0 => self.emptied(span),
                _ => {}
            }
        }
    }

    /// Needs a span: the walk of `Cache::next_span` to the central list.
    pub fn fetch(&self) -> Option<&'static Span> {
        let span = fetch(0, self)?;
        self.bins[0].owned.push_front(span);
        Some(span)
    }

    /// The first span with room is the current one next, and used up; how many blocks that were.
    pub fn use_up_partial(&self) -> u32 {
        self.bins[0].partial.pop_front().map_or(0, |span| self.use_up(span))
    }

    /// Uses up what is free of a span in no list, and sets it aside: the walk of `Cache::refill`, until there is
    /// no block.
    pub fn use_up(&self, span: &'static Span) -> u32 {
        let mut taken = 0;
        while span.has_room() || span.absorb() {
            taken += span.free.get();
            span.used.store(span.used.load(Relaxed) + span.free.get(), Relaxed);
            span.free.set(0);
        }
        self.set_aside(span);
        taken
    }

    pub fn surrender(&self, full_ones_too: bool) {
        surrender(0, self, full_ones_too);
    }
}

pub mod pages {
    use super::{COUNT, Relaxed, Span, State};

    /// Of no span that there is.
    const NO_CLASS: usize = COUNT;

    pub struct Pages;

    pub fn with<R>(f: impl FnOnce(&mut Pages) -> Option<R>) -> Option<R> {
        f(&mut Pages)
    }

    impl Pages {
        pub fn free(&mut self, span: &'static Span) {
            assert_ne!(span.state(), State::Gone, "given back twice");
            assert_eq!(span.used.load(Relaxed), 0, "given back with a block in use");
            assert_eq!(span.remote.count(), 0);
            span.set_state(State::Gone);
            // From here on the pages are another's.
            span.class.set(NO_CLASS);
        }
    }
}

pub mod huge {
    pub fn let_go(_range: &std::ops::Range<usize>) {}
}

pub mod scavenge {
    pub fn note(_class: usize) {}

    pub fn nudge() {}
}

pub mod arena {
    use std::ops::Range;

    /// # Safety
    /// None is needed: nothing happens.
    pub unsafe fn discard_all(_ranges: &[Range<usize>]) -> bool {
        true
    }
}

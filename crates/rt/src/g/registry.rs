//! The goroutines that live on one M, for dumps and for the end of the runtime.
//!
//! Lists through the goroutines themselves, doubly linked so that one can leave from the middle.
//! They hold one reference to each, and are as large as what lives: a burst leaves no table
//! behind. Under a lock, which the M takes when a goroutine first leaves its stack and when such a
//! one ends ([`crate::first_run`] is for the others), and which only dumps contend for.
//!
//! There are two: the *warm*, in the order in which they were entered or last looked at, which is the
//! order in which their stacks are put to rest ([`crate::rest`]), and those whose stacks *rest*.

use super::{G, GRef};
use millpond_prim::sync::{Guard, Lock};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A goroutine's place in the list. Protected by the lock of its M's registry.
pub(super) struct Links {
    newer: Cell<*const G>,
    older: Cell<*const G>,
}

impl Links {
    pub(super) fn new() -> Self {
        Self { newer: Cell::new(ptr::null()), older: Cell::new(ptr::null()) }
    }
}

/// See the module documentation.
pub(crate) struct Registry {
    lists: Lock<Lists>,
    /// How many are warm. Written by the M's own thread, under the lock; read by anyone.
    warm: AtomicUsize,
}

#[derive(Default)]
struct Lists {
    warm: List,
    resting: List,
}

/// One list, by its ends. It owns a count of each goroutine in it.
struct List {
    newest: *const G,
    oldest: *const G,
}

impl Default for List {
    fn default() -> Self {
        Self { newest: ptr::null(), oldest: ptr::null() }
    }
}

// SAFETY: the list owns a count of each goroutine in it, and a count is `Send`.
unsafe impl Send for List {}

impl List {
    /// # Safety
    /// The goroutine is in no list, and the list takes over a count of it.
    unsafe fn push(&mut self, g: NonNull<G>) {
        // SAFETY: counted by what is given.
        let links = unsafe { &g.as_ref().links };
        links.newer.set(ptr::null());
        links.older.set(self.newest);
        // SAFETY: what is in the list is counted by it.
        match unsafe { self.newest.as_ref() } {
            Some(second) => second.links.newer.set(g.as_ptr()),
            None => self.oldest = g.as_ptr(),
        }
        self.newest = g.as_ptr();
    }

    /// # Safety
    /// It is in this list, whose count becomes the caller's.
    unsafe fn take(&mut self, g: &G) {
        let (newer, older) = (g.links.newer.get(), g.links.older.get());
        // SAFETY: neighbours are in the list, which counts them.
        match unsafe { newer.as_ref() } {
            Some(newer) => newer.links.older.set(older),
            None => self.newest = older,
        }
        // SAFETY: as above.
        match unsafe { older.as_ref() } {
            Some(older) => older.links.newer.set(newer),
            None => self.oldest = newer,
        }
    }

    /// Newest first.
    fn iter(&self) -> impl Iterator<Item = &G> {
        // SAFETY: what is in the list is counted by it, and stays in it while the lock is held.
        let at = |g: *const G| unsafe { g.as_ref() };
        std::iter::successors(at(self.newest), move |g| at(g.links.older.get()))
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { lists: Lock::new(Lists::default()), warm: AtomicUsize::new(0) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Registered<'_> {
        Registered { lists: self.lists.lock(), warm: &self.warm }
    }

    /// How many goroutines are here whose stacks are not at rest.
    #[inline]
    pub(crate) fn warm(&self) -> usize {
        self.warm.load(Ordering::Relaxed)
    }
}

/// The lists, locked.
pub(crate) struct Registered<'a> {
    lists: Guard<'a, Lists>,
    warm: &'a AtomicUsize,
}

impl Registered<'_> {
    fn count(&self, change: isize) {
        let warm = self.warm.load(Ordering::Relaxed).wrapping_add_signed(change);
        self.warm.store(warm, Ordering::Relaxed);
    }

    /// Enters a goroutine, as warm.
    ///
    /// # Safety
    /// It is in no registry.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, g: GRef) {
        // SAFETY: the caller's promise; the count is given away.
        unsafe { self.lists.warm.push(g.into_raw()) };
        self.count(1);
    }

    /// Takes a warm goroutine out; gives back the list's count of it.
    ///
    /// # Safety
    /// It is in this registry, and not at rest.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, g: &G) -> GRef {
        // SAFETY: the caller's promise.
        unsafe { self.lists.warm.take(g) };
        self.count(-1);
        // SAFETY: in the list by contract, so its count was the list's, and now it is ours.
        unsafe { GRef::from_raw(NonNull::from(g)) }
    }

    /// The one that was entered, or [renewed](Self::renew), longest ago.
    pub(crate) fn oldest(&self) -> Option<&G> {
        // SAFETY: what is in the list is counted by it.
        unsafe { self.lists.warm.oldest.as_ref() }
    }

    /// Makes the oldest the newest.
    pub(crate) fn renew(&mut self) {
        let Some(g) = NonNull::new(self.lists.warm.oldest.cast_mut()) else { return };
        // SAFETY: it is in the list, which keeps its count.
        unsafe {
            self.lists.warm.take(g.as_ref());
            self.lists.warm.push(g);
        }
    }

    /// Moves the oldest to those that rest.
    pub(crate) fn lay_down(&mut self) {
        let Some(g) = NonNull::new(self.lists.warm.oldest.cast_mut()) else { return };
        // SAFETY: it is in the list; its count goes from one to the other.
        unsafe {
            self.lists.warm.take(g.as_ref());
            self.lists.resting.push(g);
        }
        self.count(-1);
    }

    /// Moves one that rests to the newest of the warm.
    ///
    /// # Safety
    /// It is in this registry, at rest.
    pub(crate) unsafe fn get_up(&mut self, g: &G) {
        // SAFETY: the caller's promise; its count goes from one to the other.
        unsafe {
            self.lists.resting.take(g);
            self.lists.warm.push(NonNull::from(g));
        }
        self.count(1);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.warm.newest.is_null() && self.lists.resting.newest.is_null()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &G> {
        self.lists.warm.iter().chain(self.lists.resting.iter())
    }

    /// A reference to each.
    pub(crate) fn to_vec(&self) -> Vec<GRef> {
        self.iter().map(|g| self.hold(g)).collect()
    }

    /// A reference to one.
    pub(crate) fn hold(&self, g: &G) -> GRef {
        // SAFETY: who is here is counted by a list, and the count that is cloned stays the list's.
        let held = ManuallyDrop::new(unsafe { GRef::from_raw(NonNull::from(g)) });
        GRef::clone(&held)
    }
}

//! The goroutines that live on one M, for dumps and for the end of the runtime.
//!
//! A list through the goroutines themselves, doubly linked so that one can leave from the middle.
//! It holds one reference to each, and it is as large as what lives: a burst leaves no table
//! behind. Under a lock, which the M takes when a goroutine first leaves its stack and when such a
//! one ends ([`crate::first_run`] is for the others), and which only dumps contend for.

use super::{G, GRef};
use millpond_prim::sync::{Guard, Lock};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

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
pub(crate) struct Registry(Lock<Newest>);

struct Newest(*const G);

// SAFETY: the list owns a count of each goroutine in it, and a count is `Send`.
unsafe impl Send for Newest {}

impl Registry {
    pub(crate) fn new() -> Self {
        Self(Lock::new(Newest(ptr::null())))
    }

    #[inline]
    pub(crate) fn lock(&self) -> Registered<'_> {
        Registered(self.0.lock())
    }
}

/// The list, locked.
pub(crate) struct Registered<'a>(Guard<'a, Newest>);

impl Registered<'_> {
    /// Enters a goroutine.
    ///
    /// # Safety
    /// It is in no registry.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, g: GRef) {
        let second = self.0.0;
        g.links.newer.set(ptr::null());
        g.links.older.set(second);
        // SAFETY: what is in the list is counted by it.
        if let Some(second) = unsafe { second.as_ref() } {
            second.links.newer.set(g.as_ptr());
        }
        self.0.0 = g.into_raw().as_ptr();
    }

    /// Takes a goroutine out; gives back the list's count of it.
    ///
    /// # Safety
    /// It is in this registry.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, g: &G) -> GRef {
        let (newer, older) = (g.links.newer.get(), g.links.older.get());
        // SAFETY: neighbours are in the list, which counts them.
        match unsafe { newer.as_ref() } {
            Some(newer) => newer.links.older.set(older),
            None => self.0.0 = older,
        }
        // SAFETY: as above.
        if let Some(older) = unsafe { older.as_ref() } {
            older.links.newer.set(newer);
        }
        // SAFETY: in the list by contract, so its count was the list's, and now it is ours.
        unsafe { GRef::from_raw(NonNull::from(g)) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.0.is_null()
    }

    /// All of them, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &G> {
        // SAFETY: what is in the list is counted by it, and stays in it while the lock is held.
        let at = |g: *const G| unsafe { g.as_ref() };
        std::iter::successors(at(self.0.0), move |g| at(g.links.older.get()))
    }

    /// A reference to each.
    pub(crate) fn to_vec(&self) -> Vec<GRef> {
        // SAFETY: the count that is cloned is the list's, and stays the list's.
        let held = |g: &G| ManuallyDrop::new(unsafe { GRef::from_raw(NonNull::from(g)) });
        self.iter().map(|g| GRef::clone(&held(g))).collect()
    }
}

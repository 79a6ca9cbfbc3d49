//! What of a context can end: a node in the tree of cancellation.
//!
//! ```text
//!   Context ──▶ Scope ──parent (owns)──▶ Scope ──▶ .. the root has none
//!                 ▲ └──children (a slab of weak references)
//!   Cancel ───────┘
//! ```
//!
//! A child owns its parent, so that a cancellation finds its way down as long as somebody can wait
//! for its end; a parent knows its children weakly, and a child that is dropped takes its place in
//! the slab back. So a parent that lives for ever holds as many children as are alive.
//!
//! The state goes from OPEN to one of the two ends, once, by one compare-and-swap, and so the
//! reason that was given once is given always:
//!
//! ```text
//!   OPEN ── end (under the lock: waiters are claimed, children are taken) ──▶ CANCELLED, EXPIRED
//!     └──── somebody asks, and the deadline has passed (no lock) ───────────▶ EXPIRED
//! ```
//!
//! *A deadline is computed*, when the scope is made: the earliest of its own and its parent's. No
//! timer belongs to it. Who waits for a scope has the deadline as a limit of the wait, so nobody
//! needs to be told; and a descendant's deadline is no later, so it needs no telling either. That
//! is why the second arrow takes no lock and walks no tree.
//!
//! *Cancelling* walks down: each scope in turn is ended under its own lock, which gives up its
//! waiters and its slab of children; they are woken, and the slab goes on a stack of slabs to
//! visit, with no lock held. A child that registers before its parent's end is in the slab; one
//! that comes after it sees the end, and is made ended. The depth of the tree is on the heap.
//!
//! *Dropping* walks up: the last owner of a scope takes it out of its parent's slab and, if it was
//! the last owner of that too, goes on there. No recursion in either direction.
//!
//! No user code runs here: a scope has no values, and waiters are resumed with no lock held.
//!
//! Rejected: a timer per context (Go has one; a service gives each request a deadline that hardly
//! ever passes, and would set and clear a timer for each); a flag that descendants look up in
//! their ancestors (each `is_done` would cost the depth of the tree).

use super::ContextError;
use crate::wait::{Key, Ticket, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU8, Ordering};
use slab::Slab;
use std::time::Instant;
// `std`'s also in a model: loom's has no weak references. What can race is ordered by the locks
// and the state, which a model does see.
use std::sync::{Arc, Weak};

const OPEN: u8 = 0;
const CANCELLED: u8 = 1;
const EXPIRED: u8 = 2;

/// A slab with more slots than this is freed when the last child leaves.
const KEEP: usize = 32;

/// See the module documentation.
pub(super) struct Scope {
    /// Atomic: the states above.
    state: AtomicU8,
    /// Its own and its ancestors' earliest.
    deadline: Option<Instant>,
    /// Written before the scope is shared, taken when it is dropped.
    parent: Option<Parent>,
    inner: Lock<Inner>,
}

struct Parent {
    scope: Arc<Scope>,
    /// In its slab of children.
    place: usize,
}

/// Protected by the lock.
struct Inner {
    /// With the outcome that each is to be claimed with.
    waiters: WaitList<u16>,
    /// Nobody enters once the scope has ended.
    children: Slab<Weak<Scope>>,
}

impl Scope {
    /// A scope below `parent` that ends with it, and at `deadline` at the latest.
    pub(super) fn new(parent: Option<&Arc<Scope>>, deadline: Option<Instant>) -> Arc<Self> {
        let inherited = parent.and_then(|parent| parent.deadline);
        let deadline = [deadline, inherited].into_iter().flatten().min();
        let inner = Inner { waiters: WaitList::new(), children: Slab::new() };
        let state = AtomicU8::new(OPEN);
        let mut scope = Arc::new(Self { state, deadline, parent: None, inner: Lock::new(inner) });
        if let Some(parent) = parent {
            parent.adopt(&mut scope);
        }
        scope
    }

    /// Makes `child`, which nobody shares yet, a child of this scope; an ended one if this has.
    fn adopt(self: &Arc<Self>, child: &mut Arc<Scope>) {
        let mut inner = self.inner.lock();
        let place = inner.children.vacant_key();
        let new = Arc::get_mut(child).expect("a scope that was just made has one owner");
        match self.state.load(Ordering::Acquire) {
            OPEN => new.parent = Some(Parent { scope: self.clone(), place }),
            end => {
                new.state = AtomicU8::new(end);
                return;
            }
        }
        inner.children.insert(Arc::downgrade(child));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Why it has ended, if it has.
    #[inline]
    pub(super) fn error(&self) -> Option<ContextError> {
        // Acquire: what was done before a cancellation happens before what its observer does next.
        match self.state.load(Ordering::Acquire) {
            OPEN => match self.deadline {
                Some(at) if at <= Instant::now() => Some(self.expired()),
                _ => None,
            },
            CANCELLED => Some(ContextError::Cancelled),
            _ => Some(ContextError::DeadlineExceeded),
        }
    }

    /// The deadline has passed; a cancellation may have been faster.
    #[cold]
    pub(super) fn expired(&self) -> ContextError {
        let end = self.state.compare_exchange(OPEN, EXPIRED, Ordering::AcqRel, Ordering::Acquire);
        if end == Err(CANCELLED) {
            return ContextError::Cancelled;
        }
        ContextError::DeadlineExceeded
    }

    /// Registers a wait to be claimed with `outcome` when the scope is cancelled, or says that it
    /// has ended. `claim` at a deadline is the waiter's own business.
    pub(super) fn enlist(&self, ticket: Ticket, outcome: u16) -> Result<Key, ContextError> {
        let mut inner = self.inner.lock();
        match self.error() {
            Some(error) => {
                drop(inner);
                Err(error)
            }
            None => Ok(inner.waiters.push_back(ticket, outcome)),
        }
    }

    /// Takes the registration back.
    pub(super) fn delist(&self, key: Key) {
        self.inner.lock().waiters.remove(key);
    }

    /// Ends this scope and all below it. Nothing happens to what has ended.
    pub(super) fn cancel(&self) {
        let mut now = None;
        let mut levels = Vec::new();
        levels.extend(Self::level(self.end(&mut now)));
        while let Some(level) = levels.last_mut() {
            let Some((_, child)) = level.next() else {
                levels.pop();
                continue;
            };
            // If this is its last owner by now, it is dropped here, with no lock held.
            let Some(child) = child.upgrade() else { continue };
            levels.extend(Self::level(child.end(&mut now)));
        }
    }

    /// What is to be visited, if anything: most scopes are leaves.
    fn level(children: Slab<Weak<Scope>>) -> Option<slab::IntoIter<Weak<Scope>>> {
        (!children.is_empty()).then(|| children.into_iter())
    }

    /// Ends this scope alone and gives up its children. `now`: the clock, read once if at all.
    fn end(&self, now: &mut Option<Instant>) -> Slab<Weak<Scope>> {
        let expired = self.deadline.is_some_and(|at| at <= *now.get_or_insert_with(Instant::now));
        let end = if expired { EXPIRED } else { CANCELLED };
        let mut inner = self.inner.lock();
        // Release: what the canceller did happens before what an observer does next.
        if self.state.compare_exchange(OPEN, end, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Slab::new();
        }
        let children = std::mem::take(&mut inner.children);
        let fired = inner.waiters.claim_all_reserved(|outcome| *outcome);
        drop(inner);
        drop(fired);
        children
    }

    /// A child has been dropped.
    fn forget(&self, place: usize) {
        let mut inner = self.inner.lock();
        // Not there if this scope has ended, and the slab gone with it.
        let child = inner.children.try_remove(place);
        let rest = if inner.children.is_empty() && inner.children.capacity() > KEEP {
            std::mem::take(&mut inner.children)
        } else {
            Slab::new()
        };
        drop(inner);
        drop((child, rest));
    }

    /// How many waits are registered.
    pub(super) fn waiters(&self) -> usize {
        self.inner.lock().waiters.footprint().0
    }

    /// How many waiters and children there are, and room for how many children.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> (usize, usize, usize) {
        let inner = self.inner.lock();
        (inner.waiters.footprint().0, inner.children.len(), inner.children.capacity())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut above = self.parent.take();
        while let Some(Parent { scope, place }) = above {
            scope.forget(place);
            above = Arc::into_inner(scope).and_then(|mut scope| scope.parent.take());
        }
    }
}

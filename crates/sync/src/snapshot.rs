//! Snapshots: a value that is read all the time and replaced as a whole now and then.
//!
//! A configuration, a routing table, a set of certificates. Readers never wait and never make a
//! writer wait; a reader keeps the snapshot that it has loaded for as long as it likes, and the
//! last one who has it drops it. The mechanism is `arc-swap`'s: a load publishes the pointer in a
//! slot of its thread (a *debt*) instead of counting a reference, and whoever replaces the value
//! pays the debts that it finds by counting for them.
//!
//! ```text
//!   load: slot of this thread ◀─ pointer, look again        store: swap pointer, pay the debts, drop
//!   load_full: a counted Arc                                cached: compare the pointer, keep the Arc
//! ```
//!
//! What that means on goroutines: a thread has eight such slots, and all goroutines at home there
//! share them. A guard that is held across a park keeps its slot; when all are taken, loads count
//! references instead, which is slower and as right. So hold a [`SnapshotGuard`] for as long as an
//! expression, and across parks a [`load_full`](Snapshot::load_full).
//!
//! Rejected: [`RwLock`](std::sync::RwLock) around an `Arc` (each read writes a shared cache line,
//! and a reader that parks holds up the writer); a sequence lock (values must be `Copy`).

use arc_swap::{ArcSwap, Cache};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A value that is read without waiting and replaced as a whole.
///
/// *Happens-before*: a [`store`](Self::store), [`swap`](Self::swap), successful
/// [`compare_exchange`](Self::compare_exchange) or [`update`](Self::update) happens before every
/// load that returns what it stored. Loads of one thread never go back to an older value.
///
/// Nothing here parks. The old value is dropped by whoever lets go of it last: a reader, or the
/// call that replaced it.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::Snapshot;
///
/// struct Config { greeting: &'static str, limit: u32 }
///
/// let config = Snapshot::new(Config { greeting: "hello", limit: 10 });
/// let before = config.load_full();
/// config.update(|old| Config { limit: old.limit + 1, ..*old });
/// assert_eq!((before.limit, config.load().limit), (10, 11));
/// assert_eq!(config.load().greeting, "hello");
/// ```
pub struct Snapshot<T>(ArcSwap<T>);

impl<T> Snapshot<T> {
    /// Holds `value` at first.
    pub fn new(value: T) -> Self {
        Self::from_arc(Arc::new(value))
    }

    /// Holds what is behind `value` at first.
    pub fn from_arc(value: Arc<T>) -> Self {
        Self(ArcSwap::new(value))
    }

    /// The value of now, for a short look: does not count a reference. The guard goes on showing
    /// the value that it was made with.
    #[inline]
    pub fn load(&self) -> SnapshotGuard<T> {
        SnapshotGuard(self.0.load())
    }

    /// The value of now, to be kept: across a park, in a structure, on another thread.
    #[inline]
    pub fn load_full(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        self.store_arc(Arc::new(value));
    }

    /// Replaces the value by one that is shared already.
    pub fn store_arc(&self, value: Arc<T>) {
        self.0.store(value);
    }

    /// Replaces the value and returns the one before.
    pub fn swap(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }

    /// Makes the next value from the one of now. No update is lost: if another replaced the value
    /// meanwhile, `next` is called again with that one, so it should do nothing else than make a
    /// value. Returns the value that was replaced, as [`swap`](Self::swap) does.
    ///
    /// # Panics
    /// If `next` does; the value is then unchanged.
    pub fn update(&self, mut next: impl FnMut(&T) -> T) -> Arc<T> {
        self.0.rcu(|now| next(now))
    }

    /// As [`update`](Self::update), unless `next` returns `None`: then nothing is replaced.
    ///
    /// # Errors
    /// The value that `next` declined to replace.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let limit = millpond::sync::Snapshot::new(8);
    /// assert!(limit.try_update(|now| (*now < 10).then(|| now + 2)).is_ok());
    /// assert_eq!(limit.try_update(|now| (*now < 10).then(|| now + 2)), Err(10.into()));
    /// ```
    pub fn try_update(&self, mut next: impl FnMut(&T) -> Option<T>) -> Result<Arc<T>, Arc<T>> {
        let mut now = self.load_full();
        loop {
            let Some(value) = next(&now) else { return Err(now) };
            match self.compare_exchange(&now, Arc::new(value)) {
                Ok(before) => return Ok(before),
                Err(other) => now = other,
            }
        }
    }

    /// Replaces the value if it is still `current`, the very same `Arc`.
    ///
    /// # Errors
    /// The value that was found instead; `value` is dropped.
    pub fn compare_exchange(&self, current: &Arc<T>, value: Arc<T>) -> Result<Arc<T>, Arc<T>> {
        let found = arc_swap::Guard::into_inner(self.0.compare_and_swap(current, value));
        if Arc::ptr_eq(current, &found) { Ok(found) } else { Err(found) }
    }

    /// A reader for a hot path: it keeps the value, and each [`Cached::load`] costs one relaxed
    /// load and a comparison until somebody replaces it. For a reader that outlives the borrow,
    /// [`Cached::new`] takes an `Arc<Snapshot<T>>`.
    pub fn cached(&self) -> Cached<&Self, T> {
        Cached::new(self)
    }

    /// Takes the value out.
    pub fn into_inner(self) -> Arc<T> {
        self.0.into_inner()
    }
}

impl<T: Default> Default for Snapshot<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Snapshot<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&*self.load()).finish()
    }
}

/// A look at one snapshot. From [`Snapshot::load`].
pub struct SnapshotGuard<T>(arc_swap::Guard<Arc<T>>);

impl<T> SnapshotGuard<T> {
    /// The value, to be kept for longer.
    pub fn into_arc(self) -> Arc<T> {
        arc_swap::Guard::into_inner(self.0)
    }
}

impl<T> Deref for SnapshotGuard<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for SnapshotGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A reader with a copy of the pointer. From [`Snapshot::cached`] or [`Cached::new`].
///
/// It keeps the value that it loaded last alive, also after that was replaced, until it loads
/// again or is dropped.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::sync::{Cached, Snapshot};
/// use std::sync::Arc;
///
/// let config = Arc::new(Snapshot::new(1));
/// let mut reader = Cached::new(config.clone());
/// assert_eq!(**reader.load(), 1);
/// config.store(2);
/// assert_eq!(**reader.load(), 2);
/// ```
pub struct Cached<S: Deref<Target = Snapshot<T>>, T>(Cache<Source<S, T>, Arc<T>>);

impl<S: Deref<Target = Snapshot<T>>, T> Cached<S, T> {
    /// A reader of `snapshot`: a reference to it, or an `Arc`.
    pub fn new(snapshot: S) -> Self {
        Self(Cache::new(Source { snapshot, value: PhantomData }))
    }

    /// The value of now. What [`Snapshot::load`] would show, with the same happens-before edge.
    #[inline]
    pub fn load(&mut self) -> &Arc<T> {
        self.0.load()
    }
}

impl<S: Deref<Target = Snapshot<T>>, T: fmt::Debug> fmt::Debug for Cached<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").finish_non_exhaustive()
    }
}

/// Leads from a reference to a [`Snapshot`] to what `arc-swap` wants to see.
struct Source<S, T> {
    snapshot: S,
    value: PhantomData<fn() -> T>,
}

impl<S: Deref<Target = Snapshot<T>>, T> Deref for Source<S, T> {
    type Target = ArcSwap<T>;
    #[inline]
    fn deref(&self) -> &ArcSwap<T> {
        &self.snapshot.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_reader_keeps_what_it_loaded_and_the_last_one_drops_it() {
        let first = Arc::new(1);
        let snapshot = Snapshot::from_arc(first.clone());
        let (guard, kept) = (snapshot.load(), snapshot.load_full());
        snapshot.store(2);
        assert_eq!((*guard, *kept, *snapshot.load()), (1, 1, 2));
        drop((guard, kept));
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn an_update_that_panics_changes_nothing() {
        let snapshot = Snapshot::new(1);
        let broken = catch_unwind(AssertUnwindSafe(|| snapshot.update(|_| panic!("broken"))));
        assert!(broken.is_err());
        assert_eq!(*snapshot.update(|now| now + 1), 1);
        assert_eq!(*snapshot.into_inner(), 2);
    }

    #[test]
    fn an_exchange_needs_the_very_same_value() {
        let snapshot = Snapshot::new(1);
        let one = snapshot.load_full();
        assert_eq!(snapshot.compare_exchange(&Arc::new(1), Arc::new(5)), Err(one.clone()));
        assert_eq!(snapshot.compare_exchange(&one, Arc::new(2)), Ok(one.clone()));
        assert_eq!(snapshot.compare_exchange(&one, Arc::new(3)), Err(Arc::new(2)));
        assert_eq!(*snapshot.swap(9), 2);
    }

    #[test]
    fn more_guards_than_a_thread_has_slots_are_all_right() {
        let snapshot = Snapshot::new(0);
        let guards: Vec<_> = (0..100)
            .map(|i| {
                snapshot.store(i);
                snapshot.load()
            })
            .collect();
        assert!(guards.iter().enumerate().all(|(i, guard)| **guard == i));
    }
}

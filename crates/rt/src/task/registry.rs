//! The tasks that wait, one registry per M: what the end of the runtime has to wake.
//!
//! A task that is due is in a queue, and whoever empties the queue at the end drops it. A task that
//! waits is nowhere but in the wakers that it gave away, and those may be lost, or asleep for an
//! hour. So before a task waits for the first time, a waker of it goes into the registry of the M
//! that polled it; it stays there over further waits, until the future is dropped. A task that
//! never waits is never here.
//!
//! Who comes too late for the end finds the registry *closed* and is cancelled instead. A task that
//! comes in time is woken by the end. There is no third case, because the lock decides; and since
//! nobody enters after the end, a place that was given out is never somebody else's.
//!
//! An entry is half a waker, 8 bytes: the task. The other half, the table of its functions, is the same
//! for all tasks of one type of future, and is kept once for the type, in its [`Kind`]. Free places
//! are a list of their own, which stays empty while nothing but waits begin.
//!
//! The entry is counted: it keeps the task's memory. An uncounted one, removed by the future's drop,
//! would do for that; but a detached task without a counted waker is ended by `async-task` when its
//! last waker goes, which writes the count and does not expect that it has grown meanwhile.

use std::mem::ManuallyDrop;
use std::ptr;
use std::task::{RawWakerVTable, Waker};

/// Empty kinds with more places than this give their memory back.
const KEPT: usize = 1024;

/// See the module documentation. All of it is protected by the lock around it; the wakers that come
/// out are dropped or woken after that lock.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Only grows: one per type of future that has waited here.
    kinds: Vec<Kind>,
    /// Where the last one went, who is often followed by his like.
    latest: usize,
    closed: bool,
}

// SAFETY: what the pointers in it stand for are wakers, which are `Send`.
unsafe impl Send for Registry {}

/// The tasks whose wakers have the same functions.
#[derive(Debug)]
struct Kind {
    vtable: &'static RawWakerVTable,
    /// Each the data of a waker with `vtable` that was taken apart here, or null.
    tasks: Vec<*const ()>,
    /// Places in `tasks` that are null.
    free: Vec<u32>,
}

/// Where a waker is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) kind: u16,
}

impl Kind {
    fn insert(&mut self, waker: Waker) -> u32 {
        // The entry is the waker from here on, and so its count.
        let task = ManuallyDrop::new(waker).data();
        if let Some(index) = self.free.pop() {
            self.tasks[index as usize] = task;
            return index;
        }
        self.tasks.push(task);
        u32::try_from(self.tasks.len() - 1).expect("memory ends before the numbers do")
    }

    fn remove(&mut self, index: u32) -> Option<Waker> {
        let task = std::mem::replace(self.tasks.get_mut(index as usize)?, ptr::null());
        let waker = self.assemble(task)?;
        self.free.push(index);
        if self.free.len() == self.tasks.len() && self.free.len() > KEPT {
            (self.tasks, self.free) = (Vec::new(), Vec::new());
        }
        Some(waker)
    }

    /// Puts a waker together again that `task` has been taken out for; `None` for null.
    fn assemble(&self, task: *const ()) -> Option<Waker> {
        // SAFETY: a pointer in `tasks` is the data of a forgotten waker with this very table
        // (`Registry::insert` chose the kind by it). Both callers have taken it out of there, so it
        // becomes a waker once.
        (!task.is_null()).then(|| unsafe { Waker::new(task, self.vtable) })
    }
}

impl Registry {
    /// Keeps `waker` and returns its place.
    ///
    /// # Errors
    /// The waker, if the runtime has ended. (Or if it is of no task, whose data is never null.)
    pub(super) fn insert(&mut self, waker: Waker) -> Result<Place, Waker> {
        if self.closed || waker.data().is_null() {
            return Err(waker);
        }
        let vtable = waker.vtable();
        if self.kinds.get(self.latest).is_none_or(|kind| !ptr::eq(kind.vtable, vtable)) {
            self.latest = self.find(vtable);
        }
        let index = self.kinds[self.latest].insert(waker);
        let kind = u16::try_from(self.latest).expect("`find` has seen to it");
        Ok(Place { kind, index })
    }

    /// The kind with this table, which may be new.
    fn find(&mut self, vtable: &'static RawWakerVTable) -> usize {
        if let Some(known) = self.kinds.iter().position(|kind| ptr::eq(kind.vtable, vtable)) {
            return known;
        }
        let kinds = self.kinds.len();
        assert!(kinds <= usize::from(u16::MAX), "spawn: 65,536 types of futures are the most");
        self.kinds.push(Kind { vtable, tasks: Vec::new(), free: Vec::new() });
        kinds
    }

    /// Gives a place back; `None` if the end of the runtime took what was there.
    pub(super) fn remove(&mut self, place: Place) -> Option<Waker> {
        self.kinds.get_mut(usize::from(place.kind))?.remove(place.index)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(|kind| kind.tasks.len() - kind.free.len()).sum()
    }

    /// The end of the runtime: takes all of them, and lets nobody in any more.
    pub(crate) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        let kinds = std::mem::take(&mut self.kinds);
        let wakers = kinds.into_iter().flat_map(|mut kind| {
            let tasks = std::mem::take(&mut kind.tasks);
            tasks.into_iter().filter_map(move |task| kind.assemble(task))
        });
        wakers.collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    #[test]
    fn a_place_that_was_given_back_is_used_again() {
        let mut registry = Registry::default();
        let places: Vec<Place> = (0..3).map(|_| registry.insert(waker().1).unwrap()).collect();
        assert_eq!(places.iter().map(|place| place.index).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(registry.remove(places[1]).is_some());
        assert!(registry.remove(places[1]).is_none(), "once");
        assert_eq!(registry.insert(waker().1).unwrap(), places[1]);
        assert_eq!(registry.insert(waker().1).unwrap().index, 3);
    }

    /// A second type of waker, with functions of its own.
    struct Other(AtomicUsize);

    impl Wake for Other {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(100, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_comes_out_with_the_functions_that_it_had() {
        let mut registry = Registry::default();
        let (count, first) = waker();
        let other = Arc::new(Other(AtomicUsize::new(0)));
        let here = registry.insert(first).unwrap();
        let there = registry.insert(Waker::from(other.clone())).unwrap();
        let last = registry.insert(Waker::from(count.clone())).unwrap();
        assert_eq!((here.kind, last.kind), (0, 0));
        assert_eq!((there.kind, there.index), (1, 0));
        registry.remove(there).expect("it is there").wake();
        registry.remove(here).expect("it is there").wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(other.0.load(Ordering::Relaxed), 100);
        assert_eq!(Arc::strong_count(&other), 1);
        drop(registry);
        assert_eq!(Arc::strong_count(&count), 1, "what is left is dropped with it");
    }

    #[test]
    fn a_waker_of_no_task_is_refused() {
        assert!(Registry::default().insert(Waker::noop().clone()).is_err());
    }

    #[test]
    fn the_end_takes_what_waits_and_refuses_what_comes() {
        let mut registry = Registry::default();
        let (gone, first) = waker();
        let (kept, second) = waker();
        let place = registry.insert(first).unwrap();
        let other = registry.insert(second).unwrap();
        drop(registry.remove(place));
        registry.close().into_iter().for_each(Waker::wake);
        assert_eq!((gone.0.load(Ordering::Relaxed), kept.0.load(Ordering::Relaxed)), (0, 1));
        assert!(registry.insert(waker().1).is_err());
        assert!(registry.remove(other).is_none(), "its place is nobody's");
        assert!(registry.close().is_empty());
    }

    #[test]
    fn a_registry_that_has_emptied_after_a_crowd_gives_its_memory_back() {
        let mut registry = Registry::default();
        let crowd: Vec<_> = (0..4 * KEPT).map(|_| registry.insert(waker().1).unwrap()).collect();
        crowd.iter().for_each(|&place| assert!(registry.remove(place).is_some()));
        let kind = &registry.kinds[0];
        assert_eq!((kind.tasks.capacity(), kind.free.capacity()), (0, 0));
        assert_eq!(registry.insert(waker().1).unwrap(), crowd[0]);
    }
}

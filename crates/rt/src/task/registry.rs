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
//! An entry is a waker and nothing else, 16 bytes; free places are a list of their own, because a
//! link in the place itself would need a mark for what it is, another 8 bytes for each task
//! (`Option<Waker>` has used up the only spare value). The entry is counted: it keeps the task's
//! memory. An uncounted one, removed by the future's drop, would be enough for that, but a detached
//! task without a counted waker is dropped by `async-task` at its last waker's drop, which writes
//! the count and does not expect that it has grown meanwhile.

use std::task::Waker;

/// Empty registries above this many places give their memory back.
const KEPT: usize = 1024;

/// See the module documentation. All of it is protected by the lock around it; the wakers that come
/// out are dropped or woken after that lock.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    wakers: Vec<Option<Waker>>,
    /// Places in `wakers` that are `None`.
    free: Vec<u32>,
    closed: bool,
}

impl Registry {
    /// Keeps `waker` and returns its place.
    ///
    /// # Errors
    /// The waker, if the runtime has ended.
    pub(super) fn insert(&mut self, waker: Waker) -> Result<u32, Waker> {
        if self.closed {
            return Err(waker);
        }
        if let Some(place) = self.free.pop() {
            self.wakers[place as usize] = Some(waker);
            return Ok(place);
        }
        let place = u32::try_from(self.wakers.len()).expect("memory ends before the numbers do");
        self.wakers.push(Some(waker));
        Ok(place)
    }

    /// Gives a place back; `None` if the end of the runtime took what was there.
    pub(super) fn remove(&mut self, place: u32) -> Option<Waker> {
        let waker = self.wakers.get_mut(place as usize)?.take()?;
        self.free.push(place);
        if self.free.len() == self.wakers.len() && self.free.len() > KEPT {
            *self = Self::default();
        }
        Some(waker)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.wakers.len() - self.free.len()
    }

    /// The end of the runtime: takes all of them, and lets nobody in any more.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.closed = true;
        self.free = Vec::new();
        std::mem::take(&mut self.wakers).into_iter().flatten()
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
        let places: Vec<u32> = (0..3).map(|_| registry.insert(waker().1).unwrap()).collect();
        assert_eq!(places, [0, 1, 2]);
        assert!(registry.remove(1).is_some());
        assert!(registry.remove(1).is_none(), "once");
        assert_eq!(registry.insert(waker().1).unwrap(), 1);
        assert_eq!(registry.insert(waker().1).unwrap(), 3);
    }

    #[test]
    fn the_end_takes_what_waits_and_refuses_what_comes() {
        let mut registry = Registry::default();
        let (gone, first) = waker();
        let (kept, second) = waker();
        let place = registry.insert(first).unwrap();
        registry.insert(second).unwrap();
        drop(registry.remove(place));
        registry.close().for_each(Waker::wake);
        assert_eq!((gone.0.load(Ordering::Relaxed), kept.0.load(Ordering::Relaxed)), (0, 1));
        assert!(registry.insert(waker().1).is_err());
        assert!(registry.remove(1).is_none(), "its place is nobody's");
        assert_eq!(registry.close().count(), 0);
    }

    #[test]
    fn a_registry_that_has_emptied_after_a_crowd_gives_its_memory_back() {
        let mut registry = Registry::default();
        let crowd = 4 * KEPT as u32;
        (0..crowd).for_each(|place| assert_eq!(registry.insert(waker().1).unwrap(), place));
        (0..crowd).for_each(|place| assert!(registry.remove(place).is_some()));
        assert_eq!((registry.wakers.capacity(), registry.free.capacity()), (0, 0));
        assert_eq!(registry.insert(waker().1).unwrap(), 0);
    }
}

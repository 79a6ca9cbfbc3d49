//! Work without a home: what a ring carries, packed into one word.
//!
//! The queues between threads carry words and know nothing of goroutines (that is why they can be
//! modelled); here the words get their meaning, and the queues a safe face: [`WorkRing`] and
//! [`WorkSlot`] take and give [`Work`] only, so a word is unpacked exactly once.
//!
//! ```text
//!   pointer to G ........ 0    a goroutine
//!   pointer to task ..... 1    a task that is due for a poll
//! ```

use crate::g::{G, GRef};
use crate::queue::ring::{Ring, Sighting};
use crate::task::Runnable;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

const TASK: usize = 1;

/// A goroutine (in a ring: one that has not started), or a task that is due for a poll.
#[derive(Debug)]
pub(crate) enum Work {
    Goroutine(GRef),
    Task(Runnable),
}

impl Work {
    /// Packs; the word owns what was packed.
    #[inline]
    fn into_word(self) -> usize {
        match self {
            Self::Goroutine(g) => g.into_raw().as_ptr() as usize,
            Self::Task(task) => task.into_raw().as_ptr() as usize | TASK,
        }
    }

    /// Unpacks; `None` for 0.
    ///
    /// # Safety
    /// The word came from [`Work::into_word`] and is unpacked once.
    #[inline]
    unsafe fn from_word(word: usize) -> Option<Self> {
        let pointer = NonNull::new((word & !TASK) as *mut ())?;
        // SAFETY: by contract the word owns one count of a G, or one Runnable; both are aligned to
        // a word, so the lowest bit was free.
        Some(unsafe {
            if word & TASK == 0 {
                Self::Goroutine(GRef::from_raw(pointer.cast::<G>()))
            } else {
                Self::Task(Runnable::from_raw(pointer))
            }
        })
    }
}

/// A run queue of work. The methods are those of [`Ring`], and so are the rules about who may call
/// them.
#[derive(Debug)]
pub(crate) struct WorkRing(Ring);

/// Unpacks a word that came out of one of the two containers below.
fn unpack(word: usize) -> Option<Work> {
    // SAFETY: only `into_word` words go in, and each comes out once (the ring's and the swap's
    // protocol).
    unsafe { Work::from_word(word) }
}

impl WorkRing {
    pub(crate) fn new() -> Self {
        Self(Ring::new())
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.0.len()
    }

    /// Owner.
    #[inline]
    pub(crate) fn push(&self, work: Work) -> Result<(), Work> {
        match self.0.push(work.into_word()) {
            Ok(()) => Ok(()),
            Err(word) => Err(unpack(word).expect("the word of a line above")),
        }
    }

    /// Owner.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Work> {
        self.0.pop().and_then(unpack)
    }

    /// Anyone.
    pub(crate) fn take_half(&self) -> impl Iterator<Item = Work> {
        self.0.take_half().into_iter().filter_map(unpack)
    }

    /// Thief, who owns `to`.
    pub(crate) fn steal_into(&self, to: &WorkRing, limit: u32) -> u32 {
        self.0.steal_into(&to.0, limit)
    }

    pub(crate) fn watch(&self) -> Sighting {
        self.0.watch()
    }

    pub(crate) fn ripe(&self, then: Sighting) -> u32 {
        self.0.ripe(then)
    }

    pub(crate) fn left_since(&self, then: Sighting) -> u32 {
        self.0.left_since(then)
    }
}

/// A place for one piece of work, swapped by anyone.
#[derive(Debug, Default)]
pub(crate) struct WorkSlot(AtomicUsize);

impl WorkSlot {
    #[inline]
    pub(crate) fn swap(&self, work: Work) -> Option<Work> {
        unpack(self.0.swap(work.into_word(), Ordering::AcqRel))
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Work> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        unpack(self.0.swap(0, Ordering::AcqRel))
    }

    /// A number that is the same as long as the same work is in the slot; 0 if it is empty.
    pub(crate) fn mark(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

//! Work without a home: what a ring carries, packed into one word.
//!
//! The queues between threads carry words and know nothing of goroutines (that is why they can be
//! modelled); here the words get their meaning, and the queues a safe face: [`WorkRing`] and
//! [`WorkSlot`] take and give [`Work`] only, so a word is unpacked exactly once.
//!
//! ```text
//!   pointer to G ..... 0 to 4   a goroutine; the number is the class of its stack
//!   pointer to task ...... 7    a task that is due for a poll
//! ```
//!
//! So the owner can tell the [`Kind`] of what comes next without taking it: what a word points to may be
//! followed only by who has taken the word, and what was taken cannot be put back where it was.

use crate::g::{G, GRef};
use crate::queue::ring::{Ring, Sighting};
use crate::task::Runnable;
use millpond_stack::SizeClass;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bits of a word that say what it points to.
const KIND: usize = 7;

// Both kinds of pointers leave these bits free: async-task's header begins with a pointer.
const _: () = assert!(align_of::<G>() > KIND && align_of::<*const ()>() > KIND);

/// What can be told of a piece of work that is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(usize);

const _: () = assert!(SizeClass::COUNT <= Kind::TASK.0);

impl Kind {
    pub(crate) const TASK: Self = Self(KIND);

    /// A goroutine with a stack of this class.
    #[inline]
    pub(crate) const fn goroutine(class: SizeClass) -> Self {
        Self(class.index())
    }

    #[inline]
    fn is_of(self, word: usize) -> bool {
        word & KIND == self.0
    }
}

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
            Self::Goroutine(g) => {
                let Kind(kind) = Kind::goroutine(g.spec.class);
                g.into_raw().as_ptr() as usize | kind
            }
            Self::Task(task) => task.into_raw().as_ptr() as usize | Kind::TASK.0,
        }
    }

    /// Unpacks; `None` for 0.
    ///
    /// # Safety
    /// The word came from [`Work::into_word`] and is unpacked once.
    #[inline]
    unsafe fn from_word(word: usize) -> Option<Self> {
        let pointer = NonNull::new((word & !KIND) as *mut ())?;
        // SAFETY: by contract the word owns one count of a G, or one Runnable; both are aligned to
        // a word, so the bits of the kind were free.
        Some(unsafe {
            if Kind::TASK.is_of(word) {
                Self::Task(Runnable::from_raw(pointer))
            } else {
                Self::Goroutine(GRef::from_raw(pointer.cast::<G>()))
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

    /// Owner: the oldest, if it is of this kind.
    #[inline]
    pub(crate) fn pop_of(&self, kind: Kind) -> Option<Work> {
        self.0.pop_if(|word| kind.is_of(word)).and_then(unpack)
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

    /// What is there, if it is of this kind.
    #[inline]
    pub(crate) fn take_of(&self, kind: Kind) -> Option<Work> {
        let word = self.0.load(Ordering::Relaxed);
        if word == 0 || !kind.is_of(word) {
            return None;
        }
        // The word may have gone and come again meanwhile: it is of that kind all the same.
        let taken = self.0.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
        taken.ok().and_then(unpack)
    }

    /// A number that is the same as long as the same work is in the slot; 0 if it is empty.
    pub(crate) fn mark(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

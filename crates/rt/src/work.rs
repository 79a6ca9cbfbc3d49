//! Work without a home: what a ring carries, packed into one word.
//!
//! ```text
//!   pointer to G ........ 0    a goroutine
//!   pointer to task ..... 1    a task that is due for a poll
//! ```

use crate::g::{G, GRef};
use async_task::Runnable;
use std::ptr::NonNull;

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
    pub(crate) fn into_word(self) -> usize {
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
    pub(crate) unsafe fn from_word(word: usize) -> Option<Self> {
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

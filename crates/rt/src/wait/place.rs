//! A waiter's place in a line: its link, and the slot through which it is handed a value.
//!
//! In the `G` of a goroutine, beside the wait word, so that a wait touches one line of the cache; of a thread
//! in its cell. Whose it is at each moment is the protocol of [`super::line`].

use millpond_prim::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// The words of a slot.
type Slot = [MaybeUninit<usize>; 2];

/// What a waiter has for the line that it is in: its link, and the slot.
pub(crate) struct Place {
    /// The waiter behind, counted. Protected by the lock of the line.
    pub(super) next: UnsafeCell<Option<NonNull<()>>>,
    /// Protected as `line` says.
    slot: UnsafeCell<Slot>,
}

// SAFETY: both fields are reached under the lock of the line that the owner is in, and by the owner
// when it is in none.
unsafe impl Sync for Place {}
// SAFETY: a slot holds a value only within `give` and `take` below, whose types say what may be sent.
unsafe impl Send for Place {}

impl Place {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { next: UnsafeCell::new(None), slot: UnsafeCell::new([MaybeUninit::uninit(); 2]) }
    }

    /// # Safety
    /// The slot is the caller's, and `T` [fits](fits).
    #[inline(always)]
    pub(super) unsafe fn put<T>(&self, value: T) {
        // SAFETY: the caller's; large and aligned enough.
        self.slot.with_mut(|slot| unsafe { slot.cast::<T>().write(value) });
    }

    /// # Safety
    /// The slot is the caller's, and a `T` is in it, which is then out of it.
    #[inline(always)]
    pub(super) unsafe fn get<T>(&self) -> T {
        // SAFETY: as said.
        self.slot.with_mut(|slot| unsafe { slot.cast::<T>().read() })
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// Whether values of `T` can be handed over in a line: at most two words, aligned as a word.
pub const fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<Slot>() && align_of::<T>() <= align_of::<Slot>()
}

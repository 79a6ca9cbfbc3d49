//! One stack, owned: the right to run on it.
//!
//! A [`Stack`] comes from a [`crate::Cache`] or from [`Pool::take`], and implements
//! [`corosensei::stack::Stack`], so a `Coroutine` or `on_stack` runs on it directly. It goes back
//! through [`crate::Cache::give`] (fast, stays warm) or by being dropped (slow, from any thread).
//! Forgotten, for instance inside a coroutine that is never resumed again, it is leaked: its slot
//! is not reused and not unmapped, so what still points into it stays right for ever.
//!
//! Rejected: a reference count back to the pool. Pools live as long as the process, for the
//! reason above, so `&'static` is true and costs nothing on the fast path.

use crate::class::{GUARD_BYTES, SizeClass, base_of};
use crate::pool::Pool;
use corosensei::stack::StackPointer;
use std::fmt;
use std::num::NonZeroUsize;

/// A stack with a guard, from a pool. Dropping it gives it back.
///
/// Two words, so that it travels in registers: in a structure of four words the padding was
/// copied in odd pieces, and each pop after a push waited for them.
pub struct Stack {
    /// Lowest address, with the index of the class in the bits that are 0 in a page's address.
    tagged: NonZeroUsize,
    pool: &'static Pool,
}

const TAG: usize = GUARD_BYTES - 1;

impl Stack {
    /// # Safety
    /// `limit` must be the lowest address of a slot of `class` that was taken from `pool` and
    /// belongs to nobody else.
    pub(crate) unsafe fn from_slot(pool: &'static Pool, class: SizeClass, limit: usize) -> Self {
        debug_assert!(limit & TAG == 0);
        let tagged = NonZeroUsize::new(limit | class.index());
        Self { tagged: tagged.expect("no stack ends at address 0"), pool }
    }

    /// Its size class.
    #[inline]
    pub fn class(&self) -> SizeClass {
        SizeClass::ALL[self.tagged.get() & TAG]
    }

    /// The pool that it came from.
    #[inline]
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Highest address, one past the end: where the first frame goes. A multiple of 128.
    #[inline]
    pub fn base_addr(&self) -> usize {
        base_of(self.class(), self.limit_addr())
    }

    /// Lowest address: that of the guard.
    #[inline]
    pub fn limit_addr(&self) -> usize {
        self.tagged.get() & !TAG
    }

    /// Bytes between the guard and the base.
    #[inline]
    pub fn usable_bytes(&self) -> usize {
        self.base_addr() - self.limit_addr() - GUARD_BYTES
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack({}, {:#x}..{:#x})", self.class(), self.limit_addr(), self.base_addr())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `self` owns the slot, and this is the last that is seen of it.
        unsafe { self.pool.put_back(self.class(), &mut [self.limit_addr()]) };
    }
}

// SAFETY: the lowest page was guarded when its chunk was opened, and a chunk with a stack out is
// not closed (`chunks`); between guard and base lie at least 10 KiB (`SizeClass::usable_bytes`,
// tested), mapped for the life of the process; both ends are multiples of 128.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base_addr()).expect("no stack begins at address 0")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit_addr()).expect("no stack ends at address 0")
    }
}

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

use crate::class::{GUARD_BYTES, SizeClass};
use crate::pool::Pool;
use std::num::NonZeroUsize;

/// A stack with a guard, from a pool. Dropping it gives it back.
#[derive(Debug)]
pub struct Stack {
    base: NonZeroUsize,
    limit: NonZeroUsize,
    pool: &'static Pool,
    class: SizeClass,
}

impl Stack {
    /// # Safety
    /// The slot must have been taken from `pool` and must belong to nobody else.
    pub(crate) unsafe fn from_slot(
        pool: &'static Pool,
        class: SizeClass,
        (base, limit): (usize, usize),
    ) -> Self {
        let address = |at| NonZeroUsize::new(at).expect("a stack does not begin or end at 0");
        Self { base: address(base), limit: address(limit), pool, class }
    }

    /// Its size class.
    #[inline]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The pool that it came from.
    #[inline]
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Highest address, one past the end: where the first frame goes. A multiple of 128.
    #[inline]
    pub fn base_addr(&self) -> usize {
        self.base.get()
    }

    /// Lowest address: that of the guard.
    #[inline]
    pub fn limit_addr(&self) -> usize {
        self.limit.get()
    }

    /// Bytes between the guard and the base.
    #[inline]
    pub fn usable_bytes(&self) -> usize {
        self.base.get() - self.limit.get() - GUARD_BYTES
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `self` owns the slot, and this is the last that is seen of it.
        unsafe { self.pool.put_back(self.class, &mut [self.limit.get()]) };
    }
}

// SAFETY: the lowest page was guarded when its chunk was opened, and a chunk with a stack out is
// not closed (`chunks`); between guard and base lie at least 10 KiB (`SizeClass::usable_bytes`,
// tested), mapped for the life of the process; both ends are multiples of 128.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> corosensei::stack::StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> corosensei::stack::StackPointer {
        self.limit
    }
}

//! [`Alloc`]: the heap as a program's global allocator.
//!
//! A value without fields, since there is one heap per process: all that it does is to forward. The
//! layout that comes with a free is not needed; of a reallocation, its alignment is.
//!
//! Built with `--cfg millpond_alloc` it is chosen right here, for every program that this crate is
//! linked into: that is how the whole test suite runs on it (`cargo xtask test --only alloc`).
//!
//! Rejected: heaps as values, with their own spans and caches. Whoever wants to free a whole group at
//! once uses an arena on top.

use crate::heap;
use std::alloc::{GlobalAlloc, Layout};

#[cfg(millpond_alloc)]
#[global_allocator]
static CHOSEN: Alloc = Alloc;

/// Millpond's allocator. Choose it for the whole program:
///
/// ```
/// use millpond_heap::Alloc;
///
/// # #[cfg(not(millpond_alloc))]
/// #[global_allocator]
/// static ALLOC: Alloc = Alloc;
///
/// fn main() {
///     let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
///     assert!(millpond_heap::stats().in_use() >= 8 * squares.len());
/// }
/// ```
///
/// Its state is the process's: all values are the same allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alloc;

// SAFETY: `heap` gives out blocks of the size and alignment that were asked for, which do not overlap
// and stay until they are freed; it does not unwind.
unsafe impl GlobalAlloc for Alloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        heap::alloc(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { heap::dealloc(block) };
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        heap::alloc_zeroed(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { heap::realloc(block, layout.size(), layout.align(), bytes) }
    }
}

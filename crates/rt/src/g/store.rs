//! Memory of ended goroutines, kept for the next ones.
//!
//! A goroutine's cell is one block: header, closure, result. Blocks have size classes (steps of
//! [`STEP`] bytes) and one alignment, so that one that became free serves any goroutine of its
//! class. Each M keeps the blocks that became free on its thread, last in first out, because the
//! last is warm:
//!
//! ```text
//!   make ◀── list of the class on this M ◀── free      both on the M's own thread: no atomics
//!     ▲                                        │
//!     └────────── the allocator ◀──────────────┘  no M here, odd alignment, large, or list full
//! ```
//!
//! An M keeps at most [`KEEP_BYTES`]; what is beyond goes to the allocator, so a peak does not
//! stay. When the M's thread ends, or freezes, all goes. A block is free when the last count of its
//! goroutine is gone, so no reference is left; pointers that outlive it are compared, not followed.
//!
//! Any allocator gives the blocks. Most of them would be fast as well if each block came back
//! before the next is asked for; but services start goroutines by the hundred, and a thread's
//! quick list in glibc holds seven of a size.

use crate::m::CurrentM;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

/// Distance of two classes.
const STEP: usize = 32;
/// Blocks of `STEP`, `2 * STEP`, … are kept; larger ones are not.
const CLASSES: usize = 16;
/// Alignment of every block that is kept.
const ALIGN: usize = 16;
/// What one M keeps at most.
const KEEP_BYTES: usize = 512 << 10;

/// The kind of block that a type of cell lives in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    layout: Layout,
    /// `None`: straight from the allocator and back.
    class: Option<usize>,
}

impl Kind {
    /// The smallest block for a `C`.
    pub(super) const fn of<C>() -> Self {
        let layout = Layout::new::<C>();
        let steps = layout.size().div_ceil(STEP);
        if layout.align() > ALIGN || steps == 0 || steps > CLASSES {
            assert!(layout.size() > 0);
            return Self { layout, class: None };
        }
        match Layout::from_size_align(steps * STEP, ALIGN) {
            Ok(layout) => Self { layout, class: Some(steps - 1) },
            Err(_) => panic!("a few steps and a power of two"),
        }
    }
}

/// Uninitialised memory as `kind` says; the caller's until it is given back.
#[inline]
pub(super) fn take(kind: Kind) -> NonNull<u8> {
    if let Some(class) = kind.class
        && let Some(m) = CurrentM::get()
        && let Some(block) = m.local().cells.pop(class)
    {
        m.spare_cell_bytes.store(spare(&m) - kind.layout.size(), Ordering::Relaxed);
        return block;
    }
    // SAFETY: no kind has size 0.
    let block = unsafe { alloc(kind.layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(kind.layout))
}

/// Gives a block back.
///
/// # Safety
/// It came from [`take`] with this `kind`, and nobody refers to it any more.
#[inline]
pub(super) unsafe fn give(kind: Kind, block: NonNull<u8>) {
    if let Some(class) = kind.class
        && let Some(m) = CurrentM::get()
    {
        let bytes = spare(&m) + kind.layout.size();
        if bytes <= KEEP_BYTES {
            m.spare_cell_bytes.store(bytes, Ordering::Relaxed);
            // SAFETY: of this class, and from here on the list's.
            return unsafe { m.local().cells.push(class, block) };
        }
    }
    // SAFETY: every block is the allocator's in the end, with the layout of its kind.
    unsafe { dealloc(block.as_ptr(), kind.layout) }
}

/// This M's thread alone changes it.
#[inline]
fn spare(m: &CurrentM) -> usize {
    m.spare_cell_bytes.load(Ordering::Relaxed)
}

/// Gives all that this M keeps to the allocator.
pub(crate) fn release(m: &CurrentM) {
    m.local().cells.release();
    m.spare_cell_bytes.store(0, Ordering::Relaxed);
}

/// A block in a list: its first word is the next one.
struct Spare {
    next: *mut Spare,
}

/// The lists of one M. Touched by its thread alone.
pub(crate) struct Cells([Cell<*mut Spare>; CLASSES]);

impl Cells {
    pub(crate) fn new() -> Self {
        Self([const { Cell::new(ptr::null_mut()) }; CLASSES])
    }

    #[inline]
    fn pop(&self, class: usize) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.0[class].get())?;
        // SAFETY: what is in a list is the list's, and `push` has written the link.
        self.0[class].set(unsafe { block.as_ref() }.next);
        Some(block.cast())
    }

    /// # Safety
    /// `block` was allocated as a block of `class`, and nobody refers to it any more.
    #[inline]
    unsafe fn push(&self, class: usize, block: NonNull<u8>) {
        let block = block.cast::<Spare>();
        // SAFETY: at least `STEP` bytes, aligned for more than a pointer, and ours.
        unsafe { block.write(Spare { next: self.0[class].get() }) };
        self.0[class].set(block.as_ptr());
    }

    #[cold]
    fn release(&self) {
        for class in 0..CLASSES {
            while let Some(block) = self.pop(class) {
                let layout = Layout::from_size_align((class + 1) * STEP, ALIGN);
                let layout = layout.expect("as `Kind::of` made it");
                // SAFETY: the list's alone, and allocated with the layout of its class.
                unsafe { dealloc(block.as_ptr(), layout) };
            }
        }
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_room_and_alignment_for_its_type() {
        #[repr(align(64))]
        struct Wide;
        fn check<C>(kept: bool) {
            let (kind, needs) = (Kind::of::<C>(), Layout::new::<C>());
            assert!(kind.layout.size() >= needs.size() && kind.layout.align() >= needs.align());
            assert_eq!(kind.class.is_some(), kept);
        }
        check::<u8>(true);
        check::<[u64; 4]>(true);
        check::<[u64; 5]>(true);
        check::<[u8; STEP * CLASSES]>(true);
        check::<[u8; STEP * CLASSES + 1]>(false);
        check::<(Wide, u8)>(false);
    }

    #[test]
    fn what_was_given_last_is_taken_first_and_from_its_class_only() {
        let cells = Cells::new();
        let small = Kind::of::<[u8; 40]>();
        let (a, b) = (take(small), take(small));
        let class = small.class.unwrap();
        // SAFETY: two fresh blocks of that class.
        unsafe {
            cells.push(class, a);
            cells.push(class, b);
        }
        assert_eq!(cells.pop(class + 1), None);
        assert_eq!(cells.pop(class), Some(b));
        // SAFETY: just popped.
        unsafe { cells.push(class, b) };
    }
}

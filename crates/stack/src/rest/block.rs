//! The copy of a stack at rest: one block of the process's allocator.
//!
//! ```text
//!   ┌─────────────────────┬──────────────────┐
//!   │ Head: words, bytes, │ packed words,    │
//!   │ whom a foreign wake │ from sp upwards  │
//!   │ is told to          │ (`pack`)         │
//!   └─────────────────────┴──────────────────┘
//! ```
//!
//! Allocated by the owner before the stack is closed, because an allocator may wait for others, and
//! freed by the owner after it has taken the copy back. Between these it does not change, and any
//! thread that puts the stack back reads it.

use super::pack::{Anchors, Unpack, pack, packed_bytes};
use std::alloc::{Layout, alloc, dealloc};
use std::mem::{align_of, size_of};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

struct Head {
    tripped: &'static AtomicU32,
    words: u32,
    /// Of the packed words.
    bytes: u32,
}

/// A copy, by address. Whoever has one may read it; to free it is the owner's right alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(usize);

/// Reads the words of `[sp, base)`.
///
/// # Safety
/// They must be readable, and part of a stack.
unsafe fn words(sp: usize, base: usize) -> impl ExactSizeIterator<Item = u64> {
    let count = (base - sp) / 8;
    (0..count).map(move |index| {
        // SAFETY: the caller's promise. Atomic, because other threads may hold references into
        // the stack and write.
        unsafe { AtomicU64::from_ptr((sp + index * 8) as *mut u64) }.load(Ordering::Relaxed)
    })
}

impl Block {
    /// Room for what `[sp, base)` holds now; `None` if the allocator has none. The content may
    /// still change.
    ///
    /// # Safety
    /// As for [`words`].
    pub(crate) unsafe fn allocate(
        sp: usize,
        base: usize,
        tripped: &'static AtomicU32,
    ) -> Option<Self> {
        // SAFETY: the caller's promise.
        let bytes = packed_bytes(&Anchors::of(base), unsafe { words(sp, base) });
        let words = ((base - sp) / 8) as u32;
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(layout(bytes)) };
        if block.is_null() {
            return None;
        }
        // SAFETY: large enough and aligned.
        unsafe { block.cast::<Head>().write(Head { tripped, words, bytes: bytes as u32 }) };
        Some(Self(block as usize))
    }

    /// Packs `[sp, base)` into the block; `false` if it does not fit any more.
    ///
    /// # Safety
    /// As for [`words`]; nobody else uses the block; it was made for this range.
    pub(crate) unsafe fn fill(self, sp: usize, base: usize) -> bool {
        let bytes = self.head().bytes as usize;
        let room = (self.0 + size_of::<Head>()) as *mut u8;
        // SAFETY: allocated so large, and the caller's alone; zeros first, because it was never
        // written.
        let room = unsafe {
            room.write_bytes(0, bytes);
            std::slice::from_raw_parts_mut(room, bytes)
        };
        // SAFETY: the caller's promise.
        pack(&Anchors::of(base), unsafe { words(sp, base) }, room).is_some()
    }

    /// The block whose address a word holds.
    ///
    /// # Safety
    /// The word does, and the block is not freed while this is used.
    pub(crate) unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) fn address(self) -> usize {
        self.0
    }

    fn head(&self) -> &Head {
        // SAFETY: a block lives while its address is used (`at`).
        unsafe { &*(self.0 as *const Head) }
    }

    /// Bytes of stack in it.
    pub(crate) fn live_bytes(self) -> usize {
        self.head().words as usize * 8
    }

    /// Bytes that it takes itself.
    pub(crate) fn own_bytes(self) -> usize {
        size_of::<Head>() + self.head().bytes as usize
    }

    /// Somebody else than the owner has touched the stack.
    pub(crate) fn trip(self) {
        self.head().tripped.fetch_add(1, Ordering::Relaxed);
    }

    /// The words, from the lowest address.
    pub(crate) fn unpack(&self, base: usize) -> Unpack<'_> {
        let head = self.head();
        let packed = (self.0 + size_of::<Head>()) as *const u8;
        // SAFETY: filled before its address was published.
        let packed = unsafe { std::slice::from_raw_parts(packed, head.bytes as usize) };
        Unpack::new(Anchors::of(base), packed, head.words as usize)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The caller is the owner, and no word holds the address any more.
    pub(crate) unsafe fn free(self) {
        let layout = layout(self.head().bytes as usize);
        // SAFETY: allocated with this layout; the caller's promise.
        unsafe { dealloc(self.0 as *mut u8, layout) };
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_of::<Head>() + bytes, align_of::<Head>())
        .expect("a stack is smaller than the address space")
}

//! The copy of a stack at rest: one block of the process's allocator.
//!
//! ```text
//!   ┌───────────────────────┬──────────────────┐
//!   │ Head: kind (`shape`), │ packed words,    │
//!   │ how many words,       │ from sp upwards  │
//!   │ how many bytes        │ (`pack`)         │
//!   └───────────────────────┴──────────────────┘
//! ```
//!
//! Allocated by the owner before the stack is closed, because an allocator may wait for others, and
//! freed by the owner after it has taken the copy back. Between these it does not change, and any
//! thread that puts the stack back reads it.
//!
//! It is packed as it is allocated, because only then its size is known; another thread may still
//! write to the stack. When nobody can any more, the stack is compared with the words that were
//! packed ([`Press`] keeps them, of a batch), and only where it has changed packed again. To pack
//! twice always, once for the size and once for the content, took a quarter of the time to rest.

use super::pack::{Anchors, Packer, Unpack, most_bytes};
use super::shape::{Kind, Origin, Run};
use millpond_sys::rest::Notes;
use std::alloc::{Layout, alloc, dealloc};
use std::mem::{align_of, size_of};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Head {
    /// Owns one count of it.
    kind: *const Kind,
    words: u32,
    /// Of the packed words.
    bytes: u32,
}

impl Head {
    fn kind(&self) -> &Kind {
        // SAFETY: from `Arc::into_raw`, and given back when the block is freed.
        unsafe { &*self.kind }
    }
}

/// Words of a batch that are kept for the comparison: 256 KiB. Stacks beyond are packed twice.
const SEEN_WORDS: usize = 32 << 10;

/// What one batch packs with. Kept for the next one, because to allocate as much anew each time leaves holes
/// among the copies.
#[derive(Debug, Default)]
pub(crate) struct Press {
    packer: Packer,
    /// The words of its stacks as they were when they were packed.
    seen: Vec<u64>,
    /// Those of one shape that came last.
    run: Option<Run>,
}

impl Press {
    /// Ready for another batch. What a stack needed that is far larger than others is given back.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        if self.seen.capacity() > 4 * SEEN_WORDS {
            self.seen.shrink_to(SEEN_WORDS);
            self.packer.shrink_to(SEEN_WORDS);
        }
        self.run.take().into_iter().for_each(Run::end);
    }

    /// Packs what was seen from `from` on: how many words, with what, and how large that is.
    fn pack(
        &mut self,
        from: usize,
        origin: &'static Origin,
        anchors: &Anchors,
    ) -> (usize, Arc<Kind>, usize) {
        let words = &self.seen[from..];
        let kind = Run::kind(&mut self.run, origin, anchors, words).clone();
        let bytes = self.packer.pack(anchors, kind.template.as_ref(), words.iter().copied());
        self.run.iter_mut().for_each(|run| run.packed(bytes));
        (words.len(), kind, bytes)
    }
}

/// Where a press keeps the words of one stack, if it does.
pub(crate) struct Seen(Range<usize>);

impl Seen {
    /// It does not.
    pub(crate) fn none() -> Self {
        Self(usize::MAX..usize::MAX)
    }
}

/// A copy, by address. Whoever has one may read it; to free it is the owner's right alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(usize);

/// Reads the words of `[sp, base)`.
///
/// # Safety
/// They must be readable, and part of a stack.
pub(super) unsafe fn words(sp: usize, base: usize) -> impl ExactSizeIterator<Item = u64> + Clone {
    let count = (base - sp) / 8;
    (0..count).map(move |index| {
        // SAFETY: the caller's promise. Atomic, because other threads may hold references into
        // the stack and write.
        unsafe { AtomicU64::from_ptr((sp + index * 8) as *mut u64) }.load(Ordering::Relaxed)
    })
}

impl Block {
    /// What `[sp, base)` holds now, packed; `None` if the allocator has no memory for as much (a template, which is
    /// small and made once, it must have). The content may still change.
    ///
    /// # Safety
    /// As for [`words`].
    pub(crate) unsafe fn allocate(
        sp: usize,
        base: usize,
        origin: &'static Origin,
        press: &mut Press,
    ) -> Option<(Self, Seen)> {
        let anchors = Anchors::of(base);
        let from = press.seen.len();
        let count = (base - sp) / 8;
        if press.seen.try_reserve(count).is_err() || !press.packer.reserve(count) {
            return None;
        }
        // SAFETY: the caller's promise.
        press.seen.extend(unsafe { words(sp, base) });
        let (count, kind, bytes) = press.pack(from, origin, &anchors);
        let seen = from..press.seen.len();
        if seen.end > SEEN_WORDS {
            press.seen.truncate(from);
        }
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(layout(bytes)) };
        if block.is_null() {
            return None;
        }
        let head = Head { kind: Arc::into_raw(kind), words: count as u32, bytes: bytes as u32 };
        // SAFETY: large enough and aligned.
        unsafe { block.cast::<Head>().write(head) };
        let block = Self(block as usize);
        // SAFETY: nobody else knows it.
        press.packer.write(unsafe { block.room() });
        Some((block, Seen(seen)))
    }

    /// An empty one for as many words of the same kind, whatever they are; `None` if the allocator has no memory.
    pub(crate) fn with_room(self) -> Option<Self> {
        let head = self.head();
        let bytes = most_bytes(head.words as usize);
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(layout(bytes)) };
        if block.is_null() {
            return None;
        }
        // SAFETY: large enough and aligned; this block holds a count, so there is one to be added to.
        unsafe {
            Arc::increment_strong_count(head.kind);
            block.cast::<Head>().write(Head { bytes: bytes as u32, ..*head });
        }
        Some(Self(block as usize))
    }

    /// Makes the block hold what `[sp, base)` holds; `false` if it does not fit any more. Allocates
    /// nothing.
    ///
    /// # Safety
    /// As for [`words`]; nobody else uses the block; it was made for this range, with this press.
    pub(crate) unsafe fn fill(
        self,
        sp: usize,
        base: usize,
        seen: &Seen,
        press: &mut Press,
    ) -> bool {
        // SAFETY: the caller's promise.
        let stack = unsafe { words(sp, base) };
        let before = press.seen.get(seen.0.clone());
        if before.is_some_and(|before| stack.clone().eq(before.iter().copied())) {
            return true;
        }
        let bytes =
            press.packer.pack(&Anchors::of(base), self.head().kind().template.as_ref(), stack);
        let fits = bytes <= self.head().bytes as usize;
        if fits {
            // SAFETY: the caller's promise.
            press.packer.write(unsafe { self.room() });
        }
        fits
    }

    /// Behind the head.
    ///
    /// # Safety
    /// Nobody else uses the block.
    unsafe fn room<'a>(self) -> &'a mut [u8] {
        let bytes = self.head().bytes as usize;
        let room = (self.0 + size_of::<Head>()) as *mut u8;
        // SAFETY: allocated so large, and the caller's alone; zeros first, because it may never have
        // been written.
        unsafe {
            room.write_bytes(0, bytes);
            std::slice::from_raw_parts_mut(room, bytes)
        }
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
        self.head().kind().origin.trip();
    }

    /// The words, from the lowest address. `notes` is room for the way.
    pub(crate) fn unpack<'a>(&'a self, base: usize, notes: &'a mut Notes) -> Unpack<'a> {
        let head = self.head();
        let packed = (self.0 + size_of::<Head>()) as *const u8;
        // SAFETY: filled before its address was published.
        let packed = unsafe { std::slice::from_raw_parts(packed, head.bytes as usize) };
        let template = head.kind().template.as_ref();
        Unpack::new(Anchors::of(base), template, packed, head.words as usize, notes)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The caller is the owner, and no word holds the address any more.
    pub(crate) unsafe fn free(self) {
        let (kind, layout) = (self.head().kind, layout(self.head().bytes as usize));
        // SAFETY: allocated with this layout; the caller's promise; the count was the block's.
        unsafe {
            dealloc(self.0 as *mut u8, layout);
            drop(Arc::from_raw(kind));
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(size_of::<Head>() + bytes, align_of::<Head>())
        .expect("a stack is smaller than the address space")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    static ORIGIN: Origin = Origin::new();

    #[test]
    fn a_large_stack_leaves_no_large_press() {
        let stack = vec![5u64; 5 * SEEN_WORDS];
        let (sp, base) = (stack.as_ptr() as usize, stack.as_ptr_range().end as usize);
        let mut press = Press::default();
        // SAFETY: the words of the vector; one thread, and one owner of the block.
        unsafe { Block::allocate(sp, base, &ORIGIN, &mut press).unwrap().0.free() };
        press.clear();
        assert!(press.seen.capacity() <= SEEN_WORDS);
        let room = press.packer.room_bytes();
        assert!(room <= most_bytes(SEEN_WORDS) + 8, "{room}");
    }

    #[test]
    fn what_says_more_than_before_needs_room_and_then_fits() {
        let mut stack = vec![0u64; 64];
        let (sp, base) = (stack.as_ptr() as usize, stack.as_ptr_range().end as usize);
        let mut press = Press::default();
        // SAFETY: the words of the vector, which the pointers were taken from; one thread, and one owner of the blocks.
        unsafe {
            let (block, seen) = Block::allocate(sp, base, &ORIGIN, &mut press).unwrap();
            assert!(block.fill(sp, base, &seen, &mut press));
            for (place, word) in (1u64..).zip(&mut stack) {
                *std::ptr::from_mut(word) = place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            }
            assert!(!block.fill(sp, base, &seen, &mut press));
            let roomy = block.with_room().unwrap();
            block.free();
            assert!(roomy.fill(sp, base, &Seen::none(), &mut press));
            assert!(roomy.unpack(base, &mut [0; 32]).eq(stack.iter().copied()));
            // And less again: what is left of the room says nothing.
            stack.fill(7);
            assert!(roomy.fill(sp, base, &Seen::none(), &mut press));
            assert!(roomy.unpack(base, &mut [0; 32]).eq(stack.iter().copied()));
            roomy.free();
        }
        press.clear();
    }
}

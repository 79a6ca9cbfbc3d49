//! What a C library's `malloc` asks for beyond [`crate::heap`]: blocks aligned to 16, and sizes that nobody tells.
//!
//! - *16*: whatever `malloc` returns must hold every type of C, whose greatest alignment is 16, and programs keep
//!   flags in the four low bits of a pointer. All sizes that are a multiple of 16 have blocks aligned so,
//!   since spans begin at a page. So a request is rounded up to the next 16, and the path is that of
//!   [`heap::alloc`]: the table by words has an entry for each.
//! - *Sizes*: C's `free` and `realloc` get a pointer and nothing else. The span knows the size.
//!
//! A block that shrinks stays where it is as long as it uses half of what it has: a program that trims a
//! buffer does not want a copy of it, and one that trims it to a tenth wants the rest back.

use crate::cache::{Cache, shelf_by_words};
use crate::classes::DIRECT_MAX;
use crate::ground::span_of;
use crate::heap;
use crate::misuse;
use crate::threads;
use millpond_sys::hooks;

/// The alignment of what C's `malloc` returns.
pub const ALIGN: usize = 16;

/// The longest object that C knows: differences of pointers have a sign.
pub const MAX_BYTES: usize = isize::MAX as usize;

/// As `malloc`; null when there is no memory, or when more than [`MAX_BYTES`] are asked for.
///
/// ```
/// use millpond_heap::{c, heap};
/// let block = c::alloc(24);
/// assert_eq!(block as usize % c::ALIGN, 0);
/// // SAFETY: the block was allocated above, and is used no more.
/// unsafe { heap::dealloc(block) };
/// ```
#[inline(always)]
pub fn alloc(bytes: usize) -> *mut u8 {
    let block = alloc_fast(bytes);
    if block.is_null() { alloc_slow(bytes) } else { block }
}

/// A block of at most 1 KiB, if that is easy; else null, and [`alloc_slow`] is to be asked.
#[inline(always)]
pub fn alloc_fast(bytes: usize) -> *mut u8 {
    if bytes > DIRECT_MAX {
        return std::ptr::null_mut();
    }
    // A block for nothing is a block all the same: nobody else has its address.
    let sixteens = (bytes.max(1) + 15) >> 4;
    let local = threads::mine();
    // SAFETY: in a turn, the pointer is this thread's cache or the stand-in, and the offset that of a shelf.
    let shelf = unsafe { Cache::shelf(local.turn.begin(), shelf_by_words(2 * sixteens)) };
    let left = local.countdown.get() - bytes as i64;
    local.countdown.set(left);
    let block = if left < 0 { std::ptr::null_mut() } else { shelf.pop() };
    // Also when there is no block: the slow road begins anew.
    local.turn.end();
    block
}

/// What [`alloc_fast`] did not find easy.
#[cold]
#[inline(never)]
pub fn alloc_slow(bytes: usize) -> *mut u8 {
    match bytes {
        0..=DIRECT_MAX => heap::alloc_slow(bytes.max(1), ALIGN),
        _ => alloc_aligned(bytes, ALIGN),
    }
}

/// As `aligned_alloc`, for an `align` that is a power of two; what is less than [`ALIGN`] is that.
#[inline(never)]
pub fn alloc_aligned(bytes: usize, align: usize) -> *mut u8 {
    if bytes > MAX_BYTES || align > MAX_BYTES {
        return std::ptr::null_mut();
    }
    heap::alloc(bytes.max(1), align.max(ALIGN))
}

/// As `calloc`, for the product.
pub fn alloc_zeroed(bytes: usize) -> *mut u8 {
    if bytes > MAX_BYTES {
        return std::ptr::null_mut();
    }
    if bytes > DIRECT_MAX {
        return heap::alloc_zeroed(bytes, ALIGN);
    }
    let block = alloc(bytes);
    if !block.is_null() {
        // SAFETY: the block is ours, and has that many bytes.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

/// As `realloc` of a block, to a size that is not 0. Null when there is no memory: the block is as it was.
///
/// # Safety
/// The block must come from this allocator and be in use.
pub unsafe fn realloc(block: *mut u8, bytes: usize) -> *mut u8 {
    if bytes > MAX_BYTES {
        return std::ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    let old = unsafe { heap::usable_size(block) };
    if bytes <= old && bytes >= old / 2 && span_of(block as usize).is_some() {
        return block;
    }
    // SAFETY: as above; blocks that C has are aligned to 16 at least, and more is not kept.
    unsafe { heap::realloc(block, old, ALIGN, bytes) }
}

/// As `free_sized`: the caller knows how much was asked for, and is held to it.
///
/// # Safety
/// The block must come from this allocator, and nobody may use it any more.
pub unsafe fn dealloc_sized(block: *mut u8, bytes: usize) {
    if let Some(span) = span_of(block as usize) {
        // SAFETY: the caller's promise.
        if bytes > unsafe { heap::usable_size(block) } {
            misuse::wrong_size("free_sized", span, block as usize, bytes);
        }
    }
    // SAFETY: as above.
    unsafe { heap::dealloc(block) };
}

/// Whether `MILLPOND_DEBUG` has this very word. Allocates nothing.
pub fn is_asked_for(word: &[u8]) -> bool {
    let has_word = |text: &[u8]| text.split(|byte| b", ".contains(byte)).any(|w| w == word);
    hooks::setting(c"MILLPOND_DEBUG", has_word) == Some(true)
}

/// A size as the environment says it: bytes, or with `K`, `M`, `G`. Allocates nothing.
pub fn parse_bytes(text: &[u8]) -> Option<u64> {
    crate::setup::parse_bytes(text)
}

/// Watches guarded pages from now on, where there are any. In a program of Rust that happens by itself,
/// some allocations after `std` has looked whether somebody handles faults; in one of C nobody looks.
pub fn watch_guarded_pages() {
    // The settings are read when the first thread asks for its cache, which may not have happened yet.
    let block = heap::alloc(1, 8);
    if !block.is_null() {
        // SAFETY: the block was allocated above.
        unsafe { heap::dealloc(block) };
    }
    crate::checked::watch_now();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_aligned_and_usable_to_its_end() {
        for bytes in (0..3000).chain([32 << 10, (32 << 10) + 1, 1 << 20]) {
            let block = alloc(bytes);
            assert!(!block.is_null() && (block as usize).is_multiple_of(ALIGN), "{bytes}");
            // SAFETY: the block is in use, and has as many bytes as it says.
            unsafe {
                let usable = heap::usable_size(block);
                assert!(usable >= bytes);
                block.write_bytes(1, usable);
                dealloc_sized(block, bytes);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_null() {
        for bytes in [MAX_BYTES + 1, usize::MAX, usize::MAX - 15, MAX_BYTES, 1 << 46] {
            assert!(alloc(bytes).is_null() && alloc_zeroed(bytes).is_null());
            assert!(alloc_aligned(bytes, 1 << 12).is_null());
        }
        for align in [1 << 42, 1 << 62, 1 << 63] {
            assert!(alloc_aligned(1, align).is_null());
        }
        let block = alloc(100);
        // SAFETY: the block is in use until the last line.
        unsafe {
            assert!(realloc(block, usize::MAX).is_null() && realloc(block, 1 << 46).is_null());
            heap::dealloc(block);
        }
    }

    #[test]
    fn blocks_that_grow_and_shrink_keep_their_content() {
        let mut block = alloc(1);
        let mut bytes = 1;
        // SAFETY: each block is in use until it is reallocated, and has `bytes` bytes.
        unsafe {
            block.write(7);
            for new in [16, 17, 4000, 3999, 40_000, 5 << 20, 39_000, 100, 51, 1] {
                block = realloc(block, new);
                assert!(!block.is_null() && (block as usize).is_multiple_of(ALIGN));
                assert_eq!(block.read(), 7);
                assert!(heap::usable_size(block) >= new);
                if new < bytes / 4 {
                    assert!(heap::usable_size(block) < bytes, "{new} of {bytes}");
                }
                bytes = new;
            }
            heap::dealloc(block);
        }
    }
}

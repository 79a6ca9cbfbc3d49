//! The four operations: the fast paths, and where they lead when they are not enough.
//!
//! Down, `alloc`:
//!
//! 1. begin a turn; the cache is this thread's, or the stand-in, which has no block to give;
//! 2. the shelf for the request's number of words; count the bytes down to the next sample;
//! 3. take the block that was freed last, or the one on top of the current span's list; end the turn.
//!
//! Anything else is `alloc_slow`: a sample is due, there is neither, there is no cache. Alignments
//! above 8 and sizes above 1 KiB come in by `alloc_general`, those above 32 KiB go to `large`.
//!
//! Back, `dealloc`: the span of the address; begin a turn; is the span my cache's, is the address that
//! of a carved block, is its first word neither a mark nor a link? Then mark it and put it on the shelf; if there is no
//! room, link it to the span's list and count. End the turn. Anything else is `dealloc_slow`: another
//! thread's span, a full one when the shelf has no room, one with holes, an object with its own pages, or a mistake.
//!
//! The number of instructions of both is small and is watched: what is not needed every time stands
//! behind the call of a function that is not inlined.

use crate::cache::{Cache, NO_SHELF, refuse_double_free, shelf_by_words, shelf_offset};
use crate::central;
use crate::checked;
use crate::classes::{CLASSES, DIRECT_MAX, PAGE, class_for, words};
use crate::ground::span_of;
use crate::large;
use crate::loose;
use crate::misuse;
use crate::sample;
use crate::scavenge;
use crate::span::{HARDENED, Span, State};
use crate::threads::{self, LOCAL, Local, with_cache};
use std::sync::atomic::Ordering::Relaxed;

/// Allocates; null when there is no memory.
///
/// `align` must be a power of two.
///
/// ```
/// use millpond_heap::heap;
/// let block = heap::alloc(100, 8);
/// assert!(!block.is_null());
/// // SAFETY: the block was allocated above, and is used no more.
/// unsafe { heap::dealloc(block) };
/// ```
#[inline]
pub fn alloc(bytes: usize, align: usize) -> *mut u8 {
    if bytes > DIRECT_MAX {
        return alloc_general(bytes, align);
    }
    if align > 8 {
        return alloc_general(bytes, align);
    }
    alloc_at(shelf_by_words(words(bytes)), bytes, align)
}

/// Everything but small blocks with a small alignment.
#[inline(never)]
fn alloc_general(bytes: usize, align: usize) -> *mut u8 {
    match class_for(bytes, align) {
        Some(class) => alloc_at(shelf_offset(class), bytes, align),
        None => alloc_large(bytes, align, false),
    }
}

/// A small block, from the shelf that lies so far into a cache.
#[inline(always)]
fn alloc_at(shelf: u32, bytes: usize, align: usize) -> *mut u8 {
    let local = threads::mine();
    // SAFETY: in a turn, the pointer is this thread's cache or the stand-in, and the offset that of a shelf.
    let shelf = unsafe { Cache::shelf(local.turn.begin(), shelf) };
    let left = local.countdown.get() - bytes as i64;
    local.countdown.set(left);
    if left >= 0 {
        let block = shelf.pop();
        if !block.is_null() {
            local.turn.end();
            return block;
        }
    }
    // The slow road is the last thing, and looks for everything itself: the fast one then needs no
    // frame, and no address but the thread's own.
    alloc_slow(bytes, align)
}

/// The fast path began a turn and did not finish.
#[cold]
#[inline(never)]
pub(crate) fn alloc_slow(bytes: usize, align: usize) -> *mut u8 {
    LOCAL.with(|local| {
        local.turn.end();
        if local.countdown.get() < 0
            && let Some(block) = sample::due(local, bytes, align)
        {
            return block;
        }
        if checked::is_on()
            && let Some(block) = checked::take(local, bytes, align)
        {
            return block;
        }
        let class = class_for(bytes, align).unwrap_or(0);
        let block = with_cache(local, |cache| cache.take(class));
        scavenge::safe_point();
        block
    })
}

#[inline(never)]
fn alloc_large(bytes: usize, align: usize, zero: bool) -> *mut u8 {
    let sampled = LOCAL.with(|local| {
        let counted = i64::try_from(bytes).unwrap_or(i64::MAX);
        local.countdown.set(local.countdown.get().saturating_sub(counted));
        (local.countdown.get() < 0).then(|| sample::due(local, bytes, align))?
    });
    if let Some(block) = sampled {
        if zero {
            // SAFETY: the block is ours, and has that many bytes.
            unsafe { block.write_bytes(0, bytes) };
        }
        return block;
    }
    let block = large::alloc(bytes, align, zero);
    scavenge::safe_point();
    block
}

/// As [`alloc`], and reads as zeros. Pages fresh from the kernel are not written to.
pub fn alloc_zeroed(bytes: usize, align: usize) -> *mut u8 {
    if class_for(bytes, align).is_none() {
        return alloc_large(bytes, align, true);
    }
    let block = alloc(bytes, align);
    if !block.is_null() {
        // SAFETY: the block is ours, and has that many bytes.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

/// Frees a block. Whatever is not the start of a block in use ends the process with a message.
///
/// # Safety
/// The block must come from this allocator, and nobody may use it any more.
#[inline]
pub unsafe fn dealloc(block: *mut u8) {
    let address = block as usize;
    let Some(span) = span_of(address) else { return dealloc_foreign(address) };
    let mark = loose::mark(address);
    let local = threads::mine();
    let cache = local.turn.begin();
    if std::ptr::eq(span.local.load(Relaxed), cache)
        && (!HARDENED || span.is_carved_block(address) && !loose::is_suspect(address, mark))
    {
        let shelf = span.shelf.get();
        // SAFETY: in a turn, and the stand-in lets nobody free; a span of small blocks says where their shelf is.
        if shelf != NO_SHELF && unsafe { Cache::shelf(cache, shelf) }.put(address, mark) {
            return local.turn.end();
        }
        if shelf == NO_SHELF || !span.is_full() {
            let left = span.push(address);
            // Nobody claims a cache for the sake of one bin: what is left to do begins a turn anew.
            local.turn.end();
            if left == 0 {
                dealloc_last(span);
            }
            return;
        }
    }
    dealloc_slow(span, address);
}

/// No span has the address.
#[cold]
#[inline(never)]
fn dealloc_foreign(address: usize) {
    if !checked::free(address) {
        misuse::not_a_block("free", address);
    }
}

/// The last block of a span that was not the current one, a moment ago: it may be, or may be another's,
/// by now.
#[cold]
#[inline(never)]
fn dealloc_last(span: &'static Span) {
    LOCAL.with(|local| {
        let cache = local.turn.begin();
        let is_mine = std::ptr::eq(span.local.load(Relaxed), cache);
        if is_mine && span.state() == State::Partial && span.used.load(Relaxed) == 0 {
            // SAFETY: within a turn, and a stand-in lets nobody free.
            unsafe { (*cache).emptied(span) };
        }
        local.turn.end();
    });
}

/// Anything but a plain block of this thread's. Within a turn.
#[inline(never)]
fn dealloc_slow(span: &'static Span, address: usize) {
    LOCAL.with(|local| {
        if !span.is_carved_block(address) || checked::is_on() {
            return dealloc_odd(local, span, address);
        }
        give(local, span, address);
    });
}

/// A carved block: to the thread's cache if that owns the span, else to whoever does. Within a turn or not.
#[inline]
fn give(local: &Local, span: &'static Span, address: usize) {
    // Whose turn this is, first: while it is the cache's, nobody takes a span of the cache away. The turn may have
    // begun with the stand-in, and the claim that put it there may end at any moment, with the span disowned.
    let (cache, owner) = local.turn.begin_at(&span.owner);
    if std::ptr::eq(owner, cache) {
        refuse_double_free("free", span, address);
        // SAFETY: within a turn, and a stand-in owns nothing.
        unsafe { (*cache).give(span, address) };
        return local.turn.end();
    }
    local.turn.end();
    dealloc_remote(span, owner, address);
}

/// An object with pages of its own, a span with holes, the checked mode, or a mistake. Within a turn.
#[inline(never)]
fn dealloc_odd(local: &Local, span: &'static Span, address: usize) {
    local.turn.end();
    match span.state() {
        State::Large => {
            large::free(span, address);
            return scavenge::safe_point();
        }
        State::Sampled => {
            sample::free(local, span, address);
            return scavenge::safe_point();
        }
        State::Gone => misuse::not_a_block("free", address),
        _ => {}
    }
    if !span.is_block(address) {
        misuse::not_a_block("free", address);
    }
    if checked::is_on() && !span.looks_free(address) {
        checked::fill(address, span.geometry().size as usize);
    }
    give(local, span, address);
}

/// A block of a span that this thread does not hold.
fn dealloc_remote(span: &'static Span, owner: *const Cache, address: usize) {
    if span.looks_free(address) {
        suspect(span, owner, address);
    }
    central::free(span, address);
}

/// The block is free already, or holds by chance what a free one would hold.
#[cold]
#[inline(never)]
fn suspect(span: &Span, owner: *const Cache, address: usize) {
    let known = match owner.is_null() {
        true => central::is_free(span, span.class(), address),
        false => threads::is_free(span, owner, address),
    };
    // Not to be known, because the span changes hands or its owner does not let go: a chance of
    // 1 in 2^46 against it.
    if known.unwrap_or(true) {
        misuse::double_free("free", span, address);
    }
}

/// Bytes that the block really has.
///
/// # Safety
/// The block must be one of this allocator's, in use.
pub unsafe fn usable_size(block: *const u8) -> usize {
    let address = block as usize;
    let Some(span) = span_of(address) else {
        return checked::size(address)
            .unwrap_or_else(|| misuse::not_a_block("usable_size", address));
    };
    match span.state() {
        State::Large => span.pages.get() as usize * PAGE,
        State::Sampled => sample::size(span),
        State::Gone => misuse::not_a_block("usable_size", address),
        _ => span.geometry().size as usize,
    }
}

/// Makes a block longer or shorter, where it stands if that can be; null when there is no memory, and
/// then the block is as it was. `align` is that of the block.
///
/// # Safety
/// The block must come from this allocator, with that alignment, and hold `old_bytes`.
pub unsafe fn realloc(block: *mut u8, old_bytes: usize, align: usize, bytes: usize) -> *mut u8 {
    let address = block as usize;
    match span_of(address) {
        Some(span) if span.state() == State::Large => {
            if span.start.get() != address {
                misuse::not_a_block("realloc", address);
            }
            if class_for(bytes, align).is_none()
                && let Some(block) = large::resize(span, align, bytes)
            {
                scavenge::safe_point();
                return block;
            }
        }
        Some(span) if !matches!(span.state(), State::Sampled | State::Gone) => {
            if !span.is_block(address) {
                misuse::not_a_block("realloc", address);
            }
            let class = span.class();
            let size = CLASSES[class].size as usize;
            if old_bytes > size {
                misuse::wrong_size("realloc", span, address, old_bytes);
            }
            if !checked::is_on() && class_for(bytes, align) == Some(class) {
                return block;
            }
        }
        _ => {}
    }
    let new = alloc(bytes, align);
    if !new.is_null() {
        // SAFETY: both are blocks of at least so many bytes, and different ones; the caller gives the
        // old one up.
        unsafe {
            block.copy_to_nonoverlapping(new, old_bytes.min(bytes));
            dealloc(block);
        }
    }
    new
}

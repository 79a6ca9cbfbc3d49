//! Objects with pages of their own: above 32 KiB, or aligned to more than a page of the heap.
//!
//! They go to the page heap and come back to it, under its lock. What is worth words is growing:
//!
//! 1. *In place*, if the pages behind are free: nothing moves. Shrinking is always in place.
//! 2. *By moving pages*, from 1 MiB on: the kernel is told that the pages are elsewhere now, which
//!    costs page table entries instead of bytes. The place they came from stays mapped, without pages.
//!    A mapping that was moved does not merge with its neighbours, so it is mapped anew when the
//!    object is freed ([`Span::moved`]).
//! 3. By copying.
//!
//! Zeroed memory is zeroed only from the first to the last of its pages that may hold something: pages
//! fresh from the kernel are known ([`crate::pages`]).
//!
//! Rejected: a mapping of its own per large object. Each is a system call to make and to end, and
//! 65,530 is their limit.

use crate::classes::PAGE;
use crate::misuse;
use crate::pages::{self, huge};
use crate::span::{Span, State};
use millpond_sys::arena;
use std::sync::atomic::Ordering::Relaxed;

/// Objects of at least so many bytes are moved by the kernel.
const MOVE_BYTES: usize = 1 << 20;

/// An object of its own; null if there is no memory. `zero`: reads as zeros.
pub fn alloc(bytes: usize, align: usize, zero: bool) -> *mut u8 {
    let made = pages::with(|pages| pages.whole(bytes, align, State::Large));
    let Some((span, stale)) = made else { return std::ptr::null_mut() };
    let block = span.start.get() as *mut u8;
    let stale = stale.start.min(bytes)..stale.end.min(bytes);
    if zero && !stale.is_empty() {
        // SAFETY: the object is ours, and has that many bytes.
        unsafe { block.add(stale.start).write_bytes(0, stale.len()) };
    }
    block
}

/// Frees an object of its own.
pub fn free(span: &'static Span, address: usize) {
    let freed = pages::with(|pages| {
        // Under the lock: of two that free at once, one finds it gone.
        let right =
            matches!(span.state(), State::Large | State::Sampled) && span.start.get() == address;
        right.then(|| pages.free(span))
    });
    if freed.is_none() {
        misuse::not_a_block("free", address);
    }
}

/// Makes an object longer or shorter, moving it if need be; `None`: the caller has to copy.
pub fn resize(span: &'static Span, align: usize, bytes: usize) -> Option<*mut u8> {
    let address = span.start.get();
    if pages::with(|pages| pages.resize(span, bytes)).is_some() {
        return Some(address as *mut u8);
    }
    let old = span.pages.get() as usize * PAGE;
    if bytes < old || old < MOVE_BYTES {
        return None;
    }
    let (new, _) = pages::with(|pages| pages.whole(bytes, align, State::Large))?;
    let to = new.start.get();
    huge::let_go(&(address..address + old));
    huge::let_go(&(to..to + old));
    // SAFETY: both ranges are whole pages of the heap; the new one is longer and nobody's yet.
    if !unsafe { arena::relocate(address..address + old, to) } {
        // Not this kernel, or too many mappings: the caller copies. The kernel may have unmapped the
        // target before it refused, so it is mapped anew; if it refuses that too, nobody gets these
        // addresses again.
        if pages::with(|pages| pages.renew(new).then_some(())).is_some() {
            free(new, to);
        }
        return None;
    }
    pages::with(|pages| {
        new.moved.set(true);
        // Its pages have gone: nothing to give back.
        span.dirty.store(0, Relaxed);
        pages.free(span);
        Some(())
    });
    Some(to as *mut u8)
}

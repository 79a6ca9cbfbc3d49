//! From an address to its span: a subtraction, a shift, a load.
//!
//! Four numbers that never change once the heap exists, on one cache line that everybody reads and
//! nobody writes. Before that, `pages` is 0 and every address is foreign. An entry of the table is
//! null where no span is; the page heap writes it (release) before a block of the span is lent out,
//! so whoever has a block sees its span.
//!
//! Rejected: aligned segments with their records in front (mimalloc, snmalloc), which find the record
//! by masking. They cannot tell a foreign pointer from their own without reading it.

use crate::classes::PAGE_SHIFT;
use crate::span::Span;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Where the heap is.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Ground {
    /// First address of the heap.
    pub base: AtomicUsize,
    /// Pages of the heap; 0 before it exists.
    pub pages: AtomicUsize,
    /// One entry per page.
    pub table: AtomicPtr<AtomicPtr<Span>>,
    /// What marks and links of free blocks are made of, see [`crate::loose`] and [`crate::span`]. Its top bit is set:
    /// a word of zeros is neither.
    pub secret: AtomicU64,
}

/// The heap of the process.
pub static GROUND: Ground = Ground {
    base: AtomicUsize::new(0),
    pages: AtomicUsize::new(0),
    table: AtomicPtr::new(std::ptr::null_mut()),
    secret: AtomicU64::new(1 << 63),
};

/// The heap's secret.
#[inline(always)]
pub fn secret() -> u64 {
    GROUND.secret.load(Ordering::Relaxed)
}

/// The span that the page of an address belongs to.
#[inline(always)]
pub fn span_of(address: usize) -> Option<&'static Span> {
    let page = address.wrapping_sub(GROUND.base.load(Ordering::Relaxed)) >> PAGE_SHIFT;
    if page >= GROUND.pages.load(Ordering::Relaxed) {
        return None;
    }
    let table = GROUND.table.load(Ordering::Relaxed);
    // SAFETY: the table has an entry per page; entries are null or records, which live for ever. An
    // address in a part of the heap that is not opened yet (`vm.overcommit_memory=2`) has an entry
    // that faults: no block was ever there.
    unsafe { (*table.add(page)).load(Ordering::Acquire).as_ref() }
}

/// Whether an address lies in the heap's reservation.
pub fn is_ours(address: usize) -> bool {
    let page = address.wrapping_sub(GROUND.base.load(Ordering::Relaxed)) >> PAGE_SHIFT;
    page < GROUND.pages.load(Ordering::Relaxed)
}

/// The nearest span that begins at or before an address and still covers it: for messages.
pub fn span_around(address: usize) -> Option<&'static Span> {
    let base = GROUND.base.load(Ordering::Relaxed);
    let first = address.wrapping_sub(base) >> PAGE_SHIFT;
    if !is_ours(address) {
        return None;
    }
    let start = |page: usize| span_of(base + (page << PAGE_SHIFT));
    let found = (0..=first).rev().take(1 << 20).find_map(start)?;
    let end = found.start.get() + (found.pages.get() as usize) * crate::classes::PAGE;
    (address < end).then_some(found)
}

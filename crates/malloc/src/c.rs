//! The functions of the C standards and of POSIX.
//!
//! What each promises at its corners, where standards leave a choice that of glibc, since programs for Linux are
//! tested with it:
//!
//! | corner | answer |
//! |---|---|
//! | no bytes | a block that nobody else has; `realloc(p, 0)` frees `p` and returns null |
//! | more than `PTRDIFF_MAX`, or a product that overflows | null, `ENOMEM`; what was there stays |
//! | alignment of `malloc`, `calloc`, `realloc` | 16 |
//! | an alignment that is no power of two | `EINVAL` |
//! | `free` | of null is nothing; `errno` stays as it is |
//! | a pointer that is not the start of a block in use | the process ends with a message: see the heap's `misuse` |
//!
//! The conformance test (`tests/conformance.c`) is this table, and passes on glibc as well.

use crate::fail::{no_memory, or_no_memory, set_errno};
use libc::c_int;
use millpond_heap::{c, heap};
use std::ffi::c_void;

/// C's `malloc`.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(bytes: usize) -> *mut c_void {
    let block = c::alloc_fast(bytes);
    // A function of C's is known not to unwind, so that its call can be a jump, and the fast path needs no frame.
    if block.is_null() { malloc_slow(bytes) } else { block.cast() }
}

#[cold]
#[inline(never)]
extern "C" fn malloc_slow(bytes: usize) -> *mut c_void {
    or_no_memory(c::alloc_slow(bytes))
}

/// C's `calloc`.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, bytes: usize) -> *mut c_void {
    match count.checked_mul(bytes) {
        Some(total) => or_no_memory(c::alloc_zeroed(total)),
        None => no_memory(),
    }
}

/// C's `free`.
///
/// # Safety
/// As C says: a block of this allocator that nobody uses any more, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: the caller's promise.
        unsafe { heap::dealloc(block.cast()) };
    }
}

/// C's `realloc`.
///
/// # Safety
/// As C says: a block of this allocator in use, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, bytes: usize) -> *mut c_void {
    if block.is_null() {
        return malloc(bytes);
    }
    if bytes == 0 {
        // SAFETY: the caller's promise.
        unsafe { heap::dealloc(block.cast()) };
        return std::ptr::null_mut();
    }
    // SAFETY: the caller's promise.
    or_no_memory(unsafe { c::realloc(block.cast(), bytes) })
}

/// POSIX's `reallocarray`.
///
/// # Safety
/// As [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    bytes: usize,
) -> *mut c_void {
    match count.checked_mul(bytes) {
        // SAFETY: the caller's promise.
        Some(total) => unsafe { realloc(block, total) },
        None => no_memory(),
    }
}

/// C23's `free_sized`: the size must be the one that was asked for, and one that the block cannot have ends the
/// process.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, bytes: usize) {
    if !block.is_null() {
        // SAFETY: the caller's promise.
        unsafe { c::dealloc_sized(block.cast(), bytes) };
    }
}

/// C23's `free_aligned_sized`.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { free_sized(block, bytes) };
}

/// POSIX's `posix_memalign`: returns the error and leaves `errno` alone.
///
/// # Safety
/// `block` must be a pointer that may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    block: *mut *mut c_void,
    align: usize,
    bytes: usize,
) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let found = c::alloc_aligned(bytes, align);
    if found.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { *block = found.cast() };
    0
}

/// C's `aligned_alloc`. The size need not be a multiple of the alignment.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        set_errno(libc::EINVAL);
        return std::ptr::null_mut();
    }
    or_no_memory(c::alloc_aligned(bytes, align))
}

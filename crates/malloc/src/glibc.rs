//! What glibc has beyond the standards, and its own names for what is in them.
//!
//! The names with two underscores are not for programs, and some programs and libraries use them all the same. A
//! block from glibc's heap that comes to our `free` would end the process, so they lead here as well.
//!
//! `mallopt` accepts what glibc knows and does nothing: thresholds and arenas of another allocator say nothing to
//! this one. That is what a caller wants to hear, since what they hope for (memory that goes back, few
//! arenas) is what the heap does without being told.

use crate::c::{calloc, free, malloc, posix_memalign, realloc};
use crate::fail::{no_memory, or_no_memory, set_errno};
use libc::{c_int, size_t};
use millpond_heap::{c, heap};
use std::ffi::c_void;

/// A page of the kernel.
const OS_PAGE: usize = 4096;

/// `memalign`: what is no power of two is rounded up to one, as glibc does.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, bytes: usize) -> *mut c_void {
    match align.max(1).checked_next_power_of_two() {
        Some(align) => or_no_memory(c::alloc_aligned(bytes, align)),
        None => {
            set_errno(libc::EINVAL);
            std::ptr::null_mut()
        }
    }
}

/// `valloc`: aligned to a page.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(bytes: usize) -> *mut c_void {
    or_no_memory(c::alloc_aligned(bytes, OS_PAGE))
}

/// `pvalloc`: whole pages.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(bytes: usize) -> *mut c_void {
    match bytes.checked_next_multiple_of(OS_PAGE) {
        Some(bytes) => or_no_memory(c::alloc_aligned(bytes, OS_PAGE)),
        None => no_memory(),
    }
}

/// `cfree`, which glibc had until 2.26: programs from before have it still.
///
/// # Safety
/// As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free(block) };
}

/// `malloc_usable_size`: all of it may be used.
///
/// # Safety
/// A block of this allocator in use, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> size_t {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { heap::usable_size(block.cast()) }
}

/// `malloc_trim`: everything that can be given back, at once; 1 if that was anything. `pad` is of glibc's heap.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_pad: size_t) -> c_int {
    c_int::from(millpond_heap::release() > 0)
}

/// `mallopt`: 1 for the parameters that glibc has, 0 for others.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(parameter: c_int, _value: c_int) -> c_int {
    // M_MXFAST is 1; M_TRIM_THRESHOLD to M_ARENA_MAX are -1 to -8.
    c_int::from(parameter == 1 || (-8..=-1).contains(&parameter))
}

/// `malloc`.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_malloc(bytes: size_t) -> *mut c_void {
    malloc(bytes)
}

/// `calloc`.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_calloc(count: size_t, bytes: size_t) -> *mut c_void {
    calloc(count, bytes)
}

/// `realloc`.
///
/// # Safety
/// As `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_realloc(block: *mut c_void, bytes: size_t) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { realloc(block, bytes) }
}

/// `free`.
///
/// # Safety
/// As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __libc_free(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { free(block) };
}

/// `memalign`.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_memalign(align: size_t, bytes: size_t) -> *mut c_void {
    memalign(align, bytes)
}

/// `valloc`.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_valloc(bytes: size_t) -> *mut c_void {
    valloc(bytes)
}

/// `pvalloc`.
#[unsafe(no_mangle)]
pub extern "C" fn __libc_pvalloc(bytes: size_t) -> *mut c_void {
    pvalloc(bytes)
}

/// `posix_memalign`.
///
/// # Safety
/// As `posix_memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __posix_memalign(
    block: *mut *mut c_void,
    align: size_t,
    bytes: size_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { posix_memalign(block, align, bytes) }
}

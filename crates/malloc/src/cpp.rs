//! `operator new` and `operator delete` in all forms, under the names that a C++ compiler gives them.
//!
//! | part of a name | means |
//! |---|---|
//! | `_Znw`, `_Zna` | `new`, `new[]` |
//! | `_Zdl`, `_Zda` | `delete`, `delete[]` |
//! | `m` | a size |
//! | `St11align_val_t` | an alignment |
//! | `RKSt9nothrow_t` | does not throw |
//!
//! The C++ library would lead all of them to `malloc` and `free` by itself; what is gained here is a call less, and
//! the size that the sized forms of `delete` are told, to which the block is held.
//!
//! A `new` that finds no memory is the C++ library's business: see `fail`. `extern "C-unwind"` is what lets
//! its exception pass.

use crate::fail::next_new;
use millpond_heap::{c, heap};
use std::ffi::{CStr, c_void};

/// A new of a size.
type New = extern "C-unwind" fn(usize) -> *mut c_void;
/// A new of a size and a second argument: an alignment, or `nothrow`.
type New2 = extern "C-unwind" fn(usize, usize) -> *mut c_void;
/// A new of a size, an alignment and `nothrow`.
type New3 = extern "C-unwind" fn(usize, usize, usize) -> *mut c_void;

#[inline(always)]
fn new(bytes: usize, name: &CStr) -> *mut c_void {
    let block = c::alloc(bytes);
    if block.is_null() { failed(bytes, name) } else { block.cast() }
}

#[inline(always)]
fn new_aligned(bytes: usize, align: usize, name: &CStr) -> *mut c_void {
    let block = c::alloc_aligned(bytes, align);
    if block.is_null() { failed_2(bytes, align, name) } else { block.cast() }
}

#[cold]
#[inline(never)]
fn failed(bytes: usize, name: &CStr) -> *mut c_void {
    // SAFETY: the C++ library's function of that name has this signature.
    let next: New = unsafe { std::mem::transmute(next_new(name, bytes)) };
    next(bytes)
}

/// `second`: as [`New2`].
#[cold]
#[inline(never)]
fn failed_2(bytes: usize, second: usize, name: &CStr) -> *mut c_void {
    // SAFETY: as in `failed`.
    let next: New2 = unsafe { std::mem::transmute(next_new(name, bytes)) };
    next(bytes, second)
}

#[cold]
#[inline(never)]
fn failed_3(bytes: usize, align: usize, nothrow: usize, name: &CStr) -> *mut c_void {
    // SAFETY: as in `failed`.
    let next: New3 = unsafe { std::mem::transmute(next_new(name, bytes)) };
    next(bytes, align, nothrow)
}

#[inline(always)]
fn delete(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: the promise of the caller of `delete`.
        unsafe { heap::dealloc(block.cast()) };
    }
}

#[inline(always)]
fn delete_sized(block: *mut c_void, bytes: usize) {
    if !block.is_null() {
        // SAFETY: the promise of the caller of `delete`.
        unsafe { c::dealloc_sized(block.cast(), bytes) };
    }
}

/// `new`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _Znwm(bytes: usize) -> *mut c_void {
    new(bytes, c"_Znwm")
}

/// `new (std::nothrow)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnwmRKSt9nothrow_t(bytes: usize, nothrow: usize) -> *mut c_void {
    let block = c::alloc(bytes);
    if block.is_null() { failed_2(bytes, nothrow, c"_ZnwmRKSt9nothrow_t") } else { block.cast() }
}

/// `new (align)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnwmSt11align_val_t(bytes: usize, align: usize) -> *mut c_void {
    new_aligned(bytes, align, c"_ZnwmSt11align_val_t")
}

/// `new (align, std::nothrow)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnwmSt11align_val_tRKSt9nothrow_t(
    bytes: usize,
    align: usize,
    nothrow: usize,
) -> *mut c_void {
    let block = c::alloc_aligned(bytes, align);
    let name = c"_ZnwmSt11align_val_tRKSt9nothrow_t";
    if block.is_null() { failed_3(bytes, align, nothrow, name) } else { block.cast() }
}

/// `new[]`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _Znam(bytes: usize) -> *mut c_void {
    new(bytes, c"_Znam")
}

/// `new[] (std::nothrow)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnamRKSt9nothrow_t(bytes: usize, nothrow: usize) -> *mut c_void {
    let block = c::alloc(bytes);
    if block.is_null() { failed_2(bytes, nothrow, c"_ZnamRKSt9nothrow_t") } else { block.cast() }
}

/// `new[] (align)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnamSt11align_val_t(bytes: usize, align: usize) -> *mut c_void {
    new_aligned(bytes, align, c"_ZnamSt11align_val_t")
}

/// `new[] (align, std::nothrow)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _ZnamSt11align_val_tRKSt9nothrow_t(
    bytes: usize,
    align: usize,
    nothrow: usize,
) -> *mut c_void {
    let block = c::alloc_aligned(bytes, align);
    let name = c"_ZnamSt11align_val_tRKSt9nothrow_t";
    if block.is_null() { failed_3(bytes, align, nothrow, name) } else { block.cast() }
}

/// `delete`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPv(block: *mut c_void) {
    delete(block);
}

/// `delete (size)`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPvm(block: *mut c_void, bytes: usize) {
    delete_sized(block, bytes);
}

/// `delete (std::nothrow)`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPvRKSt9nothrow_t(block: *mut c_void, _nothrow: usize) {
    delete(block);
}

/// `delete (align)`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPvSt11align_val_t(block: *mut c_void, _align: usize) {
    delete(block);
}

/// `delete (size, align)`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPvmSt11align_val_t(
    block: *mut c_void,
    bytes: usize,
    _align: usize,
) {
    delete_sized(block, bytes);
}

/// `delete (align, std::nothrow)`.
///
/// # Safety
/// As C++ says: null, or a block of `new` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdlPvSt11align_val_tRKSt9nothrow_t(
    block: *mut c_void,
    _align: usize,
    _nothrow: usize,
) {
    delete(block);
}

/// `delete[]`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPv(block: *mut c_void) {
    delete(block);
}

/// `delete[] (size)`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPvm(block: *mut c_void, bytes: usize) {
    delete_sized(block, bytes);
}

/// `delete[] (std::nothrow)`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPvRKSt9nothrow_t(block: *mut c_void, _nothrow: usize) {
    delete(block);
}

/// `delete[] (align)`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPvSt11align_val_t(block: *mut c_void, _align: usize) {
    delete(block);
}

/// `delete[] (size, align)`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPvmSt11align_val_t(
    block: *mut c_void,
    bytes: usize,
    _align: usize,
) {
    delete_sized(block, bytes);
}

/// `delete[] (align, std::nothrow)`.
///
/// # Safety
/// As C++ says: null, or a block of `new[]` that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _ZdaPvSt11align_val_tRKSt9nothrow_t(
    block: *mut c_void,
    _align: usize,
    _nothrow: usize,
) {
    delete(block);
}

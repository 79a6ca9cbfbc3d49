//! Errors, as C and C++ report them.
//!
//! C: null and `ENOMEM`. C++: `operator new` calls the program's handler, again and again, and throws
//! `std::bad_alloc` when there is none. All of that is in the C++ library's own `operator new`, which asks
//! `malloc`: so a `new` that finds no memory is handed to *the next* one behind this library. It asks us once more,
//! in vain, and does the rest. Its exception passes through our frame, which drops nothing.
//!
//! Rejected: throwing ourselves. An exception is made by functions that a program of C does not have, and a
//! handler may throw as well, which `new (std::nothrow)` has to catch.

use libc::c_int;
use millpond_sys::report::Report;
use std::ffi::{CStr, c_void};

/// Sets this thread's `errno`.
pub fn set_errno(code: c_int) {
    // SAFETY: the location belongs to this thread.
    unsafe { *libc::__errno_location() = code };
}

/// "No memory", for functions that return a pointer.
#[cold]
#[inline(never)]
pub fn no_memory() -> *mut c_void {
    set_errno(libc::ENOMEM);
    std::ptr::null_mut()
}

/// The block, or "no memory".
#[inline(always)]
pub fn or_no_memory(block: *mut u8) -> *mut c_void {
    if block.is_null() { no_memory() } else { block.cast() }
}

/// The function of that name behind this library: an `operator new` of the C++ library. A program without one has
/// nobody who could throw, and ends.
#[cold]
pub fn next_new(name: &CStr, bytes: usize) -> *mut c_void {
    // SAFETY: names are strings; the flags open nothing that is not loaded.
    let found = unsafe {
        let found = libc::dlsym(libc::RTLD_NEXT, name.as_ptr());
        if found.is_null() {
            // A plugin's C++ library is in no scope that is ours.
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
            let library = libc::dlopen(c"libstdc++.so.6".as_ptr(), flags);
            if library.is_null() { library } else { libc::dlsym(library, name.as_ptr()) }
        } else {
            found
        }
    };
    if found.is_null() {
        let mut report = Report::new();
        report.str("millpond malloc: operator new of ").dec(bytes as u64);
        report.str(" B: no memory, and found no C++ library that could throw std::bad_alloc\n");
        report.send();
        std::process::abort();
    }
    found
}

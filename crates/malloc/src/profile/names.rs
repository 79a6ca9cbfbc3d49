//! The name of the function at an address, as far as the dynamic linker knows it: functions that are exported. The
//! others are named by the reader of a profile, from debug information.
//!
//! Rejected: reading tables of symbols and debug information here. That is a library larger than this one, at work in a
//! process that is about to end, for what the reader does better: it has the files, and the time.

use std::ffi::{CStr, c_void};

/// The exported function that the address lies in.
///
/// The linker knows where functions begin and, of those with a size, where they end; behind the last one of a
/// library's there may be others that nobody exports, and then there is no name.
pub fn of(address: usize) -> Option<String> {
    // SAFETY: all-zero is a valid answer; any address may be asked for; the names of what is loaded stay as long as it
    // is, and they are copied before the call ends. (A library that is unloaded in this very moment is a race, as it is
    // for every `dladdr`.)
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address as *const c_void, &raw mut info) == 0 || info.dli_sname.is_null() {
            return None;
        }
        Some(CStr::from_ptr(info.dli_sname).to_string_lossy().into_owned())
    }
}

//! What the environment asks for, beyond what the heap reads itself: done by a constructor of the library.
//!
//! - `MILLPOND_HEAP_CHECK`: faults in guarded pages are watched from here on. In a program of Rust `std` looks whether
//!   somebody does and leaves it to us; in others nobody looks.
//! - `MILLPOND_DEBUG=heap-usr1`: the balance sheet at each `SIGUSR1`, to standard error ([`crate::signal`]).
//! - `MILLPOND_HEAP_PROFILE`: a profile at exit, and with `MILLPOND_DEBUG=heap-usr2` at each `SIGUSR2`
//!   ([`crate::profile`]).
//!
//! The sheet at exit (`MILLPOND_DEBUG=heap`) is the heap's own.

use crate::signal::{OnSignal, entries};
use crate::{info, profile};
use millpond_heap::c;

/// The sheet, when it is asked for.
static SHEETS: OnSignal = OnSignal::new(libc::SIGUSR1, "millpond-sheet", info::print_sheet);

/// The profile, when it is asked for.
static PROFILES: OnSignal = OnSignal::new(libc::SIGUSR2, "millpond-pprof", profile::write_numbered);

/// What the loader calls when it has loaded the library, after the C library's own constructors.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    c::watch_guarded_pages();
    if c::is_asked_for(b"heap-usr1") {
        SHEETS.watch(&entries!(SHEETS));
    }
    if profile::set_up() && c::is_asked_for(b"heap-usr2") {
        PROFILES.watch(&entries!(PROFILES));
    }
}

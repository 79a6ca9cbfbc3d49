//! What the environment asks for, beyond what the heap reads itself: done by a constructor of the library.
//!
//! - `MILLPOND_HEAP_CHECK`: faults in guarded pages are watched from here on. In a program of Rust `std` looks whether
//!   somebody does and leaves it to us; in others nobody looks.
//! - `MILLPOND_DEBUG=heap-usr1`: the balance sheet at each `SIGUSR1`. The handler only raises a count; a thread of ours
//!   writes the sheet, since asking for it takes locks that the interrupted thread may hold. A program that handles the
//!   signal itself takes it away from us, and one that had it ignored keeps it ignored.
//!
//! ```text
//!   SIGUSR1 ──► handler: count + 1, wake ──► thread: sheet to standard error, as many as were asked for
//!   fork    ──► child: the thread is not there ──► another one is started
//! ```
//!
//! The sheet at exit (`MILLPOND_DEBUG=heap`) is the heap's own.

use crate::info;
use millpond_heap::c;
use millpond_sys::{barrier, hooks, task};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

/// Signals so far. Written by the handler.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Sheets that were written, or that a child leaves to its parent. The writer; before it exists, who starts it.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// What the loader calls when it has loaded the library, after the C library's own constructors.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    c::watch_guarded_pages();
    if c::is_asked_for(b"heap-usr1") && hooks::handle_if_default(libc::SIGUSR1, asked) {
        hooks::at_fork(nothing, nothing, in_child);
        start_writer();
    }
}

extern "C" fn nothing() {}

/// In the handler of the signal.
extern "C" fn asked(_signal: i32) {
    ASKED.fetch_add(1, Ordering::Release);
    barrier::wake(&ASKED, 1);
}

/// What the parent was asked for is the parent's.
extern "C" fn in_child() {
    WRITTEN.store(ASKED.load(Ordering::Relaxed), Ordering::Relaxed);
    start_writer();
}

/// Without a thread to be had, signals are counted and nothing is written.
fn start_writer() {
    hooks::start_quiet_thread(write_sheets);
}

extern "C" fn write_sheets(_: *mut c_void) -> *mut c_void {
    task::set_thread_name("millpond-sheet");
    loop {
        let written = WRITTEN.load(Ordering::Relaxed);
        while ASKED.load(Ordering::Acquire) == written {
            barrier::wait(&ASKED, written);
        }
        WRITTEN.store(written.wrapping_add(1), Ordering::Relaxed);
        info::print_sheet();
    }
}

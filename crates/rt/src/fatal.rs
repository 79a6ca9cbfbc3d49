//! The end of the process for a broken invariant of the runtime.
//!
//! Not a panic: a panic unwinds through code that relies on the invariant.

use millpond_sys::report::Report;

/// Prints `what` and aborts. Async-signal-safe.
#[cold]
pub(crate) fn die(what: &str) -> ! {
    Report::new()
        .str("millpond: fatal: ")
        .str(what)
        .str("\nThis is a bug in the runtime, or memory was corrupted. Please report it.\n")
        .send();
    std::process::abort()
}

//! What the runtime itself says, on standard error: the one file of this crate that prints.
//!
//! A library should return what it knows. These few have nobody to return it to: a goroutine that
//! got no stack, a stuck thread, a report of all goroutines, and the end of the process for a broken
//! invariant. The last is not a panic: a panic unwinds through code that relies on the invariant.
//!
//! Errors of writing are ignored: nobody is left to tell.

use millpond_sys::report::Report;
use std::fmt;
use std::io::Write;

/// One line, with our name before it.
pub(crate) fn line(message: fmt::Arguments<'_>) {
    text(format_args!("millpond: {message}\n"));
}

/// Text as it is, in one write, so that lines of threads do not mix.
pub(crate) fn text(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// As [`text`], through what a test harness captures. Unlike it, a panic if standard error is a
/// broken pipe: for runtimes of tests only.
pub(crate) fn captured(text: fmt::Arguments<'_>) {
    eprint!("{text}");
}

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

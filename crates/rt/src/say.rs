//! What the runtime itself says, on standard error: the one file of this crate that prints.
//!
//! A library should return what it knows. These few have nobody to return it to: a goroutine that
//! got no stack, a stuck thread, a report of all goroutines, and the end of the process for a broken
//! invariant. The last is not a panic: a panic unwinds through code that relies on the invariant.
//!
//! Errors of writing are ignored: nobody is left to tell. Nor is the lock of `std::io::stderr` taken: a goroutine
//! may hold it across a park, and sysmon, or the M on which it would go on, would wait for it for ever.

use millpond_sys::report::{self, Report};
use std::fmt;

/// One line, with our name before it.
pub(crate) fn line(message: fmt::Arguments<'_>) {
    text(format_args!("millpond: {message}\n"));
}

/// Text as it is, in one write, so that lines of threads do not mix.
pub(crate) fn text(text: fmt::Arguments<'_>) {
    report::send(text.to_string().as_bytes());
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn nobody_who_holds_standard_error_is_waited_for() {
        let held = std::io::stderr().lock();
        let (said, all) = mpsc::channel();
        std::thread::spawn(move || {
            super::line(format_args!("a test speaks"));
            said.send(()).unwrap();
        });
        all.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(held);
    }
}

//! What the macros expand to. Not for users: may change in any version.
//!
//! `main` and `test` run a body as the first goroutine of a new runtime. They differ in what comes
//! after: `main` leaves the runtime as it is, because the process ends (a million parked goroutines
//! are not worth a walk); `test` ends it, and does not offer it to plain threads of other tests.

pub mod select;

use crate::runtime::Builder;

/// Runs the body of `#[millpond::main]`. A runtime that cannot start is one line and status 1.
#[track_caller]
pub fn main<T, F>(builder: Builder, body: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    builder.run_to_exit(body).unwrap_or_else(|error| {
        eprintln!("millpond: cannot start: {error}");
        std::process::exit(1)
    })
}

/// Runs the body of `#[millpond::test]`.
#[track_caller]
pub fn test<T, F>(builder: Builder, body: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    builder
        .private()
        .run(body)
        .unwrap_or_else(|error| panic!("#[millpond::test]: cannot start: {error}"))
}

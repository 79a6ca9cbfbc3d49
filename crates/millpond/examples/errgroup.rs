//! An error group: jobs of one purpose, of which the first that fails stops the others.
//!
//! ```text
//!   try_scope ── body ──┬─ go_try ─▶ job(s.context()) ─▶ Ok
//!    at most 4          ├─ go_try ─▶ job(s.context()) ─▶ Err ── kept, then cancels ─┐
//!                       └─ go_try ─▶ job(s.context()) ◀── the context is done ──────┘
//!   ── waits for all of them ──▶ the first error
//! ```
//!
//! Use it where a whole is only worth having if all its parts are: the parts of an archive, the
//! back ends that a page is made of. It answers three questions that a loop of `go` and `join`
//! leaves open. *Which error?* The first; those after it are mostly its consequences. *And the
//! others?* They are told to stop, and waited for: when the function returns nothing of it goes on
//! behind the caller's back. *How many at once?* As many as the limit says; starting one more waits.
//!
//! Without it, the join that stands first in the loop waits for an hour although the second job has
//! failed long ago; and whoever returns at the first error leaves goroutines behind that nobody
//! waits for, with their connections and their memory.
//!
//! It is Go's `errgroup.WithContext`, with borrows: jobs refer to the caller's data, and results go
//! where the caller wants them. The scope has a context, which ends with the caller's, and which the
//! first failure cancels: an error that a job returns, or a panic. The error is kept *before* that,
//! or a job that was stopped could be first with its "context cancelled", and the reason would be lost.
//!
//! A goroutine cannot be stopped from outside: a job gives its context to what it waits with, and
//! asks `ctx.check()` where it computes.
//!
//! Here the parts of an archive are verified. One part lies on a disk that answers in an hour, and
//! another is corrupt: the program ends at once, with the right error.
//!
//! ```text
//! cargo run --release -p millpond --example errgroup
//! ```

use millpond::Context;
use millpond::context::ContextError;
use millpond::scope;
use millpond::time::sleep_ctx;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Parts that are verified at a time.
const AT_ONCE: usize = 4;

const PARTS: usize = 200;

/// A piece of an archive.
struct Part {
    bytes: Vec<u8>,
    sum: u64,
    /// How long the disk takes.
    delay: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Error {
    Corrupt { part: usize },
    Stopped(ContextError),
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        Self::Stopped(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { part } => write!(f, "part {part} is corrupt"),
            Self::Stopped(error) => error.fmt(f),
        }
    }
}

/// How much is done at a time, and was at most.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// How many bytes the archive has, if all its parts are whole. Parks until no job is left.
fn verify(ctx: &Context, parts: &[Part], gauge: &Gauge) -> Result<usize, Error> {
    let mut lengths = vec![0; parts.len()];
    scope::Builder::new().context(ctx).limit(AT_ONCE).try_run(|s| {
        for (number, (part, length)) in parts.iter().zip(&mut lengths).enumerate() {
            // The rest need not even begin.
            s.context().check()?;
            s.go_try(move || verify_part(s.context(), number, part, gauge).map(|n| *length = n));
        }
        Ok(())
    })?;
    Ok(lengths.iter().sum())
}

/// One job.
fn verify_part(ctx: &Context, number: usize, part: &Part, gauge: &Gauge) -> Result<usize, Error> {
    let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
    gauge.most.fetch_max(now, Ordering::SeqCst);
    let read = sleep_ctx(ctx, part.delay);
    gauge.now.fetch_sub(1, Ordering::SeqCst);
    read?;
    match checksum(&part.bytes) == part.sum {
        true => Ok(part.bytes.len()),
        false => Err(Error::Corrupt { part: number }),
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

fn archive() -> Vec<Part> {
    let part = |number: usize| {
        let bytes: Vec<u8> = (0..=number * 7).map(|at| (at * number) as u8).collect();
        Part { sum: checksum(&bytes), bytes, delay: Duration::ZERO }
    };
    (0..PARTS).map(part).collect()
}

#[millpond::main]
fn main() {
    let (mut parts, gauge) = (archive(), Gauge::default());
    let whole = parts.iter().map(|part| part.bytes.len()).sum();
    assert_eq!(verify(&Context::background(), &parts, &gauge), Ok(whole));
    println!("{PARTS} parts, {whole} bytes, all whole");

    parts[0].delay = Duration::from_secs(3600);
    parts[7].bytes[0] ^= 1;
    let error = verify(&Context::background(), &parts, &gauge).expect_err("a part is corrupt");
    assert_eq!(error, Error::Corrupt { part: 7 });
    println!("{error}; the one that would take an hour was stopped");

    // The caller's own context reaches the jobs as well.
    let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(10));
    let error = verify(&ctx, &parts[..1], &gauge).expect_err("the part takes an hour");
    assert_eq!(error, Error::Stopped(ContextError::DeadlineExceeded));
    println!("{error}");

    assert_eq!(gauge.now.into_inner(), 0, "a job was left behind");
    assert!(gauge.most.into_inner() <= AT_ONCE);
}

//! The benchmarks on may, as a may user would write them.
//!
//! may is the other stackful runtime of Rust: its coroutines have stacks of their own and move between threads.
//! Every row runs as a coroutine of a scheduler with two workers ([`run`]).
//!
//! `start` is about beginning, ending and resting, `talk` about channels and locks, `serve` holds the servers. Rows
//! that may cannot run are not here: it makes two mappings for each stack, so that about 32,000 coroutines are all
//! that a process may have by default. The stacks have the size that may gives them, and its pool keeps as many as
//! a batch needs.

mod serve;
mod spawn;
mod start;
mod talk;

use bench_common::{Args, Outcome, Row, WORKERS};
use std::process::ExitCode;

const ROWS: &[Row] = &[
    ("spawn_join", |args| run(start::spawn_join, args)),
    ("yield", |args| run(start::yields, args)),
    ("pingpong", |args| run(talk::pingpong, args)),
    ("mpmc", |args| run(talk::mpmc, args)),
    ("mpsc", |args| run(talk::mpsc, args)),
    ("select", |args| run(talk::select, args)),
    ("mutex", |args| run(talk::mutex, args)),
    ("sieve", |args| run(talk::sieve, args)),
    ("echo", |args| run(serve::echo, args)),
    ("echo_4k", |args| run(serve::echo_4k, args)),
    ("http", |args| run(serve::http, args)),
];

fn main() -> ExitCode {
    bench_common::main(ROWS)
}

/// Runs a row as a coroutine.
fn run(row: fn(&Args) -> Outcome, args: &Args) -> Outcome {
    may::config().set_workers(WORKERS);
    let args = args.clone();
    spawn::go(move || row(&args)).join().expect("it does not panic")
}

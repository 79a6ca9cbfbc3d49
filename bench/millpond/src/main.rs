//! The benchmarks on Millpond, as a user would write them: the facade and nothing below it.
//!
//! `start` is about beginning, ending and resting, `talk` about channels and locks, `task` about futures, `serve` holds
//! the servers. Every row runs as the first goroutine of a runtime with two Ps ([`run`]); what is timed
//! begins there.

#![forbid(unsafe_code)]

mod serve;
mod start;
mod talk;
mod task;

use bench_common::{Args, Outcome, Row, WORKERS};
use std::process::ExitCode;

const ROWS: &[Row] = &[
    ("spawn_join", |args| run(start::spawn_join, args)),
    ("yield", |args| run(start::yields, args)),
    ("skynet", |args| run(start::skynet, args)),
    ("sleepers", |args| run(start::sleepers, args)),
    ("idle", |args| run(start::idle, args)),
    ("pingpong", |args| run(talk::pingpong, args)),
    ("pingpong_apart", |args| run(talk::pingpong_apart, args)),
    ("mpmc", |args| run(talk::mpmc, args)),
    ("mpsc", |args| run(talk::mpmc, args)),
    ("select", |args| run(talk::select, args)),
    ("mutex", |args| run(talk::mutex, args)),
    ("sieve", |args| run(talk::sieve, args)),
    ("task_spawn_join", |args| run(task::spawn_join, args)),
    ("task_yield", |args| run(task::yields, args)),
    ("task_sleepers", |args| run(task::sleepers, args)),
    ("task_idle", |args| run(task::idle, args)),
    ("echo", |args| run(serve::echo, args)),
    ("echo_4k", |args| run(serve::echo_4k, args)),
    ("echo_ready", |args| run(serve::echo_ready, args)),
    ("http", |args| run(serve::http, args)),
    ("http_service", |args| run(serve::http_service, args)),
];

fn main() -> ExitCode {
    bench_common::main(ROWS)
}

/// Runs a row as the first goroutine.
fn run(row: fn(&Args) -> Outcome, args: &Args) -> Outcome {
    let args = args.clone();
    let outcome = millpond::runtime::Builder::new().procs(WORKERS).run(move || row(&args));
    outcome.expect("a runtime can be started")
}

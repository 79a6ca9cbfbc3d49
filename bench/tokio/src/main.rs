//! The benchmarks on tokio, as a tokio user would write them.
//!
//! Every row runs as a task of a runtime with two workers ([`run`]): the thread of `block_on` is no worker, and what it
//! starts would go through the queue for strangers. Where tokio has no channel of the kind that a row asks for, the row
//! takes the one that its users reach for, and says so.
//!
//! `start` is about beginning, ending and resting, `talk` about channels and locks, `serve` holds the servers.

#![forbid(unsafe_code)]

mod serve;
mod start;
mod talk;

use bench_common::{Outcome, Row, WORKERS};
use std::process::ExitCode;

const ROWS: &[Row] = &[
    ("spawn_join", |args| run(start::spawn_join(args.clone()))),
    ("yield", |args| run(start::yields(args.clone()))),
    ("skynet", |args| run(start::skynet(args.clone()))),
    ("sleepers", |args| run(start::sleepers(args.clone()))),
    ("idle", |args| run(start::idle(args.clone()))),
    ("pingpong", |args| run(talk::pingpong(args.clone()))),
    ("pingpong_apart", talk::pingpong_apart),
    ("mpmc", |args| run(talk::mpmc(args.clone()))),
    ("mpsc", |args| run(talk::mpsc(args.clone()))),
    ("select", |args| run(talk::select(args.clone()))),
    ("mutex", |args| run(talk::mutex(args.clone()))),
    ("sieve", |args| run(talk::sieve(args.clone()))),
    ("echo", |args| run(serve::echo(args.clone()))),
    ("echo_4k", |args| run(serve::echo_4k(args.clone()))),
    ("echo_ready", |_| run(serve::echo_ready())),
    ("http", |_| run(serve::http())),
];

fn main() -> ExitCode {
    bench_common::main(ROWS)
}

/// Runs a row as a task.
fn run(row: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let outcome = runtime.block_on(async { tokio::spawn(row).await.expect("it does not panic") });
    // What is left (a million idle tasks) would be dropped one by one; the process ends anyway.
    std::mem::forget(runtime);
    outcome
}

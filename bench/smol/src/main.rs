//! The benchmarks on smol, as a smol user would write them.
//!
//! smol's own executor takes its number of threads from the environment; here it is an executor of ours with two
//! threads that run it, which is what `smol::spawn` starts inside ([`run`]). Every row runs as a task of it.
//!
//! `start` is about beginning, ending and resting, `talk` about channels and locks, `serve` is the echo server.

#![forbid(unsafe_code)]

mod serve;
mod start;
mod talk;

use bench_common::{Outcome, Row, WORKERS};
use smol::{Executor, Task};
use std::future;
use std::process::ExitCode;
use std::thread;

const ROWS: &[Row] = &[
    ("spawn_join", |args| run(start::spawn_join(args.clone()))),
    ("yield", |args| run(start::yields(args.clone()))),
    ("skynet", |args| run(start::skynet(args.clone()))),
    ("sleepers", |args| run(start::sleepers(args.clone()))),
    ("idle", |args| run(start::idle(args.clone()))),
    ("pingpong", |args| run(talk::pingpong(args.clone()))),
    ("mpmc", |args| run(talk::mpmc(args.clone()))),
    ("mpsc", |args| run(talk::mpmc(args.clone()))),
    ("select", |args| run(talk::select(args.clone()))),
    ("mutex", |args| run(talk::mutex(args.clone()))),
    ("sieve", |args| run(talk::sieve(args.clone()))),
    ("echo", |args| run(serve::echo(args.clone()))),
    ("echo_4k", |args| run(serve::echo_4k(args.clone()))),
];

static EXECUTOR: Executor<'static> = Executor::new();

fn main() -> ExitCode {
    bench_common::main(ROWS)
}

/// As `smol::spawn`, on the executor of two threads.
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    EXECUTOR.spawn(future)
}

/// Runs a row as a task.
fn run(row: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    for _ in 0..WORKERS {
        thread::spawn(|| smol::block_on(EXECUTOR.run(future::pending::<()>())));
    }
    // The thread of `main` only waits: it is no third worker and polls no sockets.
    smol::future::block_on(spawn(row))
}

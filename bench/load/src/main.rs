//! The load generator: one program for the echo servers of all runtimes.
//!
//! `bench-load echo port=N conns=N ms=N warm_ms=N pid=N [hot=N] [every_us=N]`, `bench-load idle port=N conns=N
//! pid=N` ([`idle`]), and `bench-load control each=N`, which is the control of the whole table
//! ([`bench_common::control`]).
//!
//! 1. all connections are made, one after another, so that every server accepts them in the same order
//!    ([`connect`]);
//! 2. [`THREADS`] threads with an epoll instance each drive their share of them (`driver`);
//! 3. after `warm_ms`, and when all have been served once, the measurement begins: the server's processor time is
//!    read (`process`), and exchanges count;
//! 4. after `ms` it ends, and the counts and histograms of the threads are added up.
//!
//! Without `every_us` it is a closed loop: each connection sends, waits for the reply, checks it, sends again. With
//! it each connection sends at its own times, whether or not others are served, and an exchange that had to wait
//! for the one before counts from when it was due: a server that stops for a while cannot hide that by being asked
//! less. `hot=N` lets only every Nth connection speak.
//!
//! It is written on epoll and not on one of the runtimes that it measures: it has to be the same stranger for all,
//! and it has to take less of the two processors than any server does.

#![forbid(unsafe_code)]

mod connection;
mod driver;
mod histogram;
mod idle;
mod process;

use bench_common::{Args, Outcome, raise_limits};
use connection::Connection;
use driver::{Phase, Share};
use histogram::Histogram;
use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to serve every connection once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Threads that drive connections.
const THREADS: usize = 2;

fn main() -> ExitCode {
    bench_common::main(&[
        ("control", bench_common::control),
        ("echo", |args| or_end(run(args))),
        ("idle", |args| or_end(idle::run(args))),
    ])
}

fn or_end(outcome: io::Result<Outcome>) -> Outcome {
    match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("bench-load: {error}");
            std::process::exit(1);
        }
    }
}

fn run(args: &Args) -> io::Result<Outcome> {
    raise_limits();
    let every = args.find("every_us").map(Duration::from_micros);
    let (hot, idle) = connect(args)?;
    let active = hot.len() as u64;
    let phase = Arc::new(Phase::default());
    let mut shares: Vec<Vec<Connection>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (i, connection) in hot.into_iter().enumerate() {
        shares[i % THREADS].push(connection);
    }
    let threads: Vec<_> = shares
        .into_iter()
        .map(|connections| {
            let share = Share::new(connections, every, Arc::clone(&phase))?;
            Ok(thread::spawn(move || share.drive()))
        })
        .collect::<io::Result<_>>()?;

    thread::sleep(Duration::from_millis(args.get("warm_ms")));
    let give_up = Instant::now() + PATIENCE;
    while phase.served() < active && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(10));
    }
    let pid = args.get("pid");
    let cpu_before = process::cpu_ns(pid)?;
    let began = Instant::now();
    phase.measure();
    thread::sleep(Duration::from_millis(args.get("ms")));
    phase.end();
    let took = began.elapsed();
    let cpu = process::cpu_ns(pid)?.saturating_sub(cpu_before);

    let mut times = Histogram::default();
    for thread in threads {
        times.add(&thread.join().expect("a thread of the load does not panic")?);
    }
    drop(idle);
    let outcome = Outcome::new(times.count(), took, phase.served());
    Ok(outcome
        .with("cpu_ns", cpu)
        .with("p50_ns", times.quantile(0.5))
        .with("p99_ns", times.quantile(0.99))
        .with("max_ns", times.quantile(1.0)))
}

/// Makes all connections: those that will speak, and those that only stand.
fn connect(args: &Args) -> io::Result<(Vec<Connection>, Vec<TcpStream>)> {
    let port = u16::try_from(args.get("port")).map_err(io::Error::other)?;
    let every_nth = args.find("hot").unwrap_or(1).max(1);
    let (mut hot, mut idle) = (Vec::new(), Vec::new());
    for index in 0..args.get("conns") {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .map_err(|error| io::Error::other(format!("connection {index}: {error}")))?;
        stream.set_nodelay(true)?;
        if index % every_nth == 0 {
            hot.push(Connection::new(index, stream)?);
        } else {
            idle.push(stream);
        }
    }
    Ok((hot, idle))
}

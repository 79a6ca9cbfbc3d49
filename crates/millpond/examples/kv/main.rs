//! A key-value server that speaks Redis' protocol: `redis-cli`, `redis-benchmark` and client
//! libraries use it unmodified.
//!
//! ```text
//!   accept loop ── go ──▶ connection      (a goroutine each; holds no buffer while idle)
//!                           │ readable? borrow a desk: input, parser, reply
//!                           ▼
//!                         parse ─▶ command ─▶ reply        all that has arrived, then one write
//!                                     │ lock one shard
//!                                     ▼
//!                 ┌─ shard ─┬─ shard ─┬─ … ─┐ ◀── sweeper (a goroutine): removes what has expired
//! ```
//!
//! | file | story |
//! |---|---|
//! | `parser.rs`, `inline.rs` | bytes become commands, however they are cut; what is refused |
//! | `reply.rs` | results become bytes; big values are written from where they lie |
//! | `store.rs`, `shard.rs`, `value.rs` | keys over shards, one shard, what a key can hold |
//! | `sweep.rs` | who removes what has expired |
//! | `server.rs` | what all connections share |
//! | `commands/` | what each command does, a file for each kind of value |
//! | `connection.rs`, `desk.rs` | a connection's loop, and the buffers that it borrows |
//!
//! ```text
//! cargo run --release -p millpond --example kv -- --addr 127.0.0.1:6380
//! redis-cli -p 6380 set greeting hello
//! redis-benchmark -p 6380 -t set,get -P 16 -q
//! ```
//!
//! Ctrl-C drains: connections get the replies to what they have sent, and are closed.

mod commands;
mod connection;
mod desk;
mod glob;
mod inline;
mod number;
mod parser;
mod reply;
mod server;
mod shard;
mod store;
mod sweep;
mod value;

use millpond::net::TcpListener;
use millpond::service::{Acceptor, Shortage};
use millpond::signal::{self, SIGINT, SIGTERM};
use millpond::{Builder, go};
use server::Server;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "\
usage: kv [--addr HOST:PORT]

A key-value server that speaks Redis' protocol.

  --addr HOST:PORT  where to listen; port 0 picks a free one (default: 127.0.0.1:6380)
  --help            this text
";

/// How long connections may take to finish after a signal.
const DRAIN: Duration = Duration::from_secs(10);

#[millpond::main]
fn main() -> ExitCode {
    let addr = match parse_args(std::env::args().skip(1)) {
        Ok(Some(addr)) => addr,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprint!("kv: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {addr}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The address; `None` if help is asked for.
fn parse_args(mut args: impl Iterator<Item = String>) -> Result<Option<String>, String> {
    let mut addr = "127.0.0.1:6380".to_owned();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--addr" => addr = args.next().ok_or("--addr: expected HOST:PORT, found nothing")?,
            other => match other.strip_prefix("--addr=") {
                Some(value) => addr = value.to_owned(),
                None => return Err(format!("unknown argument {other}")),
            },
        }
    }
    Ok(Some(addr))
}

fn run(addr: &str) -> io::Result<()> {
    let signals = signal::notify(&[SIGINT, SIGTERM])?;
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);

    let (server, alarm) = Server::new();
    let server = Arc::new(server);
    let store = server.store.clone();
    drop(Builder::new().name("sweeper").go(move || sweep::run(&store, &alarm)));
    start_accepting(listener, &server);

    let first = signals.recv()?;
    eprintln!("signal {first}: draining {} connections", server.connections.open());
    drop(go(move || {
        if let Ok(second) = signals.recv() {
            millpond::exit(128 + second);
        }
    }));
    let drained = server.connections.drain(DRAIN);
    eprintln!("{} connections finished, {} were cut", drained.finished, drained.cut);
    Ok(())
}

fn start_accepting(listener: TcpListener, server: &Arc<Server>) {
    let acceptor =
        Acceptor::new(listener, &server.connections).goroutine(Builder::new().name("connection"));
    let server = server.clone();
    drop(Builder::new().name("accept").go(move || {
        let log = |shortage: &Shortage| eprintln!("{shortage}");
        let handler = move |conn, _peer, _live| connection::serve(&conn, &server);
        if let Err(error) = acceptor.run(log, handler) {
            // A server that accepts nobody looks alive and is deaf.
            eprintln!("accept: {error}");
            millpond::exit(1);
        }
    }));
}

//! `millpond serve`: HTTP and an echo on goroutines, until a signal.
//!
//! 1. Both listeners are bound before anything is served, so a port in use is one line and no
//!    half-started server. Where they listen goes to standard output, for people and for scripts.
//! 2. A goroutine for each accept loop; one more for the status line, if there is a terminal.
//! 3. The first goroutine waits for SIGINT or SIGTERM.
//! 4. It drains: no new connections, requests in flight finish, for at most `--drain` seconds. A
//!    second signal meanwhile ends the process at once, with the status of a process that the
//!    signal killed.

mod echo;
mod http;
mod status;

use crate::args::Serve;
use crate::{context, say};
use millpond::net::{TcpListener, TcpStream};
use millpond::service::{Acceptor, Connections, Drained, Live, Manner, Shortage};
use millpond::signal::{self, SIGINT, SIGTERM, Signals};
use millpond::{Builder, go};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What the parts of the server share.
struct Server {
    args: Serve,
    connections: Connections,
    /// Atomic: HTTP requests that were answered, and echoed messages.
    served: AtomicU64,
}

pub(crate) fn run(args: &Serve) -> io::Result<ExitCode> {
    // With fewer descriptors than it could have, it serves fewer connections: not an error.
    let _ = millpond_sys::task::raise_nofile_limit();
    let signals = signal::notify(&[SIGINT, SIGTERM])?;
    let http = listen("http", &args.http)?;
    let echo = listen("echo", &args.echo)?;
    announce(&http, &echo)?;

    let connections = Connections::new();
    let server = Arc::new(Server { args: args.clone(), connections, served: AtomicU64::new(0) });
    start_http(http, &server);
    start_echo(echo, &server);
    let status = status::start(&server);
    let signal = signals.recv()?;
    status.stop();
    drain(&server, signals, signal);
    Ok(ExitCode::SUCCESS)
}

fn listen(name: &str, addr: &str) -> io::Result<TcpListener> {
    TcpListener::bind(addr).map_err(context(format_args!("--{name}: cannot listen on {addr}")))
}

/// Tells where it listens: with port 0 nobody else knows.
fn announce(http: &TcpListener, echo: &TcpListener) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "http listening on http://{}", http.local_addr()?)?;
    writeln!(out, "echo listening on {}", echo.local_addr()?)?;
    out.flush()
}

fn start_http(listener: TcpListener, server: &Arc<Server>) {
    let acceptor = Acceptor::new(listener, &server.connections)
        .manner(Manner::Signal)
        .goroutine(Builder::new().name("http"));
    let handler = http::handler(server);
    start_loop("http", acceptor, handler);
}

fn start_echo(listener: TcpListener, server: &Arc<Server>) {
    let acceptor = Acceptor::new(listener, &server.connections)
        .manner(Manner::EndOfInput)
        .goroutine(Builder::new().name("echo"));
    let handler = echo::handler(server);
    start_loop("echo", acceptor, handler);
}

/// An accept loop in a goroutine of its own. A listener that breaks is the end of the server: it
/// would look alive and be deaf.
fn start_loop<H>(name: &'static str, acceptor: Acceptor, handler: H)
where
    H: Fn(TcpStream, SocketAddr, Live) + Send + Sync + 'static,
{
    drop(Builder::new().name(format!("{name} accept")).go(move || {
        let log = |shortage: &Shortage| say(format_args!("{name}: {shortage}"));
        if let Err(error) = acceptor.run(log, handler) {
            say(format_args!("{name}: accept: {error}"));
            std::process::exit(1);
        }
    }));
}

fn drain(server: &Arc<Server>, signals: Signals, first: i32) {
    let open = server.connections.open();
    let limit = server.args.drain;
    let name = name_of(first);
    say(format_args!("serve: {name}: draining {open} connections, {limit:?} at most"));
    drop(go(move || {
        if let Ok(second) = signals.recv() {
            say(format_args!("serve: {}: not waiting any longer", name_of(second)));
            std::process::exit(128 + second);
        }
    }));
    let Drained { finished, cut } = server.connections.drain(limit);
    say(format_args!("serve: drained: {finished} connections finished, {cut} cut"));
}

fn name_of(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}

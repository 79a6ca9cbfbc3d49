//! Signals: what is under way finishes, what is idle closes, and nobody waits for ever.

mod common;

use common::{Client, PATIENCE, Server};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const STREAM: &str = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

/// A connection with a streaming request under way.
fn streaming(server: &Server) -> Client {
    let mut client = Client::connect(server.http);
    client.send(STREAM);
    client.send("5\r\nfirst\r\n");
    assert_eq!(client.read_reply_to_head().status, 200);
    assert_eq!(client.read_chunk().unwrap(), b"first");
    client
}

/// Waits until nobody listens at `addr`.
fn wait_until_refused(addr: SocketAddr) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).is_ok() {
        assert!(Instant::now() < until, "{addr} still accepts");
        std::thread::yield_now();
    }
}

/// Waits until the server has goroutines for `count` HTTP connections. One that the kernel has and
/// the server has not would be reset when the listener closes.
fn wait_until_accepted(client: &mut Client, count: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let dump = client.ask("GET /debug/goroutines HTTP/1.1\r\nhost: x\r\n\r\n");
        if dump.text().matches(" (http) [").count() >= count {
            return;
        }
        assert!(Instant::now() < until, "not accepted: {}", dump.text());
    }
}

#[test]
fn sigterm_lets_a_request_in_flight_finish_and_closes_what_is_idle() {
    let server = Server::start(&["--drain", "30"]);
    let mut busy = streaming(&server);
    let mut idle = Client::connect(server.http);
    assert_eq!(idle.ask("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").status, 200);
    let mut fresh = Client::connect(server.http);
    wait_until_accepted(&mut idle, 3);
    let mut echo = Client::connect(server.echo);
    echo.send("before");
    assert_eq!(echo.read_bytes(6), b"before");

    server.signal(Signal::TERM);
    assert!(server.wait_for_log("draining").contains("SIGTERM"));
    for client in [&mut idle, &mut fresh, &mut echo] {
        assert_eq!(client.read_to_end(), b"");
    }
    wait_until_refused(server.http);
    wait_until_refused(server.echo);

    busy.send("6\r\nsecond\r\n");
    assert_eq!(busy.read_chunk().unwrap(), b"second");
    busy.send("0\r\n\r\n");
    assert_eq!(busy.read_chunk(), None);
    assert_eq!(busy.read_to_end(), b"");
    drop(busy);
    assert!(server.wait_for_log("drained").ends_with("finished, 0 cut"));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_does_not_finish_in_time_is_cut() {
    let server = Server::start(&["--drain", "0.2"]);
    let mut stuck = streaming(&server);
    let began = Instant::now();
    server.signal(Signal::INT);
    assert!(server.wait_for_log("draining").contains("SIGINT"));
    assert!(server.wait_for_log("drained").ends_with("0 connections finished, 1 cut"));
    assert_eq!(server.wait().code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(200));
    // Not an orderly last chunk: the reply is not complete.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stuck.stream, &mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second, status) in
        [(Signal::TERM, Signal::TERM, 143), (Signal::TERM, Signal::INT, 130)]
    {
        let server = Server::start(&["--drain", "1000"]);
        let _stuck = streaming(&server);
        server.signal(first);
        server.wait_for_log("draining");
        server.signal(second);
        assert_eq!(server.wait().code(), Some(status));
    }
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let server = Server::start(&["--drain", "1000"]);
    server.signal(Signal::TERM);
    assert!(server.wait_for_log("drained").contains("0 connections finished, 0 cut"));
    assert_eq!(server.wait().code(), Some(0));
}

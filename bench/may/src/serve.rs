//! The servers: an echo, and HTTP's hello by `may_minihttp`.
//!
//! A coroutine and a buffer for each connection; the buffer lies in the heap, because may's stacks are small.
//! `may_minihttp` parses less of HTTP than hyper does and takes any number of requests in one read: it is here
//! because it is what may's users have, and no row is measured against it. With `burn_ms=N` one more coroutine
//! computes for that long in each second.

use crate::spawn::go;
use bench_common::{Args, MESSAGE_BYTES, NAIVE_BYTES, Outcome, announce, burn, raise_limits};
use may::coroutine::sleep;
use may::net::{TcpListener, TcpStream};
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) fn echo(args: &Args) -> Outcome {
    serve(args, MESSAGE_BYTES)
}

pub(crate) fn echo_4k(args: &Args) -> Outcome {
    serve(args, NAIVE_BYTES)
}

fn serve(args: &Args, buffer_bytes: usize) -> Outcome {
    raise_limits();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    announce(listener.local_addr().expect("it is bound"));
    if let Some(ms) = args.find("burn_ms") {
        go(move || {
            loop {
                burn(Duration::from_millis(ms));
                sleep(Duration::from_millis(1000 - ms));
            }
        });
    }
    loop {
        let (conn, _peer) = listener.accept().expect("there are descriptors");
        go(move || echo_until_closed(conn, buffer_bytes));
    }
}

fn echo_until_closed(mut conn: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut buf = vec![0; buffer_bytes];
    loop {
        let got = conn.read(&mut buf)?;
        if got == 0 {
            return Ok(());
        }
        conn.write_all(&buf[..got])?;
    }
}

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(&mut self, _: Request, reply: &mut Response) -> io::Result<()> {
        reply.body("Hello, world!");
        Ok(())
    }
}

impl HttpServiceFactory for Hello {
    type Service = Hello;

    fn new_service(&self, _: usize) -> Hello {
        Hello
    }
}

pub(crate) fn http(_: &Args) -> Outcome {
    raise_limits();
    let addr = free_address();
    let server = Hello.start(addr).expect("the port is free");
    announce(addr);
    server.join().expect("it does not panic");
    panic!("the accept loop has ended");
}

/// `may_minihttp` binds an address that it is given and does not say which port it got.
fn free_address() -> SocketAddr {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    probe.local_addr().expect("it is bound")
}

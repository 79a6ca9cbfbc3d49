//! The servers: an echo, and HTTP's hello by hyper.
//!
//! - `echo`: the program of the README, a goroutine and a buffer for each connection. With `burn_ms=N` one more
//!   goroutine computes for that long in each second and calls nothing of ours.
//! - `echo_4k`: the same with a buffer of 4 KiB, for what an idle connection costs whose handler nobody has thought
//!   about; `echo_ready` waits for readiness and borrows its buffer then.
//! - `http`: hyper alone, one connection in one goroutine: what the row on tokio does.
//! - `http_service`: the server that users get, with its limits and time-outs, as `millpond serve` uses it.

use bench_common::{Args, MESSAGE_BYTES, NAIVE_BYTES, Outcome, announce, burn, raise_limits};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use millpond::net::{TcpListener, TcpStream};
use millpond::service::http::{self, Limits, Reply, StatusCode};
use millpond::service::{Acceptor, Connections, Manner};
use millpond::sync::Pool;
use millpond::{block_on, go, time};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

const HELLO: &str = "Hello, world!";

fn listen() -> TcpListener {
    raise_limits();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    announce(listener.local_addr().expect("it is bound"));
    listener
}

pub(crate) fn echo(args: &Args) -> Outcome {
    serve(args, echo_until_closed::<MESSAGE_BYTES>)
}

pub(crate) fn echo_4k(args: &Args) -> Outcome {
    serve(args, echo_until_closed::<NAIVE_BYTES>)
}

pub(crate) fn echo_ready(args: &Args) -> Outcome {
    serve(args, echo_when_ready)
}

fn serve(args: &Args, handler: fn(TcpStream) -> io::Result<()>) -> Outcome {
    let listener = listen();
    if let Some(ms) = args.find("burn_ms") {
        drop(go(move || {
            loop {
                burn(Duration::from_millis(ms));
                time::sleep(Duration::from_millis(1000 - ms));
            }
        }));
    }
    loop {
        let (conn, _peer) = listener.accept().expect("there are descriptors");
        drop(go(move || handler(conn)));
    }
}

fn echo_until_closed<const BUFFER: usize>(mut conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut buf = [0; BUFFER];
    loop {
        let got = conn.read(&mut buf)?;
        if got == 0 {
            return Ok(());
        }
        conn.write_all(&buf[..got])?;
    }
}

/// Buffers, of which a connection has one only while it has something to say.
static BUFFERS: LazyLock<Pool<Box<[u8]>>> =
    LazyLock::new(|| Pool::new(|| vec![0; NAIVE_BYTES].into()));

fn echo_when_ready(conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    loop {
        conn.readable()?;
        if !echo_once(&conn)? {
            return Ok(());
        }
    }
}

fn echo_once(mut conn: &TcpStream) -> io::Result<bool> {
    let mut buf = BUFFERS.get();
    let got = conn.read(&mut buf)?;
    conn.write_all(&buf[..got])?;
    Ok(got > 0)
}

/// A body of one piece.
struct Hello(Option<Bytes>);

impl Body for Hello {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

async fn hello(_: hyper::Request<Incoming>) -> Result<hyper::Response<Hello>, Infallible> {
    Ok(hyper::Response::new(Hello(Some(Bytes::from_static(HELLO.as_bytes())))))
}

pub(crate) fn http(_: &Args) -> Outcome {
    let listener = listen();
    loop {
        let (conn, _peer) = listener.accept().expect("there are descriptors");
        drop(go(move || {
            let _ = conn.set_nodelay(true);
            // An error ends the connection and concerns nobody else.
            let _ = block_on(http1::Builder::new().serve_connection(conn, service_fn(hello)));
        }));
    }
}

pub(crate) fn http_service(_: &Args) -> Outcome {
    let acceptor = Acceptor::new(listen(), &Connections::new()).manner(Manner::Signal);
    let limits = Limits::default();
    let served = acceptor.run(
        |shortage| panic!("{shortage}"),
        move |stream, _peer, live| {
            http::serve(stream, &live, &limits, |_| async { Reply::text(StatusCode::OK, HELLO) });
        },
    );
    panic!("the accept loop has ended: {served:?}");
}

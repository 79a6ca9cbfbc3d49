//! The servers: an echo, and HTTP's hello by hyper.
//!
//! A task and a buffer for each connection, or with `echo_ready` a buffer while there is something to read; hyper over
//! `hyper_util`'s adapter, as its own examples do it. With `burn_ms=N` one more task computes for that long in each
//! second, without an await in between.

use bench_common::{Args, MESSAGE_BYTES, NAIVE_BYTES, Outcome, announce, burn, raise_limits};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::{spawn, time};

const HELLO: &str = "Hello, world!";

async fn listen() -> TcpListener {
    raise_limits();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    announce(listener.local_addr().expect("it is bound"));
    listener
}

pub(crate) async fn echo(args: Args) -> Outcome {
    serve::<MESSAGE_BYTES>(args).await
}

pub(crate) async fn echo_4k(args: Args) -> Outcome {
    serve::<NAIVE_BYTES>(args).await
}

pub(crate) async fn echo_ready() -> Outcome {
    let listener = listen().await;
    loop {
        let (conn, _peer) = listener.accept().await.expect("there are descriptors");
        spawn(echo_when_ready(conn));
    }
}

async fn serve<const BUFFER: usize>(args: Args) -> Outcome {
    let listener = listen().await;
    if let Some(ms) = args.find("burn_ms") {
        spawn(async move {
            loop {
                burn(Duration::from_millis(ms));
                time::sleep(Duration::from_millis(1000 - ms)).await;
            }
        });
    }
    loop {
        let (conn, _peer) = listener.accept().await.expect("there are descriptors");
        spawn(echo_until_closed::<BUFFER>(conn));
    }
}

async fn echo_until_closed<const BUFFER: usize>(mut conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut buf = [0; BUFFER];
    loop {
        let got = conn.read(&mut buf).await?;
        if got == 0 {
            return Ok(());
        }
        conn.write_all(&buf[..got]).await?;
    }
}

async fn echo_when_ready(conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    loop {
        conn.readable().await?;
        match echo_once(&conn) {
            Ok(false) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

/// No future: the buffer is not part of the task.
fn echo_once(conn: &TcpStream) -> io::Result<bool> {
    let mut buf = [0; NAIVE_BYTES];
    let got = conn.try_read(&mut buf)?;
    match conn.try_write(&buf[..got])? {
        put if put == got => Ok(got > 0),
        put => Err(io::Error::other(format!("{put} of {got} bytes were written"))),
    }
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

pub(crate) async fn http() -> Outcome {
    let listener = listen().await;
    loop {
        let (conn, _peer) = listener.accept().await.expect("there are descriptors");
        spawn(async move {
            let _ = conn.set_nodelay(true);
            let conn = TokioIo::new(conn);
            // An error ends the connection and concerns nobody else.
            let _ = http1::Builder::new().serve_connection(conn, service_fn(hello)).await;
        });
    }
}

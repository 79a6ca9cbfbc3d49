//! Driving one connection: hyper, the next deadline, and the wish to stop, in one poll.
//!
//! hyper's connection is polled first, so that everything else sees where it has got to. What ends
//! it, in the order of the looks:
//!
//! 1. hyper: the peer closed, an error, a reply after which the connection closes;
//! 2. draining: at once between requests, otherwise after the reply (hyper adds `connection:
//!    close`);
//! 3. the deadline of the phase (`watch`).
//!
//! A connection that has been idle for a moment is taken back from hyper ([`drive`]), because hyper
//! would keep 8 KiB of buffer for it, and handed over anew when something comes. Our own handle to
//! the socket outlives hyper's, for that, for the last words and for lingering.

use super::alarm::Alarm;
use super::body::Body;
use super::exchange::Exchange;
use super::reply::Reply;
use super::watch::{Progress, Watched};
use super::{Limits, Request, Response};
use crate::drain::Live;
use bytes::Bytes;
use hyper::server::conn::http1;
use millpond_net::TcpStream;
use millpond_rt::block_on;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long what the peer still sends is read and dropped.
const LINGER: Duration = Duration::from_secs(2);

/// hyper accepts no smaller buffer.
const MIN_BUFFER_BYTES: usize = 8 << 10;

/// The reply to a head that did not come in time.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How hyper's turn ends.
enum Turn {
    Over(End),
    /// Between requests since then; what was read of the next one, if anything.
    Rest {
        since: Instant,
        unread: Bytes,
    },
}

/// Why a connection is over.
pub(super) enum End {
    /// It has said all that it had to say, or was refused: the reply must reach the peer.
    Linger,
    /// The peer is too slow with a head.
    TooSlow,
    /// Nobody waits for anything.
    Quiet,
}

/// Serves HTTP/1.1 on `stream` until the peer or a limit ends it, or the service stops. Each
/// request is given to `handler`, one at a time. Parks.
///
/// Errors of the connection end it and concern nobody else, so they are not reported; what a
/// handler wants to know about it sees in its [`Body`].
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net as net; pub use millpond_service as service; }
/// use millpond::net::{TcpListener, TcpStream};
/// use millpond::service::http::{self, Limits, Reply, Request, StatusCode};
/// use millpond::service::{Acceptor, Connections, Manner};
/// use std::io::{Read, Write};
///
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let acceptor = Acceptor::new(listener, &Connections::new()).manner(Manner::Signal);
/// let limits = Limits::default();
/// let _server = millpond::go(move || {
///     acceptor.run(|shortage| eprintln!("{shortage}"), move |stream, _peer, live| {
///         http::serve(stream, &live, &limits, |request: Request<http::Body>| async move {
///             Reply::text(StatusCode::OK, format!("{} here\n", request.uri().path()))
///         });
///     })
/// });
///
/// let mut client = TcpStream::connect(addr)?;
/// client.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
/// let mut reply = String::new();
/// client.read_to_string(&mut reply)?;
/// assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\n/who here\n"));
/// # std::io::Result::Ok(())
/// # }).unwrap().unwrap();
/// ```
pub fn serve<H, F>(stream: TcpStream, live: &Live, limits: &Limits, handler: H)
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Reply>>,
{
    // Replies are written in one piece; gathering small segments only delays the last one.
    let _ = stream.set_nodelay(true);
    match block_on(drive(&stream, live, limits, &handler)) {
        End::Linger => linger(&stream),
        End::TooSlow => {
            stream.set_write_deadline(Instant::now().checked_add(LINGER));
            if (&stream).write_all(TOO_SLOW).is_ok() {
                linger(&stream);
            }
        }
        End::Quiet => {}
    }
}

/// The life of a connection: at rest, or with hyper, in turns.
async fn drive<H, F>(stream: &TcpStream, live: &Live, limits: &Limits, handler: &H) -> End
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Reply>>,
{
    let (mut idle_since, mut rest) = (Instant::now(), Bytes::new());
    loop {
        let idle_until = idle_since.checked_add(limits.idle_timeout);
        if rest.is_empty() && !wait_for_input(stream, live, idle_until).await {
            return End::Quiet;
        }
        // In a box of its own: at rest nothing is left of it.
        match Box::pin(exchange(stream, rest, live, limits, handler)).await {
            Turn::Over(end) => return end,
            Turn::Rest { since, unread } => (idle_since, rest) = (since, unread),
        }
    }
}

/// Waits for the first byte of a request, without hyper and its buffers. `false` if the connection
/// is to be closed instead.
async fn wait_for_input(stream: &TcpStream, live: &Live, until: Option<Instant>) -> bool {
    let mut input = pin!(stream.readable_async());
    let mut stopping = pin!(live.stopping());
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(ready) = input.as_mut().poll(cx) {
            return Poll::Ready(ready.is_ok());
        }
        if stopping.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        alarm.poll(cx, until).map(|()| false)
    })
    .await
}

/// hyper's turn: requests and replies until the connection ends or has been idle for a moment.
async fn exchange<H, F>(
    stream: &TcpStream,
    unread: Bytes,
    live: &Live,
    limits: &Limits,
    handler: &H,
) -> Turn
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Reply>>,
{
    let progress = Progress::new();
    let service = Exchange { handler, limits, progress: Rc::clone(&progress) };
    let Ok(io) = Watched::new(stream, unread, Rc::clone(&progress)) else {
        return Turn::Over(End::Quiet);
    };
    let mut connection = builder(limits).serve_connection(io, service);
    let mut stopping = pin!(live.stopping());
    let mut asked = false;
    let mut alarm = Alarm::default();
    let over = poll_fn(|cx| {
        let mut connection = Pin::new(&mut connection);
        if !asked && stopping.as_mut().poll(cx).is_ready() {
            asked = true;
            connection.as_mut().graceful_shutdown();
        }
        let was_resting = progress.is_resting();
        if let Poll::Ready(_closed) = connection.as_mut().poll(cx) {
            // Asked between requests: there is no reply that a reset could destroy.
            let quiet = asked && was_resting;
            return Poll::Ready(Some(if quiet { End::Quiet } else { End::Linger }));
        }
        if asked && progress.is_resting() {
            return Poll::Ready(Some(End::Quiet));
        }
        alarm.poll(cx, progress.deadline(limits)).map(|()| progress.overdue())
    })
    .await;
    match over {
        Some(end) => Turn::Over(end),
        None => Turn::Rest { since: progress.since(), unread: connection.into_parts().read_buf },
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(limits.max_header_bytes)
        .max_buf_size(limits.max_header_bytes.max(MIN_BUFFER_BYTES));
    builder
}

/// Ends our side, and reads what the peer still sends until it ends its own, for a while.
fn linger(stream: &TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    stream.set_read_deadline(Instant::now().checked_add(LINGER));
    let mut scrap = [0; 4096];
    while let Ok(1..) = (&mut &*stream).read(&mut scrap) {}
}

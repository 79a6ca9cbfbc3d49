//! What a connection is doing, seen from its socket.
//!
//! hyper does not tell where it stands. From outside three places tell it together: the socket (a
//! first byte has come; a write finds no room), the service (a head is complete), and the reply's
//! body (the reply is handed over). They note it in a [`Progress`] that they share within the
//! connection's goroutine, hence `Rc` and `Cell`; and the connection's driver reads from it which
//! deadline is next.
//!
//! ```text
//!            first byte            head complete           reply handed over
//!   Idle ───────────────▶ Head ───────────────────▶ Busy ─────────────────────▶ Idle
//! ```

use super::Limits;
use super::connection::End;
use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use millpond_net::TcpStream;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a connection is idle before hyper gives it back: long enough that a busy client never
/// pays for it.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Where a connection is in its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// Within the head of a request.
    Head,
    /// A handler runs, or its reply's body is being made.
    Busy,
}

/// The connection's notes about itself. Owned by its goroutine.
#[derive(Debug)]
pub(super) struct Progress {
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
    /// Since when a write has found no room.
    blocked_since: Cell<Option<Instant>>,
    /// Whether the body of the last request has been read to its end; `None` if it had none.
    body_ended: RefCell<Option<Arc<AtomicBool>>>,
}

impl Progress {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
            blocked_since: Cell::new(None),
            body_ended: RefCell::new(None),
        })
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// A request has come whose body reports its end there.
    pub(super) fn expect_body(&self, ended: Option<Arc<AtomicBool>>) {
        *self.body_ended.borrow_mut() = ended;
    }

    /// Whether hyper can be left: what comes next is the head of a request. While a body is still
    /// read by somebody, or was dropped by a handler, hyper alone knows where it ends.
    fn can_rest(&self) -> bool {
        let ended = self.body_ended.borrow();
        self.is_resting() && ended.as_ref().is_none_or(|ended| ended.load(Ordering::Acquire))
    }

    /// Whether part of a reply waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    /// Between requests, with nothing left to send.
    pub(super) fn is_resting(&self) -> bool {
        self.phase.get() == Phase::Idle && !self.is_blocked()
    }

    /// When the phase began.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    /// When the peer will have taken too long, or hyper is to give an idle connection back.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let phase = match self.phase.get() {
            Phase::Idle if self.can_rest() => {
                self.since.get().checked_add(REST_AFTER.min(limits.idle_timeout))
            }
            Phase::Idle => self.since.get().checked_add(limits.idle_timeout),
            Phase::Head => self.since.get().checked_add(limits.header_timeout),
            Phase::Busy => None,
        };
        let write = self.blocked_since.get().and_then(|at| at.checked_add(limits.idle_timeout));
        [phase, write].into_iter().flatten().min()
    }

    /// The deadline has passed: how the connection ends, or that it is only to rest.
    pub(super) fn overdue(&self) -> Option<End> {
        match self.phase.get() {
            Phase::Idle if self.can_rest() => None,
            Phase::Head if !self.is_blocked() => Some(End::TooSlow),
            _ => Some(End::Quiet),
        }
    }

    /// Something came from the peer: input, or its end (and then hyper ends the connection).
    fn read(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match (result, self.blocked_since.get()) {
            (Poll::Pending, None) => self.blocked_since.set(Some(Instant::now())),
            (Poll::Ready(_), Some(_)) => self.blocked_since.set(None),
            _ => {}
        }
    }
}

/// The socket that hyper gets.
pub(super) struct Watched {
    stream: TcpStream,
    /// What an earlier turn of hyper had read too much.
    unread: Bytes,
    progress: Rc<Progress>,
}

impl Watched {
    pub(super) fn new(
        stream: &TcpStream,
        unread: Bytes,
        progress: Rc<Progress>,
    ) -> io::Result<Self> {
        Ok(Self { stream: stream.try_clone()?, unread, progress })
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.has_remaining() {
            let fits = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(fits));
            self.progress.read();
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            self.progress.read();
        }
        result
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_flush(Pin::new(&mut self.stream), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Write::poll_shutdown(Pin::new(&mut self.stream), cx)
    }
}

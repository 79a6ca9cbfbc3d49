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
use hyper::rt::{Read, ReadBufCursor, Write};
use millpond_net::TcpStream;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

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
}

impl Progress {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
            blocked_since: Cell::new(None),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// Whether part of a reply waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    /// Between requests, with nothing left to send.
    pub(super) fn is_resting(&self) -> bool {
        self.phase.get() == Phase::Idle && !self.is_blocked()
    }

    /// When the peer will have taken too long.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let phase = match self.phase.get() {
            Phase::Idle => self.since.get().checked_add(limits.idle_timeout),
            Phase::Head => self.since.get().checked_add(limits.header_timeout),
            Phase::Busy => None,
        };
        let write = self.blocked_since.get().and_then(|at| at.checked_add(limits.idle_timeout));
        [phase, write].into_iter().flatten().min()
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
    progress: Rc<Progress>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, progress: Rc<Progress>) -> Self {
        Self { stream, progress }
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
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

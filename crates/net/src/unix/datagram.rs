//! The Unix datagram socket.
//!
//! `send_to` on a socket that is not connected has a peculiarity: when the receiver's queue is
//! full the kernel says "would block", but tells nobody when there is room, unless the receiver
//! happens to take one of this socket's own datagrams. So such a send asks again every
//! [`ASK_AGAIN`]. Connected sockets are told, and wait like any other.

use crate::common;
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often an unconnected send looks whether its receiver has room.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// A Unix datagram socket; `std::os::unix::net::UnixDatagram` for goroutines.
#[derive(Debug)]
pub struct UnixDatagram {
    source: Arc<Source<std::os::unix::net::UnixDatagram>>,
}

common::socket!(UnixDatagram, std::os::unix::net::UnixDatagram);
common::both_directions!(UnixDatagram);

impl UnixDatagram {
    /// Makes the socket file `path` and receives on it.
    ///
    /// # Errors
    /// `AddrInUse` if the file exists; `InvalidInput` if the path is too long for an address.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::bind(path)?)
    }

    /// A socket without an address, to send with.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::unbound()?)
    }

    /// Two connected sockets.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from_std(a)?, Self::from_std(b)?))
    }

    /// From now on [`UnixDatagram::send`] sends to `path`, and only it is received from.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused` and others of connect(2).
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.source.get_ref().connect(path)
    }

    /// Sends one datagram to the connected peer. Parks while its queue is full.
    ///
    /// # Errors
    /// `NotConnected`; EMSGSIZE if it is too long; `ConnectionRefused` if the peer is gone.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.send_until(Until::Forever, buf)
    }

    /// As [`UnixDatagram::send`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixDatagram::send`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn send_ctx(&self, ctx: &Context, buf: &[u8]) -> io::Result<usize> {
        self.send_until(Until::Done(ctx), buf)
    }

    fn send_until(&self, until: Until<'_>, buf: &[u8]) -> io::Result<usize> {
        self.source.io(Side::Write, WaitReason::IoWrite, until, |socket| socket.send(buf))
    }

    /// Sends one datagram to `path`. Parks while its queue is full.
    ///
    /// # Errors
    /// As [`UnixDatagram::send`], and `NotFound`.
    pub fn send_to(&self, buf: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        self.send_to_until(&Context::background(), buf, path.as_ref())
    }

    /// As [`UnixDatagram::send_to`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixDatagram::send_to`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn send_to_ctx(
        &self,
        ctx: &Context,
        buf: &[u8],
        path: impl AsRef<Path>,
    ) -> io::Result<usize> {
        self.send_to_until(ctx, buf, path.as_ref())
    }

    fn send_to_until(&self, ctx: &Context, buf: &[u8], path: &Path) -> io::Result<usize> {
        let (until, began) = (Until::Done(ctx), Instant::now());
        loop {
            let sent =
                self.source.io(Side::Write, WaitReason::IoWrite, until, |socket| {
                    match socket.send_to(buf, path) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                        result => result.map(Some),
                    }
                });
            match sent? {
                Some(len) => return Ok(len),
                None if self.has_time(began) => millpond_rt::time::sleep_ctx(ctx, ASK_AGAIN)?,
                None => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Whether a write that began at `began` is within the limits of this socket.
    fn has_time(&self, began: Instant) -> bool {
        let timeout = self.source.timeout(Side::Write);
        let deadline = self.source.deadline(Side::Write);
        timeout.is_none_or(|timeout| began.elapsed() < timeout)
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Receives one datagram; what does not fit into `buf` is lost. Parks.
    ///
    /// # Errors
    /// Those of recv(2); `TimedOut`; [`Closed`](crate::Closed).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(Until::Forever, |socket| socket.recv(buf))
    }

    /// As [`UnixDatagram::recv`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixDatagram::recv`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn recv_ctx(&self, ctx: &Context, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(Until::Done(ctx), |socket| socket.recv(buf))
    }

    /// Receives one datagram and its sender's address. Parks.
    ///
    /// # Errors
    /// As [`UnixDatagram::recv`].
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_until(Until::Forever, |socket| socket.recv_from(buf))
    }

    /// As [`UnixDatagram::recv_from`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixDatagram::recv_from`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn recv_from_ctx(&self, ctx: &Context, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_until(Until::Done(ctx), |socket| socket.recv_from(buf))
    }

    fn read_until<R>(
        &self,
        until: Until<'_>,
        op: impl FnMut(&std::os::unix::net::UnixDatagram) -> io::Result<R>,
    ) -> io::Result<R> {
        self.source.io(Side::Read, WaitReason::IoRead, until, op)
    }

    /// The twin of [`UnixDatagram::recv`] for tasks.
    ///
    /// # Errors
    /// As [`UnixDatagram::recv`].
    pub async fn recv_async(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.io_async(Side::Read, |socket| socket.recv(buf)).await
    }

    /// The twin of [`UnixDatagram::send`] for tasks.
    ///
    /// # Errors
    /// As [`UnixDatagram::send`].
    pub async fn send_async(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.io_async(Side::Write, |socket| socket.send(buf)).await
    }

    /// Ends one direction or both, for all clones.
    ///
    /// # Errors
    /// `NotConnected` if it is not connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let result = self.source.get_ref().shutdown(how);
        self.source.touch();
        result
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().local_addr()
    }

    /// The address of the connected peer.
    ///
    /// # Errors
    /// `NotConnected` if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().peer_addr()
    }
}

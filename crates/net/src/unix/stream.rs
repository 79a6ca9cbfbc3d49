//! The Unix stream.
//!
//! Two things differ from TCP. A read may be short with data behind it (it stops where
//! descriptors were sent along), so there is no shortcut after a short read. And `connect` has no
//! "in progress": when the listener's queue is full, a non-blocking one fails and nothing tells
//! when there is room. Such a connect is done in blocking mode on the blocking pool.

use crate::common;
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A Unix stream socket; `std::os::unix::net::UnixStream` for goroutines.
#[derive(Debug)]
pub struct UnixStream {
    pub(crate) source: Arc<Source<std::os::unix::net::UnixStream>>,
}

common::socket!(UnixStream, std::os::unix::net::UnixStream);
common::both_directions!(UnixStream);
common::stream!(UnixStream);

impl UnixStream {
    /// Connects to the listener at `path`. Parks if its queue is full.
    ///
    /// # Errors
    /// `NotFound`, `ConnectionRefused`, `PermissionDenied` and others of connect(2).
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        match try_connect(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let path = path.to_owned();
                let socket = millpond_rt::blocking(move || connect_blocking(&path))?;
                Self::from_std(socket)
            }
            result => result,
        }
    }

    /// As [`UnixStream::connect`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixStream::connect`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn connect_ctx(ctx: &Context, path: impl AsRef<Path>) -> io::Result<Self> {
        ctx.check()?;
        let path = path.as_ref();
        match try_connect(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let path = path.to_owned();
                let socket = millpond_rt::blocking_ctx(ctx, move || connect_blocking(&path))??;
                Self::from_std(socket)
            }
            result => result,
        }
    }

    /// The twin of [`UnixStream::connect`] for tasks.
    ///
    /// # Errors
    /// As [`UnixStream::connect`].
    pub async fn connect_async(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        match try_connect(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let socket = millpond_rt::blocking_async(move || connect_blocking(&path)).await?;
                Self::from_std(socket)
            }
            result => result,
        }
    }

    /// Two connected sockets.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        let wrap = |socket: Socket| Self::from_source(Source::new(socket.into()));
        Ok((wrap(a), wrap(b)))
    }

    /// Reads what is there, up to `buf.len()`; 0 at the end. For tasks.
    ///
    /// # Errors
    /// Those of recv(2).
    pub async fn read_async(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.io_async(Side::Read, |mut socket| socket.read(buf)).await
    }

    /// Writes as much of `buf` as there is room for. For tasks.
    ///
    /// # Errors
    /// Those of send(2).
    pub async fn write_async(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.io_async(Side::Write, |mut socket| socket.write(buf)).await
    }

    pub(crate) fn write_until(
        &self,
        until: Until<'_>,
        op: impl FnMut(&std::os::unix::net::UnixStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.source.io(Side::Write, WaitReason::IoWrite, until, op)
    }

    pub(crate) fn read_until(&self, buf: &mut [u8], until: Until<'_>) -> io::Result<usize> {
        let read = |mut socket: &std::os::unix::net::UnixStream| socket.read(buf);
        self.source.io(Side::Read, WaitReason::IoRead, until, read)
    }

    pub(crate) fn read_vectored_until(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        until: Until<'_>,
    ) -> io::Result<usize> {
        let read = |mut socket: &std::os::unix::net::UnixStream| socket.read_vectored(bufs);
        self.source.io(Side::Read, WaitReason::IoRead, until, read)
    }

    /// Ends one direction or both, for all clones. Operations that wait in it end: reads with 0,
    /// writes with an error.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let result = self.source.get_ref().shutdown(how);
        self.source.touch();
        result
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `NotConnected` once the other end has gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().local_addr()
    }
}

fn try_connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(UnixStream::from_source(Source::new(socket.into())))
}

/// Blocks the thread until the listener's queue has room.
fn connect_blocking(path: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    std::os::unix::net::UnixStream::connect(path)
}

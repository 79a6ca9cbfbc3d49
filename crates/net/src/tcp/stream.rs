//! The TCP stream: `std::net::TcpStream`, but what would block parks.
//!
//! Reads use the short-read shortcut of [`Source::read_stream`]: TCP returns less than was asked
//! for only when its buffer is empty, or at the end or an urgent mark, which the source knows of.

use crate::addr::{ToSocketAddrs, resolve, resolve_async, resolve_ctx};
use crate::{common, open};
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A TCP connection; `std::net::TcpStream` for goroutines. `Read` and `Write` are implemented for
/// it and for `&TcpStream`, so one goroutine may read while another writes.
#[derive(Debug)]
pub struct TcpStream {
    pub(crate) source: Arc<Source<std::net::TcpStream>>,
}

common::socket!(TcpStream, std::net::TcpStream);
common::both_directions!(TcpStream);
common::stream!(TcpStream);

impl TcpStream {
    /// Connects to the first of the addresses that answers. Parks, also while a host name is
    /// looked up.
    ///
    /// # Errors
    /// `InvalidInput` for a bad address; `ConnectionRefused`, `TimedOut` and others of connect(2),
    /// of the last address tried.
    pub fn connect(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        resolve(addrs)?.first_ok(|addr| Self::connect_until(addr, Until::Forever))
    }

    /// Connects, waiting at most `timeout`. Parks.
    ///
    /// # Errors
    /// `InvalidInput` if `timeout` is zero; `TimedOut`; others of connect(2).
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if timeout.is_zero() {
            let message = "connect_timeout: expected more than zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Self::connect_until(addr, Until::After(timeout))
    }

    /// As [`TcpStream::connect`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn connect_ctx(ctx: &Context, addrs: impl ToSocketAddrs) -> io::Result<Self> {
        resolve_ctx(ctx, addrs)?.first_ok(|addr| Self::connect_until(addr, Until::Done(ctx)))
    }

    fn connect_until(addr: &SocketAddr, until: Until<'_>) -> io::Result<Self> {
        until.context().map_or(Ok(()), Context::check)?;
        open::finish(open::tcp_connecting(addr)?, until).map(Self::from_source)
    }

    /// The twin of [`TcpStream::connect`] for tasks.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub async fn connect_async(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        let addrs = resolve_async(addrs).await?;
        let mut last = None;
        for addr in addrs.as_slice() {
            let begun = open::tcp_connecting(addr);
            let ended = match begun {
                Ok(source) => open::finish_async(source).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(source) => return Ok(Self::from_source(source)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is at least one address"))
    }

    /// Reads what is there, up to `buf.len()`; 0 at the end. For tasks.
    ///
    /// # Errors
    /// Those of recv(2).
    pub async fn read_async(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.read_stream_async(buf.len(), |mut socket| socket.read(buf)).await
    }

    /// Writes as much of `buf` as there is room for. For tasks.
    ///
    /// # Errors
    /// Those of send(2).
    pub async fn write_async(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.io_async(Side::Write, |mut socket| socket.write(buf)).await
    }

    /// Writes all of `buf`. For tasks. When the future is dropped, part may have been written.
    ///
    /// # Errors
    /// Those of send(2).
    pub async fn write_all_async(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_async(buf).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => buf = &buf[written..],
            }
        }
        Ok(())
    }

    pub(crate) fn write_until(
        &self,
        until: Until<'_>,
        op: impl FnMut(&std::net::TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.source.io(Side::Write, WaitReason::IoWrite, until, op)
    }

    pub(crate) fn read_until(&self, buf: &mut [u8], until: Until<'_>) -> io::Result<usize> {
        self.source.read_stream(buf.len(), until, |mut socket| socket.read(buf))
    }

    pub(crate) fn read_vectored_until(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        until: Until<'_>,
    ) -> io::Result<usize> {
        let want = bufs.iter().map(|buf| buf.len()).sum();
        self.source.read_stream(want, until, |mut socket| socket.read_vectored(bufs))
    }

    /// Reads without taking: the next read returns the same bytes. Parks until there are some.
    ///
    /// # Errors
    /// Those of recv(2); `TimedOut`; [`Closed`](crate::Closed).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.io(Side::Read, WaitReason::IoRead, Until::Forever, |socket| socket.peek(buf))
    }

    /// Ends one direction or both, for all clones. Operations that wait in it end: reads with 0,
    /// writes with an error.
    ///
    /// # Errors
    /// `NotConnected` if it is not (any more) connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let result = self.source.get_ref().shutdown(how);
        self.source.touch();
        result
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// `NotConnected` after a reset.
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

    /// Sends small segments at once (`TCP_NODELAY`) instead of gathering them.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.source.get_ref().set_nodelay(on)
    }

    /// Whether small segments are sent at once.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.get_ref().nodelay()
    }

    /// Sets the time to live of packets.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get_ref().set_ttl(ttl)
    }

    /// The time to live of packets.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get_ref().ttl()
    }

    /// What closing does with unsent data: `None` sends it in the background; zero resets the
    /// connection. Other values would block the thread in close(2), since the kernel ignores
    /// non-blocking mode there.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.source.get_ref()).set_linger(linger)
    }

    /// What closing does with unsent data.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.source.get_ref()).linger()
    }

    /// Probes a connection that has been silent for `idle`, so that a dead peer is found; `None`
    /// turns it off.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(self.source.get_ref());
        match idle {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => socket.set_keepalive(false),
        }
    }
}

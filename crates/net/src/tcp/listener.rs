//! The TCP listener: accepts connections that are non-blocking from their first moment.
//!
//! `accept4` sets the flags in the call that makes the descriptor; `std`'s `accept` would need a
//! second one for each connection. One edge may stand for many connections, so `accept` tries
//! before it waits, and an edge wakes all goroutines that accept.
//!
//! A goroutine that parks here is marked as accepting, which is how the scheduler knows that what
//! it starts next is a connection and should be spread over the Ms.

use super::stream::TcpStream;
use crate::addr::{ToSocketAddrs, resolve, resolve_async};
use crate::{common, open};
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A TCP socket that connections arrive at; `std::net::TcpListener` for goroutines.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net::{self as net, signal}; }
/// use millpond::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let client = std::thread::spawn(move || TcpStream::connect(addr)?.write_all(b"hello"));
/// let (mut conn, _peer) = listener.accept()?;
/// let mut text = String::new();
/// conn.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # client.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    source: Arc<Source<std::net::TcpListener>>,
}

common::socket!(TcpListener, std::net::TcpListener);
common::direction!(
    TcpListener,
    Read,
    Accept,
    set_accept_timeout,
    accept_timeout,
    set_accept_deadline,
    readable,
    readable_ctx,
    readable_async
);

impl TcpListener {
    /// Listens on the first of the addresses that can be bound; port 0 picks a free one. May be
    /// bound while old connections of the port still linger (`SO_REUSEADDR`). Parks if a host name
    /// must be looked up.
    ///
    /// # Errors
    /// `InvalidInput` for a bad address; `AddrInUse`, `PermissionDenied` and others of bind(2).
    pub fn bind(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        ListenerBuilder::new().bind(addrs)
    }

    /// The twin of [`TcpListener::bind`] for tasks.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub async fn bind_async(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        ListenerBuilder::new().bind_async(addrs).await
    }

    /// Waits for a connection. Parks.
    ///
    /// # Errors
    /// EMFILE and ENFILE when descriptors are short (back off, then go on); `TimedOut`;
    /// [`Closed`](crate::Closed). A connection that died while it waited is skipped.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.source.io(Side::Read, WaitReason::Accept, Until::Forever, accept_one)
    }

    /// As [`TcpListener::accept`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`TcpListener::accept`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn accept_ctx(&self, ctx: &Context) -> io::Result<(TcpStream, SocketAddr)> {
        self.source.io(Side::Read, WaitReason::Accept, Until::Done(ctx), accept_one)
    }

    /// The twin of [`TcpListener::accept`] for tasks.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub async fn accept_async(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.source.io_async(Side::Read, accept_one).await
    }

    /// Accepts for ever: an iterator that ends only when the listener is [closed](Self::close).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().local_addr()
    }

    /// Sets the time to live of packets that accepted connections send.
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
}

fn accept_one(listener: &std::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok((fd, peer)) => {
            let stream = TcpStream::from_source(Source::new(fd.into()));
            match peer.map(SocketAddr::try_from) {
                Some(Ok(peer)) => Ok((stream, peer)),
                _ => stream.peer_addr().map(|peer| (stream, peer)),
            }
        }
        // Gone before it was accepted: the next one.
        Err(Errno::CONNABORTED) => Err(io::ErrorKind::Interrupted.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// The iterator of [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        match self.listener.accept() {
            Ok((stream, _peer)) => Some(Ok(stream)),
            Err(error) if crate::Closed::is(&error) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// How a listener is opened, beyond [`TcpListener::bind`].
#[derive(Debug, Clone, Default)]
pub struct ListenerBuilder {
    reuse_port: bool,
}

impl ListenerBuilder {
    /// As [`TcpListener::bind`] does it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Several listeners, of this or other processes of the same user, share the address, and the
    /// kernel spreads connections over them (`SO_REUSEPORT`).
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// As [`TcpListener::bind`].
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn bind(&self, addrs: impl ToSocketAddrs) -> io::Result<TcpListener> {
        resolve(addrs)?.first_ok(|addr| self.open(addr))
    }

    /// The twin of [`ListenerBuilder::bind`] for tasks.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub async fn bind_async(&self, addrs: impl ToSocketAddrs) -> io::Result<TcpListener> {
        resolve_async(addrs).await?.first_ok(|addr| self.open(addr))
    }

    fn open(&self, addr: &SocketAddr) -> io::Result<TcpListener> {
        let socket = open::tcp_listener(addr, self.reuse_port)?;
        Ok(TcpListener::from_source(Source::new(socket.into())))
    }
}

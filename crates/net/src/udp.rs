//! The UDP socket. Each operation carries one datagram, so there is nothing to be short of.
//!
//! That is why the shortcut of streams (a short read means that the next one waits) is not taken
//! here: a datagram smaller than the buffer says nothing about whether another one is there.

use crate::addr::{ToSocketAddrs, resolve, resolve_async, resolve_ctx};
use crate::{common, open};
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A UDP socket; `std::net::UdpSocket` for goroutines.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net::{self as net, signal}; }
/// use millpond::net::UdpSocket;
///
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// a.send_to(b"ping", b.local_addr()?)?;
/// let mut buf = [0; 16];
/// let (len, from) = b.recv_from(&mut buf)?;
/// assert_eq!((&buf[..len], from), (&b"ping"[..], a.local_addr()?));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    source: Arc<Source<std::net::UdpSocket>>,
}

common::socket!(UdpSocket, std::net::UdpSocket);
common::both_directions!(UdpSocket);

impl UdpSocket {
    /// Binds to the first of the addresses that can be bound; port 0 picks a free one. Parks if a
    /// host name must be looked up.
    ///
    /// # Errors
    /// `InvalidInput` for a bad address; `AddrInUse` and others of bind(2).
    pub fn bind(addrs: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = resolve(addrs)?.first_ok(open::udp)?;
        Ok(Self::from_source(Source::new(socket.into())))
    }

    /// From now on [`UdpSocket::send`] sends to the first of the addresses that can be reached,
    /// and only it is received from. Parks if a host name must be looked up.
    ///
    /// # Errors
    /// `InvalidInput` for a bad address; others of connect(2).
    pub fn connect(&self, addrs: impl ToSocketAddrs) -> io::Result<()> {
        resolve(addrs)?.first_ok(|addr| self.source.get_ref().connect(addr))
    }

    /// Sends one datagram to the first of the addresses. Parks while the send buffer is full.
    ///
    /// # Errors
    /// EMSGSIZE if it is too long; others of sendto(2).
    pub fn send_to(&self, buf: &[u8], addrs: impl ToSocketAddrs) -> io::Result<usize> {
        let addrs = resolve(addrs)?;
        let to = addrs.as_slice()[0];
        self.write_until(Until::Forever, |socket| socket.send_to(buf, to))
    }

    /// As [`UdpSocket::send_to`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn send_to_ctx(
        &self,
        ctx: &Context,
        buf: &[u8],
        addrs: impl ToSocketAddrs,
    ) -> io::Result<usize> {
        let addrs = resolve_ctx(ctx, addrs)?;
        let to = addrs.as_slice()[0];
        self.write_until(Until::Done(ctx), |socket| socket.send_to(buf, to))
    }

    /// The twin of [`UdpSocket::send_to`] for tasks.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub async fn send_to_async(&self, buf: &[u8], addrs: impl ToSocketAddrs) -> io::Result<usize> {
        let addrs = resolve_async(addrs).await?;
        let to = addrs.as_slice()[0];
        self.source.io_async(Side::Write, |socket| socket.send_to(buf, to)).await
    }

    /// Receives one datagram and its sender's address; what does not fit into `buf` is lost.
    /// Parks.
    ///
    /// # Errors
    /// Those of recvfrom(2); `TimedOut`; [`Closed`](crate::Closed).
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_until(Until::Forever, |socket| socket.recv_from(buf))
    }

    /// As [`UdpSocket::recv_from`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn recv_from_ctx(&self, ctx: &Context, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_until(Until::Done(ctx), |socket| socket.recv_from(buf))
    }

    /// The twin of [`UdpSocket::recv_from`] for tasks.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub async fn recv_from_async(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.io_async(Side::Read, |socket| socket.recv_from(buf)).await
    }

    /// As [`UdpSocket::recv_from`], but leaves the datagram in the queue.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_until(Until::Forever, |socket| socket.peek_from(buf))
    }

    /// Sends one datagram to the connected peer. Parks while the send buffer is full.
    ///
    /// # Errors
    /// `NotConnected`, in the kernel's words EDESTADDRREQ; `ConnectionRefused` if an earlier one
    /// was refused.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_until(Until::Forever, |socket| socket.send(buf))
    }

    /// As [`UdpSocket::send`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UdpSocket::send`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn send_ctx(&self, ctx: &Context, buf: &[u8]) -> io::Result<usize> {
        self.write_until(Until::Done(ctx), |socket| socket.send(buf))
    }

    /// Receives one datagram from the connected peer. Parks.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`]; `ConnectionRefused` if one that was sent was refused.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(Until::Forever, |socket| socket.recv(buf))
    }

    /// As [`UdpSocket::recv`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn recv_ctx(&self, ctx: &Context, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(Until::Done(ctx), |socket| socket.recv(buf))
    }

    /// As [`UdpSocket::recv`], but leaves the datagram in the queue.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(Until::Forever, |socket| socket.peek(buf))
    }

    fn read_until<R>(
        &self,
        until: Until<'_>,
        op: impl FnMut(&std::net::UdpSocket) -> io::Result<R>,
    ) -> io::Result<R> {
        self.source.io(Side::Read, WaitReason::IoRead, until, op)
    }

    fn write_until(
        &self,
        until: Until<'_>,
        op: impl FnMut(&std::net::UdpSocket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.source.io(Side::Write, WaitReason::IoWrite, until, op)
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

/// Options that are `std`'s: setters and getters of the same name.
macro_rules! options {
    ($($(#[$doc:meta])* $set:ident, $get:ident: $type:ty;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// Those of setsockopt(2).
            pub fn $set(&self, value: $type) -> io::Result<()> {
                self.source.get_ref().$set(value)
            }

            /// The option that the method with `set_` before the name sets.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn $get(&self) -> io::Result<$type> {
                self.source.get_ref().$get()
            }
        )*}
    };
}

options! {
    /// Sets the time to live of datagrams.
    set_ttl, ttl: u32;
    /// Allows sending to a broadcast address.
    set_broadcast, broadcast: bool;
    /// Whether multicast datagrams come back to this host (IPv4).
    set_multicast_loop_v4, multicast_loop_v4: bool;
    /// Whether multicast datagrams come back to this host (IPv6).
    set_multicast_loop_v6, multicast_loop_v6: bool;
    /// Sets the time to live of multicast datagrams (IPv4).
    set_multicast_ttl_v4, multicast_ttl_v4: u32;
}

impl UdpSocket {
    /// Receives from the multicast group too, on the interface with that address.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get_ref().join_multicast_v4(group, interface)
    }

    /// Ends [`UdpSocket::join_multicast_v4`].
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get_ref().leave_multicast_v4(group, interface)
    }

    /// Receives from the multicast group too, on the interface with that index (0: any).
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get_ref().join_multicast_v6(group, interface)
    }

    /// Ends [`UdpSocket::join_multicast_v6`].
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get_ref().leave_multicast_v6(group, interface)
    }
}

//! Opening sockets: non-blocking and closed on exec from their first moment.
//!
//! `std` opens blocking sockets, so its `bind` and `connect` would need a second system call, and
//! its `connect` blocks. Here `socket2` opens them; what comes out is a `std` socket again, which
//! then performs all operations.

use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

pub(crate) fn tcp(addr: &SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(*addr);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// A listening socket that may take an address which old connections still linger on.
pub(crate) fn tcp_listener(addr: &SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = tcp(addr)?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&(*addr).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

pub(crate) fn udp(addr: &SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(*addr);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.bind(&(*addr).into())?;
    Ok(socket)
}

/// A socket whose connection has at least begun.
pub(crate) fn tcp_connecting(addr: &SocketAddr) -> io::Result<Source<std::net::TcpStream>> {
    let socket = tcp(addr)?;
    match socket.connect(&(*addr).into()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(Source::new(socket.into()))
}

/// Waits until the connection is there, or has failed. Parks.
pub(crate) fn finish(
    source: Source<std::net::TcpStream>,
    until: Until<'_>,
) -> io::Result<Source<std::net::TcpStream>> {
    source.io(Side::Write, WaitReason::Connect, until, connected)?;
    Ok(source)
}

/// The twin of [`finish`] for tasks.
pub(crate) async fn finish_async(
    source: Source<std::net::TcpStream>,
) -> io::Result<Source<std::net::TcpStream>> {
    source.io_async(Side::Write, connected).await?;
    Ok(source)
}

/// Whether the connection is there; `WouldBlock` while it is on its way.
fn connected(socket: &std::net::TcpStream) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

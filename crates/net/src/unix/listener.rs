//! The Unix listener.
//!
//! Bound to a path or, on Linux, to an abstract name. The path is not removed when the listener
//! goes, as in `std`: it may belong to a successor already.

use super::stream::UnixStream;
use crate::{common, open};
use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::wait::{Until, WaitReason};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A Unix socket that connections arrive at; `std::os::unix::net::UnixListener` for goroutines.
#[derive(Debug)]
pub struct UnixListener {
    source: Arc<Source<std::os::unix::net::UnixListener>>,
}

common::socket!(UnixListener, std::os::unix::net::UnixListener);
common::direction!(
    UnixListener,
    Read,
    Accept,
    set_accept_timeout,
    accept_timeout,
    set_accept_deadline,
    readable,
    readable_ctx,
    readable_async
);

impl UnixListener {
    /// Makes the socket file `path` and listens on it. The file stays when the listener is gone.
    ///
    /// # Errors
    /// `AddrInUse` if the file exists; `InvalidInput` if the path is too long for an address.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(open::BACKLOG)?;
        Ok(Self::from_source(Source::new(socket.into())))
    }

    /// Waits for a connection. Parks.
    ///
    /// # Errors
    /// EMFILE and ENFILE when descriptors are short; `TimedOut`; [`Closed`](crate::Closed).
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.source.io(Side::Read, WaitReason::Accept, Until::Forever, accept_one)
    }

    /// As [`UnixListener::accept`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`UnixListener::accept`]; a [`ContextError`](millpond_rt::context::ContextError) if the
    /// context is done.
    pub fn accept_ctx(&self, ctx: &Context) -> io::Result<(UnixStream, SocketAddr)> {
        self.source.io(Side::Read, WaitReason::Accept, Until::Done(ctx), accept_one)
    }

    /// The twin of [`UnixListener::accept`] for tasks.
    ///
    /// # Errors
    /// As [`UnixListener::accept`].
    pub async fn accept_async(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.source.io_async(Side::Read, accept_one).await
    }

    /// Accepts for ever: an iterator that ends only when the listener is [closed](Self::close).
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get_ref().local_addr()
    }
}

fn accept_one(listener: &std::os::unix::net::UnixListener) -> io::Result<(UnixStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    Ok((UnixStream::from_std(stream)?, peer))
}

/// The iterator of [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        match self.listener.accept() {
            Ok((stream, _peer)) => Some(Ok(stream)),
            Err(error) if crate::Closed::is(&error) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

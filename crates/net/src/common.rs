//! What all sockets have alike, written once: clones, limits, readiness, descriptors, `std` types.
//!
//! A socket is an `Arc` of a source around the `std` socket. The macros below only add methods and
//! trait implementations to such a type; the logic is in `millpond_rt::io::Source`.

use millpond_rt::io::Source;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Ends the sharing: what the source wrapped, if this is the only clone.
pub(crate) fn unwrap_source<T: AsFd>(source: Arc<Source<T>>) -> io::Result<T> {
    match Arc::try_unwrap(source) {
        Ok(source) => Ok(source.into_inner()),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "into_std: expected the only clone of this socket, found others; drop them first",
        )),
    }
}

/// Methods of every socket: `$name { source: Arc<Source<$std>> }`.
macro_rules! socket {
    ($name:ident, $std:ty) => {
        impl $name {
            pub(crate) fn from_source(source: millpond_rt::io::Source<$std>) -> Self {
                Self { source: std::sync::Arc::new(source) }
            }

            /// Takes over a socket of `std`. It is put in non-blocking mode, together with its
            /// duplicates in this and other processes: they share the mode.
            ///
            /// # Errors
            /// If the mode cannot be changed.
            pub fn from_std(socket: $std) -> std::io::Result<Self> {
                socket.set_nonblocking(true)?;
                Ok(Self::from_source(millpond_rt::io::Source::new(socket)))
            }

            /// Gives the socket back to `std`, in blocking mode.
            ///
            /// # Errors
            /// `ResourceBusy` if it has other clones; or if the mode cannot be changed. This
            /// handle is gone in any case.
            pub fn into_std(self) -> std::io::Result<$std> {
                let socket = crate::common::unwrap_source(self.source)?;
                socket.set_nonblocking(false)?;
                Ok(socket)
            }

            /// Another handle to the same socket, with the same limits and the same registration.
            /// No descriptor is duplicated, and it cannot fail; the signature is that of `std`.
            ///
            /// # Errors
            /// None.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                Ok(Self { source: self.source.clone() })
            }

            /// The pending error of the socket, which is thereby cleared.
            ///
            /// # Errors
            /// If the option cannot be read.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.source.get_ref().take_error()
            }

            /// Ends all operations on this socket, through whichever clone: those that wait and
            /// all later ones fail with [`Closed`](crate::Closed). The descriptor is closed with
            /// the last clone.
            pub fn close(&self) {
                self.source.close();
            }

            fn ready_until(
                &self,
                side: millpond_rt::io::Side,
                reason: millpond_rt::wait::WaitReason,
                until: millpond_rt::wait::Until<'_>,
            ) -> std::io::Result<()> {
                self.source.ready(side, reason, until)
            }
        }

        impl TryFrom<$std> for $name {
            type Error = std::io::Error;

            fn try_from(socket: $std) -> std::io::Result<Self> {
                Self::from_std(socket)
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.source.get_ref().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(self.source.get_ref())
            }
        }
    };
}

/// Limits and readiness of one direction: its name in methods, its [`Side`], its reason.
macro_rules! direction {
    ($name:ident, $side:ident, $reason:ident, $set_timeout:ident, $timeout:ident,
     $set_deadline:ident, $ready:ident, $ready_ctx:ident, $ready_async:ident) => {
        impl $name {
            /// How long each later operation in this direction may wait; `None` for no limit. An
            /// operation that takes longer fails with `TimedOut`.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn $set_timeout(&self, limit: Option<std::time::Duration>) -> std::io::Result<()> {
                self.source.set_timeout(millpond_rt::io::Side::$side, limit)
            }

            /// How long each operation in this direction may wait.
            ///
            /// # Errors
            /// None; the signature is that of `std`.
            pub fn $timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.source.timeout(millpond_rt::io::Side::$side))
            }

            /// Until when operations in this direction may wait, as in Go: holds for those that
            /// wait already, and once it has passed all of them fail with `TimedOut` until it is
            /// set again. It is shared by the clones.
            pub fn $set_deadline(&self, at: Option<std::time::Instant>) {
                self.source.set_deadline(millpond_rt::io::Side::$side, at);
            }

            /// Waits until an operation in this direction would not block: it may succeed, fail,
            /// or find that another clone was faster. Parks. A connection that waits here needs
            /// no buffer.
            ///
            /// # Errors
            /// `TimedOut`, and [`Closed`](crate::Closed).
            pub fn $ready(&self) -> std::io::Result<()> {
                self.ready_until(
                    millpond_rt::io::Side::$side,
                    millpond_rt::wait::WaitReason::$reason,
                    millpond_rt::wait::Until::Forever,
                )
            }

            /// The method without `_ctx`, until `ctx` is done.
            ///
            /// # Errors
            /// `TimedOut`, and [`Closed`](crate::Closed); a
            /// [`ContextError`](millpond_rt::context::ContextError) if the context is done.
            pub fn $ready_ctx(&self, ctx: &millpond_rt::Context) -> std::io::Result<()> {
                self.ready_until(
                    millpond_rt::io::Side::$side,
                    millpond_rt::wait::WaitReason::$reason,
                    millpond_rt::wait::Until::Done(ctx),
                )
            }

            /// The twin of the method without `_async` for tasks.
            ///
            /// # Errors
            /// `TimedOut`, and [`Closed`](crate::Closed).
            pub async fn $ready_async(&self) -> std::io::Result<()> {
                self.source.ready_async(millpond_rt::io::Side::$side).await
            }
        }
    };
}

/// Both directions, for sockets that carry data.
macro_rules! both_directions {
    ($name:ident) => {
        crate::common::direction!(
            $name,
            Read,
            IoRead,
            set_read_timeout,
            read_timeout,
            set_read_deadline,
            readable,
            readable_ctx,
            readable_async
        );
        crate::common::direction!(
            $name,
            Write,
            IoWrite,
            set_write_timeout,
            write_timeout,
            set_write_deadline,
            writable,
            writable_ctx,
            writable_async
        );

        impl $name {
            /// Sets the read and the write deadline.
            pub fn set_deadline(&self, at: Option<std::time::Instant>) {
                self.set_read_deadline(at);
                self.set_write_deadline(at);
            }
        }
    };
}

/// `Read` and `Write` for `$name`, for `&$name`, and for it under a context. `$name` has
/// `read_until`, `read_vectored_until` and `write_until`.
macro_rules! stream {
    ($name:ident) => {
        crate::common::read_write!($name, self => (&*self, millpond_rt::wait::Until::Forever));
        crate::common::read_write!(&$name, self => (*self, millpond_rt::wait::Until::Forever));
        crate::common::read_write!(
            crate::WithCtx<'_, $name>,
            self => (self.socket, millpond_rt::wait::Until::Done(self.ctx))
        );

        impl $name {
            /// This stream under a context: its reads and writes end when `ctx` is done, with what
            /// a [`ContextError`](millpond_rt::context::ContextError) becomes as an `io::Error`.
            /// The limits of the stream hold as well.
            pub fn with_ctx<'a>(&'a self, ctx: &'a millpond_rt::Context) -> crate::WithCtx<'a, Self> {
                crate::WithCtx { socket: self, ctx }
            }
        }
    };
}

/// `Read` and `Write` for one of the forms of a stream: its socket, and what limits a wait.
macro_rules! read_write {
    ($type:ty, $self:ident => ($socket:expr, $until:expr)) => {
        impl std::io::Read for $type {
            fn read(&mut $self, buf: &mut [u8]) -> std::io::Result<usize> {
                $socket.read_until(buf, $until)
            }

            fn read_vectored(
                &mut $self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                $socket.read_vectored_until(bufs, $until)
            }
        }

        impl std::io::Write for $type {
            fn write(&mut $self, buf: &[u8]) -> std::io::Result<usize> {
                $socket.write_until($until, |mut socket| socket.write(buf))
            }

            fn write_vectored(&mut $self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                $socket.write_until($until, |mut socket| socket.write_vectored(bufs))
            }

            fn flush(&mut $self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use {both_directions, direction, read_write, socket, stream};

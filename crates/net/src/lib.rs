//! Sockets and signals: the types of `std`, but what would block parks the goroutine.
//!
//! A socket here is an `Arc` of a `millpond_rt::io::Source` around the socket of `std`. `std`
//! performs the operations, so their behaviour, options and errors are those that its users know;
//! the source adds waiting, for goroutines, tasks and plain threads, and deadlines. What differs
//! from `std`, on purpose:
//!
//! - `try_clone` shares one descriptor and one registration instead of duplicating it;
//! - a time-out is reported as `TimedOut` (`std` says `WouldBlock` on Unix), and there are absolute
//!   deadlines besides, as in Go, which reach an operation that waits already;
//! - addresses are given by a trait of our own, so that host names are looked up on the blocking
//!   pool;
//! - methods named `*_ctx` take a [`Context`](millpond_rt::Context), as in Go, and streams have
//!   `with_ctx`, which gives `Read` and `Write` under one; a context that is done fails an operation
//!   before it is tried;
//! - methods named `*_async` are the twins for tasks. Time-outs and deadlines bind them too; the
//!   `poll_*` functions of the adapters refuse once a deadline has passed, but wait for none.
//!
//! Table of contents:
//! - [`TcpListener`], [`TcpStream`], [`ListenerBuilder`]; [`UdpSocket`]; [`UnixListener`],
//!   [`UnixStream`], [`UnixDatagram`];
//! - [`WithCtx`]: a stream under a context;
//! - [`ToSocketAddrs`], [`Target`]: addresses; [`Closed`]: the error after `close`;
//! - [`signal`]: Unix signals as messages;
//! - feature `futures-io`: `AsyncRead` and `AsyncWrite` for the streams;
//! - feature `hyper`: `hyper::rt::{Read, Write}` for the streams, an executor and a timer.

mod addr;
mod common;
#[cfg(feature = "futures-io")]
mod futures_io;
#[cfg(feature = "hyper")]
pub mod hyper;
mod open;
pub mod signal;
mod tcp;
mod udp;
mod unix;
mod with_ctx;

pub use addr::{Target, ToSocketAddrs};
pub use millpond_rt::io::Closed;
pub use tcp::{Incoming, ListenerBuilder, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
pub use with_ctx::WithCtx;

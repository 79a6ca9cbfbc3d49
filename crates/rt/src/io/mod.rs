//! Descriptors: wait for readiness, one epoll instance per M.
//!
//! ```text
//!   net::TcpStream ─┐ clones share
//!   net::TcpStream ─┴─▶ Source<T> ──owns──▶ T, the descriptor
//!                          │ Core: limits, registration ──────▶ Poller (one per M)
//!                          └─▶ Readiness ◀── by key ── registry ──┘  epoll, bell
//!                                read, write: a word and a line of waiters
//! ```
//!
//! Down: an operation would block; its waiter stands in line (`core`, `readiness`, `waiters`) and
//! leaves. Up: the poller's round (`poller`) maps a key to a readiness, which marks itself and
//! gives up its line; the poller wakes it. The poller knows no descriptors and the readiness knows
//! no poller, so no reference goes in a circle, and the protocol between would-block and wait is
//! explored by loom without a kernel.
//!
//! - [`Poller`]: rounds, bell, adoption; `turn`: when it gives way to others; - [`Source`]: operations that wait;
//! - `core`: the three ways to wait; `future`: the wait of an `*_async` twin; `arm`: that of a
//!   select; `thread`: the bell of a plain thread; `limit`: deadlines and time-outs; `host`: what is
//!   asked of the scheduler;
//! - `readiness`, `waiters`: the protocol, compiled for models too.

// A model drives the protocol, not all that is built on it.
#![cfg_attr(loom, allow(dead_code))]

#[cfg(not(loom))]
mod arm;
#[cfg(not(loom))]
mod core;
#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
mod host;
#[cfg(not(loom))]
mod limit;
#[cfg(not(loom))]
mod poller;
mod readiness;
#[cfg(not(loom))]
mod source;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod turn;
mod waiters;

#[cfg(not(loom))]
pub use arm::IoArm;
#[cfg(not(loom))]
pub use millpond_sys::epoll::Side;
#[cfg(not(loom))]
pub use poller::Poller;
#[cfg(not(loom))]
pub use source::Source;

/// The operation failed because its socket was closed by [`Source::close`], or because the runtime
/// that it was registered with has shut down. Found inside an `io::Error` of kind `NotConnected`.
#[cfg(not(loom))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

#[cfg(not(loom))]
impl Closed {
    /// Whether `error` says this.
    pub fn is(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Closed>())
    }
}

#[cfg(not(loom))]
impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the socket has been closed by its owner")
    }
}

#[cfg(not(loom))]
impl std::error::Error for Closed {}

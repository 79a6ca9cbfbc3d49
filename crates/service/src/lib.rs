//! Services: what stands between a listener and the code that answers.
//!
//! A server that works on a quiet day is ten lines of `accept` and `go`. What it needs on other
//! days is here: an accept loop that lives through a shortage of descriptors, the knowledge of
//! which connections are open so that they can be asked to finish, and HTTP with limits.
//!
//! A connection's walk:
//! 1. [`Acceptor::run`] accepts it and starts a goroutine for it ([`accept`](mod@accept));
//! 2. it is entered in [`Connections`], and leaves with its [`Live`] ([`drain`]);
//! 3. the goroutine runs the handler; with the feature `http`, `http::serve` is one.
//! 4. [`Connections::drain`] ends the service: no new connections, the open ones finish or are cut.
//!
//! Nothing here prints: what an operator should read is given to a function of the caller.

#![forbid(unsafe_code)]

pub mod accept;
pub mod drain;
#[cfg(feature = "http")]
pub mod http;

pub use accept::{Acceptor, Shortage};
pub use drain::{Connections, Drained, Live, Manner};

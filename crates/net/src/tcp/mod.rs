//! TCP: the listener with its builder, and the stream.
//!
//! Both are a source around the socket of `std` (the crate's essay says why); what is here is the
//! way in: a listener is opened with a backlog and reuse that servers want, a stream connects
//! without blocking its thread, one address after the other.

mod listener;
mod stream;

pub use listener::{Incoming, ListenerBuilder, TcpListener};
pub use stream::TcpStream;

//! Unix sockets: listener, stream, datagram.
//!
//! As TCP and UDP, with paths for addresses. Two things are the kernel's own: a stream that is
//! read up to the boundary of ancillary data reads short though more is there, and a datagram sent to a
//! full receiver gives no event when there is room again.

mod datagram;
mod listener;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use stream::UnixStream;

//! TCP: the listener with its builder, and the stream.

mod listener;
mod stream;

pub use listener::{Incoming, ListenerBuilder, TcpListener};
pub use stream::TcpStream;

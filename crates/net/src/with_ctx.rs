//! A stream under a context, for code that only knows `Read` and `Write`.
//!
//! Copies, buffered readers and parsers cannot be given a context. They can be given this, which is
//! the stream and the context side by side: two references, nothing registered before somebody
//! waits. The implementations of `Read` and `Write` are written once for all forms of a stream, in
//! `common`.

use millpond_rt::Context;

/// A stream whose reads and writes end when a context is done. From
/// [`TcpStream::with_ctx`](crate::TcpStream::with_ctx) and
/// [`UnixStream::with_ctx`](crate::UnixStream::with_ctx).
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net::{self as net, signal}; }
/// use millpond::{Context, context::ContextError, net::UnixStream};
/// use std::io::Read;
/// use std::time::Duration;
///
/// let (near, _far) = UnixStream::pair()?;
/// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
/// let error = near.with_ctx(&ctx).read_to_end(&mut Vec::new()).unwrap_err();
/// assert_eq!(ContextError::of(&error), Some(ContextError::DeadlineExceeded));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct WithCtx<'a, S> {
    pub(crate) socket: &'a S,
    pub(crate) ctx: &'a Context,
}

/// Whatever `S` is: both fields are references.
impl<S> Clone for WithCtx<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for WithCtx<'_, S> {}

impl<'a, S> WithCtx<'a, S> {
    /// The stream.
    pub fn get_ref(&self) -> &'a S {
        self.socket
    }

    /// The context.
    pub fn context(&self) -> &'a Context {
        self.ctx
    }
}

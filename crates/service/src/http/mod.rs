//! HTTP/1.1 by hyper, a goroutine for each connection, with limits that hold.
//!
//! hyper parses and frames; this module decides how much of it a peer may ask for. [`serve`] drives
//! one connection to its end and parks meanwhile.
//!
//! | the peer | the answer |
//! |---|---|
//! | sends what is not HTTP | 400 (hyper), close |
//! | sends a head over [`Limits::max_header_bytes`] | 431 (hyper), close |
//! | announces a body over [`Limits::max_body_bytes`] | 413 before the handler runs, close |
//! | sends a chunked body over it | the handler's read fails with [`BodyError::TooLarge`]: 413 |
//! | takes longer than [`Limits::header_timeout`] for a head | 408, close |
//! | sends no request for [`Limits::idle_timeout`] | close |
//! | stops in the middle of a body for that time | the handler's read fails: 408, close |
//! | does not read the reply for that time | close |
//!
//! # The walk
//! 1. [`serve`] (`connection`) gives hyper a socket that notes progress (`watch`) and a service that
//!    checks heads and wraps bodies (`exchange`, `body`, `reply`);
//! 2. it polls hyper's connection, one alarm for whatever limit is next (`alarm`), and the wish to
//!    stop;
//! 3. it *lingers* at the end: what the peer still sends is read and dropped for a while, because a
//!    socket that is closed with unread input sends a reset, and the reset destroys the reply that
//!    the peer has not read yet. Without this a client rarely sees its 413.
//!
//! A handler is an async function that runs inside the connection's goroutine, so it may also call
//! what parks (channels, locks, `blocking`); only a parked handler cannot receive its body
//! meanwhile.
//!
//! *What an idle connection costs*: a goroutine, the pages of its stack that were touched, and some
//! hundred bytes. hyper keeps a read buffer of 8 KiB and about 2 KiB of state for a kept-alive
//! connection, so a connection that has been idle for a second is taken back from it, and one that
//! has sent nothing yet is not given to it. At the time of writing: 7 KB before the first request,
//! and 23 KB after it, of which most are stack pages that hyper's parser has touched.
//!
//! Rejected: hyper's own `header_read_timeout`. It counts the idle time between requests as reading
//! a head, so one number would have to serve as both, and it ends without a reply.

mod alarm;
mod body;
mod connection;
mod exchange;
mod reply;
mod watch;

pub use body::{Body, BodyError};
pub use connection::serve;
pub use hyper::{self, Method, Request, Response, StatusCode};
pub use reply::Reply;

use std::time::Duration;

/// What one connection may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header fields together, in bytes; at most 100 fields.
    pub max_header_bytes: usize,
    /// The body of a request, in bytes.
    pub max_body_bytes: u64,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// Without progress: between requests, within a body, while a reply is not read.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    /// 16 KiB of head, 16 MiB of body, 10 s for a head, 60 s without progress.
    fn default() -> Self {
        Self {
            max_header_bytes: 16 << 10,
            max_body_bytes: 16 << 20,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

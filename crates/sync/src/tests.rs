//! What the unit tests of several primitives share.
//!
//! A test that drives a future by hand decides itself when it looks: with it, one thread can put any
//! number of waiters in line and see what each is told.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

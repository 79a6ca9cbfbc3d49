//! What can go wrong with a semaphore.
//!
//! The shapes are tokio's, with `Timeout` and `Context` for the forms that have a limit. An error holds nothing:
//! a failed acquisition leaves no trace.

use millpond_rt::context::ContextError;
use std::error::Error;
use std::fmt;

/// The semaphore is closed: no permit will be given out any more.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct AcquireError;

/// Why permits could not be had at once.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum TryAcquireError {
    /// Too few are left, or somebody who came earlier waits.
    NoPermits,
    /// The semaphore is closed.
    Closed,
}

/// Why permits could not be had in time.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum AcquireTimeoutError {
    /// The time limit passed first.
    Timeout,
    /// The semaphore is closed.
    Closed,
}

/// Why permits could not be had under a context.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum AcquireCtxError {
    /// The context was done first, for this reason.
    Context(ContextError),
    /// The semaphore is closed.
    Closed,
}

const CLOSED: &str = "the semaphore is closed";

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(CLOSED)
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoPermits => "too few permits are left",
            Self::Closed => CLOSED,
        })
    }
}

impl fmt::Display for AcquireTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Timeout => "timed out waiting for permits",
            Self::Closed => CLOSED,
        })
    }
}

impl fmt::Display for AcquireCtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(error) => write!(f, "waiting for permits: {error}"),
            Self::Closed => f.pad(CLOSED),
        }
    }
}

impl Error for AcquireError {}
impl Error for TryAcquireError {}
impl Error for AcquireTimeoutError {}
impl Error for AcquireCtxError {}

impl From<AcquireError> for TryAcquireError {
    fn from(AcquireError: AcquireError) -> Self {
        Self::Closed
    }
}

impl From<AcquireError> for AcquireTimeoutError {
    fn from(AcquireError: AcquireError) -> Self {
        Self::Closed
    }
}

impl From<AcquireError> for AcquireCtxError {
    fn from(AcquireError: AcquireError) -> Self {
        Self::Closed
    }
}

impl From<ContextError> for AcquireCtxError {
    fn from(error: ContextError) -> Self {
        Self::Context(error)
    }
}

//! Why a context is done.
//!
//! Two reasons and no more, as in Go: somebody called it off, or its time ran out. Both turn into
//! an `io::Error`, so that a socket's `_ctx` form and code that only knows `io::Result` can carry
//! them; [`ContextError::of`] finds the reason again.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a context is done. It never changes once it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContextError {
    /// It, or a context that it was made from, was cancelled.
    Cancelled,
    /// Its deadline has passed.
    DeadlineExceeded,
}

impl ContextError {
    /// The reason that was carried by an `io::Error`, if it was one.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// use millpond::context::ContextError;
    ///
    /// let error = std::io::Error::from(ContextError::Cancelled);
    /// assert_eq!(ContextError::of(&error), Some(ContextError::Cancelled));
    /// ```
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "context cancelled",
            Self::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

impl From<ContextError> for io::Error {
    /// `TimedOut` for a deadline; `Other` for a cancellation. (`Interrupted` would say what happened,
    /// but `read_to_end`, `write_all` and the like try again for ever; and accept loops go on after
    /// `ConnectionAborted`.)
    fn from(error: ContextError) -> Self {
        let kind = match error {
            ContextError::Cancelled => io::ErrorKind::Other,
            ContextError::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

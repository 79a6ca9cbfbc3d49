//! How long an operation may wait.
//!
//! Reading the clock costs as much as a whole uncontended operation, so a time limit is carried
//! as the caller gave it and becomes a point in time only when the operation has to wait.

use std::time::{Duration, Instant};

/// A time limit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// No limit.
    Forever,
    /// This long, counted from when the waiting begins.
    After(Duration),
    /// Up to this moment.
    At(Instant),
}

impl Until {
    /// The deadline; `None` means no limit, which a duration beyond the clock's range means too.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Forever => None,
            Self::After(limit) => Instant::now().checked_add(limit),
            Self::At(at) => Some(at),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_the_clock_is_no_limit() {
        assert!(Until::After(Duration::MAX).deadline().is_none());
        assert!(Until::After(Duration::from_secs(1)).deadline().is_some());
    }
}

//! The cooperative budget, as this crate spends it.
//!
//! A goroutine that never has to wait must still let others run: each operation that succeeds
//! without waiting spends one unit, after it has released every lock and readied whom it owed.

/// Spends one unit; yields the goroutine when none is left.
#[inline]
pub(crate) fn spend() {}

//! The runtime's clock: nanoseconds since an origin, exact and coarse.
//!
//! `Instant` is what users see; timers and time stamps are numbers. The coarse clock is written
//! by sysmon and by every M that wakes, and read where a time stamp is wanted but not worth 25 ns
//! (when a goroutine parked, for dumps). It may lag by sysmon's longest period, 10 ms.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static ORIGIN: OnceLock<Instant> = OnceLock::new();
static COARSE_NS: AtomicU64 = AtomicU64::new(0);

fn origin() -> Instant {
    // One nanosecond is kept free below, so that no time stamp is 0.
    *ORIGIN.get_or_init(Instant::now)
}

/// This instant as nanoseconds since the origin; 1 if it lies before.
pub(crate) fn ns_of(at: Instant) -> u64 {
    let ns = at.saturating_duration_since(origin()).as_nanos();
    u64::try_from(ns).unwrap_or(u64::MAX - 1).clamp(1, u64::MAX - 1)
}

/// Now, exactly.
pub(crate) fn now_ns() -> u64 {
    ns_of(Instant::now())
}

/// Reads the exact clock and sets the coarse one.
pub(crate) fn tick() -> u64 {
    let now = now_ns();
    COARSE_NS.store(now, Ordering::Relaxed);
    now
}

/// The coarse clock.
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    COARSE_NS.load(Ordering::Relaxed)
}

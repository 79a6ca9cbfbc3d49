//! Looking into a running process.
//!
//! What the scheduler knows is turned into text and numbers for people here; the scheduler itself
//! formats nothing but fatal messages. Table of contents:
//! - [`goroutines`], [`GoroutineDump`]: who exists, what they wait for, their stacks, where they were started, in
//!   the manner of Go's `/debug/pprof/goroutine?debug=2`;
//! - [`counts`]: the few numbers that are cheap enough for a status line;
//! - [`rest_stats`], [`rest_sites`]: stacks of parked goroutines that are at rest, what that saves, and how
//!   much is live on stacks by the place that started them;
//! - [`memory`]: what was obtained from the system, and where it is.

#![forbid(unsafe_code)]

mod goroutines;
mod memory;

pub use goroutines::{GoroutineDump, GoroutineProfile, goroutines, goroutines_in_brief};
pub use memory::{MemoryStats, memory, stacks_resident_bytes};
#[cfg(feature = "frames")]
pub use millpond_rt::{Backtrace, Frame, Trace};
pub use millpond_rt::{
    Counts, Goroutine, Rest, RestSite, RestStats, RestTimes, Status, counts, rest_sites,
    rest_stats, wait::WaitReason,
};

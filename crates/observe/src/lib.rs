//! Looking into a running process.
//!
//! What the scheduler knows is turned into text and numbers for people here; the scheduler itself
//! formats nothing but fatal messages. Table of contents:
//! - [`goroutines`], [`GoroutineDump`]: who exists, what they wait for, where they were started, in
//!   the manner of Go's `/debug/pprof/goroutine?debug=2`;
//! - [`counts`]: the few numbers that are cheap enough for a status line;
//! - [`memory`]: what was obtained from the system, and where it is.

#![forbid(unsafe_code)]

mod goroutines;
mod memory;

pub use goroutines::{GoroutineDump, goroutines};
pub use memory::{MemoryStats, memory, stacks_resident_bytes};
pub use millpond_rt::{Counts, Goroutine, Status, counts, wait::WaitReason};

//! Threads: `std`'s, or loom's inside a model.
//!
//! Only what protocols need: start, yield, park and unpark. Names, affinity and thread states
//! are the kernel's business and live in `millpond-sys`.

#[cfg(loom)]
pub use loom::thread::{JoinHandle, Thread, current, park, spawn, yield_now};
#[cfg(not(loom))]
pub use std::thread::{JoinHandle, Thread, current, park, spawn, yield_now};

//! Pure arithmetic for the decisions of Millpond: no clock, no I/O, no unsafe code.
//!
//! What the runtime *measures* lives in `rt` and `sys`; what it *decides* lives here, as functions of plain
//! numbers. Time comes in as an argument, so a simulation can drive a whole day through a policy in a millisecond,
//! and a decision that went wrong in production can be replayed from its log line.
//!
//! - [`backoff`]: how long an accept loop waits when descriptors run out, and when it says so.
//! - [`courtesy`]: when a busy thread gives its processor away.
//! - [`growth`]: when the allocator has 2 MiB made resident at once.
//! - [`patience`]: what a thief leaves to the owner of a queue.
//! - [`scavenge`]: how much free memory the allocator keeps.
//! - [`spread`]: which of several Ms takes the next goroutine.
//! - [`sysmon`]: when the monitor looks next, and what it does about a goroutine that runs for long.
//!
//! Rejected: passing a `Clock` trait in. It would keep the modules free of a real clock too, but a policy that can
//! ask for the time can ask twice and see two answers, and its tests need a fake instead of a number.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod calm;
pub mod courtesy;
pub mod growth;
pub mod patience;
pub mod scavenge;
pub mod spread;
pub mod sysmon;

//! Workers: a bounded number of goroutines for a bounded queue of jobs.
//!
//! A goroutine per job is cheap, but what the jobs use may not be: connections to a database,
//! descriptors, memory. [`Workers`] bounds how many run at once, and how many wait: when the queue
//! is full, a submit waits, and whoever produces jobs is slowed down to what is worked off.
//!
//! # What they cost
//! Workers start when jobs wait for one and nobody comes, and retire when they have been idle for
//! a while. A worker that is parked in a job, or idle, holds one page of stack (4 KiB) at least, and
//! some hundred bytes for its goroutine; jobs that compute need hardly more workers than there are
//! Ms, whatever the limit. `tests/workers_memory.rs` measures both.
//! Of resident memory and page tables over the base, with 10,000 jobs on up to 50 workers and 2 Ms: about
//! 110 KiB (3 workers) if the jobs compute; 240 to 280 KiB if all 50 are parked on 16 KiB stacks in
//! a release build, 200 KiB of which are the first page of each stack; about 460 KiB in a debug build.
//!
//! # Where to read on
//! `queue` (jobs, idle workers, submitters: one lock), `job` (handle and result), `future` (the
//! async twins), `models` (what loom explores).
//!
//! Rejected: a semaphore around `go` (a million submitted jobs are then a million goroutines); `n`
//! goroutines from the start on one channel (they cost their stacks when there is nothing to do).

#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod queue;

#[cfg(not(loom))]
mod future;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod job;

#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
pub use self::{
    future::{SubmitFuture, WorkersFuture},
    handle::{Closed, TrySubmitError, Workers, WorkersBuilder},
    job::JobHandle,
};

//! Where the code runs: the number of the calling thread's M.
//!
//! For what is kept per thread of the scheduler without belonging to it: a shard of a pool, a
//! counter. The number is a hint for spreading, never a proof of being alone. A goroutine stays on
//! its M, a task may be on another after each await, and two runtimes of one process number their
//! Ms alike.

use crate::m::CurrentM;

/// The number of the M that runs the caller: 0 up to the number of Ps, and beyond while threads
/// are stuck. `None` on a thread that is not a scheduler's. Costs one load of a thread-local.
///
/// ```
/// assert_eq!(millpond_rt::place::current_m(), None);
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// assert!(millpond_rt::place::current_m().is_some());
/// # }).unwrap();
/// ```
#[inline]
pub fn current_m() -> Option<u32> {
    CurrentM::get().map(|m| m.index)
}

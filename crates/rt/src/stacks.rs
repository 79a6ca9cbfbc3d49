//! The stack pool, seen from the scheduler: one for the process, one cache for each M.
//!
//! Which guards are in use is decided once ([`millpond_stack::Pool::global`]); a process that
//! cannot guard its stacks does not start.

use millpond_stack::{Cache, Pool};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The pool, or why there is none. Asked when a runtime starts.
pub(crate) fn pool() -> io::Result<&'static Pool> {
    Pool::global()
}

/// A cache for the calling M.
pub(crate) fn new_cache() -> Cache {
    match pool() {
        Ok(pool) => Cache::new(pool),
        // `Builder` asked before it started a thread.
        Err(_) => crate::say::die("the stack pool is gone"),
    }
}

/// Says that goroutines fail for want of a stack: once a second at most, with the kernel's or the
/// pool's reason, which names what to raise.
pub(crate) fn report_failure(error: &io::Error) {
    static NEXT_NS: AtomicU64 = AtomicU64::new(0);
    static FAILED: AtomicU64 = AtomicU64::new(0);
    let failed = FAILED.fetch_add(1, Ordering::Relaxed) + 1;
    let now_ns = crate::clock::now_ns();
    let next_ns = NEXT_NS.load(Ordering::Relaxed);
    let due = now_ns >= next_ns
        && NEXT_NS
            .compare_exchange(next_ns, now_ns + 1_000_000_000, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if due {
        crate::say::line(format_args!(
            "a goroutine got no stack and was not started ({failed} so far): {error}"
        ));
    }
}

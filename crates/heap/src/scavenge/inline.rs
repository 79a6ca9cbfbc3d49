//! Giving memory back without a thread of ours: `MILLPOND_SCAVENGER=off`, for programs that must have no thread but
//! their own. Some system calls refuse a process with two threads (`unshare` of a user namespace, `setns`), and a few
//! programs count.
//!
//! ```text
//!  RESTING ──(any work of the page heap)──► DUE ──(a safe point, a tick after the last pass)──► pass, 1 ms at most
//!     ▲                                      │
//!     └────(passes that found nothing)───────┘
//! ```
//!
//! The passes are those of the thread, at the same distance, but made by whichever thread comes to a safe point: the
//! slow road of an allocation, or the free of an object with pages of its own. One thread at a time, the others
//! pass by. A pass stops after [`INLINE_BUDGET_NS`], so a hundredth of one processor goes into it, where the thread
//! may use a quarter; the step that it is in when the time is over it ends (16 MiB of pages, or two dozen spans).
//!
//! What this cannot do: when load falls, nobody comes by. What was freed last stays until somebody allocates
//! again, or calls `malloc_trim` ([`super::release`]). So it is a switch, and not what happens by itself.
//!
//! Rejected: nothing at all beside `malloc_trim`. Programs do not call it, and peers without a thread do as much in
//! passing. A look at the clock at each safe point: only while there may be something to do.

use super::{DUE, NONE, PASS, QUIET_TICKS, RESTING, STATE, WANTED, is_started, make_pass};
use millpond_policy::scavenge::{INLINE_BUDGET_NS, TICK_MS};
use millpond_sys::clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// When the next pass is due, by the monotonic clock. Written with the lock of a pass.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);

/// There is to be no thread. Before there is one: see [`super::start`].
pub fn without_thread() {
    for none in [NONE, WANTED] {
        let _ = STATE.compare_exchange(none, DUE, SeqCst, Relaxed);
    }
}

/// At a safe point, while there may be something to do.
#[cold]
pub(super) fn lend_a_hand() {
    // A pass takes the lock of the threads.
    if !is_started() {
        return;
    }
    let now = clock::now_ns();
    if now < NEXT_NS.load(Relaxed) {
        return;
    }
    // Another thread is at it, or a `fork` waits for it.
    let Some(mut pass) = PASS.try_lock() else { return };
    NEXT_NS.store(now + u64::from(TICK_MS) * 1_000_000, Relaxed);
    let (busy, _) = make_pass(&mut pass, INLINE_BUDGET_NS);
    pass.quiet = if busy { 0 } else { pass.quiet + 1 };
    if pass.quiet >= QUIET_TICKS {
        pass.quiet = 0;
        // Work that comes in at this moment is not noticed; the next is. Nobody sleeps who would have to be woken.
        STATE.store(RESTING, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::{self, LOCAL, Phase};

    #[test]
    fn a_thread_that_is_getting_its_cache_makes_no_pass() {
        // What it allocates meanwhile comes by here with the lock of the threads held, which a pass would take.
        LOCAL.with(|local| {
            threads::with_cache(local, |_| ());
            let threads = threads::all();
            local.phase.set(Phase::Starting);
            // Caches are looked at in every second pass.
            for _ in 0..2 {
                NEXT_NS.store(0, SeqCst);
                lend_a_hand();
                assert_eq!(NEXT_NS.load(SeqCst), 0);
            }
            local.phase.set(Phase::Live);
            drop(threads);
        });
    }
}

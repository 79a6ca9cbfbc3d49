//! The stack pool, seen from the scheduler: one for the process, one cache for each M.
//!
//! Which guards are in use is decided once ([`millpond_stack::Pool::global`]); a process that
//! cannot guard its stacks does not start.
//!
//! Stacks that the Ms have too many of stay warm while a burst of goroutines is under way: giving
//! them back takes time from the goroutines, and the next one needs a page again. A burst is over
//! when no stack was short for [`PAUSE_NS`]; sysmon knows ([`Rest`]). From then on an M that is about
//! to sleep gives back a batch at a time, with a look for work after each ([`settle`]), and sysmon
//! does when all Ms sleep. Ms that are never idle are not asked; after [`REST_NS`] sysmon does it
//! for them, beside them. sysmon does not rest before nothing is left.

use millpond_stack::{Cache, Pool};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The pool, or why there is none. Asked when a runtime starts.
pub(crate) fn pool() -> io::Result<&'static Pool> {
    Pool::global()
}

/// A cache for the calling M.
pub(crate) fn new_cache() -> Cache {
    match pool() {
        Ok(pool) => Cache::deferring(pool),
        // `Builder` asked before it started a thread.
        Err(_) => crate::say::die("the stack pool is gone"),
    }
}

/// How long no cache of stacks has run dry when a burst is taken to be over.
const PAUSE_NS: u64 = 20_000_000;

/// And when surplus goes back to the kernel although all Ms are busy.
const REST_NS: u64 = 500_000_000;

/// An M whose next timer is due sooner than this is not idle.
const SHORT_SLEEP_NS: u64 = 1_000_000;

/// No burst is under way. Atomic: written by sysmon, of whichever runtime; a hint.
static CALM: AtomicBool = AtomicBool::new(false);

/// The calling M is about to sleep until `until_ns`. Gives a batch of surplus stacks back to the
/// kernel if now is the time; `false` if it is not, or if there is none.
#[inline]
pub(crate) fn settle(until_ns: u64) -> bool {
    CALM.load(Ordering::Relaxed) && any_surplus() && is_far(until_ns) && settle_one()
}

fn is_far(until_ns: u64) -> bool {
    until_ns.saturating_sub(crate::clock::now_ns()) >= SHORT_SLEEP_NS
}

#[cold]
fn settle_one() -> bool {
    pool().is_ok_and(Pool::settle)
}

/// Whether any stack waits to be given back.
pub(crate) fn any_surplus() -> bool {
    pool().is_ok_and(Pool::has_surplus)
}

/// What sysmon remembers of the pool.
#[derive(Default)]
pub(crate) struct Rest {
    growth: u64,
    since_ns: u64,
}

impl Rest {
    /// Notes whether a burst is under way, and gives a batch back if it has been over for long, or
    /// if `all_asleep` and so nobody else would. Whether it has.
    pub(crate) fn settle(&mut self, now_ns: u64, all_asleep: bool) -> bool {
        let Ok(pool) = pool() else { return false };
        let growth = pool.growth();
        if growth != self.growth {
            *self = Self { growth, since_ns: now_ns };
        }
        let calm_ns = now_ns.saturating_sub(self.since_ns);
        CALM.store(calm_ns >= PAUSE_NS, Ordering::Relaxed);
        let due = calm_ns >= REST_NS || all_asleep && calm_ns >= PAUSE_NS;
        due && pool.settle()
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

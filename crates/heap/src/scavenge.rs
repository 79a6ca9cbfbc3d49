//! Giving memory back: who looks, when, and at what.
//!
//! Free memory sits in four places, and one *pass* goes through them from the far end:
//!
//! 1. Bins of caches that nobody has used between two looks: the cache is claimed for some
//!    microseconds ([`crate::claim`]), its spans with room go to the central list, whole ones to the
//!    page heap. Its thread need not wake up, and finds a cache with less in it when it does.
//! 2. Central spans with holes: pages without a block in use go to the kernel.
//! 3. Idle pages above the goal ([`millpond_policy::scavenge`]): highest addresses first, lent out by
//!    the page heap while the kernel takes them, so that no lock is held meanwhile.
//!
//! A thread of our own makes a pass per tick, within a quarter of one processor, or half of one if that is not
//! enough for long. Its own processor time is what counts: that it had to wait for a processor is no reason to do less.
//! It exists once the heap is larger than 4 MiB, and it parks when there was nothing to do for some looks: a process in
//! which nothing happens uses no processor. What starts or wakes it is any work of the page heap ([`look_at`]). Threads
//! are started at *safe points* only ([`safe_point`]): the C library allocates for them. `MILLPOND_SCAVENGER=off` keeps
//! it from being started, and allocating threads make short passes (`inline`).
//!
//! [`release`] does all of it at once, for caches in use too. Beyond 15/16 of the limit, an allocating
//! thread gives idle pages back itself at its next safe point.
//!
//! Rejected: doing all of this in allocating threads, as others do. When load falls, nobody allocates.

use crate::central;
use crate::classes::{COUNT, PAGE};
use crate::lock::{Lock, Rank};
use crate::pages::{self, Counts, Loan, huge};
use crate::span::{HOLLOW, OS_PAGE};
use crate::threads::{self, LOCAL, Phase};
use millpond_policy::scavenge::{FLOOR_BYTES, Pace, Pacer, TICK_MS, room};
use millpond_sys::{arena, barrier, clock, hooks};
use std::ffi::c_void;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use std::time::Instant;

mod inline;

pub use inline::without_thread;

/// The thread does not exist.
const NONE: u32 = 0;
/// It should be started at the next safe point.
const WANTED: u32 = 1;
/// It makes passes.
const AWAKE: u32 = 2;
/// It waits to be woken.
const PARKED: u32 = 3;
/// There will be none; allocating threads have found nothing to do.
const RESTING: u32 = 4;
/// As before, and there may be something to do.
const DUE: u32 = 5;

/// One of the above; also the word that the thread waits for.
static STATE: AtomicU32 = AtomicU32::new(NONE);

/// Idle pages should be given back at the next safe point.
static URGENT: AtomicBool = AtomicBool::new(false);

/// Bytes that the heap should stay below.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Classes whose central list got spans since it was looked through.
static FRESH: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

/// Pages of a heap that is worth a thread.
const WORTH_PAGES: usize = (4 << 20) / PAGE;

/// Pages of a heap for which a thread is asked for: [`WORTH_PAGES`], or one more than when none was to be had.
static WORTH: AtomicUsize = AtomicUsize::new(WORTH_PAGES);

/// Quiet ticks after which the thread parks.
const QUIET_TICKS: u32 = 20;

/// Ticks between two looks at caches.
const LOOK_TICKS: u32 = 2;

/// Spans that one hold of a central lock looks through.
const SPANS_AT_ONCE: usize = central::HOLES;

/// Pages that one hold of the page lock lends out.
const PAGES_AT_ONCE: usize = 2048;

/// What a pass remembers until the next.
#[derive(Debug)]
struct Pass {
    pacer: Pacer,
    pace: Pace,
    ticks: u32,
    /// Passes without a thread that found nothing, one after the other.
    quiet: u32,
}

/// One pass at a time.
static PASS: Lock<Pass> =
    Lock::new(Rank::Pass, Pass { pacer: Pacer::new(), pace: Pace::new(), ticks: 0, quiet: 0 });

/// Bytes that the heap should stay below; `u64::MAX` if there is no limit. At the start it is that of
/// `MILLPOND_MEMORY_LIMIT`, or the least one of the process's cgroups.
pub fn limit() -> u64 {
    LIMIT.load(Relaxed)
}

/// Sets the number of bytes that the heap should stay below; `u64::MAX` is no limit.
///
/// The nearer the heap comes, the fewer free pages it keeps; at 15/16 it keeps none, and an allocation
/// that finds some gives them back itself. What is *in use* is never refused for the limit's sake.
///
/// ```
/// millpond_heap::set_limit(512 << 20);
/// assert_eq!(millpond_heap::limit(), 512 << 20);
/// ```
pub fn set_limit(bytes: u64) {
    LIMIT.store(bytes, Relaxed);
}

/// The page heap has worked: is there something to do? Called with its lock held.
#[inline]
pub fn look_at(counts: &Counts) {
    let limit = LIMIT.load(Relaxed);
    if limit != u64::MAX && counts.idle > 0 {
        let (spans, idle) = ((counts.lent * PAGE) as u64, (counts.idle * PAGE) as u64);
        if idle > room(spans, limit) {
            URGENT.store(true, Relaxed);
        }
    }
    if STATE.load(Relaxed) == NONE && counts.top >= WORTH.load(Relaxed) {
        let _ = STATE.compare_exchange(NONE, WANTED, Relaxed, Relaxed);
    }
    nudge();
}

/// A central list got a span.
pub fn note(class: usize) {
    FRESH[class].store(true, Relaxed);
}

/// Wakes the thread if it is parked.
#[inline]
pub fn nudge() {
    match STATE.load(Relaxed) {
        PARKED if STATE.compare_exchange(PARKED, AWAKE, SeqCst, Relaxed).is_ok() => {
            barrier::wake(&STATE, 1);
        }
        RESTING => STATE.store(DUE, Relaxed),
        _ => {}
    }
}

/// A moment at which this thread holds no lock and is in no turn.
#[inline]
pub fn safe_point() {
    match STATE.load(Relaxed) {
        WANTED => start(),
        DUE => inline::lend_a_hand(),
        _ => {}
    }
    if URGENT.load(Relaxed) {
        urgent();
    }
}

/// As a pass, since a `fork` must not come in the middle. While another one is at work, it is left to that, or
/// to the next safe point.
#[cold]
fn urgent() {
    if let Some(_pass) = PASS.try_lock() {
        URGENT.store(false, Relaxed);
        trim(0, None);
    }
}

/// Whether this thread is past getting its cache, which it gets here if it has none. It asks the C library for that
/// under the lock of the threads, and what that allocates comes by here: no place for anything that takes this lock.
fn is_started() -> bool {
    LOCAL.with(|local| {
        threads::with_cache(local, |_| ());
        local.phase.get() != Phase::Starting
    })
}

#[cold]
fn start() {
    // The settings, which may forbid it, are read when a thread gets its first cache; a large object needs none.
    if !is_started() {
        return;
    }
    // Before the thread exists: starting it allocates, which comes by here.
    if STATE.compare_exchange(WANTED, AWAKE, SeqCst, Relaxed).is_ok()
        && !hooks::start_quiet_thread(run)
    {
        // No thread to be had. Somebody asks again when the heap has grown, and not at each allocation until then.
        let top = pages::if_any(|pages| Some(pages.counts.top)).unwrap_or(0);
        WORTH.store(WORTH_PAGES.max(top + 1), Relaxed);
        STATE.store(NONE, SeqCst);
    }
}

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    millpond_sys::task::set_thread_name("millpond-heap");
    let mut quiet = 0;
    loop {
        // `std`'s clock, which tools that replace the kernel's fast one know.
        let began = Instant::now();
        let busy = pass();
        quiet = if busy { 0 } else { quiet + 1 };
        if quiet < QUIET_TICKS {
            let rest = u128::from(TICK_MS).saturating_sub(began.elapsed().as_millis());
            barrier::wait_ms(&STATE, AWAKE, rest.max(1) as u32);
            continue;
        }
        quiet = 0;
        STATE.store(PARKED, SeqCst);
        // What came between the last look and the line above has woken nobody.
        if pass() | pass() {
            STATE.store(AWAKE, SeqCst);
        }
        while STATE.load(SeqCst) == PARKED {
            barrier::wait(&STATE, PARKED);
        }
    }
}

/// One pass of the thread; whether it did anything, or expects to.
fn pass() -> bool {
    let mut pass = PASS.lock();
    let budget_ns = pass.pace.budget_ns();
    let (busy, was_enough) = make_pass(&mut pass, budget_ns);
    pass.pace.note(was_enough);
    busy
}

/// One pass within so much of the calling thread's processor time: whether it did anything, or expects to, and whether
/// the time was enough.
fn make_pass(pass: &mut Pass, budget_ns: u64) -> (bool, bool) {
    let until = Some(clock::my_cpu_ns() + budget_ns);
    pass.ticks = pass.ticks.wrapping_add(1);
    let mut busy = false;
    if pass.ticks.is_multiple_of(LOOK_TICKS) {
        busy |= reclaim_idle();
    }
    busy |= sweep(until);
    let Some((in_use, idle)) = in_use_and_idle() else { return (busy, true) };
    let goal = pass.pacer.look(in_use, limit());
    if idle > goal {
        // The goal falls while the peak is forgotten: there will be more to do.
        busy |= trim(goal, until) > 0;
    }
    (busy || idle > goal.min(in_use / 10 + FLOOR_BYTES), !is_over(until))
}

/// Bytes that are in use and may be resident, and free ones.
fn in_use_and_idle() -> Option<(u64, u64)> {
    pages::if_any(|pages| {
        let counts = &pages.counts;
        let hollow = HOLLOW.load(Relaxed) * OS_PAGE;
        let in_use = (counts.lent * PAGE).saturating_sub(hollow);
        Some((in_use as u64, (counts.idle * PAGE) as u64))
    })
}

/// Step 1: takes from bins that have not changed since the last look.
fn reclaim_idle() -> bool {
    let mut busy = false;
    let mut look = |cache: &crate::cache::Cache| {
        for class in 0..COUNT {
            let bin = &cache.bins[class];
            if !cache.holds_room(class) {
                bin.seen.set(0);
                continue;
            }
            busy = true;
            let now = cache.fingerprint(class);
            if bin.seen.replace(now) == now {
                cache.surrender(class, false);
                bin.seen.set(0);
            }
        }
    };
    // A thread in the middle of something is not idle. What it holds has to be looked at later: it may tell nobody.
    let passed_by = threads::all().with_each_claimed(&mut look);
    threads::with_common(look);
    busy || passed_by
}

/// Step 2: gives back holes of central spans. Stops at `until` (this thread's processor time), and goes on in the next
/// pass. The largest blocks first: their spans have the most holes, and the fewest blocks to look at.
fn sweep(until: Option<u64>) -> bool {
    let mut busy = false;
    for (class, fresh) in FRESH.iter().enumerate().rev() {
        if !fresh.swap(false, Relaxed) {
            continue;
        }
        busy = true;
        let mut left = central::len(class);
        while left > 0 {
            if is_over(until) {
                note(class);
                return true;
            }
            central::release_holes(class);
            left = left.saturating_sub(SPANS_AT_ONCE);
        }
    }
    busy
}

/// Whether this thread has used the processor for long enough.
fn is_over(until: Option<u64>) -> bool {
    until.is_some_and(|until| clock::my_cpu_ns() > until)
}

/// Step 3: gives idle pages back until `goal` bytes are left, or it is `until`. Returns the bytes.
fn trim(goal: u64, until: Option<u64>) -> u64 {
    let mut given = 0;
    let mut below = usize::MAX;
    loop {
        let mut loans = [Loan::default(); 32];
        let lent = pages::if_any(|pages| {
            let over = ((pages.counts.idle * PAGE) as u64).saturating_sub(goal) as usize / PAGE;
            let most = over.min(PAGES_AT_ONCE);
            let (used, next) = (most > 0).then(|| pages.take_idle(below, most, &mut loans))??;
            below = next;
            Some((used, loans.map(|loan| pages.addresses(loan))))
        });
        let Some((used, addresses)) = lent else { return given };
        addresses[..used].iter().for_each(huge::let_go);
        // SAFETY: the pages are free, and on loan to us alone.
        let clean = unsafe { arena::discard_all(&addresses[..used]) };
        if clean {
            given += addresses[..used].iter().map(|range| range.len() as u64).sum::<u64>();
        }
        pages::if_any(|pages| {
            loans[..used].iter().for_each(|&loan| pages.put_idle(loan, clean));
            Some(())
        });
        if below == 0 || is_over(until) {
            return given;
        }
    }
}

/// Gives back everything that can be, at once: what all caches hold, holes, and idle pages. Takes as
/// long as it takes. Returns the bytes that went to the kernel.
///
/// Of pages that blocks lie in, those go back that no block in use reaches into. So when blocks are freed at
/// random and 5 % stay, 100 % of the memory of blocks of 40 B stays, 56 % of 256 B, 19 % of 1 KiB, 5 to
/// 11 % from 2 KiB on: ARCHITECTURE.md has the table for all sizes, and `tests/freed.rs` holds each to it.
///
/// A thread that is in the middle of an allocation for long keeps what its cache holds; so do all
/// threads but the calling one where the kernel has no `membarrier`.
///
/// ```
/// let given_bytes = millpond_heap::release();
/// # let _ = given_bytes;
/// ```
pub fn release() -> u64 {
    let _pass = PASS.lock();
    let before = released_bytes();
    let threads = threads::all();
    let empty = |cache: &crate::cache::Cache| {
        (0..COUNT).for_each(|class| cache.surrender(class, false));
    };
    for cache in threads.caches() {
        threads.with_claimed(cache, 1000, empty);
    }
    threads::with_common(empty);
    drop(threads);
    let mut holes = 0;
    for (class, fresh) in FRESH.iter().enumerate() {
        fresh.store(false, Relaxed);
        let mut left = central::len(class);
        while left > 0 {
            holes += central::release_holes(class);
            left = left.saturating_sub(SPANS_AT_ONCE);
        }
    }
    trim(0, None);
    released_bytes() - before + holes as u64
}

fn released_bytes() -> u64 {
    pages::if_any(|pages| Some(pages.counts.released_bytes)).unwrap_or(0)
}

/// Takes the lock for a `fork`: between two passes.
pub fn hold() {
    PASS.hold();
}

/// Undoes [`hold`]; in a child, which has no scavenger, one may be started again.
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
pub unsafe fn let_go(child: bool) {
    if child {
        hooks::forget_quiet_threads();
        WORTH.store(WORTH_PAGES, Relaxed);
        if !matches!(STATE.load(Relaxed), RESTING | DUE) {
            STATE.store(NONE, SeqCst);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { PASS.let_go() };
}

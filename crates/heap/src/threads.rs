//! Threads and their caches: how a thread gets one, keeps it to the very end, and leaves it.
//!
//! A thread's [`Local`] is a thread-local without a destructor, so it can be used from the first
//! instruction of a thread to the last. Its phases:
//!
//! ```text
//!   New ──► Starting ──► Live ──────────────► Gone
//!           (asking for  (the turn's pointer   (its cache was given up: allocates
//!            a cache)     is the cache)         from the common one, under a lock)
//! ```
//!
//! - *Starting* calls the C library, which may allocate: such calls are served by the common cache.
//! - The end is a POSIX key ([`ExitKey`]): keys are destroyed after all thread-locals of Rust and C++,
//!   so destructors of those still have the cache. What a later key destroys sees *Gone*.
//! - The caches of all threads are in a list, for the scavenger, for `fork` and for statistics. Whoever
//!   holds the lock of that list knows that no thread in it ends, since ending takes the lock.
//!
//! A cache outlives its thread and is given to the next one. Its spans do not: they go to the central
//! lists, and blocks that are still in use are freed there by whoever has them.
//!
//! Rejected: a `thread_local!` with a destructor. Its order among others is that of first use, and
//! registering it allocates.

use crate::cache::Cache;
use crate::claim::{self, Turn};
use crate::classes::COUNT;
use crate::lock::{Guard, Lock, Rank};
use crate::loose::SLOT_BYTES;
use crate::pages;
pub use crate::slot::LOCAL;
use crate::span::Span;
use millpond_sys::barrier;
use millpond_sys::hooks::ExitKey;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a thread is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Has not allocated.
    New,
    /// Is getting its cache.
    Starting,
    /// Has a cache, though it may be claimed.
    Live,
    /// Has none, and gets none.
    Gone,
}

/// What a thread has of its own.
#[derive(Debug)]
#[repr(C)]
pub struct Local {
    /// The cache, and who uses it.
    pub turn: Turn<Cache>,
    /// Bytes until the next sample. This thread.
    pub countdown: Cell<i64>,
    /// This thread.
    pub phase: Cell<Phase>,
    /// This thread runs a hook: what it allocates is not sampled.
    pub in_hook: Cell<bool>,
    /// State of the thread's generator of random numbers; 0 before it is seeded. This thread.
    pub random: Cell<u64>,
}

/// An empty cache: every operation with it takes the slow road. Nothing is ever put into it.
pub static STAND_IN: Cache = Cache::new();

/// The cache of those that have none of their own.
static COMMON: Lock<Cache> = Lock::new(Rank::Common, Cache::new());

/// All caches that have a thread, and those that wait for one.
#[derive(Debug)]
pub struct Threads {
    first: *const Cache,
    spare: *const Cache,
    count: usize,
    key: Option<ExitKey>,
    is_set_up: bool,
}

// SAFETY: caches may be reached from any thread that has the right to, which is what the lock is for.
unsafe impl Send for Threads {}

static THREADS: Lock<Threads> = Lock::new(
    Rank::Threads,
    Threads {
        first: std::ptr::null(),
        spare: std::ptr::null(),
        count: 0,
        key: None,
        is_set_up: false,
    },
);

/// Whether caches can be claimed: the kernel makes barriers on all threads.
static CLAIMS: AtomicBool = AtomicBool::new(false);

/// The calling thread's record.
#[inline(always)]
pub fn mine<'a>() -> &'a Local {
    // SAFETY: the record has no destructor and lies where it is as long as its thread runs; a reference to it cannot
    // leave the thread, since it is not `Sync`.
    unsafe { &*LOCAL.with(std::ptr::from_ref) }
}

/// Does something with the calling thread's cache, or with the common one if it has none.
pub fn with_cache<R>(local: &Local, f: impl FnOnce(&Cache) -> R) -> R {
    loop {
        let cache = local.turn.begin();
        if !std::ptr::eq(cache, &raw const STAND_IN) {
            // SAFETY: within a turn, a cache that is not the stand-in is this thread's.
            let result = f(unsafe { &*cache });
            local.turn.end();
            return result;
        }
        local.turn.end();
        match local.phase.get() {
            Phase::New => start(local),
            Phase::Starting | Phase::Gone => return f(&COMMON.lock()),
            // Claimed, for some microseconds, or for as long as a `fork` takes.
            Phase::Live => barrier::yield_now(),
        }
    }
}

#[cold]
fn start(local: &Local) {
    local.phase.set(Phase::Starting);
    let phase = match THREADS.lock().join(local) {
        Some(()) => Phase::Live,
        None => Phase::Gone,
    };
    local.phase.set(phase);
}

/// The thread ends. All its thread-locals with destructors are gone already.
unsafe extern "C" fn end(local: *mut c_void) {
    // SAFETY: `start` has set this very pointer, and the thread's memory is there until it has ended.
    let local = unsafe { &*local.cast::<Local>() };
    let mut threads = THREADS.lock();
    local.phase.set(Phase::Gone);
    // Nobody can have claimed it: claims are made and undone with the lock held.
    let cache = local.turn.begin();
    local.turn.set(&raw const STAND_IN);
    local.turn.end();
    // SAFETY: in the phase `Live`, unclaimed, the pointer is the cache.
    threads.leave(unsafe { &*cache });
}

impl Local {
    /// The record of a thread that has not allocated.
    #[allow(dead_code, reason = "of the two ways to a record, one needs no value")]
    pub const fn new() -> Self {
        Self {
            turn: Turn::new(&raw const STAND_IN),
            countdown: Cell::new(0),
            phase: Cell::new(Phase::New),
            in_hook: Cell::new(false),
            random: Cell::new(0),
        }
    }
}

impl Threads {
    /// Gives a new thread a cache. All of it under the lock: a claimant must not meet a cache that is
    /// in the list while its thread is still about to take it.
    fn join(&mut self, local: &Local) -> Option<()> {
        if !self.is_set_up {
            self.is_set_up = true;
            CLAIMS.store(barrier::register(), Ordering::Relaxed);
            self.key = ExitKey::new(end);
            crate::setup::process();
        }
        // SAFETY: `end` takes the record of the thread that it is called in.
        if !unsafe { self.key?.set(std::ptr::from_ref(local).cast()) } {
            return None;
        }
        // SAFETY: a spare cache, which nobody else has.
        let cache = match unsafe { self.spare.as_ref() } {
            Some(cache) => {
                self.spare = cache.next.get();
                cache
            }
            None => {
                let bytes = size_of::<Cache>() + SLOT_BYTES;
                let record = pages::with(|pages| pages.record(bytes));
                let Some(record) = record.map(<*mut u8>::cast::<Cache>) else {
                    // The key must not call `end` for a thread that has no cache.
                    // SAFETY: null is no value.
                    unsafe { self.key?.set(std::ptr::null()) };
                    return None;
                };
                // SAFETY: fresh memory for a cache and its slots behind it, aligned to 64 as all records are.
                unsafe {
                    record.write(Cache::new());
                    (*record).slots.set(record.add(1).cast());
                    &*record
                }
            }
        };
        cache.local.set(local);
        cache.prev.set(std::ptr::null());
        cache.next.set(self.first);
        // SAFETY: caches live for ever.
        if let Some(first) = unsafe { self.first.as_ref() } {
            first.prev.set(cache);
        }
        self.first = cache;
        self.count += 1;
        local.turn.set(cache);
        Some(())
    }

    /// Takes a cache out of the list and gives its spans up. The caller holds the cache.
    fn leave(&mut self, cache: &'static Cache) {
        (0..COUNT).for_each(|class| cache.surrender(class, true));
        self.forget(cache);
        cache.next.set(self.spare);
        self.spare = cache;
    }

    /// Takes a cache out of the list, with all that it has.
    fn forget(&mut self, cache: &'static Cache) {
        let (next, prev) = (cache.next.get(), cache.prev.get());
        // SAFETY: caches live for ever.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(prev);
        }
        // SAFETY: as above.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => self.first = next,
        }
        cache.local.set(std::ptr::null());
        self.count -= 1;
    }

    /// The caches of all threads.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> {
        // SAFETY: caches live for ever, and the list changes only under the lock that we are under.
        let cache = |pointer: *const Cache| unsafe { pointer.as_ref() };
        std::iter::successors(cache(self.first), move |last| cache(last.next.get()))
    }

    /// How many threads have a cache.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Claims another thread's cache and does something with it. `patience`: how often to look again
    /// while its owner is within an operation. `None`: the owner did not let go, or the kernel makes
    /// no barriers.
    pub fn with_claimed<R>(
        &self,
        cache: &'static Cache,
        patience: usize,
        f: impl FnOnce(&Cache) -> R,
    ) -> Option<R> {
        // SAFETY: a cache in the list has a thread, which cannot end while we hold the lock.
        let local = unsafe { cache.local.get().as_ref() }?;
        let is_mine = LOCAL.with(|mine| std::ptr::eq(mine, local));
        if is_mine {
            let mine = local.turn.begin();
            let result = std::ptr::eq(mine, cache).then(|| f(cache));
            local.turn.end();
            return result;
        }
        if !CLAIMS.load(Ordering::Relaxed) || !local.turn.claim(&raw const STAND_IN) {
            return None;
        }
        let quiet = (0..=patience).any(|turn| {
            if turn > 0 {
                barrier::yield_now();
            }
            !local.turn.is_busy()
        });
        let result = quiet.then(|| f(cache));
        local.turn.set(cache);
        result
    }
}

impl Threads {
    /// Does something with the caches of all threads that are in no operation. Some are claimed at once,
    /// since the barrier costs more than what is done; not all, since their threads wait meanwhile. Whether a thread
    /// was in an operation, so that its cache was passed by.
    pub fn with_each_claimed(&self, mut f: impl FnMut(&Cache)) -> bool {
        const AT_ONCE: usize = 16;
        let mine = LOCAL.with(std::ptr::from_ref);
        let mut caches = self.caches();
        let mut passed_by = false;
        loop {
            let mut claimed: [Option<(&Cache, &Local)>; AT_ONCE] = [None; AT_ONCE];
            let mut count = 0;
            for cache in caches.by_ref().take(AT_ONCE) {
                // SAFETY: a cache in the list has a thread, which cannot end while we hold the lock.
                let Some(local) = (unsafe { cache.local.get().as_ref() }) else { continue };
                if std::ptr::eq(local, mine) {
                    self.with_claimed(cache, 0, &mut f);
                } else if CLAIMS.load(Ordering::Relaxed) {
                    local.turn.begin_claim(&raw const STAND_IN);
                    claimed[count] = Some((cache, local));
                }
                count += 1;
            }
            if count == 0 {
                return passed_by;
            }
            let is_made = claimed.iter().any(Option::is_some) && claim::heavy_barrier();
            for (cache, local) in claimed.iter().flatten() {
                match is_made && !local.turn.is_busy() {
                    true => f(cache),
                    // Without a barrier no cache is ever looked at: nothing to come back for.
                    false => passed_by |= is_made,
                }
                local.turn.set(*cache);
            }
        }
    }
}

/// The list of threads, locked.
pub fn all() -> Guard<'static, Threads> {
    THREADS.lock()
}

/// Does something with the common cache.
pub fn with_common<R>(f: impl FnOnce(&Cache) -> R) -> R {
    f(&COMMON.lock())
}

/// Whether a block of a span that another thread's cache owns is free. `None`: cannot be known.
pub fn is_free(span: &Span, owner: *const Cache, block: usize) -> Option<bool> {
    let owns = |cache: &Cache| {
        let still = std::ptr::eq(span.owner.load(Ordering::Acquire), cache);
        still.then(|| span.is_free(block))
    };
    let common = COMMON.lock();
    if std::ptr::eq(&raw const *common, owner) {
        return owns(&common);
    }
    drop(common);
    let threads = all();
    let cache = threads.caches().find(|&cache| std::ptr::eq(cache, owner))?;
    threads.with_claimed(cache, 10_000, owns).flatten()
}

/// Brings all other threads' caches to rest for a `fork`, and takes the locks.
pub fn hold() {
    THREADS.hold();
    // SAFETY: held since the line above; nobody else uses the value.
    let threads = unsafe { &*THREADS.value() };
    if CLAIMS.load(Ordering::Relaxed) {
        for local in threads.others() {
            // Its owner finishes what it does: it may need locks, of which we hold none that it needs.
            let claimed = local.turn.claim(&raw const STAND_IN);
            while claimed && local.turn.is_busy() {
                barrier::yield_now();
            }
        }
    }
    COMMON.hold();
}

/// Undoes [`hold`]. In a child, the other threads are gone.
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`; the locks after this one
/// in the order must be let go already.
pub unsafe fn let_go(child: bool) {
    // SAFETY: held by this thread.
    let threads = unsafe { &mut *THREADS.value() };
    // SAFETY: the caller's promise.
    unsafe { COMMON.let_go() };
    let claimed = CLAIMS.load(Ordering::Relaxed);
    if child {
        threads.bury_others(claimed);
        CLAIMS.store(claimed && barrier::register(), Ordering::Relaxed);
    } else if claimed {
        let mine = LOCAL.with(std::ptr::from_ref);
        for cache in threads.caches() {
            // SAFETY: a cache in the list has a thread, which cannot end while the lock is held.
            let local = unsafe { &*cache.local.get() };
            if !std::ptr::eq(local, mine) {
                local.turn.set(cache);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { THREADS.let_go() };
}

impl Threads {
    /// The records of all threads but the calling one.
    fn others(&self) -> impl Iterator<Item = &Local> {
        let mine = LOCAL.with(std::ptr::from_ref);
        // SAFETY: a cache in the list has a thread, which cannot end while the lock is held.
        let locals = self.caches().map(|cache| unsafe { &*cache.local.get() });
        locals.filter(move |local| !std::ptr::eq(*local, mine))
    }

    /// In the child of a `fork`: the caches of threads that do not exist. `whole`: they were claimed,
    /// so what they hold is in one piece.
    fn bury_others(&mut self, whole: bool) {
        let mine = LOCAL.with(std::ptr::from_ref);
        let mut next = self.first;
        // SAFETY: caches live for ever.
        while let Some(cache) = unsafe { next.as_ref() } {
            next = cache.next.get();
            if std::ptr::eq(cache.local.get(), mine) {
                continue;
            }
            if whole {
                self.leave(cache);
            } else {
                self.forget(cache);
            }
        }
    }
}

//! The pool: chunks of every size class, and the kernel calls that open and close them.
//!
//! A [`Pool`] is process-wide and lives for ever; [`Pool::global`] is the one that the runtime
//! uses, and tests make their own. It is used through a [`crate::Cache`]; [`Pool::take`] and the
//! drop of a [`Stack`] are the slow road for threads without one.
//!
//! The walk of a stack on its way back ([`Pool::put_back`]): 1. a chunk of which every stack is then
//! back is closed, pages and all; 2. the pages of the other stacks go back to the kernel, all of a
//! batch in one call; 3. their slots are marked free in their chunks. So a free slot in the pool
//! never holds a page, and what a pool costs in memory is what is out or warm. Stacks that wait to
//! go this way are in the [`crate::depot`].

use crate::cache::Counters;
use crate::chunks::{Backing, Chunks, Mask};
use crate::class::{GUARD_BYTES, SizeClass};
use crate::depot::Depot;
use crate::guard::{self, Budget, GuardMode};
use crate::region::Region;
use crate::rest::{self, Engine, RestMode};
use crate::slot::Stack;
use crate::stats::{ClassStats, Stats};
use millpond_prim::sync::Lock;
use millpond_sys::guard::Guards;
use millpond_sys::mem;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// How a pool is made. The default is what [`Pool::global`] uses, but for the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Forces a way of guarding; `None` takes the best that works.
    pub guard: Option<GuardMode>,
    /// Addresses reserved at a time per class, in bytes; `None` takes the class's own figure.
    pub region_bytes: Option<usize>,
    /// Forces the way in which stacks rest; `None` takes the best that works.
    pub rest: Option<RestMode>,
    /// Stacks that `mprotect` may guard; `None` derives it from `vm.max_map_count`.
    pub mprotect_stacks: Option<usize>,
}

impl Config {
    /// The default, with the guard that `MILLPOND_GUARD` forces and the rest that `MILLPOND_REST`
    /// does.
    ///
    /// # Errors
    /// `InvalidInput` if a variable names no mode.
    pub fn from_env() -> io::Result<Self> {
        let (guard, rest) = (GuardMode::from_env()?, RestMode::from_env()?);
        Ok(Self { guard, rest, ..Self::default() })
    }
}

/// Stacks that [`Pool::settle`] gives back at once: enough that most chunks among them are whole,
/// few enough that who finds work meanwhile does not wait for long.
const SETTLE_STACKS: usize = 512;

/// Stacks of every size class. Lives as long as the process.
#[derive(Debug)]
pub struct Pool {
    mode: GuardMode,
    budget: Arc<Budget>,
    /// Puts stacks to rest; or why none ever is.
    pub(crate) rest: Result<&'static Engine, String>,
    classes: [Chunks<Ground>; SizeClass::COUNT],
    /// What each living cache holds, for [`Pool::stats`]. Taken before any other lock here.
    caches: Lock<Vec<Arc<Counters>>>,
    /// Surplus of caches that defer. Has a lock of its own, a leaf.
    depot: Depot,
    /// Chunks opened, cumulative. Atomic: read to see whether it moves.
    growth: AtomicU64,
    /// Stacks that came back from caches and drops, cumulative. Atomic, statistics only.
    returned_stacks: AtomicU64,
    /// Batches of them whose pages the kernel refused to take. Atomic, statistics only.
    discard_failures: AtomicU64,
}

/// The land under the chunks of one class.
#[derive(Debug)]
struct Ground {
    class: SizeClass,
    guards: Arc<Guards>,
    budget: Arc<Budget>,
    engine: Option<&'static Engine>,
    region_bytes: usize,
    /// In order of their first chunk. Taken inside the lock of [`Chunks`], and a leaf.
    regions: Lock<Vec<&'static Region>>,
}

impl Pool {
    /// The pool of this process, made on first use from the environment.
    ///
    /// # Errors
    /// The same each time: `MILLPOND_GUARD` names no mode or one that is not to be had, or the
    /// page size is not 4 KiB.
    ///
    /// ```
    /// let pool = millpond_stack::Pool::global()?;
    /// println!("{}", pool.describe());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn global() -> io::Result<&'static Self> {
        static GLOBAL: OnceLock<Result<&'static Pool, (io::ErrorKind, String)>> = OnceLock::new();
        GLOBAL
            .get_or_init(|| {
                Config::from_env()
                    .and_then(Self::new)
                    .map_err(|error| (error.kind(), error.to_string()))
            })
            .clone()
            .map_err(|(kind, why)| io::Error::new(kind, why))
    }

    /// A pool of its own. It lives as long as the process: a stack may be leaked with a live
    /// frame, and its memory must outlast whoever points there. Regions are reserved on first use.
    ///
    /// # Errors
    /// `Unsupported` if the guard mode or the way to rest that was asked for is not to be had, or
    /// the page size is not 4 KiB.
    pub fn new(config: Config) -> io::Result<&'static Self> {
        if mem::page_size() != GUARD_BYTES {
            let why = format!(
                "stack pool: expected pages of {GUARD_BYTES} B, found {}; use a kernel with 4 KiB \
                 pages",
                mem::page_size()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let (mode, guards) = guard::choose(config.guard)?;
        let guards = Arc::new(guards);
        let budget = Arc::new(Budget::new(config.mprotect_stacks));
        let rest = rest::choose(config.rest, mode)?;
        let engine = rest.as_ref().ok().copied();
        let classes = SizeClass::ALL.map(|class| {
            let ground = Ground {
                class,
                guards: guards.clone(),
                budget: budget.clone(),
                engine,
                region_bytes: config.region_bytes.unwrap_or(class.region_bytes()),
                regions: Lock::new(Vec::new()),
            };
            Chunks::new(ground, class.slots_per_chunk())
        });
        Ok(Box::leak(Box::new(Self {
            mode,
            budget,
            rest,
            classes,
            caches: Lock::new(Vec::new()),
            depot: Depot::default(),
            growth: AtomicU64::new(0),
            returned_stacks: AtomicU64::new(0),
            discard_failures: AtomicU64::new(0),
        })))
    }

    /// How stacks are guarded here.
    pub fn guard_mode(&self) -> GuardMode {
        self.mode
    }

    /// One line for the start of a program: how stacks are guarded, and what that way cannot do.
    pub fn describe(&self) -> String {
        self.mode.describe(&self.budget)
    }

    /// One stack, for a thread that has no [`crate::Cache`]. Costs a lock and, when its chunk is
    /// wholly free, system calls.
    ///
    /// # Errors
    /// `OutOfMemory`, with what to raise in the message.
    ///
    /// ```
    /// use millpond_stack::{Pool, SizeClass};
    /// let stack = Pool::global()?.take(SizeClass::Mib1)?;
    /// assert_eq!(corosensei::on_stack(stack, || 6 * 7), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take(&'static self, class: SizeClass) -> io::Result<Stack> {
        let mut taken = Vec::with_capacity(class.slots_per_chunk());
        self.take_chunk(class, &mut taken)?;
        let stack = taken.pop().expect("a chunk that was taken holds at least one slot");
        let mut rest: Vec<usize> = taken.drain(..).map(into_limit).collect();
        // SAFETY: these slots were taken just above, and the stacks of them were taken apart.
        unsafe { self.mark_free(class, &mut rest) };
        Ok(stack)
    }

    /// Adds all free stacks of one chunk to `to`, the lowest address last. At least one.
    pub(crate) fn take_chunk(
        &'static self,
        class: SizeClass,
        to: &mut Vec<Stack>,
    ) -> io::Result<()> {
        let chunks = &self.classes[class.index()];
        let (chunk, slots) = match chunks.take() {
            Err(_) if !self.depot.is_empty() => {
                // What waits in the depot, of whatever class, may pay for this.
                while self.settle() {}
                chunks.take()?
            }
            taken => taken?,
        };
        self.growth.fetch_add(1, Ordering::Relaxed);
        let region = chunks.backing().region_of(chunk);
        for slot in (0..class.slots_per_chunk() as u32).rev() {
            if slots & (1 << slot) != 0 {
                // SAFETY: `take` made this slot ours alone, guarded and open.
                to.push(unsafe { Stack::from_slot(self, class, region.limit_of(chunk, slot)) });
            }
        }
        Ok(())
    }

    /// Takes stacks back by their lowest addresses: pages to the kernel, slots to their chunks.
    ///
    /// # Safety
    /// The caller must own these slots of this pool, and give them up; nobody may hold a
    /// reference into them.
    pub(crate) unsafe fn put_back(&self, class: SizeClass, limits: &mut [usize]) {
        let chunks = &self.classes[class.index()];
        let (whole, rest) = chunks.claim_whole(&self.group(class, limits));
        chunks.close(&whole);
        let pages: Vec<Range<usize>> = rest
            .iter()
            .flat_map(|&(chunk, slots)| self.limits_of(class, chunk, slots))
            .map(|limit| limit + GUARD_BYTES..limit + class.bytes())
            .collect();
        // A refusal leaves pages behind, and the next holder of the stack finds them warm:
        // memory is lost for a while, nothing else. The guards are not in the ranges.
        // SAFETY: the caller's promise: nobody needs the content any more.
        if unsafe { mem::discard_batch(&pages) }.is_err() {
            self.discard_failures.fetch_add(1, Ordering::Relaxed);
        }
        self.returned_stacks.fetch_add(limits.len() as u64, Ordering::Relaxed);
        chunks.give(&rest);
    }

    /// Gives back to the kernel one batch of what caches have left over, those that waited longest.
    /// `false` if nothing waits. Takes some hundred microseconds: for a thread that is idle.
    ///
    /// ```
    /// use millpond_stack::{Cache, Config, Pool, SizeClass};
    /// let pool = Pool::new(Config::default())?;
    /// let mut cache = Cache::deferring(pool);
    /// cache.set_budget(SizeClass::Kib64, 0);
    /// let stack = cache.take(SizeClass::Kib64)?;
    /// cache.give(stack);
    /// assert!(pool.settle() && !pool.settle());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn settle(&self) -> bool {
        let Some((class, stacks)) = self.depot.take_coldest(SETTLE_STACKS) else { return false };
        let mut limits: Vec<usize> = stacks.into_iter().map(into_limit).collect();
        // SAFETY: the stacks were the depot's, are ours now, and were just taken apart; nobody runs
        // on a stack that waits there.
        unsafe { self.put_back(class, &mut limits) };
        true
    }

    /// Whether [`Self::settle`] would find something.
    #[inline]
    pub fn has_surplus(&self) -> bool {
        !self.depot.is_empty()
    }

    /// How many times this pool has handed out a chunk, cumulative. While it moves, somebody needs
    /// stacks that are nowhere warm.
    #[inline]
    pub fn growth(&self) -> u64 {
        self.growth.load(Ordering::Relaxed)
    }

    pub(crate) fn depot(&self) -> &Depot {
        &self.depot
    }

    /// Marks clean slots free, and closes the chunks that are wholly free then.
    ///
    /// # Safety
    /// As [`Self::put_back`], and the slots must hold no page.
    unsafe fn mark_free(&self, class: SizeClass, limits: &mut [usize]) {
        self.classes[class.index()].give(&self.group(class, limits));
    }

    /// Slots by chunk. Sorts: neighbours in address are neighbours in chunk.
    fn group(&self, class: SizeClass, limits: &mut [usize]) -> Vec<(u32, Mask)> {
        let ground = self.classes[class.index()].backing();
        limits.sort_unstable();
        let mut groups: Vec<(u32, Mask)> = Vec::new();
        for &limit in limits.iter() {
            let (chunk, slot) = ground.locate(limit);
            match groups.last_mut() {
                Some((last, slots)) if *last == chunk => *slots |= 1 << slot,
                _ => groups.push((chunk, 1 << slot)),
            }
        }
        groups
    }

    /// Lowest addresses of some slots of a chunk, in order.
    fn limits_of(&self, class: SizeClass, chunk: u32, slots: Mask) -> impl Iterator<Item = usize> {
        let region = self.classes[class.index()].backing().region_of(chunk);
        let numbers = 0..class.slots_per_chunk() as u32;
        let chosen = numbers.filter(move |slot| slots & (1 << slot) != 0);
        chosen.map(move |slot| region.limit_of(chunk, slot))
    }

    pub(crate) fn enrol(&self, counters: Arc<Counters>) {
        self.caches.lock().push(counters);
    }

    /// A cache has gone. With the last one goes what waits in the depot: nobody may be left to
    /// settle it.
    pub(crate) fn dismiss(&self, counters: &Arc<Counters>) {
        let mut caches = self.caches.lock();
        caches.retain(|enrolled| !Arc::ptr_eq(enrolled, counters));
        let last = caches.is_empty();
        drop(caches);
        while last && self.settle() {}
    }

    /// Whether a stack is out of the pool, as it must be for whoever holds it.
    pub(crate) fn is_out(&self, stack: &Stack) -> bool {
        let chunks = &self.classes[stack.class().index()];
        let (chunk, slot) = chunks.backing().locate(stack.limit_addr());
        chunks.are_taken(chunk, 1 << slot)
    }

    /// What the pool holds now. Exact when no thread takes or gives meanwhile.
    pub fn stats(&self) -> Stats {
        let caches = self.caches.lock();
        let classes = SizeClass::ALL.map(|class| {
            let in_caches: usize = caches.iter().map(|counters| counters.cached(class)).sum();
            let cached = in_caches + self.depot.count(class);
            let chunks = &self.classes[class.index()];
            // The lock of the regions ends here: growing takes it inside that of the chunks.
            let (regions, reserved_bytes) = chunks.backing().size();
            ClassStats::new(class, regions, reserved_bytes, chunks.count(), cached)
        });
        let returned_stacks = self.returned_stacks.load(Ordering::Relaxed);
        let discard_failures = self.discard_failures.load(Ordering::Relaxed);
        Stats { guard: self.mode, classes, caches: caches.len(), returned_stacks, discard_failures }
    }

    /// Walks every chunk of every class and says what is wrong. For tests and debug builds: takes
    /// time proportional to the largest number of stacks that there ever was.
    ///
    /// # Errors
    /// A sentence about the first thing that does not add up.
    pub fn check(&self) -> Result<(), String> {
        self.classes.iter().try_for_each(Chunks::check)
    }

    /// Whether [`Self::check`] finds nothing.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }
}

/// Takes a stack apart without giving it back: the caller now owns the slot.
pub(crate) fn into_limit(stack: Stack) -> usize {
    let limit = stack.limit_addr();
    std::mem::forget(stack);
    limit
}

impl Ground {
    /// How many regions, and their bytes.
    fn size(&self) -> (usize, usize) {
        let regions = self.regions.lock();
        (regions.len(), regions.iter().map(|region| region.bytes()).sum())
    }

    fn region_of(&self, chunk: u32) -> &'static Region {
        let regions = self.regions.lock();
        let index = regions.partition_point(|region| region.first_chunk <= chunk) - 1;
        regions[index]
    }

    fn locate(&self, limit: usize) -> (u32, u32) {
        let regions = self.regions.lock();
        let found = regions.iter().find_map(|region| region.locate(limit));
        found.unwrap_or_else(|| panic!("stack at {limit:#x}: expected in a region of its class"))
    }

    fn guard_ranges(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let slots = range.step_by(self.class.bytes());
        slots.map(|limit| limit..limit + GUARD_BYTES).collect()
    }
}

impl Backing for Ground {
    fn grow(&self, first: u32) -> io::Result<u32> {
        let region = Region::leak(self.class, first, self.region_bytes, &self.guards, self.engine)?;
        self.regions.lock().push(region);
        Ok(region.chunks)
    }

    fn open(&self, chunk: u32) -> io::Result<()> {
        let region = self.region_of(chunk);
        let range = region.chunk_range(chunk);
        let splits = self.guards.splits_mappings();
        region.home().open(range.end - region.home().start())?;
        let guards = self.guard_ranges(range.clone());
        if splits {
            self.budget.pay(guards.len())?;
        }
        // SAFETY: `Opening` makes the chunk ours alone, and none of its slots is out.
        unsafe {
            self.guards.set(&guards).map_err(|error| {
                // Half-set guards would keep their mappings. If even clearing is refused, they
                // stay until the chunk is opened again.
                let _ = self.guards.clear(range);
                if splits {
                    self.budget.refund(guards.len());
                    return guard::refused(&error);
                }
                error
            })
        }
    }

    fn close(&self, chunk: u32) -> io::Result<()> {
        let region = self.region_of(chunk);
        if self.guards.splits_mappings() {
            self.budget.refund(self.class.slots_per_chunk());
        }
        // SAFETY: `Closing` makes the chunk ours alone, and none of its slots is out.
        unsafe { self.guards.close(region.home(), region.chunk_range(chunk)) }
    }
}

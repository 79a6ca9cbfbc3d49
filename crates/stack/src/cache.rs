//! The stacks that one M keeps to itself: last in, first out, without atomics.
//!
//! A stack that comes back is the first to go out again: its top page is in the cache of this
//! CPU and in the page table, and the next goroutine starts without a fault. The cache is a
//! vector per size class, so taking and giving is a pop and a push, plus a plain store to a
//! counter that only statistics read.
//!
//! The walk when a vector runs over: with more than `budget + batch` stacks, the `batch` coldest
//! (the front of the vector) go back to the pool together; from a cache that defers, to the
//! [`crate::depot`], where they stay warm until somebody is idle. The distance between the two marks is
//! what keeps a goroutine count that swings from turning into a system call each time. The walk
//! when it runs dry: a batch of the depot, else all free slots of one chunk come from the pool.
//!
//! Rejected: a time limit on warm stacks. It needs a clock on the fast path; [`Cache::trim`] from
//! whoever knows that the M is idle does the same for nothing.

use crate::class::SizeClass;
use crate::pool::{Pool, into_limit};
use crate::slot::Stack;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many stacks a cache holds, for [`Pool::stats`]. On cache lines of its own: the owner
/// writes it all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    /// Written by the owner of the cache only (plain stores); read by anyone, a little late.
    cached: [AtomicUsize; SizeClass::COUNT],
}

impl Counters {
    pub(crate) fn cached(&self, class: SizeClass) -> usize {
        self.cached[class.index()].load(Ordering::Relaxed)
    }
}

/// Warm stacks of one class. Owner only.
#[derive(Debug)]
struct Shelf {
    /// Coldest first.
    stacks: Vec<Stack>,
    budget: usize,
    /// More than this many, and the coldest go back.
    high: usize,
}

/// One thread's stacks. Everything goes back to the pool when it is dropped.
///
/// ```
/// use millpond_stack::{Cache, Pool, SizeClass};
/// let mut cache = Cache::new(Pool::global()?);
/// let stack = cache.take(SizeClass::Kib64)?;
/// let where_it_was = stack.limit_addr();
/// cache.give(stack);
/// assert_eq!(cache.take(SizeClass::Kib64)?.limit_addr(), where_it_was);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Cache {
    pool: &'static Pool,
    shelves: [Shelf; SizeClass::COUNT],
    counters: Arc<Counters>,
    /// Whether what runs over goes to the depot.
    defers: bool,
}

impl Cache {
    /// An empty cache with the default budgets. Cheap: stacks come when they are asked for.
    pub fn new(pool: &'static Pool) -> Self {
        Self::make(pool, false)
    }

    /// As [`Self::new`], but what runs over stays warm, for any cache of the pool, until somebody
    /// calls [`Pool::settle`]. Whoever makes one sees to that: when its threads are idle, and some
    /// time after [`Pool::growth`] has last moved.
    pub fn deferring(pool: &'static Pool) -> Self {
        Self::make(pool, true)
    }

    fn make(pool: &'static Pool, defers: bool) -> Self {
        let counters = Arc::new(Counters::default());
        pool.enrol(counters.clone());
        let shelves = SizeClass::ALL.map(|class| Shelf::new(class.warm_stacks()));
        Self { pool, shelves, counters, defers }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// Sets how many stacks of a class stay warm. Up to half as many more are kept until it is
    /// worth a call to the kernel. With 0, nothing stays.
    pub fn set_budget(&mut self, class: SizeClass, stacks: usize) {
        let shelf = &mut self.shelves[class.index()];
        (shelf.budget, shelf.high) = marks(stacks);
        if shelf.stacks.len() > shelf.high {
            self.shrink(class, stacks);
        }
    }

    /// Stacks of a class that are here now.
    pub fn len(&self, class: SizeClass) -> usize {
        self.shelves[class.index()].stacks.len()
    }

    /// Whether no stack of any class is here.
    pub fn is_empty(&self) -> bool {
        self.shelves.iter().all(|shelf| shelf.stacks.is_empty())
    }

    /// A stack, warm if there is one. A few nanoseconds then; else a lock and, at worst, system
    /// calls for a whole chunk.
    ///
    /// # Errors
    /// `OutOfMemory`, with what to raise in the message.
    #[inline]
    pub fn take(&mut self, class: SizeClass) -> io::Result<Stack> {
        let shelf = &mut self.shelves[class.index()];
        match shelf.stacks.pop() {
            Some(stack) => {
                self.counters.cached[class.index()].store(shelf.stacks.len(), Ordering::Relaxed);
                Ok(stack)
            }
            None => self.refill(class),
        }
    }

    /// Takes a stack back, which stays warm. One of another pool goes to that pool instead.
    #[inline]
    pub fn give(&mut self, stack: Stack) {
        if !std::ptr::eq(stack.pool(), self.pool) {
            return drop(stack);
        }
        let class = stack.class();
        let shelf = &mut self.shelves[class.index()];
        shelf.stacks.push(stack);
        let count = shelf.stacks.len();
        self.counters.cached[class.index()].store(count, Ordering::Relaxed);
        if count > shelf.high {
            self.run_over(class);
        }
    }

    /// Gives back all but the `keep` warmest stacks of every class.
    pub fn trim(&mut self, keep: usize) {
        SizeClass::ALL.into_iter().for_each(|class| self.shrink(class, keep));
    }

    #[cold]
    fn refill(&mut self, class: SizeClass) -> io::Result<Stack> {
        let shelf = &mut self.shelves[class.index()];
        match self.pool.depot().take(class) {
            Some(batch) => shelf.stacks.extend(batch),
            None => self.pool.take_chunk(class, &mut shelf.stacks)?,
        }
        debug_assert_eq!(self.check(), Ok(()));
        let shelf = &mut self.shelves[class.index()];
        let stack = shelf.stacks.pop().expect("a chunk that was taken holds at least one slot");
        self.counters.cached[class.index()].store(shelf.stacks.len(), Ordering::Relaxed);
        Ok(stack)
    }

    /// Puts down the coldest, all that is beyond the budget.
    #[cold]
    fn run_over(&mut self, class: SizeClass) {
        let shelf = &mut self.shelves[class.index()];
        let budget = shelf.budget;
        if !self.defers {
            return self.shrink(class, budget);
        }
        let surplus: Vec<Stack> = shelf.stacks.drain(..shelf.stacks.len() - budget).collect();
        self.counters.cached[class.index()].store(budget, Ordering::Relaxed);
        self.pool.depot().put(class, surplus);
        debug_assert_eq!(self.check(), Ok(()));
    }

    #[cold]
    fn shrink(&mut self, class: SizeClass, keep: usize) {
        let shelf = &mut self.shelves[class.index()];
        let surplus = shelf.stacks.len().saturating_sub(keep);
        if surplus == 0 {
            return;
        }
        let mut limits: Vec<usize> = shelf.stacks.drain(..surplus).map(into_limit).collect();
        self.counters.cached[class.index()].store(shelf.stacks.len(), Ordering::Relaxed);
        // SAFETY: the stacks were ours, and were just taken apart; nobody runs on a stack that
        // is in a cache.
        unsafe { self.pool.put_back(class, &mut limits) };
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// Looks at every stack here and says what is wrong. For tests and debug builds.
    ///
    /// # Errors
    /// A sentence about the first thing that does not add up.
    pub fn check(&self) -> Result<(), String> {
        for (class, shelf) in SizeClass::ALL.into_iter().zip(&self.shelves) {
            let mut limits: Vec<_> = shelf.stacks.iter().map(Stack::limit_addr).collect();
            limits.sort_unstable();
            if limits.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(format!("cache: the same {class} stack twice in {limits:x?}"));
            }
            for stack in &shelf.stacks {
                let info = crate::lookup(stack.limit_addr());
                let known = info.is_some_and(|info| {
                    info.class == class
                        && info.base == stack.base_addr()
                        && info.limit == stack.limit_addr()
                });
                if !known || stack.class() != class || !self.pool.is_out(stack) {
                    return Err(format!(
                        "cache: expected a {class} stack that is out of the pool, found {:#x}..\
                         {:#x}, {info:?}",
                        stack.limit_addr(),
                        stack.base_addr()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether [`Self::check`] finds nothing.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.trim(0);
        self.pool.dismiss(&self.counters);
    }
}

impl Shelf {
    fn new(stacks: usize) -> Self {
        let (budget, high) = marks(stacks);
        Self { stacks: Vec::new(), budget, high }
    }
}

fn marks(budget: usize) -> (usize, usize) {
    (budget, budget + budget / 2)
}

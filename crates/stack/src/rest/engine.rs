//! Putting stacks to rest and waking them: the order of the kernel calls.
//!
//! The walk of a batch ([`Engine::rest`]), which one M makes for goroutines that are at home on it:
//!
//! 1. copies are allocated, for as long as nothing is closed yet;
//! 2. neighbours in address are one *run*; a run that is a whole chunk is closed as a chunk;
//! 3. per run: `Closing`; no writing; pack; no access; discard; marks, and access again, but for
//!    a whole chunk, which stays closed and loses its page tables too; `Resting`. If another thread has
//!    written meanwhile so that a copy is too small, once more, with room for anything.
//!
//! The walk back ([`wake`]) begins at an address and runs on any thread, in the handler of a fault
//! too: open the chunk if it is closed (guards and marks are set anew), then put the one stack back.
//!
//! What can fail: a mapping that cannot be split, and memory that somebody has locked, which the kernel
//! does not take away. Then the run is put back as it was and stays warm. What cannot be undone ends
//! the process: a goroutine without its stack is none.
//!
//! Only stacks of the batch are ever closed, never a neighbour that might run: its thread may have no
//! signal stack to wait on.
//!
//! How many mappings this costs: none with marks (two for the moment of a call); closed chunks at most
//! one each, however they are opened, and there are no more of them than [`Engine::may_close`] allows.

use super::block::{Block, Press, Seen};
use super::shape::Origin;
use super::stats::Counters;
use super::table::Table;
use super::word::Woke;
use crate::class::{GUARD_BYTES, SizeClass};
use crate::region::Region;
use millpond_prim::sync::Lock;
use millpond_sys::rest::{self, Access, Marks, PAGE_BYTES, Road};
use millpond_sys::{clock, mem, report::Report};
use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Mappings that are left to others.
const RESERVED_MAPPINGS: usize = 16 << 10;

/// A suspended stack, to be put to rest.
#[derive(Debug)]
pub struct Parked {
    /// The saved stack pointer.
    pub sp: usize,
    /// The place that started its goroutine.
    pub origin: &'static Origin,
    /// The caller's own.
    pub key: usize,
    /// Set by [`crate::Pool::rest`]: bytes of the copy; 0 if the stack stayed warm.
    pub copy_bytes: usize,
}

/// One stack of a batch.
struct Item {
    index: usize,
    region: &'static Region,
    table: &'static Table,
    chunk: usize,
    slot: usize,
    limit: usize,
    base: usize,
    sp: usize,
    block: Block,
    seen: Seen,
    /// Whether the copy had room for what was on the stack at last.
    fits: Cell<bool>,
}

impl Item {
    fn word(&self) -> &'static super::word::SlotWord {
        self.table.slot(self.slot)
    }

    /// The pages that hold live bytes, to the end of the slot.
    fn pages(&self) -> Range<usize> {
        pages_of(self.sp, self.limit + self.region.class().bytes())
    }
}

fn pages_of(sp: usize, end: usize) -> Range<usize> {
    sp & !(PAGE_BYTES - 1)..end
}

/// What puts the stacks of one pool to rest.
#[derive(Debug)]
pub(crate) struct Engine {
    road: Road,
    /// Chunks that are closed as a whole. Atomic.
    closed_chunks: AtomicUsize,
    most_closed: usize,
    /// One for each thread that has put stacks to rest at the same time as others. A leaf lock.
    presses: Lock<Vec<Press>>,
    pub(crate) counters: Counters,
}

impl Engine {
    pub(crate) fn new(road: Road) -> Self {
        let most_closed = mem::max_map_count().saturating_sub(RESERVED_MAPPINGS);
        let counters = Counters::default();
        let presses = Lock::new(Vec::new());
        Self { road, closed_chunks: AtomicUsize::new(0), most_closed, presses, counters }
    }

    pub(crate) fn road(&self) -> &Road {
        &self.road
    }

    fn may_close(&self) -> bool {
        self.closed_chunks.load(Ordering::Relaxed) < self.most_closed
    }

    /// See [`crate::Pool::rest`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn rest(&self, batch: &mut [Parked]) {
        let began_ns = clock::now_ns();
        self.counters.began();
        batch.sort_unstable_by_key(|parked| parked.sp);
        let mut items = Vec::with_capacity(batch.len());
        let mut press = self.presses.lock().pop().unwrap_or_default();
        for (index, parked) in batch.iter_mut().enumerate() {
            parked.copy_bytes = 0;
            // SAFETY: the caller's promise.
            items.extend(unsafe { self.item(index, parked, &mut press) });
        }
        let mut rest = items.as_mut_slice();
        let (mut rested, mut refused) = (0, false);
        while let Some(first) = rest.first() {
            let neighbours = rest.windows(2).take_while(|two| are_neighbours(&two[0], &two[1]));
            let length = 1 + neighbours.count();
            let slots = first.region.class().slots_per_chunk();
            let whole = length == slots && slots > 1 && self.may_close();
            let (run, others) = rest.split_at_mut(length);
            // SAFETY: the caller's promise.
            let mut outcome = unsafe { self.rest_run(run, whole, &mut press) };
            if outcome.as_ref().is_err_and(is_full) && make_room(run) {
                // SAFETY: as above.
                outcome = unsafe { self.rest_run(run, whole, &mut press) };
            }
            if outcome.is_err() {
                // SAFETY: never published, and the owner's.
                run.iter().for_each(|item| unsafe { item.block.free() });
                refused = true;
            } else {
                for item in run {
                    batch[item.index].copy_bytes = item.block.own_bytes();
                }
                rested += length;
            }
            rest = others;
        }
        // What somebody has locked in memory is not kept elsewhere.
        if !refused {
            press.clear();
            self.presses.lock().push(press);
        }
        self.counters.took(rested, clock::now_ns() - began_ns);
    }

    /// # Safety
    /// As for [`crate::Pool::rest`].
    unsafe fn item(&self, index: usize, parked: &Parked, press: &mut Press) -> Option<Item> {
        let sp = parked.sp & !7;
        let (region, slot, limit, base) = Region::find(sp)?;
        let table = region.table().filter(|table| std::ptr::eq(table.engine, self))?;
        // What is away already would come back by being read.
        if sp < limit + GUARD_BYTES || sp >= base || !table.slot(slot).is_warm() {
            return None;
        }
        // SAFETY: the caller's promise: suspended, so it may be read.
        let (block, seen) = unsafe { Block::allocate(sp, base, parked.origin, press)? };
        if !table.slot(slot).begin() {
            // SAFETY: never published.
            unsafe { block.free() };
            return None;
        }
        let chunk = slot / region.class().slots_per_chunk();
        let fits = Cell::new(true);
        Some(Item { index, region, table, chunk, slot, limit, base, sp, block, seen, fits })
    }

    /// Puts a run of neighbours to rest, all of which are `Closing`. On an error all are warm.
    ///
    /// # Safety
    /// As for [`crate::Pool::rest`].
    unsafe fn rest_run(&self, run: &[Item], whole: bool, press: &mut Press) -> io::Result<()> {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let class = first.region.class();
        let marks = self.road.marks();
        // A whole chunk with its first guard; else without it, which is nobody's to close.
        let skip = if whole && marks == Marks::Guards { 0 } else { GUARD_BYTES };
        let range = first.limit + skip..last.limit + class.bytes();
        // SAFETY: the range holds stacks of this batch and guards; who touches them waits.
        let packed = unsafe {
            rest::protect(range.clone(), Access::Read).and_then(|()| {
                for item in run {
                    item.fits.set(item.block.fill(item.sp, item.base, &item.seen, press));
                }
                if !run.iter().all(|item| item.fits.get()) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                rest::protect(range.clone(), Access::None)
            })
        };
        if let Err(error) = packed {
            // SAFETY: as it was; nothing was taken away.
            unsafe { self.reopen(run, range) };
            run.iter().for_each(|item| item.word().abandon());
            return Err(error);
        }
        // SAFETY: everything that is live is in the copies, and nobody can write.
        if let Err(error) = unsafe { self.take_away(run, range.clone(), whole) } {
            // SAFETY: nobody has access; the copies hold everything.
            unsafe { self.undo(run, range, whole) };
            run.iter().for_each(|item| item.word().abandon());
            return Err(error);
        }
        if whole && marks == Marks::Guards {
            self.closed_chunks.fetch_add(1, Ordering::Relaxed);
            first.table.chunk(first.chunk).close();
        }
        for item in run {
            // Counted first: once it is published, another thread may put it back and count that.
            self.counters.rested(item.block, item.pages().len());
            item.word().publish(item.block.address());
        }
        Ok(())
    }

    /// # Safety
    /// Nobody has access to `range`, and what is live in it was copied.
    unsafe fn take_away(&self, run: &[Item], range: Range<usize>, whole: bool) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            if self.road.marks() == Marks::Closed {
                // All of a chunk, its first guard too: then the kernel takes the page table as well.
                let start = if whole { run[0].limit } else { range.start };
                return rest::discard(start..range.end);
            }
            if whole {
                rest::unmark(range.clone())?;
                return rest::discard(range);
            }
            rest::discard(range.clone())?;
            let pages: Vec<Range<usize>> = run.iter().map(Item::pages).collect();
            rest::mark(&pages)?;
            rest::protect(range, Access::Write)
        }
    }

    /// Gives access to a run as it was before.
    ///
    /// # Safety
    /// The content is in place.
    unsafe fn reopen(&self, run: &[Item], range: Range<usize>) {
        let opened = match self.road.marks() {
            // SAFETY: the caller's promise.
            Marks::Guards => unsafe { insist(|| rest::protect(range.clone(), Access::Write)) },
            // SAFETY: as above; the guards between them stay closed.
            Marks::Closed => run.iter().try_for_each(|item| unsafe {
                insist(|| rest::protect(usable(item.limit, item.region.class()), Access::Write))
            }),
        };
        if let Err(error) = opened {
            die("reopen", run[0].limit, &error);
        }
        if self.road.marks() == Marks::Closed {
            // Guards that were made readable on the way.
            let between = run[1..].iter().map(|item| item.limit..item.limit + GUARD_BYTES);
            for guard in between {
                // SAFETY: a guard of a run of ours: nobody may use it.
                if let Err(error) = unsafe { rest::protect(guard.clone(), Access::None) } {
                    die("guard again", guard.start, &error);
                }
            }
        }
    }

    /// Puts back what [`Self::take_away`] has taken half-way.
    ///
    /// # Safety
    /// Nobody else puts these back, and the copies hold everything.
    unsafe fn undo(&self, run: &[Item], range: Range<usize>, whole: bool) {
        let undone = (|| {
            // SAFETY: the caller's promise.
            unsafe {
                insist(|| rest::protect(range.clone(), Access::None))?;
                if whole && self.road.marks() == Marks::Guards {
                    set_guards(run[0].region, run[0].chunk)?;
                }
                for item in run {
                    let mut fill = filler(item.block, item.sp, item.base);
                    self.road.put_content(item.pages(), &mut fill)?;
                }
            }
            Ok(())
        })();
        if let Err(error) = undone {
            die("put back", run[0].limit, &error);
        }
        // SAFETY: the content is in place.
        unsafe { self.reopen(run, range) };
    }

    /// Opens a chunk of which every stack rests: guards and marks, then access.
    fn open_chunk(&self, region: &Region, table: &Table, chunk: usize) {
        let class = region.class();
        let slots = class.slots_per_chunk();
        let start = region.start() + chunk * class.chunk_bytes();
        let opened = (|| {
            // From each stack's live pages on there is no gap up to the end of the guard of the next.
            let mut marked = Marked::default();
            let mut from = start;
            for slot in 0..slots {
                let limit = start + slot * class.bytes();
                // SAFETY: the chunk has no access and no content; all is marked before it has.
                unsafe { marked.add(from..limit + GUARD_BYTES)? };
                // SAFETY: a resting stack that nobody can claim while the chunk is not open.
                let block = unsafe { Block::at(table.slot(chunk * slots + slot).block()) };
                let base = crate::class::base_of(class, limit);
                from = pages_of(base - block.live_bytes(), limit).start;
            }
            // SAFETY: as above.
            unsafe {
                marked.add(from..start + class.chunk_bytes())?;
                marked.mark()?;
            }
            let whole = start..start + class.chunk_bytes();
            // SAFETY: as above.
            unsafe { insist(|| rest::protect(whole.clone(), Access::Write)) }
        })();
        if let Err(error) = opened {
            die("open", start, &error);
        }
        self.closed_chunks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts the stack around `addr` back, if it is away. `foreign`: the caller is not its owner. `None` if
/// the address lies in no stack that could be away.
///
/// Async-signal-safe.
pub(crate) fn wake(addr: usize, foreign: bool) -> Option<Woke> {
    let (region, slot, limit, base) = Region::find(addr)?;
    let table = region.table()?;
    let engine = table.engine;
    let chunk = slot / region.class().slots_per_chunk();
    // When this call began to open the chunk, if it did: what comes then is all of the way back.
    let opened_ns = Cell::new(None);
    let restore = |address| {
        let began_ns = opened_ns.get().unwrap_or_else(clock::now_ns);
        // SAFETY: the claim was ours, so the word holds a copy that is not freed before we are done.
        let block = unsafe { Block::at(address) };
        let sp = base - block.live_bytes();
        let pages = pages_of(sp, limit + region.class().bytes());
        let mut fill = filler(block, sp, base);
        // SAFETY: claimed: this thread alone puts it back, and it is marked since it was published.
        let back = unsafe {
            engine.road.put_back(pages.clone(), usable(limit, region.class()), &mut fill)
        };
        if let Err(error) = back {
            die("wake", limit, &error);
        }
        if foreign {
            block.trip();
        }
        engine.counters.woke(block, pages.len(), foreign, clock::now_ns() - began_ns);
    };
    let open = || {
        opened_ns.set(Some(clock::now_ns()));
        engine.open_chunk(region, table, chunk);
    };
    Some(table.slot(slot).wake(table.chunk(chunk), open, restore))
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

/// Other threads have written to stacks of the run between the two looks, and what they hold now says more than
/// before: room for whatever it is. `false` if there is no memory. All are warm, and `Closing` again after it.
fn make_room(run: &mut [Item]) -> bool {
    for item in &mut *run {
        // A copy may hold the last look, not the one that was kept.
        item.seen = Seen::none();
        if item.fits.get() {
            continue;
        }
        let Some(block) = item.block.with_room() else { return false };
        // SAFETY: never published, and the owner's.
        unsafe { std::mem::replace(&mut item.block, block).free() };
    }
    // The owner alone leaves `Warm`.
    run.iter().all(|item| item.word().begin())
}

/// Everything of a stack but its guard.
fn usable(limit: usize, class: SizeClass) -> Range<usize> {
    limit + GUARD_BYTES..limit + class.bytes()
}

fn are_neighbours(one: &Item, next: &Item) -> bool {
    std::ptr::eq(one.region, next.region)
        && one.chunk == next.chunk
        && one.limit + one.region.class().bytes() == next.limit
}

/// Gives the pages of a copy, one after the other, from that of `sp` on.
fn filler(
    block: Block,
    sp: usize,
    base: usize,
) -> impl FnMut(&mut [u8; PAGE_BYTES], &mut rest::Notes) {
    let mut at = sp;
    let mut skip = 0;
    move |page, notes| {
        let words = block.unpack(base, notes).skip(skip);
        for word in words {
            let offset = at % PAGE_BYTES;
            page[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
            at += 8;
            skip += 1;
            if at.is_multiple_of(PAGE_BYTES) {
                return;
            }
        }
    }
}

/// # Safety
/// Nobody uses the chunk's guards meanwhile.
unsafe fn set_guards(region: &Region, chunk: usize) -> io::Result<()> {
    let class = region.class();
    let start = region.start() + chunk * class.chunk_bytes();
    let mut marked = Marked::default();
    for slot in 0..class.slots_per_chunk() {
        let limit = start + slot * class.bytes();
        // SAFETY: the caller's promise.
        unsafe { marked.add(limit..limit + GUARD_BYTES)? };
    }
    // SAFETY: as above.
    unsafe { marked.mark() }
}

/// Ranges to be marked with as few calls as possible, without an allocation.
struct Marked {
    ranges: [Range<usize>; rest::MOST_MARKED],
    count: usize,
}

impl Default for Marked {
    fn default() -> Self {
        Self { ranges: [const { 0..0 }; rest::MOST_MARKED], count: 0 }
    }
}

impl Marked {
    /// # Safety
    /// As for [`rest::mark`].
    unsafe fn add(&mut self, range: Range<usize>) -> io::Result<()> {
        self.ranges[self.count] = range;
        self.count += 1;
        // SAFETY: the caller's promise.
        if self.count == self.ranges.len() { unsafe { self.mark() } } else { Ok(()) }
    }

    /// # Safety
    /// As for [`rest::mark`].
    unsafe fn mark(&mut self) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { rest::mark(&self.ranges[..std::mem::take(&mut self.count)]) }
    }
}

/// Tries again when no mapping is left for the moment: others give theirs back.
fn insist(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..1000 {
        match call() {
            Err(error) if error.raw_os_error() == Some(12) => rest::pause(),
            done => return done,
        }
    }
    call()
}

/// A stack is neither here nor there. Async-signal-safe.
#[cold]
fn die(what: &str, at: usize, error: &io::Error) -> ! {
    let mut report = Report::new();
    report.str("\nmillpond: fatal: stack at rest: ").str(what).str(" at ").hex(at as u64);
    report.str(": the kernel says ").dec(error.raw_os_error().unwrap_or(0) as u64);
    report.str(" (12: raise vm.max_map_count; MILLPOND_REST=off does without)\n");
    report.send();
    std::process::abort()
}

//! The balance sheet: what was obtained from the system, and where it is.
//!
//! ```text
//!  obtained = heap + meta                                     heap: every page ever used
//!  heap     = Σ classes + large in use + large rest + idle + moving + released
//!  class    = in use + free in caches + free without owner + not carved + tail
//! ```
//!
//! The lines add up exactly, always: they are one walk over the spans under the page lock, and what
//! the walk cannot know is a difference. How exact each is:
//!
//! | line | exact |
//! |---|---|
//! | heap, large, idle, moving, released, meta, tail | always |
//! | in use, free, not carved | while no thread uses that class at that moment; else off by what it does |
//!
//! Inside the lines of what is in use lies what idles in pools ([`Stats::pooled`]): an "of which", and no term of
//! a sum.
//!
//! No thread is stopped; those that need the page heap meanwhile wait. The walk takes some microseconds
//! per MiB of heap.
//!
//! What is *resident* the kernel knows. [`Stats::resident_at_most`] is what the heap has not given back
//! and has lent out at least once; a page that nobody has written to since is in it and not in RSS.

use crate::central;
use crate::checked;
use crate::classes::{CLASSES, COUNT, PAGE};
use crate::pages;
use crate::pooled::{self, Pooled};
use crate::scavenge;
use crate::span::{OS_PAGE, Span, State};
use crate::threads;
use millpond_sys::report::Report;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// One size class. All in bytes but for the counts; their sum is `span_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Pages of its spans.
    pub span_bytes: usize,
    /// Spans.
    pub spans: usize,
    /// Blocks in use.
    pub blocks: usize,
    /// Bytes of these.
    pub in_use: usize,
    /// Free blocks in spans that a cache owns, loose ones and those that other threads have freed included.
    pub cached: usize,
    /// Free blocks in spans without an owner.
    pub central: usize,
    /// Blocks that were never used, or whose pages were given back.
    pub uncarved: usize,
    /// Behind the last block of each span.
    pub tail: usize,
    /// Pages of 4 KiB that may be resident.
    pub backed: usize,
}

impl ClassStats {
    fn add(&mut self, span: &Span) {
        let class = span.geometry();
        let (size, blocks) = (class.size as usize, class.blocks as usize);
        let bytes = class.pages as usize * PAGE;
        let missing = span.uncarved.load(Relaxed);
        let uncarved = match missing {
            0 => 0,
            _ => (0..blocks).filter(|index| missing >> (index * size / OS_PAGE) & 1 == 1).count(),
        };
        // The current span of a cache is counted as used once more.
        let held = u32::from(span.state() == State::Current) + span.remote.count();
        let used = span.used.load(Relaxed).wrapping_sub(held) as i32;
        let used = (used.max(0) as usize).min(blocks - uncarved);
        let free = (blocks - uncarved - used) * size;
        self.spans += 1;
        self.span_bytes += bytes;
        self.blocks += used;
        self.in_use += used * size;
        self.uncarved += uncarved * size;
        self.tail += bytes - blocks * size;
        self.backed += span.dirty.load(Relaxed).count_ones() as usize * OS_PAGE;
        match span.owner.load(Relaxed).is_null() {
            true => self.central += free,
            false => self.cached += free,
        }
    }

    /// So many of the blocks that spans count as used are loose in caches.
    fn set_loose(&mut self, blocks: usize) {
        let blocks = blocks.min(self.blocks);
        self.blocks -= blocks;
        self.in_use -= blocks * self.block_bytes;
        self.cached += blocks * self.block_bytes;
    }
}

/// Loose blocks of each class in all caches, and how many threads have a cache.
fn loose_and_threads() -> ([usize; COUNT], usize) {
    let threads = threads::all();
    let mut loose = [0; COUNT];
    for cache in threads.caches() {
        loose.iter_mut().zip(&cache.shelves).for_each(|(sum, shelf)| *sum += shelf.len());
    }
    (loose, threads.len())
}

/// The heap at one moment, in bytes unless a name says otherwise. See the module documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Everything that the heap has ever used of the system: `heap + meta`.
    pub obtained: usize,
    /// Pages up to the highest that was ever used.
    pub heap: usize,
    /// Small blocks, by class.
    pub classes: [ClassStats; COUNT],
    /// Objects with pages of their own: how many.
    pub large_objects: usize,
    /// Bytes that were asked for in these.
    pub large_in_use: usize,
    /// The rest of their pages.
    pub large_rest: usize,
    /// Pages that are free, and may be resident.
    pub idle: usize,
    /// Pages on their way back to the kernel.
    pub moving: usize,
    /// Pages that the kernel has back, or never gave.
    pub released: usize,
    /// The allocator's own records and tables.
    pub meta: usize,
    /// Threads with a cache.
    pub threads: usize,
    /// Objects on guarded pages (checked mode); their pages are not in the other lines.
    pub guarded_objects: usize,
    /// What idles in pools, as they say. It is part of what is in use, and lies in the memory of the program's
    /// allocator, also where that is another one. `None` if there never was a pool, or if they were all busy.
    pub pooled: Option<Pooled>,
    /// Bytes that the heap tries to stay below; `u64::MAX`: no limit.
    pub limit: u64,
    /// Bytes of whole free pages given back so far. Cumulative.
    pub released_ever: u64,
    /// Times that the kernel refused to take pages. Cumulative.
    pub refused: u64,
}

/// What the heap holds now. Cheap, and stops nobody; see the module documentation.
pub fn stats() -> Stats {
    // Not under the page lock: their ranks are lower.
    let (loose, threads) = loose_and_threads();
    let guarded_objects = checked::live();
    let pooled = pooled::ask();
    let walked = pages::if_any(|pages| {
        let counts = pages.counts;
        let mut stats = Stats {
            obtained: counts.top * PAGE + pages.meta_bytes(),
            heap: counts.top * PAGE,
            classes: CLASSES
                .each_ref()
                .map(|class| ClassStats { block_bytes: class.size as usize, ..Default::default() }),
            large_objects: counts.large_objects,
            large_in_use: counts.large_bytes,
            large_rest: counts.large * PAGE - counts.large_bytes,
            idle: counts.idle * PAGE,
            moving: counts.moving * PAGE,
            released: pages.released() * PAGE,
            meta: pages.meta_bytes(),
            threads,
            guarded_objects,
            pooled,
            limit: scavenge::limit(),
            released_ever: counts.released_bytes,
            refused: counts.refused,
        };
        for span in pages.spans() {
            if let Some(class) = stats.classes.get_mut(span.class()) {
                class.add(span);
            }
        }
        let classes = stats.classes.iter_mut();
        classes.zip(loose).for_each(|(class, loose)| class.set_loose(loose));
        Some(stats)
    });
    walked.unwrap_or(Stats {
        obtained: 0,
        heap: 0,
        classes: [ClassStats::default(); COUNT],
        large_objects: 0,
        large_in_use: 0,
        large_rest: 0,
        idle: 0,
        moving: 0,
        released: 0,
        meta: 0,
        threads,
        guarded_objects,
        pooled,
        limit: scavenge::limit(),
        released_ever: 0,
        refused: 0,
    })
}

impl Stats {
    fn sum(&self, line: impl Fn(&ClassStats) -> usize) -> usize {
        self.classes.iter().map(line).sum()
    }

    /// Bytes in use: of small blocks, with what rounding up costs, and of large objects.
    pub fn in_use(&self) -> usize {
        self.sum(|class| class.in_use) + self.large_in_use
    }

    /// Free bytes in spans, in caches and without owner.
    pub fn free_in_spans(&self) -> usize {
        self.sum(|class| class.cached + class.central)
    }

    /// The right-hand side of the identities: equals `obtained`.
    pub fn accounted(&self) -> usize {
        let class = |class: &ClassStats| {
            class.in_use + class.cached + class.central + class.uncarved + class.tail
        };
        let large = self.large_in_use + self.large_rest;
        self.sum(class) + large + self.idle + self.moving + self.released + self.meta
    }

    /// What may be resident of the heap: pages that were lent out and not given back, and the records.
    pub fn resident_at_most(&self) -> usize {
        let large = self.large_in_use + self.large_rest;
        self.sum(|class| class.backed) + large + self.idle + self.moving + self.meta
    }

    /// The lines of the sheet: a name, bytes, and a remark.
    fn lines(&self) -> impl Iterator<Item = (&'static str, usize, &'static str)> {
        let held = [
            ("obtained from the system", self.obtained, "the sum of the lines below"),
            ("small blocks in use", self.sum(|class| class.in_use), "rounded up to their class"),
            ("large objects in use", self.large_in_use, "as asked for"),
        ];
        let pooled = self
            .pooled
            .map(|pooled| ("of these, idle in pools", pooled.bytes, "not a term of the sum"));
        let rest = [
            ("rest of their pages", self.large_rest, ""),
            ("free in caches", self.sum(|class| class.cached), "in spans that a thread owns"),
            ("free without owner", self.sum(|class| class.central), "in central spans"),
            ("not carved", self.sum(|class| class.uncarved + class.tail), "in spans, unused"),
            ("idle pages", self.idle + self.moving, "free, may be resident"),
            ("released pages", self.released, "the kernel has them"),
            ("records and tables", self.meta, ""),
        ];
        held.into_iter().chain(pooled).chain(rest)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "heap, in bytes ({} threads with a cache):", self.threads)?;
        for (name, bytes, remark) in self.lines() {
            writeln!(
                f,
                "  {bytes:>14}  {name}{}{remark}",
                if remark.is_empty() { "" } else { ": " }
            )?;
        }
        for class in self.classes.iter().filter(|class| class.spans > 0) {
            writeln!(
                f,
                "  {:>6} B: {} blocks in use, {} B free in caches, {} B free without owner, {} spans",
                class.block_bytes, class.blocks, class.cached, class.central, class.spans
            )?;
        }
        Ok(())
    }
}

/// Writes the sheet to standard error. Allocates nothing: the process may be about to end.
pub extern "C" fn print() {
    let stats = stats();
    let mut report = Report::new();
    report.str("millpond heap at exit, in bytes (").dec(stats.threads as u64);
    report.str(" threads with a cache):\n");
    for (name, bytes, remark) in stats.lines() {
        report.str("  ").dec(bytes as u64).str("  ").str(name);
        report.str(if remark.is_empty() { "" } else { ": " }).str(remark).str("\n");
    }
    for class in stats.classes.iter().filter(|class| class.spans > 0) {
        report.str("  size class ").dec(class.block_bytes as u64).str(": ");
        report.dec(class.blocks as u64).str(" blocks in use, ").dec(class.spans as u64);
        report.str(" spans\n");
    }
    report.send();
}

/// Walks what can be walked without stopping anybody and says what is wrong, if anything is: the page
/// heap, the central lists, and the calling thread's cache. For tests and debugging.
///
/// # Errors
/// A sentence about the first thing that does not add up.
pub fn check() -> Result<(), &'static str> {
    crate::threads::LOCAL.with(|local| threads::with_cache(local, crate::cache::Cache::check))?;
    central::check()?;
    pages::if_any(|pages| Some(pages.check())).unwrap_or(Ok(()))
}

//! A region: one huge reservation of stacks of one class, and the table that finds it again.
//!
//! A region lives as long as the process: somebody may hold an address into a stack that was
//! leaked with a live frame. So the table of regions only grows, and a fault handler may read it
//! at any moment, on any thread, without a lock: [`lookup`] reads atomics and computes.
//!
//! A region's size is halved until the kernel grants it (`ulimit -v`, small address spaces). The
//! class then simply has more regions.

use crate::class::{GUARD_BYTES, SizeClass, base_of};
use crate::rest::{Engine, Table};
use millpond_sys::guard::Guards;
use millpond_sys::mem::Reservation;
use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The smallest region worth a row in the table.
const LEAST_BYTES: usize = 64 << 20;

/// Regions that a process may have, over all pools.
const ROWS: usize = 512;

/// One row of the table. Written by the thread that took it ([`NewRow`]); `end` last, and then never again.
struct Row {
    /// 0 while nobody has the row (by compare-and-swap), 1 while somebody is about to use it.
    start: AtomicUsize,
    region: AtomicPtr<Region>,
    /// 0 until the row is complete (release); readers acquire it.
    end: AtomicUsize,
}

static TABLE: [Row; ROWS] = [const {
    Row {
        start: AtomicUsize::new(0),
        region: AtomicPtr::new(std::ptr::null_mut()),
        end: AtomicUsize::new(0),
    }
}; ROWS];

/// Rows that were ever taken are below this. Atomic: readers need no more than an upper bound.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A reservation cut into chunks. Never unmapped once published.
#[derive(Debug)]
pub(crate) struct Region {
    home: Reservation,
    class: SizeClass,
    /// Number of its first chunk among the chunks of its class.
    pub(crate) first_chunk: u32,
    pub(crate) chunks: u32,
    /// For stacks at rest; `None` if none of them ever is.
    table: Option<Table>,
}

impl Region {
    /// Reserves, prepares and publishes a region of at most `bytes`.
    ///
    /// # Errors
    /// `OutOfMemory` if not even the smallest region is granted, or the table is full.
    pub(crate) fn leak(
        class: SizeClass,
        first_chunk: u32,
        bytes: usize,
        guards: &Guards,
        engine: Option<&'static Engine>,
    ) -> io::Result<&'static Self> {
        // First, because nothing that comes after it can be given back once it is published.
        let row = NewRow::take()?;
        let mut bytes = bytes.next_multiple_of(class.chunk_bytes());
        let home = loop {
            match Reservation::new(bytes, class.chunk_bytes(), name(class)) {
                Ok(home) => break home,
                Err(_) if bytes / 2 >= LEAST_BYTES => bytes /= 2,
                Err(error) => {
                    let why = format!(
                        "reserve {bytes} B of addresses for {class} stacks: {error}; is \
                         `ulimit -v` set?"
                    );
                    return Err(io::Error::new(error.kind(), why));
                }
            }
        };
        guards.prepare(&home)?;
        let chunks = (bytes / class.chunk_bytes()) as u32;
        let table = match engine {
            None => None,
            Some(engine) => {
                engine.road().prepare(&home)?;
                Some(Table::leak(engine, bytes / class.bytes(), chunks as usize)?)
            }
        };
        let region = Box::leak(Box::new(Self { home, class, first_chunk, chunks, table }));
        row.publish(region);
        Ok(region)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.home.bytes()
    }

    pub(crate) fn start(&self) -> usize {
        self.home.start()
    }

    pub(crate) fn class(&self) -> SizeClass {
        self.class
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// The region of an address, the slot's number in it, and the slot's limit and base. For the
    /// handler of a fault, as [`lookup`].
    pub(crate) fn find(addr: usize) -> Option<(&'static Self, usize, usize, usize)> {
        let used = USED.load(Ordering::Relaxed).min(ROWS);
        let row = TABLE[..used].iter().find(|row| {
            // A row that is not complete yet ends at 0 and holds no address.
            let end = row.end.load(Ordering::Acquire);
            (row.start.load(Ordering::Relaxed)..end).contains(&addr)
        })?;
        // SAFETY: a row that is complete holds a region, and regions are leaked.
        let region = unsafe { row.region.load(Ordering::Relaxed).as_ref()? };
        let bytes = region.class.bytes();
        let slot = (addr - region.start()) / bytes;
        let limit = region.start() + slot * bytes;
        Some((region, slot, limit, base_of(region.class, limit)))
    }

    pub(crate) fn home(&self) -> &Reservation {
        &self.home
    }

    /// Addresses of chunk number `chunk` of the class, which must lie in this region.
    pub(crate) fn chunk_range(&self, chunk: u32) -> Range<usize> {
        let bytes = self.class.chunk_bytes();
        let start = self.home.start() + (chunk - self.first_chunk) as usize * bytes;
        start..start + bytes
    }

    /// Chunk and slot in the chunk of the stack whose lowest address is `limit`, if it is here.
    pub(crate) fn locate(&self, limit: usize) -> Option<(u32, u32)> {
        let offset = limit.checked_sub(self.home.start()).filter(|&at| at < self.bytes())?;
        let chunk = offset / self.class.chunk_bytes();
        let slot = offset % self.class.chunk_bytes() / self.class.bytes();
        Some((self.first_chunk + chunk as u32, slot as u32))
    }

    /// Lowest address of the stack in `slot` of `chunk`.
    pub(crate) fn limit_of(&self, chunk: u32, slot: u32) -> usize {
        self.chunk_range(chunk).start + slot as usize * self.class.bytes()
    }
}

fn name(class: SizeClass) -> &'static CStr {
    match class {
        SizeClass::Kib16 => c"millpond stacks 16K",
        SizeClass::Kib64 => c"millpond stacks 64K",
        SizeClass::Kib256 => c"millpond stacks 256K",
        SizeClass::Mib1 => c"millpond stacks 1M",
        SizeClass::Mib8 => c"millpond stacks 8M",
    }
}

/// A row that the caller has; dropped, it is nobody's again.
struct NewRow(&'static Row);

impl NewRow {
    fn take() -> io::Result<Self> {
        let taken = TABLE.iter().position(|row| {
            row.start.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        let Some(number) = taken else {
            let why = format!("reserve another region of stacks: all {ROWS} are in use");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
        };
        USED.fetch_max(number + 1, Ordering::Relaxed);
        Ok(Self(&TABLE[number]))
    }

    fn publish(self, region: &'static Region) {
        let row = self.0;
        std::mem::forget(self);
        let start = region.home.start();
        row.start.store(start, Ordering::Relaxed);
        row.region.store(std::ptr::from_ref(region).cast_mut(), Ordering::Relaxed);
        row.end.store(start + region.bytes(), Ordering::Release);
    }
}

impl Drop for NewRow {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Relaxed);
    }
}

/// The stack that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its class.
    pub class: SizeClass,
    /// Its size in bytes, guard included.
    pub stack_bytes: usize,
    /// Its number in its region.
    pub slot: usize,
    /// Whether the address lies in the guard: the stack has overflowed.
    pub in_guard: bool,
    /// Where the stack begins: its highest address, one past the end.
    pub base: usize,
    /// Where it ends: the lowest address, that of its guard.
    pub limit: usize,
}

/// Finds the stack that `addr` lies in; `None` if it is no address of a stack of any pool.
///
/// Async-signal-safe: for the handler of a fault. Says nothing about whether the stack is in use.
///
/// ```
/// assert!(millpond_stack::lookup(&raw const *"no stack" as *const u8 as usize).is_none());
/// ```
pub fn lookup(addr: usize) -> Option<SlotInfo> {
    let (region, slot, limit, base) = Region::find(addr)?;
    let class = region.class;
    let in_guard = addr - limit < GUARD_BYTES;
    Some(SlotInfo { class, stack_bytes: class.bytes(), slot, in_guard, base, limit })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_not_used_is_the_next_one_s() {
        for _ in 0..2 * ROWS {
            drop(NewRow::take().unwrap());
        }
        let all: Vec<_> = std::iter::from_fn(|| NewRow::take().ok()).collect();
        assert!(all.len() <= ROWS && !all.is_empty());
        assert!(NewRow::take().is_err_and(|error| error.kind() == io::ErrorKind::OutOfMemory));
        assert_eq!(lookup(1), None);
    }
}

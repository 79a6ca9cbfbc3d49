//! Memory of the process as Millpond accounts for it: the allocator's sheet, and the stacks beside it.
//!
//! Two parts of the system's memory are Millpond's: what the allocator obtained, to the byte
//! ([`millpond_heap::stats`]), and stacks, which come from reservations of their own. How much of a
//! stack is resident nobody but the kernel knows: a goroutine touches pages without telling anyone. So
//! the stacks' line counts what *may* be: all of each stack that is lent out or waits in a cache.
//! [`stacks_resident_bytes`] asks the kernel, which walks page tables for the answer and is no part of
//! the sheet therefore.
//!
//! What pools of values and of blocks keep idle lies in the heap, and is counted there as in use; how much of that
//! it is, the sheet says beside it ([`HeapStats::pooled`]), outside of the sum.
//!
//! If another allocator is chosen, the heap's lines are zero; the stacks' are as they are, and so is that of pools.

use millpond_heap::Stats as HeapStats;
use millpond_stack::{Pool, Stats as StackStats};
use std::fmt;

/// The balance sheet. See [`memory`].
#[derive(Clone, Debug)]
pub struct MemoryStats {
    /// The allocator's lines, and in [`pooled`](HeapStats::pooled) what of the memory in use only idles in pools.
    pub heap: HeapStats,
    /// The stack pool's lines; `None` if there is no pool to be had.
    pub stacks: Option<StackStats>,
}

impl MemoryStats {
    /// Bytes of stacks that are lent out or wait in a cache, touched or not: addresses. How much of that is
    /// resident, [`stacks_resident_bytes`] says.
    pub fn stack_bytes(&self) -> usize {
        let lent =
            |class: &millpond_stack::ClassStats| (class.live + class.cached) * class.class.bytes();
        self.stacks.iter().flat_map(|stacks| &stacks.classes).map(lent).sum()
    }

    /// Everything that Millpond has obtained from the system: the heap with its records, and the
    /// addresses of stacks in use.
    pub fn obtained(&self) -> usize {
        self.heap.obtained + self.stack_bytes()
    }
}

impl fmt::Display for MemoryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.heap)?;
        match &self.stacks {
            Some(stacks) => write!(f, "{stacks}"),
            None => writeln!(f, "stacks: none"),
        }
    }
}

/// The balance sheet of this moment. Stops nobody; the heap's lines add up exactly
/// (`heap.obtained == heap.accounted()`), whatever other threads do.
///
/// ```
/// let sheet = millpond_observe::memory();
/// assert_eq!(sheet.heap.obtained, sheet.heap.accounted());
/// println!("{sheet}");
/// ```
pub fn memory() -> MemoryStats {
    let stacks = Pool::global().ok().map(Pool::stats);
    MemoryStats { heap: millpond_heap::stats(), stacks }
}

/// Bytes of stacks that are resident, as the kernel says; `None` where it does not name mappings
/// (`CONFIG_ANON_VMA_NAME`, Linux 5.17) or `/proc` is not there.
///
/// Reads `/proc/self/smaps`: some milliseconds in a process with many stacks. Does not park.
///
/// ```
/// if let Some(bytes) = millpond_observe::stacks_resident_bytes() {
///     println!("{bytes} of {} B", millpond_observe::memory().stack_bytes());
/// }
/// ```
pub fn stacks_resident_bytes() -> Option<usize> {
    resident_bytes(&std::fs::read_to_string("/proc/self/smaps").ok()?)
}

/// The sum of `Rss` over the mappings of stacks.
fn resident_bytes(smaps: &str) -> Option<usize> {
    let (mut found, mut is_ours) = (None, false);
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            is_ours = line.contains("[anon:millpond stacks");
            found = found.or(is_ours.then_some(0));
        } else if is_ours && first == "Rss:" {
            let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
            found = found.map(|sum| sum + kib * 1024);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f00-7f10 rw-p 00000000 00:00 0                          [anon:millpond stacks 16K]
Size:               1024 kB
Rss:                  12 kB
7f10-7f20 rw-p 00000000 00:00 0                          [anon:millpond heap]
Rss:                 100 kB
7f20-7f30 rw-p 00000000 00:00 0                          [anon:millpond stacks 64K]
Rss:                   8 kB
";

    #[test]
    fn only_mappings_of_stacks_are_summed_up() {
        assert_eq!(resident_bytes(SMAPS), Some(20 << 10));
        assert_eq!(resident_bytes("7f10-7f20 rw-p 00000000 00:00 0  [heap]\nRss:  100 kB\n"), None);
    }

    #[test]
    fn a_stack_in_use_has_at_least_the_page_that_it_runs_on() {
        let body = || millpond_rt::go(stacks_resident_bytes).join().unwrap();
        let seen = millpond_rt::Builder::new().procs(1).run(body).unwrap();
        assert!(seen.is_none_or(|bytes| bytes >= 4096), "{seen:?}");
    }
}

//! Memory of the process as Millpond accounts for it: the allocator's sheet, and the stacks beside it.
//!
//! Two parts of the system's memory are Millpond's: what the allocator obtained, to the byte
//! ([`millpond_heap::stats`]), and stacks, which come from reservations of their own. How much of a
//! stack is resident nobody but the kernel knows: a goroutine touches pages without telling anyone. So
//! the stacks' line counts what *may* be: all of each stack that is lent out or waits in a cache.
//!
//! If another allocator is chosen, the heap's lines are zero, and the stacks' are as they are.

use millpond_heap::Stats as HeapStats;
use millpond_stack::{Pool, Stats as StackStats};
use std::fmt;

/// The balance sheet. See [`memory`].
#[derive(Clone, Debug)]
pub struct MemoryStats {
    /// The allocator's lines.
    pub heap: HeapStats,
    /// The stack pool's lines; `None` if there is no pool to be had.
    pub stacks: Option<StackStats>,
}

impl MemoryStats {
    /// Bytes of stacks that are lent out or wait in a cache, touched or not.
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

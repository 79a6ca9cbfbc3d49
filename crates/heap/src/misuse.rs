//! The messages of an allocator that has found its rules broken, and the end of the process.
//!
//! A heap whose lists are wrong cannot be repaired, and whoever broke it will break more: each of
//! these functions writes one message to standard error and aborts. A message names the operation,
//! the pointer, the size class, what was expected and what was found, and what is probably wrong.
//! Nothing is allocated meanwhile ([`Report`] is a buffer on the stack), and no lock is taken.
//!
//! What can be found, and what cannot: a foreign pointer, a pointer into the middle of a block, a block
//! that is free already, a free block that was written to (when it is taken again): always. A double
//! free after the block was handed out again is a right free of somebody else's block; only the
//! checked mode can see it.

use crate::classes::PAGE;
use crate::ground;
use crate::lock::Rank;
use crate::span::{NO_CLASS, Span, State};
use millpond_sys::report::Report;

fn begin(operation: &str, address: usize) -> Report {
    let mut report = Report::new();
    report.str("millpond heap: ").str(operation).str(" of ").hex(address as u64).str(": ");
    report
}

fn class(report: &mut Report, span: &Span) {
    match span.class() {
        NO_CLASS => {
            report.str("an object of ").dec(span.bytes.get() as u64).str(" B with its own pages");
        }
        class => {
            let size = crate::classes::CLASSES[class].size;
            report.str("size class ").dec(class as u64).str(" (").dec(u64::from(size));
            report.str(" B)");
        }
    }
}

fn end(report: &mut Report) -> ! {
    report.str("\n").send();
    std::process::abort()
}

/// A pointer that no block begins at.
#[cold]
#[inline(never)]
pub fn not_a_block(operation: &str, address: usize) -> ! {
    let mut report = begin(operation, address);
    if !ground::is_ours(address) {
        report.str("expected a block of this heap, found a pointer from elsewhere (another ");
        report.str("allocator's, or a static or stack address)");
        end(&mut report);
    }
    match ground::span_around(address) {
        None => {
            report.str("expected a live block, found pages that are free: freed before, or never ");
            report.str("allocated");
        }
        Some(span) if matches!(span.state(), State::Large | State::Sampled) => {
            let start = span.start.get() as u64;
            class(&mut report, span);
            report.str(": expected its start ").hex(start).str(", found an address ");
            report.dec(address as u64 - start).str(" B into it");
        }
        Some(span) => {
            let size = span.geometry().size as usize;
            let offset = address - span.start.get();
            class(&mut report, span);
            if offset.is_multiple_of(size) && offset / size < span.geometry().blocks as usize {
                report.str(": expected a block in use, found one that is free: double free, or ");
                report.str("never allocated");
            } else {
                report.str(": expected the start of a block, found an address ");
                report.dec((offset % size) as u64).str(" B into the block at ");
                report.hex((address - offset % size) as u64);
            }
        }
    }
    end(&mut report)
}

/// A block that is in a free list.
#[cold]
#[inline(never)]
pub fn double_free(operation: &str, span: &Span, address: usize) -> ! {
    let mut report = begin(operation, address);
    class(&mut report, span);
    report.str(": expected a block in use, found one that is free: double free");
    end(&mut report)
}

/// A free block whose link cannot be decoded.
#[cold]
#[inline(never)]
pub fn corrupted(span: &Span, address: usize) -> ! {
    let mut report = begin("allocation", address);
    class(&mut report, span);
    // SAFETY: the block lies in the span, whose pages are mapped.
    let found = unsafe { *(address as *const u64) };
    report.str(": expected the link of a free block, found ").hex(found);
    report.str(": the block was written to after it was freed, or the one before it overflowed");
    end(&mut report)
}

/// More blocks have come back than were lent out.
#[cold]
#[inline(never)]
pub fn too_many_frees(span: &Span, found: u32, used: u32) -> ! {
    let mut report = begin("free", span.start.get());
    class(&mut report, span);
    report.str(": expected at most ").dec(u64::from(used)).str(" blocks back from other threads, ");
    report.str("found ").dec(u64::from(found)).str(": a double free by two threads");
    end(&mut report)
}

/// A layout that is not that of the block.
#[cold]
#[inline(never)]
pub fn wrong_size(operation: &str, span: &Span, address: usize, bytes: usize) -> ! {
    let mut report = begin(operation, address);
    class(&mut report, span);
    report.str(": expected a size that fits, found ").dec(bytes as u64).str(" B: the layout is ");
    report.str("not the one it was allocated with");
    end(&mut report)
}

/// A hook of the sampling has panicked, and the panic would leave the allocator.
#[cold]
#[inline(never)]
pub fn hook_panicked(address: usize) -> ! {
    let mut report = begin("sampling", address);
    report.str("expected the hook to return, found that it panicked");
    end(&mut report)
}

/// Pages in the wrong state.
#[cold]
#[inline(never)]
pub fn page_state(first_page: usize, found: u64, taking: bool) -> ! {
    let mut report =
        begin(if taking { "taking pages" } else { "freeing pages" }, first_page * PAGE);
    report.str("expected them ").str(if taking { "free" } else { "taken" });
    report.str(", found the others ").hex(found).str(": the heap's records are broken");
    end(&mut report)
}

/// Locks taken in the wrong order.
#[cold]
#[inline(never)]
pub fn lock_order(rank: Rank, held: u32) -> ! {
    let mut report = Report::new();
    report.str("millpond heap: lock of rank ").dec(u64::from(rank as u32));
    report.str(": expected none of that rank or a later one to be held, found the ranks in ");
    report.hex(u64::from(held));
    end(&mut report)
}

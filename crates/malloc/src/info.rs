//! Questions about the heap, answered in glibc's words from the balance sheet.
//!
//! | glibc's word | the sheet's |
//! |---|---|
//! | `arena` | everything that was obtained, without large objects |
//! | `hblks`, `hblkhd` | large objects, bytes of their pages |
//! | `uordblks` | in use, large objects included |
//! | `fordblks` | `arena + hblkhd - uordblks`: free, or not resident |
//! | `ordblks` | spans with a free block |
//! | `keepcost` | pages that are free and may be resident |
//!
//! `mallinfo` has these in `int`s: what does not fit is the greatest `int`, which is nearer to the truth than glibc's
//! wrapped numbers, and no reason to believe that the heap is small.
//!
//! Nothing here allocates: the caller may be looking for the reason why nothing can be allocated.

use libc::{FILE, c_int};
use millpond_heap::{Stats, stats};
use millpond_sys::report::Report;
use std::fmt::{self, Write};

fn words(stats: &Stats) -> libc::mallinfo2 {
    let large = stats.large_in_use + stats.large_rest;
    let in_use = stats.in_use();
    libc::mallinfo2 {
        arena: stats.obtained - large,
        ordblks: stats.classes.iter().filter(|class| class.cached + class.central > 0).count(),
        smblks: 0,
        hblks: stats.large_objects,
        hblkhd: large,
        usmblks: 0,
        fsmblks: 0,
        uordblks: in_use,
        fordblks: stats.obtained.saturating_sub(in_use),
        keepcost: stats.idle,
    }
}

/// glibc's `mallinfo2`.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> libc::mallinfo2 {
    words(&stats())
}

/// glibc's `mallinfo`.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> libc::mallinfo {
    let words = words(&stats());
    let int = |word: usize| c_int::try_from(word).unwrap_or(c_int::MAX);
    libc::mallinfo {
        arena: int(words.arena),
        ordblks: int(words.ordblks),
        smblks: 0,
        hblks: int(words.hblks),
        hblkhd: int(words.hblkhd),
        usmblks: 0,
        fsmblks: 0,
        uordblks: int(words.uordblks),
        fordblks: int(words.fordblks),
        keepcost: int(words.keepcost),
    }
}

/// glibc's `malloc_stats`: the balance sheet, to standard error.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    print_sheet();
}

/// Writes the balance sheet to standard error.
pub fn print_sheet() {
    struct Sheet(Report);
    impl Write for Sheet {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.str(text);
            Ok(())
        }
    }
    let mut sheet = Sheet(Report::new());
    // A `Report` takes everything.
    let _ = write!(sheet, "millpond {}", stats());
    sheet.0.send();
}

/// A stream of C, as a place to write to.
struct Stream(*mut FILE);

impl Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the caller of `malloc_info` gave a stream that is open.
        let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), self.0) };
        if written == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// glibc's `malloc_info`: the sheet as XML. The options must be 0.
///
/// # Safety
/// `stream` must be an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    match write_xml(&mut Stream(stream), &stats()) {
        Ok(()) => 0,
        // `errno` says why.
        Err(fmt::Error) => -1,
    }
}

fn write_xml(out: &mut Stream, stats: &Stats) -> fmt::Result {
    writeln!(out, "<malloc version=\"millpond-1\">")?;
    writeln!(out, "<sizes>")?;
    for class in stats.classes.iter().filter(|class| class.spans > 0) {
        writeln!(
            out,
            "<size bytes=\"{}\" spans=\"{}\" blocks=\"{}\" cached=\"{}\" central=\"{}\"/>",
            class.block_bytes, class.spans, class.blocks, class.cached, class.central
        )?;
    }
    writeln!(out, "</sizes>")?;
    let lines = [
        ("obtained", stats.obtained),
        ("in use", stats.in_use()),
        ("large", stats.large_in_use + stats.large_rest),
        ("idle", stats.idle + stats.moving),
        ("released", stats.released),
        ("records", stats.meta),
    ];
    for (name, bytes) in lines {
        writeln!(out, "<total type=\"{name}\" count=\"1\" size=\"{bytes}\"/>")?;
    }
    writeln!(out, "</malloc>")
}

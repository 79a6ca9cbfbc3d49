//! What is loaded into this process, as far as an unwinder asks: where code is, and its table of frames.
//!
//! A table is copied, not lent: a library may be unloaded at any moment after the loader's lock is let go,
//! and what was read of it then must not go with it. The copy lives as long as one look at stacks
//! takes. It begins at the index of the table (`.eh_frame_hdr`) and ends with the segment, because that is
//! where linkers put the table itself (`.eh_frame`), whose length nobody says.
//!
//! Rejected: `_Unwind_Find_FDE`, which gives an address in the table and lets go of the lock.

use std::ffi::c_void;
use std::ops::Range;

/// A segment that is longer than this has no table that anybody reads.
const MOST_BYTES: usize = 64 << 20;

/// The table of frames of one module, with the addresses that it is for.
#[derive(Debug, Clone)]
pub struct FrameTable {
    /// Addresses of the module's code.
    pub code: Range<usize>,
    /// Where `bytes` were.
    pub start: usize,
    /// The index and what follows it.
    pub bytes: Vec<u8>,
}

/// The tables of all modules of which `wanted` says that it needs them, by the addresses of their code.
///
/// `wanted` runs under the loader's lock: it must not load or unload anything.
///
/// ```
/// let tables = millpond_sys::modules::frame_tables(|_| true);
/// let here = millpond_sys::modules::unloads as fn() -> u64 as usize;
/// assert!(tables.iter().any(|table| table.code.contains(&here)));
/// ```
pub fn frame_tables(mut wanted: impl FnMut(&Range<usize>) -> bool) -> Vec<FrameTable> {
    let mut found = Found { tables: Vec::new(), wanted: &mut wanted };
    // SAFETY: the callback gets what is passed here, for the length of the call, and does not unwind: a panic in
    // `wanted` ends the process, as in every `extern "C"` function.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found.tables
}

/// How often a module was unloaded so far: what was known of addresses before may be wrong since.
pub fn unloads() -> u64 {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, to: *mut c_void) -> i32 {
        // SAFETY: the loader's description of a module, and the number below.
        unsafe { *to.cast::<u64>() = (*info).dlpi_subs };
        1
    }
    let mut number = 0u64;
    // SAFETY: the callback gets what is passed here, for the length of the call, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut number).cast()) };
    number
}

struct Found<'a> {
    tables: Vec<FrameTable>,
    wanted: &'a mut dyn FnMut(&Range<usize>) -> bool,
}

unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> i32 {
    // SAFETY: `frame_tables` lends its own record, and the loader its description of a module, whose headers
    // are an array of so many.
    let (found, info, headers) = unsafe {
        let info = &*info;
        let headers = match info.dlpi_phdr.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
        };
        (&mut *found.cast::<Found<'_>>(), info, headers)
    };
    let range = |header: &libc::Elf64_Phdr| {
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        start..start.saturating_add(header.p_memsz as usize)
    };
    let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let code = loaded().filter(|header| header.p_flags & libc::PF_X != 0).map(range);
    let code = code.reduce(|one, next| one.start.min(next.start)..one.end.max(next.end));
    let index = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME).map(range);
    let (Some(code), Some(index)) = (code, index) else { return 0 };
    let readable = loaded().filter(|header| header.p_flags & libc::PF_R != 0);
    let segment = readable.map(range).find(|segment| segment.contains(&index.start));
    let Some(bytes) = segment.map(|segment| segment.end - index.start) else { return 0 };
    if bytes <= MOST_BYTES && (found.wanted)(&code) {
        // SAFETY: a readable segment of a module that is not unloaded while the loader's lock is held, as it
        // is now. What is behind the index in it is data that nobody writes.
        let bytes = unsafe { std::slice::from_raw_parts(index.start as *const u8, bytes) };
        let table = FrameTable { code, start: index.start, bytes: bytes.to_vec() };
        found.tables.push(table);
    }
    0
}

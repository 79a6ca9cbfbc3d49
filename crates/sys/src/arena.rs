//! Memory for an allocator: the calls of [`crate::mem`] for code that must not allocate.
//!
//! An allocator obtains memory in the middle of an allocation. Whatever it calls may then neither
//! allocate nor take a lock that allocating code takes, so nothing here formats a message, opens a
//! file through `std`, or keeps state: an [`Arena`] is two numbers and a flag, and failure is
//! `false` or `None`. The walk: [`Arena::reserve`] takes addresses, [`Arena::open`] makes a part
//! usable where the kernel charges for it (`vm.overcommit_memory=2`), [`discard`] gives pages
//! back, [`Arena::renew`] undoes what [`relocate`] did to a mapping.
//!
//! Huge pages are refused for the range, as for stacks: with `always` the kernel would turn one
//! live page into 2 MiB, and what the allocator says about resident memory would not be true. Where
//! the allocator knows that it will fill 2 MiB, it asks for them ([`Arena::back`]): the range is open
//! to huge pages only while it is made resident, so the kernel never makes one by itself. A part of a
//! huge page that is discarded stays charged until the kernel is short of memory, though the process
//! no longer has it; whoever gives back a part breaks the page first ([`shatter`]).
//!
//! Rejected: [`crate::mem::Reservation`] for this as well. It reports in words, which allocates.
//! `MADV_COLLAPSE` for huge pages: it makes them of pages that were touched one by one, and does so
//! where the machine's owner has said `never`.

use rustix::fs::{Mode, OFlags};
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::ffi::{CStr, c_void};
use std::ops::Range;

/// Bytes of a huge page.
pub const HUGE_BYTES: usize = 2 << 20;

/// A range of addresses that nothing else in the process uses. Never unmapped by itself: what an
/// allocator lends out has no end that this type could know.
#[derive(Clone, Copy, Debug)]
pub struct Arena {
    start: usize,
    bytes: usize,
    /// The kernel charges for what is writable: nothing is, until [`Arena::open`].
    charged: bool,
}

impl Arena {
    /// Reserves `bytes` of address space aligned to `align_bytes`, a power of two of at least a
    /// page; `None` when the kernel refuses (`ulimit -v`).
    ///
    /// ```
    /// let arena = millpond_sys::arena::Arena::reserve(1 << 30, 1 << 20, c"example").unwrap();
    /// assert!(arena.open(arena.start()..arena.start() + 4096));
    /// ```
    pub fn reserve(bytes: usize, align_bytes: usize, name: &CStr) -> Option<Self> {
        let charged = overcommit_is_strict();
        let prot = if charged { ProtFlags::empty() } else { ProtFlags::READ | ProtFlags::WRITE };
        let padded = bytes.checked_add(align_bytes)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing
        // that exists.
        let raw = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), padded, prot, flags) }.ok()?;
        let raw = raw as usize;
        let start = raw.next_multiple_of(align_bytes);
        // SAFETY: both ranges are the unaligned ends of the mapping made above, which nobody
        // else knows of. A refusal leaves addresses mapped, nothing worse.
        unsafe {
            for (at, length) in [(raw, start - raw), (start + bytes, raw + align_bytes - start)] {
                if length > 0 {
                    let _ = mm::munmap(at as *mut c_void, length);
                }
            }
        }
        dress(start, bytes, name);
        Some(Self { start, bytes, charged })
    }

    /// Gives the addresses back.
    ///
    /// # Safety
    /// Nobody may use them any more, by way of a copy of this value either.
    pub unsafe fn give_up(self) {
        // SAFETY: the caller's promise. A refusal leaves addresses mapped, nothing worse.
        let _ = unsafe { mm::munmap(self.start as *mut c_void, self.bytes) };
    }

    /// First address.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether ranges have to be opened before they are used; [`Arena::open`] is free otherwise.
    pub fn must_open(&self) -> bool {
        self.charged
    }

    /// Makes a page-aligned part readable and writable; `false` when the kernel refuses the charge.
    ///
    /// # Panics
    /// If the part is none of this reservation.
    pub fn open(&self, range: Range<usize>) -> bool {
        self.expect_within(&range);
        if !self.charged || range.is_empty() {
            return true;
        }
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this reservation; making it accessible invalidates nothing.
        unsafe { mm::mprotect(range.start as *mut c_void, range.len(), flags) }.is_ok()
    }

    /// Safe callers pass whatever they like, and the kernel would do it to somebody else's memory.
    fn expect_within(&self, range: &Range<usize>) {
        let end = self.start + self.bytes;
        assert!(
            self.start <= range.start && range.start <= range.end && range.end <= end,
            "use {range:#x?} of an arena: expected a part of {:#x}..{end:#x}",
            self.start
        );
    }

    /// Makes a part resident that nobody has touched, with huge pages where the kernel has some, else
    /// with small ones. `false` when it cannot: some of the part may be resident then. The part must
    /// be whole in [`HUGE_BYTES`], opened, and the caller's alone.
    ///
    /// # Panics
    /// If the part is none of this reservation.
    ///
    /// ```
    /// use millpond_sys::arena::{Arena, HUGE_BYTES};
    ///
    /// let arena = Arena::reserve(HUGE_BYTES, HUGE_BYTES, c"example").unwrap();
    /// let part = arena.start()..arena.start() + HUGE_BYTES;
    /// assert!(arena.open(part.clone()));
    /// let is_resident = arena.back(part);
    /// # let _ = is_resident;
    /// ```
    pub fn back(&self, range: Range<usize>) -> bool {
        self.expect_within(&range);
        debug_assert!(
            range.start.is_multiple_of(HUGE_BYTES) && range.len().is_multiple_of(HUGE_BYTES)
        );
        let (at, bytes) = (range.start as *mut c_void, range.len());
        // SAFETY: none of these changes what memory holds; the range lies in this reservation. That
        // huge pages are refused again leaves those that are there, and the mapping in one piece.
        unsafe {
            let _ = mm::madvise(at, bytes, Advice::LinuxHugepage);
            let backed = mm::madvise(at, bytes, Advice::LinuxPopulateWrite);
            let _ = mm::madvise(at, bytes, Advice::LinuxNoHugepage);
            backed.is_ok()
        }
    }

    /// Maps a page-aligned part anew: it reads as zeros, and is one mapping with its neighbours
    /// again.
    ///
    /// # Safety
    /// Nobody may need the content, and the range must lie in this reservation and be opened.
    pub unsafe fn renew(&self, range: Range<usize>, name: &CStr) -> bool {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the caller's promise.
        let mapped =
            unsafe { mm::mmap_anonymous(range.start as *mut c_void, range.len(), prot, flags) };
        dress(range.start, range.len(), name);
        mapped.is_ok()
    }
}

/// No huge pages, and a name where the kernel can: refinements, so refusals are no errors.
fn dress(start: usize, bytes: usize, name: &CStr) {
    // SAFETY: neither call changes what memory holds, and the range was mapped by us.
    unsafe {
        let _ = mm::madvise(start as *mut c_void, bytes, Advice::LinuxNoHugepage);
        let what = libc::PR_SET_VMA_ANON_NAME;
        let name = name.as_ptr();
        crate::hooks::keep_errno(|| libc::prctl(libc::PR_SET_VMA, what, start, bytes, name));
    }
}

/// Gives the pages of a page-aligned range back; it reads as zeros afterwards. `false` when the
/// kernel refuses: the content may then still be there. Memory that is locked is unlocked.
///
/// # Safety
/// Nobody may need the content, and the range must be private anonymous memory.
pub unsafe fn discard(range: Range<usize>) -> bool {
    // A refusal may come in the middle of a `free`, which is to leave `errno` alone.
    // SAFETY: the caller's promise.
    crate::hooks::keep_errno(|| unsafe { crate::mem::discard(range) }).is_ok()
}

/// [`discard`] of many ranges, with few system calls where the kernel can. `false` when it refuses any.
///
/// # Safety
/// As [`discard`], for every range.
pub unsafe fn discard_all(ranges: &[Range<usize>]) -> bool {
    // SAFETY: the caller's promise. (`errno`: as in `discard`.)
    crate::hooks::keep_errno(|| unsafe { crate::mem::discard_batch(ranges) }).is_ok()
}

/// Which pages of 4 KiB are resident: one byte each, odd if it is. `false` when the kernel does not say.
/// The range must be mapped.
///
/// # Panics
/// If there is not a byte for each page.
///
/// ```
/// let arena = millpond_sys::arena::Arena::reserve(8192, 4096, c"example").unwrap();
/// let mut marks = [0; 2];
/// assert!(millpond_sys::arena::residency(arena.start()..arena.start() + 8192, &mut marks));
/// assert_eq!(marks, [0, 0]);
/// ```
pub fn residency(range: Range<usize>, marks: &mut [u8]) -> bool {
    assert!(
        marks.len() == range.len().div_ceil(4096),
        "ask which pages of {} B are resident: expected a mark for each, found {}",
        range.len(),
        marks.len()
    );
    let at = range.start as *mut c_void;
    // SAFETY: the kernel writes a byte for each page of the range, as many as there are.
    let ask = || unsafe { libc::mincore(at, range.len(), marks.as_mut_ptr()) };
    crate::hooks::keep_errno(ask) == 0
}

/// Makes small pages of the huge one that `page` is a part of, if it is: then a part of it can be given
/// back for good. `page` must be resident. A hint: the kernel may leave it as it is (`mlockall`, a part that
/// a device has pinned, a kernel before 5.4), and breaks it when it is short of memory.
///
/// It is the price of `MADV_COLD` for a part of a huge page: about 150 µs.
pub fn shatter(page: usize) {
    debug_assert!(page.is_multiple_of(4096));
    // SAFETY: says which page is wanted least, and changes nothing that a program can see.
    let _ = unsafe { mm::madvise(page as *mut c_void, 4096, Advice::LinuxCold) };
}

/// Moves the pages of `from` to `to` without copying; `from` stays mapped and reads as zeros
/// (`MREMAP_DONTUNMAP`, Linux 5.7). `false` when the kernel cannot: nothing has moved then.
///
/// # Safety
/// Both ranges must be page-aligned private anonymous memory of the caller's, of one length,
/// without overlap, and nobody may need the content of `to`.
pub unsafe fn relocate(from: Range<usize>, to: usize) -> bool {
    let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
    let (at, bytes) = (from.start as *mut c_void, from.len());
    // SAFETY: the caller's promise.
    unsafe { mm::mremap_fixed(at, bytes, bytes, flags, to as *mut c_void) }.is_ok()
}

/// Lets a page-aligned range be used, or fault at every access.
///
/// # Safety
/// The range must be the caller's, and whoever may still touch it must expect the fault.
pub unsafe fn protect(range: Range<usize>, accessible: bool) -> bool {
    let flags = match accessible {
        true => MprotectFlags::READ | MprotectFlags::WRITE,
        false => MprotectFlags::empty(),
    };
    // SAFETY: the caller's promise.
    unsafe { mm::mprotect(range.start as *mut c_void, range.len(), flags) }.is_ok()
}

/// Reads a small file into `buffer` and returns what was read; `None` if it cannot be read.
pub fn read_small<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut used = 0;
    while used < buffer.len() {
        match rustix::io::read(&file, &mut buffer[used..]) {
            Ok(0) => break,
            Ok(count) => used += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(&buffer[..used])
}

/// Whether `vm.overcommit_memory` is 2.
fn overcommit_is_strict() -> bool {
    let mut buffer = [0; 8];
    read_small(c"/proc/sys/vm/overcommit_memory", &mut buffer)
        .is_some_and(|text| text.starts_with(b"2"))
}

/// Bytes of addresses that this process may have mapped (`ulimit -v`); `None` if there is no limit.
pub fn address_limit_bytes() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// Bytes of memory that the machine has.
pub fn physical_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// The least memory limit of this process's cgroups, version 2 or 1, from its own group up to the
/// root; `None` if there is none. Allocates nothing.
pub fn cgroup_limit_bytes() -> Option<u64> {
    let mut buffer = [0; 4096];
    let text = read_small(c"/proc/self/cgroup", &mut buffer)?;
    let mut least: Option<u64> = None;
    for line in text.split(|&byte| byte == b'\n') {
        // "0::/path" (version 2) or "7:cpu,memory:/path" (version 1).
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let found = if controllers.is_empty() {
            walk_up(b"/sys/fs/cgroup", path, b"/memory.max")
        } else if controllers.split(|&byte| byte == b',').any(|name| name == b"memory") {
            walk_up(b"/sys/fs/cgroup/memory", path, b"/memory.limit_in_bytes")
        } else {
            None
        };
        least = [least, found].into_iter().flatten().min();
    }
    least
}

/// The least number in the files `root` + prefix of `path` + `file`.
fn walk_up(root: &[u8], path: &[u8], file: &[u8]) -> Option<u64> {
    let mut least = None;
    let mut path = path.strip_suffix(b"/").unwrap_or(path);
    loop {
        let mut name = [0u8; 4096];
        let mut used = 0;
        for part in [root, path, file] {
            let end = used + part.len();
            name.get_mut(used..end)?.copy_from_slice(part);
            used = end;
        }
        let mut buffer = [0; 32];
        let number = CStr::from_bytes_until_nul(&name)
            .ok()
            .and_then(|name| read_small(name, &mut buffer))
            .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok())
            // Version 1 says "no limit" as a number near the largest.
            .filter(|&bytes| bytes < 1 << 60);
        least = [least, number].into_iter().flatten().min();
        let Some(slash) = path.iter().rposition(|&byte| byte == b'/') else { return least };
        path = &path[..slash];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(at: usize) -> *mut u8 {
        at as *mut u8
    }

    #[test]
    fn pages_move_without_a_copy_and_the_old_place_reads_as_zeros() {
        let arena = Arena::reserve(1 << 20, 4096, c"test").unwrap();
        let (from, to) = (arena.start(), arena.start() + (1 << 19));
        assert!(arena.open(from..from + (1 << 20)));
        // SAFETY: the arena is the test's own.
        unsafe {
            byte(from).write_volatile(7);
            if relocate(from..from + 8192, to) {
                assert_eq!(byte(to).read_volatile(), 7);
                assert_eq!(byte(from).read_volatile(), 0);
            }
            assert!(arena.renew(to..to + 8192, c"test"));
            assert_eq!(byte(to).read_volatile(), 0);
        }
    }

    #[test]
    fn a_discarded_range_reads_as_zeros() {
        let arena = Arena::reserve(8192, 8192, c"test").unwrap();
        assert_eq!(arena.start() % 8192, 0);
        assert!(arena.open(arena.start()..arena.start() + 8192));
        // SAFETY: as above.
        unsafe {
            byte(arena.start()).write_volatile(7);
            assert!(discard(arena.start()..arena.start() + 4096));
            assert_eq!(byte(arena.start()).read_volatile(), 0);
        }
    }

    /// A number of `/proc/self/smaps` for the mapping that an address lies in, in KiB.
    fn of_mapping(address: usize, name: &str) -> usize {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(first), second) = (words.next(), words.next()) else { continue };
            if let Some((start, end)) = first.split_once('-')
                && let (Ok(start), Ok(end)) =
                    (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            {
                inside = (start..end).contains(&address);
            } else if inside && first == name {
                return second.unwrap().parse().unwrap();
            }
        }
        panic!("no {name} of {address:#x}");
    }

    #[test]
    fn a_part_that_is_backed_is_resident_reads_as_zeros_and_gives_back_every_page() {
        let arena = Arena::reserve(3 * HUGE_BYTES, HUGE_BYTES, c"test").unwrap();
        let (start, middle) = (arena.start(), arena.start() + HUGE_BYTES);
        assert!(arena.open(start..start + 3 * HUGE_BYTES));
        if !arena.back(middle..middle + HUGE_BYTES) {
            return println!("skipped: this kernel does not fill a range (5.14 does)");
        }
        assert_eq!(of_mapping(middle, "Rss:"), HUGE_BYTES >> 10);
        let length = of_mapping(middle, "Size:");
        assert!(length >= (3 * HUGE_BYTES) >> 10, "the mapping is in pieces, {length} KiB here");
        for page in (middle..middle + HUGE_BYTES).step_by(4096) {
            // SAFETY: the arena is the test's own.
            unsafe {
                assert_eq!(byte(page).read_volatile(), 0);
                // Of a huge page that is broken, the kernel (6.12) takes back what is all zeros.
                byte(page).write_volatile(7);
            }
        }
        // Somebody else may be holding the page just then.
        while of_mapping(middle, "AnonHugePages:") > 0 {
            shatter(middle);
        }
        // SAFETY: as above.
        unsafe {
            assert!(discard(middle..middle + 4096));
            assert_eq!(byte(middle + 4096).read_volatile(), 7);
        }
        assert_eq!(of_mapping(middle, "Rss:"), (HUGE_BYTES - 4096) >> 10);
    }

    #[test]
    fn a_part_of_somebody_else_s_is_refused_and_so_are_too_few_marks() {
        let arena = Arena::reserve(8192, 4096, c"test").unwrap();
        let (start, end) = (arena.start(), arena.start() + 8192);
        let refuses = |call: &dyn Fn() -> bool| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
        };
        assert!(refuses(&|| arena.open(start - 4096..end)));
        assert!(refuses(&|| arena.open(start..end + 4096)));
        assert!(refuses(&|| arena.back(start..end + 4096)));
        assert!(refuses(&|| residency(start..end, &mut [0; 1])));
        assert!(!refuses(&|| residency(start..end, &mut [0; 2])));
    }

    #[test]
    fn files_longer_than_the_buffer_are_cut() {
        let mut buffer = [0; 5];
        let text = read_small(c"/proc/self/stat", &mut buffer).unwrap();
        assert_eq!(text.len(), 5);
        assert!(read_small(c"/proc/no such file", &mut buffer).is_none());
    }

    #[test]
    fn a_limit_is_smaller_than_what_stands_for_none() {
        assert!(cgroup_limit_bytes().is_none_or(|bytes| bytes > 0 && bytes < 1 << 60));
        assert!(physical_bytes() > 1 << 20);
    }
}

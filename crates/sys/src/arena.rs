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
//! live page into 2 MiB, and what the allocator says about resident memory would not be true.
//!
//! Rejected: [`crate::mem::Reservation`] for this as well. It reports in words, which allocates.

use rustix::fs::{Mode, OFlags};
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use std::ffi::{CStr, c_void};
use std::ops::Range;

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
    pub fn open(&self, range: Range<usize>) -> bool {
        debug_assert!(range.start >= self.start && range.end <= self.start + self.bytes);
        if !self.charged || range.is_empty() {
            return true;
        }
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in this reservation; making it accessible invalidates nothing.
        unsafe { mm::mprotect(range.start as *mut c_void, range.len(), flags) }.is_ok()
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

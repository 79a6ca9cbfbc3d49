//! Huge reservations of address space, and giving their pages back.
//!
//! A [`Reservation`] owns a range of addresses for its whole life. Addresses are plentiful (128
//! TiB), pages are not: the range is mapped `MAP_NORESERVE`, so that it costs nothing until it is
//! touched, and [`discard`] makes a touched part cost nothing again.
//!
//! The walk down: [`Reservation::new`] maps (a little more than asked for, to align), names the
//! range where the kernel can, and asks for no huge pages: with transparent huge pages set to
//! `always` the kernel would turn 32 sparse stacks into one dense 2 MiB page.
//! [`Reservation::open`] makes a prefix usable. The walk back: [`discard`] or [`discard_batch`]
//! for pages, [`Reservation::renew`] for pages, page tables and split mappings at once, `Drop`
//! for the addresses.
//!
//! `vm.overcommit_memory=2`: there the kernel charges every writable private page in full and
//! ignores `MAP_NORESERVE`. The range is then mapped `PROT_NONE` (free of charge) and opened by
//! [`Reservation::open`] in steps of [`OPEN_STEP_BYTES`]; when the charge is refused, the error
//! names the sysctl. What was opened stays charged.
//!
//! Rejected: `MADV_FREE` for giving back. Resident size stays high until the kernel is short of
//! memory, and everything that governs by resident size is misled.

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::{CStr, c_void};
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much of a reservation is made writable at a time when the kernel charges for it.
pub const OPEN_STEP_BYTES: usize = 32 << 20;

/// Entries of one `process_madvise` call; the kernel takes at most 1024.
pub(crate) const BATCH: usize = 64;

/// "This thread's process" in the place of a pidfd (Linux 6.14). A real pidfd would be inherited
/// over `fork` and would then let the child discard its parent's memory.
const PIDFD_SELF: libc::c_int = -10000;

/// Bytes of a page.
///
/// ```
/// assert!(millpond_sys::mem::page_size().is_power_of_two());
/// ```
#[inline]
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// A range of addresses that nothing else in the process uses. Unmapped when dropped.
#[derive(Debug)]
pub struct Reservation {
    start: usize,
    bytes: usize,
    name: &'static CStr,
    /// Bytes from `start` that are readable and writable. Only grows; written with `opening`
    /// held, read by anyone.
    opened: AtomicUsize,
    /// Serialises growing `opened`.
    opening: Mutex<()>,
}

impl Reservation {
    /// Reserves `bytes` of address space, aligned to `align_bytes`, without huge pages.
    ///
    /// `name` shows in `/proc/self/maps` as `[anon:name]` where the kernel can do that.
    ///
    /// # Errors
    /// Whatever `mmap` says: `ENOMEM` when the address space is limited (`ulimit -v`).
    ///
    /// # Panics
    /// If `bytes` is not a multiple of the page size, or `align_bytes` not a power of two of at
    /// least a page.
    ///
    /// ```
    /// let range = millpond_sys::mem::Reservation::new(1 << 30, 2 << 20, c"example")?;
    /// range.open(4096)?;
    /// assert_eq!(range.start() % (2 << 20), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(bytes: usize, align_bytes: usize, name: &'static CStr) -> io::Result<Self> {
        let page = page_size();
        assert!(bytes > 0 && bytes.is_multiple_of(page), "reserve: {bytes} B is not whole pages");
        assert!(
            align_bytes.is_power_of_two() && align_bytes >= page,
            "reserve: alignment {align_bytes} is not a power of two of at least a page ({page})"
        );
        Self::map(bytes, align_bytes, name, overcommit_is_strict())
    }

    /// `charged`: the kernel charges for what is writable, so nothing is at first.
    fn map(
        bytes: usize,
        align_bytes: usize,
        name: &'static CStr,
        charged: bool,
    ) -> io::Result<Self> {
        let page = page_size();
        let prot = if charged { ProtFlags::empty() } else { ProtFlags::READ | ProtFlags::WRITE };
        let padded = bytes.checked_add(align_bytes - page).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing
        // that exists.
        let raw = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), padded, prot, flags)? };
        let raw = raw as usize;
        let start = raw.next_multiple_of(align_bytes);
        // SAFETY: both ranges are the unaligned ends of the mapping made above, which nobody
        // else knows of.
        unsafe {
            unmap(raw, start - raw);
            unmap(start + bytes, raw + padded - (start + bytes));
        }
        let opened = AtomicUsize::new(if charged { 0 } else { bytes });
        let this = Self { start, bytes, name, opened, opening: Mutex::new(()) };
        this.dress(start, bytes);
        Ok(this)
    }

    /// First address.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes from the start that can be used: everything, unless the kernel charges for it.
    pub fn opened_bytes(&self) -> usize {
        self.opened.load(Ordering::Acquire)
    }

    /// Makes at least the first `upto` bytes readable and writable. Free when they are already.
    ///
    /// # Errors
    /// `OutOfMemory` when the kernel refuses the charge; the message names the sysctl.
    ///
    /// # Panics
    /// If `upto` is beyond the end.
    pub fn open(&self, upto: usize) -> io::Result<()> {
        assert!(upto <= self.bytes, "open: {upto} B of a reservation of {} B", self.bytes);
        if upto <= self.opened_bytes() {
            return Ok(());
        }
        let _turn = self.opening.lock().unwrap_or_else(|poison| poison.into_inner());
        let opened = self.opened_bytes();
        if upto <= opened {
            return Ok(());
        }
        let target = upto.next_multiple_of(OPEN_STEP_BYTES).min(self.bytes);
        let mut result = Err(rustix::io::Errno::NOMEM);
        // A whole step, or just what is needed if that much is refused.
        for end in [target, upto] {
            let at = (self.start + opened) as *mut c_void;
            let flags = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the range lies in this reservation and was `PROT_NONE`: nobody can have
            // relied on it to fault, since it was never lent out.
            result = unsafe { mm::mprotect(at, end - opened, flags) };
            if result.is_ok() {
                self.opened.store(end, Ordering::Release);
                break;
            }
        }
        result.map_err(|errno| {
            let why = format!(
                "open {upto} B of the reservation {:?}: {errno}; vm.overcommit_memory is 2 and \
                 the commit limit is reached: set `sysctl vm.overcommit_memory=1` (or raise \
                 vm.overcommit_ratio)",
                self.name
            );
            io::Error::new(io::ErrorKind::OutOfMemory, why)
        })
    }

    /// Maps `range` anew: its pages, its page tables and any split into several mappings are gone
    /// and it reads as zeros. Works on kernels whose `MADV_DONTNEED` keeps page tables.
    ///
    /// # Safety
    /// Nobody may hold a reference into `range`, and it must be page-aligned, inside this
    /// reservation, and opened.
    pub unsafe fn renew(&self, range: Range<usize>) -> io::Result<()> {
        debug_assert!(range.start >= self.start && range.end <= self.start + self.bytes);
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the caller promises that the range is ours and that nobody looks into it.
        unsafe { mm::mmap_anonymous(range.start as *mut c_void, range.len(), prot, flags)? };
        self.dress(range.start, range.len());
        Ok(())
    }

    /// No huge pages, and a name: the same for the whole range, so that neighbours can merge.
    /// Both are refinements; a kernel without them is not an error.
    fn dress(&self, start: usize, bytes: usize) {
        // SAFETY: neither call changes what memory holds; the range was mapped by us.
        unsafe {
            let _ = mm::madvise(start as *mut c_void, bytes, Advice::LinuxNoHugepage);
            libc::prctl(
                libc::PR_SET_VMA,
                libc::PR_SET_VMA_ANON_NAME,
                start,
                bytes,
                self.name.as_ptr(),
            );
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: we own the range, and `&mut self` says that no borrow of it is left. Whoever
        // lends addresses of it out for longer must not drop it (the stack pool never does).
        unsafe { unmap(self.start, self.bytes) };
    }
}

/// Unmaps, tolerating the empty range.
///
/// # Safety
/// The range must be mapped by the caller and unused.
unsafe fn unmap(start: usize, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's promise. Failure (`ENOMEM` when a split would exceed
        // vm.max_map_count) leaves the range mapped: address space is lost, nothing else.
        let _ = unsafe { mm::munmap(start as *mut c_void, bytes) };
    }
}

/// Gives the pages of `range` back; it reads as zeros afterwards. Guards stay (but see
/// [`crate::guard`] on userfaultfd).
///
/// # Safety
/// Nobody may need the content, and the range must be page-aligned private anonymous memory.
///
/// # Errors
/// Whatever `madvise` says.
pub unsafe fn discard(range: Range<usize>) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise(range, libc::MADV_DONTNEED) }
}

/// [`discard`] of many ranges with one system call per 64 where the kernel can (Linux 6.14: it
/// must know `PIDFD_SELF`), else one by one.
///
/// # Safety
/// As [`discard`], for every range.
///
/// # Errors
/// Whatever `madvise` says for the first range that fails; the ones after it are still tried.
pub unsafe fn discard_batch(ranges: &[Range<usize>]) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise_batch(ranges, libc::MADV_DONTNEED) }
}

/// One advice over many ranges. What `process_madvise` leaves undone is done one by one.
///
/// # Safety
/// The advice must be right for every range.
pub(crate) unsafe fn advise_batch(ranges: &[Range<usize>], advice: i32) -> io::Result<()> {
    let mut outcome = Ok(());
    for batch in ranges.chunks(BATCH) {
        // SAFETY: the caller's promise.
        let done = if batch.len() > 1 { unsafe { process_madvise(batch, advice) } } else { 0 };
        for range in &batch[done..] {
            // SAFETY: the caller's promise.
            if let Err(error) = unsafe { advise(range.clone(), advice) } {
                outcome = outcome.and(Err(error));
            }
        }
    }
    outcome
}

/// `madvise` with an advice that `rustix` does not know: one that drops what the range holds.
/// Pages that somebody locked (`mlock` of a secret on a stack) are unlocked first: the kernel
/// refuses otherwise, and the lock was for a content that ends here.
///
/// # Safety
/// The advice must be right for the range.
pub(crate) unsafe fn advise(range: Range<usize>, advice: i32) -> io::Result<()> {
    let at = range.start as *mut c_void;
    // SAFETY: the caller's promise.
    let give_advice = || match unsafe { libc::madvise(at, range.len(), advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    give_advice().or_else(|error| {
        // SAFETY: unlocking changes no content.
        match unsafe { mm::munlock(at, range.len()) } {
            Ok(()) if error.kind() == io::ErrorKind::InvalidInput => give_advice(),
            _ => Err(error),
        }
    })
}

/// How many of `ranges` (from the first) were advised in one call; 0 where the kernel cannot.
///
/// # Safety
/// The advice must be right for every range.
pub(crate) unsafe fn process_madvise(ranges: &[Range<usize>], advice: i32) -> usize {
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    for (vector, range) in vectors.iter_mut().zip(ranges) {
        *vector = libc::iovec { iov_base: range.start as *mut c_void, iov_len: range.len() };
    }
    let count = ranges.len().min(BATCH);
    // SAFETY: the caller's promise; the vectors live for the call.
    let advised = unsafe {
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, vectors.as_ptr(), count, advice, 0)
    };
    // The kernel answers in bytes and may stop early: count only the ranges done completely.
    let mut left = usize::try_from(advised).unwrap_or(0);
    ranges
        .iter()
        .take_while(|range| {
            let whole = range.len() <= left;
            left = left.saturating_sub(range.len());
            whole
        })
        .count()
}

/// Mappings that one process may have (`vm.max_map_count`); the kernel's default if unreadable.
pub fn max_map_count() -> usize {
    read_number("/proc/sys/vm/max_map_count").unwrap_or(65530)
}

/// Whether `vm.overcommit_memory` is 2, where every writable private page is charged in full.
pub fn overcommit_is_strict() -> bool {
    read_number("/proc/sys/vm/overcommit_memory") == Some(2)
}

/// Mappings that this process has now. Reads `/proc/self/maps` whole: for start-up and tests.
pub fn map_count() -> io::Result<usize> {
    Ok(std::fs::read("/proc/self/maps")?.iter().filter(|&&byte| byte == b'\n').count())
}

fn read_number(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(at: usize, value: u8) {
        // SAFETY: tests pass addresses of reservations that they own and have opened.
        unsafe { (at as *mut u8).write_volatile(value) }
    }

    fn look(at: usize) -> u8 {
        // SAFETY: as `fill`.
        unsafe { (at as *const u8).read_volatile() }
    }

    #[test]
    fn a_reservation_is_aligned_and_reads_as_zeros() {
        let range = Reservation::new(64 << 20, 2 << 20, c"test").unwrap();
        range.open(64 << 20).unwrap();
        assert_eq!(range.start() % (2 << 20), 0);
        assert_eq!(look(range.start() + (64 << 20) - 1), 0);
    }

    #[test]
    fn discarding_forgets_the_content_of_each_range_and_of_nothing_else() {
        let page = page_size();
        let range = Reservation::new(16 * page, page, c"test").unwrap();
        range.open(16 * page).unwrap();
        let at = |n: usize| range.start() + n * page;
        (0..16).for_each(|n| fill(at(n), 7));
        let ranges: Vec<_> = (0..16).step_by(2).map(|n| at(n)..at(n + 1)).collect();
        // SAFETY: the range is the test's own.
        unsafe { discard_batch(&ranges) }.unwrap();
        (0..16).for_each(|n| assert_eq!(look(at(n)), if n % 2 == 0 { 0 } else { 7 }));
        // SAFETY: as above.
        unsafe { discard(at(1)..at(2)) }.unwrap();
        assert_eq!(look(at(1)), 0);
    }

    #[test]
    fn discarding_what_is_not_mapped_is_an_error_and_does_the_rest() {
        let page = page_size();
        let range = Reservation::new(8 * page, page, c"test").unwrap();
        range.open(8 * page).unwrap();
        let at = |n: usize| range.start() + n * page;
        fill(at(4), 7);
        // SAFETY: the first range is the kernel's half of the address space: refused.
        let refused = unsafe {
            discard_batch(&[usize::MAX - 2 * page + 1..usize::MAX - page + 1, at(4)..at(5)])
        };
        assert!(refused.is_err());
        assert_eq!(look(at(4)), 0);
    }

    #[test]
    fn renewing_heals_a_split_mapping() {
        let page = page_size();
        let range = Reservation::new(64 * page, page, c"test").unwrap();
        range.open(64 * page).unwrap();
        fill(range.start() + 3 * page, 7);
        // SAFETY: the range is the test's own.
        unsafe { range.renew(range.start() + 2 * page..range.start() + 6 * page) }.unwrap();
        assert_eq!(look(range.start() + 3 * page), 0);
    }

    #[test]
    fn where_the_kernel_charges_a_reservation_opens_in_steps() {
        let bytes = 2 * OPEN_STEP_BYTES + 4096;
        let range = Reservation::map(bytes, 2 << 20, c"test", true).unwrap();
        assert_eq!(range.opened_bytes(), 0);
        range.open(1).unwrap();
        assert_eq!(range.opened_bytes(), OPEN_STEP_BYTES);
        fill(range.start() + OPEN_STEP_BYTES - 1, 7);
        range.open(OPEN_STEP_BYTES).unwrap();
        assert_eq!(range.opened_bytes(), OPEN_STEP_BYTES);
        range.open(bytes).unwrap();
        assert_eq!(range.opened_bytes(), bytes);
        fill(range.start() + bytes - 1, 7);
        assert_eq!(look(range.start() + OPEN_STEP_BYTES - 1), 7);
    }

    #[test]
    #[should_panic(expected = "not whole pages")]
    fn an_odd_size_is_the_callers_mistake() {
        let _ = Reservation::new(1000, page_size(), c"test");
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(Reservation::new(1 << 60, page_size(), c"test").is_err());
    }
}

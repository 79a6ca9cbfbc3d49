//! Three ways to make a page fault when it is touched, each found by trying it.
//!
//! ```text
//! Install    MADV_GUARD_INSTALL   marker in the page table   no new mapping    Linux 6.13
//! Userfault  userfaultfd, WP      marker in the page table   no new mapping    Linux 6.4, if allowed
//! Mprotect   mprotect(PROT_NONE)  a mapping of its own       two per guard     every kernel
//! ```
//!
//! [`Guards`] is one of the three, ready for use. Setting and clearing take many pages at a time,
//! because a chunk of stacks is opened and closed as a whole.
//!
//! What each does when touched: `Install` and `Mprotect` raise `SIGSEGV`; `Userfault` raises
//! `SIGBUS` on a *write* and lets a read pass (a stack that overflows writes first: `call`
//! pushes, and Rust's stack probes store). What each survives: `MADV_DONTNEED` over the page
//! keeps `Install` and `Mprotect` and drops `Userfault`'s marker; `fork` keeps the first and the
//! last in the child and drops `Userfault`'s.
//!
//! Rejected: asking `uname`. Distributions backport, gVisor and seccomp profiles refuse.

use crate::mem::{self, Reservation};
use crate::uffd::Userfault;
use rustix::mm::{self as rmm, MprotectFlags};
use std::ffi::c_void;
use std::io;
use std::ops::Range;

const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

/// One way to guard pages, opened and tried.
#[derive(Debug)]
pub struct Guards(Kind);

#[derive(Debug)]
enum Kind {
    Install,
    Userfault(Userfault),
    Mprotect,
}

impl Guards {
    /// `MADV_GUARD_INSTALL`.
    ///
    /// # Errors
    /// If the kernel cannot (before Linux 6.13), or a sandbox refuses.
    pub fn install() -> io::Result<Self> {
        Self(Kind::Install).tried()
    }

    /// Write-protect markers of userfaultfd.
    ///
    /// # Errors
    /// If the kernel cannot (before Linux 6.4), or this process may not.
    pub fn userfault() -> io::Result<Self> {
        Self(Kind::Userfault(Userfault::new()?)).tried()
    }

    /// `mprotect`.
    ///
    /// # Errors
    /// If `mprotect` is refused: some sandbox, or no mapping is left.
    pub fn mprotect() -> io::Result<Self> {
        Self(Kind::Mprotect).tried()
    }

    /// Whether each guard costs two mappings of `vm.max_map_count`.
    pub fn splits_mappings(&self) -> bool {
        matches!(self.0, Kind::Mprotect)
    }

    /// Sets and clears a guard in a scratch range: the only honest question to a kernel.
    fn tried(self) -> io::Result<Self> {
        let page = mem::page_size();
        let scratch = Reservation::new(4 * page, page, c"millpond probe")?;
        scratch.open(4 * page)?;
        self.prepare(&scratch)?;
        let guard = scratch.start() + page..scratch.start() + 2 * page;
        // SAFETY: the scratch range is ours alone.
        unsafe {
            self.set(std::slice::from_ref(&guard))?;
            self.clear(scratch.start()..scratch.start() + 4 * page)?;
        }
        Ok(self)
    }

    /// Makes a fresh reservation ready to be guarded. Once, before anything in it is guarded.
    ///
    /// # Errors
    /// If userfaultfd refuses the range, or the first page cannot be opened.
    pub fn prepare(&self, range: &Reservation) -> io::Result<()> {
        match &self.0 {
            Kind::Install => Ok(()),
            Kind::Userfault(uffd) => uffd.register(range.start()..range.start() + range.bytes()),
            Kind::Mprotect => {
                // Mappings split from one that has been written share its anon_vma, and only
                // those can merge again when their guards are cleared.
                range.open(mem::page_size())?;
                // SAFETY: the reservation is fresh: nobody else looks into it, and its first
                // page was just opened.
                unsafe { (range.start() as *mut u8).write_volatile(0) };
                Ok(())
            }
        }
    }

    /// Guards each of `ranges`.
    ///
    /// # Safety
    /// The ranges must be page-aligned, lie in a prepared and opened reservation, and hold
    /// nothing that anyone needs.
    ///
    /// # Errors
    /// `OutOfMemory` when `mprotect` finds no mapping left. Some of the ranges may then be
    /// guarded: [`Self::clear`] them all.
    pub unsafe fn set(&self, ranges: &[Range<usize>]) -> io::Result<()> {
        match &self.0 {
            // SAFETY: the caller's promise.
            Kind::Install => unsafe { mem::advise_batch(ranges, MADV_GUARD_INSTALL) },
            Kind::Userfault(uffd) => ranges.iter().try_for_each(|range| {
                // SAFETY: the caller's promise.
                unsafe { uffd.protect(range.clone(), true) }
            }),
            Kind::Mprotect => ranges.iter().try_for_each(|range| {
                let at = range.start as *mut c_void;
                // SAFETY: the caller's promise.
                unsafe { rmm::mprotect(at, range.len(), MprotectFlags::empty()) }
                    .map_err(io::Error::from)
            }),
        }
    }

    /// Clears every guard in `range`; what lies between the guards is kept.
    ///
    /// # Safety
    /// Nobody may rely on the guards any more.
    ///
    /// # Errors
    /// Whatever the kernel says; some guards may then be left.
    pub unsafe fn clear(&self, range: Range<usize>) -> io::Result<()> {
        match &self.0 {
            // SAFETY: the caller's promise.
            Kind::Install => unsafe { mem::advise(range, MADV_GUARD_REMOVE) },
            // SAFETY: the caller's promise.
            Kind::Userfault(uffd) => unsafe { uffd.protect(range, false) },
            Kind::Mprotect => {
                let flags = MprotectFlags::READ | MprotectFlags::WRITE;
                let at = range.start as *mut c_void;
                // SAFETY: the caller's promise.
                unsafe { rmm::mprotect(at, range.len(), flags) }.map_err(io::Error::from)
            }
        }
    }

    /// Clears the guards of `range` and gives everything behind it back: pages, and page tables
    /// as far as the kernel can (all of them in `Mprotect`; with the others since Linux 6.14).
    ///
    /// # Safety
    /// As [`Self::clear`], and nobody may need the content.
    ///
    /// # Errors
    /// Whatever the kernel says; some guards and pages may then be left.
    pub unsafe fn close(&self, home: &Reservation, range: Range<usize>) -> io::Result<()> {
        match &self.0 {
            Kind::Install | Kind::Userfault(_) => {
                // SAFETY: the caller's promise.
                unsafe { self.clear(range.clone()).and_then(|()| mem::discard(range)) }
            }
            // SAFETY: the caller's promise.
            Kind::Mprotect => unsafe { home.renew(range) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercise(guards: &Guards) {
        let page = mem::page_size();
        let home = Reservation::new(512 * page, page, c"test").unwrap();
        home.open(512 * page).unwrap();
        guards.prepare(&home).unwrap();
        let at = |n: usize| home.start() + n * page;
        let ranges: Vec<_> = (0..512).step_by(16).map(|n| at(n)..at(n + 1)).collect();
        // SAFETY: the reservation is the test's own.
        unsafe {
            guards.set(&ranges).unwrap();
            (at(1) as *mut u8).write_volatile(7);
            guards.clear(at(0)..at(512)).unwrap();
            assert_eq!((at(1) as *const u8).read_volatile(), 7);
            (at(16) as *mut u8).write_volatile(7);
            guards.set(&ranges).unwrap();
            guards.close(&home, at(0)..at(512)).unwrap();
            assert_eq!((at(1) as *const u8).read_volatile(), 0);
            (at(16) as *mut u8).write_volatile(7);
        }
    }

    #[test]
    fn mprotect_guards_can_be_set_cleared_and_closed() {
        exercise(&Guards::mprotect().unwrap());
    }

    #[test]
    fn installed_guards_can_be_set_cleared_and_closed_where_the_kernel_has_them() {
        match Guards::install() {
            Ok(guards) => exercise(&guards),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
        }
    }

    #[test]
    fn userfault_guards_can_be_set_cleared_and_closed_where_allowed() {
        match Guards::userfault() {
            Ok(guards) => exercise(&guards),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }
}

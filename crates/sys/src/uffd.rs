//! The few calls of userfaultfd that guards and stacks at rest need, without an event loop.
//!
//! A page marked write-protected raises a fault that userfaultfd answers. With
//! `UFFD_FEATURE_SIGBUS` the answer is a `SIGBUS` to the thread that wrote, so nobody has to read
//! events, and with `UFFD_FEATURE_WP_UNPOPULATED` (Linux 6.4) a page can be marked that does not
//! exist yet: the marker lives in the page table and splits no mapping.
//!
//! Rejected: `UFFDIO_POISON` (6.6). It would stop reads too, but each hit is logged by the kernel
//! as a hardware memory error, which wakes operators at night.

use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::io;
use std::ops::Range;

const UFFD_API: u64 = 0xAA;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_COPY: libc::c_ulong = 0xc028_aa03;
const UFFDIO_WRITEPROTECT: libc::c_ulong = 0xc018_aa06;
const FEATURES: u64 = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_SIGBUS | FEATURE_WP_UNPOPULATED;
const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const FEATURE_SIGBUS: u64 = 1 << 7;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const REGISTER_MODE_WP: u64 = 1 << 1;
const WRITEPROTECT_MODE_WP: u64 = 1 << 0;
const UFFD_USER_MODE_ONLY: libc::c_int = 1;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    start: u64,
    len: u64,
    mode: u64,
}

#[repr(C)]
struct Copy {
    to: u64,
    from: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

/// A userfaultfd that turns writes to marked pages into `SIGBUS`.
#[derive(Debug)]
pub(crate) struct Userfault(OwnedFd);

impl Userfault {
    /// Opens one, with the right to see faults of system calls where the process has it.
    pub(crate) fn new() -> io::Result<Self> {
        // Without the right to see the kernel's own faults (vm.unprivileged_userfaultfd), a
        // system call that writes into a guard returns EFAULT all the same: user mode will do.
        let fd = open(0).or_else(|_| open(UFFD_USER_MODE_ONLY))?;
        let mut api = Api { api: UFFD_API, features: FEATURES, ioctls: 0 };
        // SAFETY: the request and the structure belong together.
        unsafe { control(&fd, UFFDIO_API, &raw mut api as usize)? };
        Ok(Self(fd))
    }

    /// Registers a range, so that pages in it can be marked. Changes no content.
    pub(crate) fn register(&self, range: Range<usize>) -> io::Result<()> {
        let mut register = Register {
            start: range.start as u64,
            len: range.len() as u64,
            mode: REGISTER_MODE_WP,
            ioctls: 0,
        };
        // SAFETY: the request and the structure belong together; registering marks nothing yet.
        unsafe { control(&self.0, UFFDIO_REGISTER, &raw mut register as usize) }
    }

    /// Puts a page with the content of `from` where none is, in one step: whoever touches it finds
    /// all of it or still faults. A marker in its place is overwritten, where the kernel allows.
    ///
    /// # Errors
    /// `EEXIST` if a page is there.
    ///
    /// # Safety
    /// The page at `to` must be the caller's to fill, in a range that was registered.
    pub(crate) unsafe fn copy(&self, to: usize, from: &[u8; 4096]) -> io::Result<()> {
        loop {
            let from = from.as_ptr() as u64;
            let mut copy = Copy { to: to as u64, from, len: 4096, mode: 0, copied: 0 };
            // SAFETY: the request and the structure belong together; the caller's promise.
            match unsafe { control(&self.0, UFFDIO_COPY, &raw mut copy as usize) } {
                // The mappings are changing: the kernel asks to come again.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                done => return done,
            }
        }
    }

    /// Marks (`on`) or unmarks the pages of a range that was registered.
    ///
    /// # Safety
    /// Nobody may be writing to the range.
    pub(crate) unsafe fn protect(&self, range: Range<usize>, on: bool) -> io::Result<()> {
        let mut wp = WriteProtect {
            start: range.start as u64,
            len: range.len() as u64,
            mode: if on { WRITEPROTECT_MODE_WP } else { 0 },
        };
        // SAFETY: the request and the structure belong together; the caller's promise.
        unsafe { control(&self.0, UFFDIO_WRITEPROTECT, &raw mut wp as usize) }
    }
}

fn open(extra: libc::c_int) -> io::Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | extra;
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// # Safety
/// `argument` must point at the structure that `request` takes.
unsafe fn control(fd: &OwnedFd, request: libc::c_ulong, argument: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Taking pages away from under other threads, and putting them back, so that nobody sees less.
//!
//! A thread that touches such a page meanwhile faults; it never reads zeros that were not there and
//! no write of its is lost. What the kernel offers, found by trying:
//!
//! ```text
//! taking away      protect Read  ─ content is copied out ─  protect None  ─ discard ─  mark
//! putting back     Copying   UFFDIO_COPY of each page over its mark
//!                  Closing   protect None ─ unmark ─ write through /proc/self/mem ─ protect Write
//! ```
//!
//! *Marks* say what faults while the content is away. With [`Marks::Guards`] a page that is away has a
//! guard marker (`MADV_GUARD_INSTALL`, Linux 6.13) and no mapping is split. With [`Marks::Closed`]
//! the range stays without access, which costs mappings only if its neighbours are not closed.
//!
//! `/proc/self/mem` writes where the process itself may not: that is what debuggers use it for. A
//! kernel may be told not to allow it (`proc_mem.force_override`), and then [`Road::closing`] says so.
//!
//! Everything that puts back is async-signal-safe: it runs in the handler of a fault. It needs whole
//! pages, and a signal stack has no room for one, so there are some for all threads (`Scratch`).
//!
//! *`fork`.* Descriptors of the parent would write into the parent's memory. A page that the kernel
//! wipes in the child says where we are; a child has one thread, from which nothing has to be hidden.
//!
//! Rejected: discarding and then copying back (a thread that comes between reads zeros, or its
//! writes are overwritten: measured, nearly all were lost); `mremap` of a filled page into place (the
//! mapping never merges again: one more of `vm.max_map_count` each time).

use crate::mem::{self, Reservation};
use crate::uffd::Userfault;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::mm::{self as rmm, MprotectFlags};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Bytes of a page. Stacks are refused on kernels with others.
pub const PAGE_BYTES: usize = 4096;

/// Words beside a page, for whoever fills it: a signal stack has little room. Nothing is said of what is in them
/// before.
pub type Notes = [u64; 32];

/// What fills pages, one after the other; each is all zeros before.
pub type Fill<'a> = dyn FnMut(&mut [u8; PAGE_BYTES], &mut Notes) + 'a;

/// Ranges that [`mark`] marks with one call.
pub const MOST_MARKED: usize = mem::BATCH;

const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;
const MADV_WIPEONFORK: i32 = 18;

/// What may be done to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: every access faults.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// What makes a page fault whose content is away. See the module documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// A guard marker in its place.
    Guards,
    /// The range has no access.
    Closed,
}

/// Sets what may be done to a range.
///
/// # Safety
/// The range must be page-aligned memory of the caller's, and whoever may touch it must expect the
/// fault.
///
/// # Errors
/// `ENOMEM` when a mapping would have to be split and none is left.
pub unsafe fn protect(range: Range<usize>, access: Access) -> io::Result<()> {
    let flags = match access {
        Access::None => MprotectFlags::empty(),
        Access::Read => MprotectFlags::READ,
        Access::Write => MprotectFlags::READ | MprotectFlags::WRITE,
    };
    // SAFETY: the caller's promise.
    unsafe { rmm::mprotect(range.start as *mut c_void, range.len(), flags)? };
    Ok(())
}

/// Gives pages back. Other than [`mem::discard`] it refuses what somebody has locked.
///
/// # Safety
/// Nobody may need the content.
///
/// # Errors
/// Whatever `madvise` says; some of the pages may then be gone.
pub unsafe fn discard(range: Range<usize>) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise(&range, libc::MADV_DONTNEED) }
}

/// Puts guard markers in the place of pages. Allocates nothing.
///
/// # Safety
/// Nobody may need the content.
///
/// # Errors
/// Whatever `madvise` says; some may then be marked.
pub unsafe fn mark(ranges: &[Range<usize>]) -> io::Result<()> {
    for batch in ranges.chunks(MOST_MARKED) {
        // SAFETY: the caller's promise.
        let done = match batch.len() {
            1 => 0,
            // SAFETY: as above.
            _ => unsafe { mem::process_madvise(batch, MADV_GUARD_INSTALL) },
        };
        for range in &batch[done..] {
            // SAFETY: the caller's promise.
            unsafe { advise(range, MADV_GUARD_INSTALL)? };
        }
    }
    Ok(())
}

/// Removes the guard markers of a range, those of stacks too.
///
/// # Safety
/// Nobody may rely on them, or have access.
///
/// # Errors
/// Whatever `madvise` says.
pub unsafe fn unmark(range: Range<usize>) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { advise(&range, MADV_GUARD_REMOVE) }
}

/// # Safety
/// The advice must be right for the range.
unsafe fn advise(range: &Range<usize>, advice: i32) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::madvise(range.start as *mut c_void, range.len(), advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One way to put content back, opened and tried.
#[derive(Debug)]
pub struct Road {
    kind: Kind,
    marks: Marks,
}

#[derive(Debug)]
enum Kind {
    Copying(Userfault),
    Closing(OwnedFd),
}

impl Road {
    /// `UFFDIO_COPY` over guard markers: one call for each page, no mapping is split.
    ///
    /// # Errors
    /// If this process may not have a userfaultfd, or the kernel does not copy over guards.
    pub fn copying() -> io::Result<Self> {
        Self { kind: Kind::Copying(Userfault::new()?), marks: Marks::Guards }.tried()
    }

    /// `/proc/self/mem`.
    ///
    /// # Errors
    /// If there is no `/proc`, if the kernel does not let it write where the process may not, or
    /// if it has no markers of the kind asked for.
    pub fn closing(marks: Marks) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(c"/proc/self/mem", flags, Mode::empty())?;
        Self { kind: Kind::Closing(fd), marks }.tried()
    }

    /// What makes pages fault here.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// `copy` or `closed`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Copying(_) => "copy",
            Kind::Closing(_) => "closed",
        }
    }

    /// Makes a fresh reservation ready. Once, before anything in it is away.
    ///
    /// # Errors
    /// If userfaultfd refuses the range.
    pub fn prepare(&self, home: &Reservation) -> io::Result<()> {
        match &self.kind {
            Kind::Copying(uffd) => uffd.register(home.start()..home.start() + home.bytes()),
            Kind::Closing(_) => Ok(()),
        }
    }

    /// Puts `pages` back, which are away and marked, and lets `whole` be used, the range around
    /// them. `fill` gives the content page after page, into zeros.
    ///
    /// # Safety
    /// The caller is the one who puts these pages back, and they are marked as [`Self::marks`] says.
    ///
    /// # Errors
    /// Whatever the kernel says; the pages may then be neither away nor back.
    pub unsafe fn put_back(
        &self,
        pages: Range<usize>,
        whole: Range<usize>,
        fill: &mut Fill<'_>,
    ) -> io::Result<()> {
        if let Kind::Copying(_) = self.kind
            && !is_forked_child()
        {
            // SAFETY: the caller's promise.
            return unsafe { self.put_content(pages, fill) };
        }
        let range = if self.marks == Marks::Guards { pages.clone() } else { whole };
        // SAFETY: the caller's promise: what is touched meanwhile faults as the mark did.
        unsafe {
            if self.marks == Marks::Guards {
                protect(range.clone(), Access::None)?;
            }
            self.put_content(pages, fill)?;
            protect(range, Access::Write)
        }
    }

    /// The content alone, where nobody has access or a marker is: pages that are there are written
    /// over, markers go.
    ///
    /// # Safety
    /// As [`Self::put_back`]; on the road that closes, nobody may have access to the pages.
    ///
    /// # Errors
    /// As [`Self::put_back`].
    pub unsafe fn put_content(&self, pages: Range<usize>, fill: &mut Fill<'_>) -> io::Result<()> {
        let mut scratch = Scratch::take();
        let child = is_forked_child();
        let unmark =
            self.marks == Marks::Guards && (child || matches!(self.kind, Kind::Closing(_)));
        if unmark {
            // SAFETY: the caller's promise.
            unsafe { advise(&pages, MADV_GUARD_REMOVE)? };
        }
        for page in pages.clone().step_by(PAGE_BYTES) {
            let (buffer, notes) = scratch.page();
            buffer.fill(0);
            fill(buffer, notes);
            if child {
                // SAFETY: the page is the caller's; the only other thread there could be is none.
                unsafe {
                    protect(page..page + PAGE_BYTES, Access::Write)?;
                    (page as *mut u8).copy_from_nonoverlapping(buffer.as_ptr(), PAGE_BYTES);
                }
                continue;
            }
            match &self.kind {
                // SAFETY: the caller's promise.
                Kind::Copying(uffd) => match unsafe { uffd.copy(page, buffer) } {
                    // It had not been taken away yet, so it holds what we would put there.
                    Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                    done => done?,
                },
                Kind::Closing(memory) => write_at(memory, page, buffer)?,
            }
        }
        Ok(())
    }

    /// Takes a page away and puts it back in a scratch range: the only honest question to a kernel.
    fn tried(self) -> io::Result<Self> {
        let home = Reservation::new(4 * PAGE_BYTES, PAGE_BYTES, c"millpond probe")?;
        home.open(4 * PAGE_BYTES)?;
        self.prepare(&home)?;
        child_marker();
        let whole = home.start()..home.start() + home.bytes();
        let page = home.start() + PAGE_BYTES..home.start() + 2 * PAGE_BYTES;
        let word = (page.start + 64) as *mut u64;
        // SAFETY: the scratch range is ours alone, and accessible where it is touched.
        let found = unsafe {
            word.write_volatile(1);
            protect(whole.clone(), Access::Read)?;
            protect(whole.clone(), Access::None)?;
            discard(whole.clone())?;
            if self.marks == Marks::Guards {
                mark(std::slice::from_ref(&page))?;
                protect(whole.clone(), Access::Write)?;
            }
            self.put_back(page.clone(), whole, &mut |buffer, _| buffer[64] = 7)?;
            word.read_volatile()
        };
        if found != 7 {
            let why = format!("put a page back: expected 7 in it, found {found}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        Ok(self)
    }
}

/// Writes a page that the process itself may not touch.
fn write_at(memory: &OwnedFd, at: usize, buffer: &[u8; PAGE_BYTES]) -> io::Result<()> {
    let mut done = 0;
    while done < PAGE_BYTES {
        match rustix::io::pwrite(memory, &buffer[done..], (at + done) as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How many threads put back at the same moment before one waits for another.
const PAGES: usize = 16;

/// In this order: pages are copied from and to page boundaries.
#[repr(C, align(4096))]
struct Room {
    page: [u8; PAGE_BYTES],
    notes: Notes,
}

struct Page(UnsafeCell<Room>);

// SAFETY: a page is touched by whoever holds its flag in `TAKEN` alone.
unsafe impl Sync for Page {}

static PAGES_FOR_ALL: [Page; PAGES] =
    [const { Page(UnsafeCell::new(Room { page: [0; PAGE_BYTES], notes: [0; 32] })) }; PAGES];

/// Atomic: set by who holds the page.
static TAKEN: [AtomicBool; PAGES] = [const { AtomicBool::new(false) }; PAGES];

/// The right to use one of the pages. Whoever holds one makes system calls and waits for nobody.
struct Scratch(usize);

impl Scratch {
    fn take() -> Self {
        loop {
            let free = TAKEN.iter().position(|taken| {
                taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
            });
            match free {
                Some(index) => return Self(index),
                None => pause(),
            }
        }
    }

    fn page(&mut self) -> (&mut [u8; PAGE_BYTES], &mut Notes) {
        // SAFETY: the flag is ours, so is the page.
        let room = unsafe { &mut *PAGES_FOR_ALL[self.0].0.get() };
        (&mut room.page, &mut room.notes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        TAKEN[self.0].store(false, Ordering::Release);
    }
}

/// Lets other threads run. Async-signal-safe.
pub fn pause() {
    rustix::thread::sched_yield();
}

/// A byte that is 1 here and 0 in a child of `fork`; `None` where the kernel cannot.
fn child_marker() -> Option<&'static AtomicU8> {
    static MARKER: OnceLock<Option<&'static AtomicU8>> = OnceLock::new();
    *MARKER.get_or_init(|| {
        let page = Box::leak(Box::new(Reservation::new(PAGE_BYTES, PAGE_BYTES, c"millpond").ok()?));
        page.open(PAGE_BYTES).ok()?;
        // SAFETY: a page of our own, never unmapped.
        unsafe { advise(&(page.start()..page.start() + PAGE_BYTES), MADV_WIPEONFORK).ok()? };
        // SAFETY: as above, and zero is a value of the type.
        let marker = unsafe { AtomicU8::from_ptr(page.start() as *mut u8) };
        marker.store(1, Ordering::Relaxed);
        Some(marker)
    })
}

/// Whether this is a child of `fork` of the process that opened the road.
fn is_forked_child() -> bool {
    child_marker().is_some_and(|marker| marker.load(Ordering::Relaxed) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roads() -> Vec<Road> {
        let all = [Road::copying(), Road::closing(Marks::Guards), Road::closing(Marks::Closed)];
        all.into_iter().flatten().collect()
    }

    #[test]
    fn the_road_that_needs_the_least_is_there() {
        assert!(Road::closing(Marks::Closed).is_ok());
    }

    #[test]
    fn pages_come_back_with_their_content_and_split_no_mapping() {
        for road in roads() {
            let home = Reservation::new(64 * PAGE_BYTES, PAGE_BYTES, c"test").unwrap();
            home.open(64 * PAGE_BYTES).unwrap();
            road.prepare(&home).unwrap();
            let whole = home.start()..home.start() + home.bytes();
            let at = |page: usize| home.start() + page * PAGE_BYTES;
            // SAFETY: the reservation is the test's own, and accessible where it is touched.
            unsafe {
                (at(9) as *mut u64).write_volatile(5);
                protect(whole.clone(), Access::None).unwrap();
                discard(whole.clone()).unwrap();
                if road.marks() == Marks::Guards {
                    mark(&[at(8)..at(10), at(20)..at(21)]).unwrap();
                    protect(whole.clone(), Access::Write).unwrap();
                }
                let mut next = 1;
                let mut fill = |page: &mut [u8; PAGE_BYTES], _: &mut Notes| {
                    page[PAGE_BYTES - 1] = next;
                    next += 1;
                };
                road.put_back(at(8)..at(10), whole.clone(), &mut fill).unwrap();
                assert_eq!(((at(9) - 1) as *const u8).read_volatile(), 1, "{road:?}");
                assert_eq!(((at(10) - 1) as *const u8).read_volatile(), 2, "{road:?}");
                assert_eq!((at(9) as *const u64).read_volatile(), 0, "{road:?}");
            }
        }
    }
}

//! Events of descriptors: an epoll instance, a bell that wakes its waiter, and poll(2) for one.
//!
//! Three things, each a thin face on the kernel:
//! - [`Epoll`] and [`Events`]: register a descriptor once with a 64-bit key, then collect keys and
//!   readiness in batches. A poller (one per M, in `rt`) is built on it.
//! - [`Notifier`]: an eventfd. Registered edge-triggered, each [`Notifier::notify`] is a new edge,
//!   so that a wake-up costs one write and the waiter never has to read the counter back. It could
//!   only block after 2^64 - 2 writes.
//! - [`wait_one`]: poll(2) on one descriptor and one bell, for plain threads, which have no poller.
//!
//! Time limits have nanosecond precision where the kernel has `epoll_pwait2` (Linux 5.11) and the
//! sandbox lets it through; that is found by calling it, once. Elsewhere the limit is rounded *up*
//! to a millisecond, so that a timer never fires early and a short one does not spin.
//!
//! Rejected: a timerfd per poller for precision (two more system calls for each change of the next
//! timer), and a pipe instead of an eventfd (two descriptors, and it fills).

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a descriptor is registered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Both directions of a socket or pipe, edge-triggered: each change is reported once.
    Edges,
    /// The reading direction of a socket or pipe, edge-triggered. An error or a hang-up is reported
    /// to both.
    ReadEdges,
    /// A bell or another descriptor that is only read, edge-triggered.
    EdgeRead,
    /// Reported for as long as it can be read.
    LevelRead,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        use epoll::EventFlags as E;
        match self {
            Self::Edges => E::IN | E::OUT | E::RDHUP | E::PRI | E::ET,
            Self::ReadEdges => E::IN | E::RDHUP | E::PRI | E::ET,
            Self::EdgeRead => E::IN | E::ET,
            Self::LevelRead => E::IN,
        }
    }
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready(epoll::EventFlags);

impl Ready {
    /// A read would not block (it may return data, the end, or an error).
    #[inline]
    pub fn readable(self) -> bool {
        use epoll::EventFlags as E;
        self.0.intersects(E::IN | E::PRI | E::RDHUP | E::HUP | E::ERR)
    }

    /// A write would not block (it may fail).
    #[inline]
    pub fn writable(self) -> bool {
        use epoll::EventFlags as E;
        self.0.intersects(E::OUT | E::HUP | E::ERR)
    }

    /// Something is in the stream that does not announce itself by a new edge once the data before
    /// it has been read: its end, an error, or an urgent mark.
    #[inline]
    pub fn beyond_data(self) -> bool {
        use epoll::EventFlags as E;
        self.0.intersects(E::PRI | E::RDHUP | E::HUP | E::ERR)
    }
}

/// A batch of events, reused from wait to wait.
pub struct Events {
    buffer: Vec<epoll::Event>,
    /// How many slots one wait may fill.
    slots: usize,
}

// SAFETY: an event is not `Send` because its data may be a pointer; only this module fills the
// buffer, from instances of `Epoll`, and those register numbers only.
unsafe impl Send for Events {}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("len", &self.buffer.len())
            .field("slots", &self.slots)
            .finish()
    }
}

impl Events {
    /// Room for `slots` events per wait.
    ///
    /// # Panics
    /// If `slots` is 0: the kernel refuses such a wait.
    pub fn with_slots(slots: usize) -> Self {
        assert!(slots > 0, "Events::with_slots: at least one slot is needed");
        Self { buffer: Vec::with_capacity(slots), slots }
    }

    /// The events of the last wait: key and readiness.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Ready)> + '_ {
        self.buffer.iter().map(|event| (event.data.u64(), Ready(event.flags)))
    }

    /// Whether the last wait filled every slot, so that there may be more.
    pub fn is_full(&self) -> bool {
        self.buffer.len() == self.slots
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new instance, closed on exec.
    ///
    /// # Errors
    /// The process or the system has no descriptor left, or the user no epoll instance.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Registers `fd` under `key`.
    ///
    /// # Errors
    /// `AlreadyExists` if it is registered; `EPERM` for a regular file; `ENOSPC` over the user's
    /// limit on watches; `ELOOP` if `fd` is an epoll instance that (indirectly) watches this one.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(key), interest.flags())?)
    }

    /// Changes key and interest of `fd`, and reports its present readiness anew.
    ///
    /// # Errors
    /// `NotFound` if it is not registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, epoll::EventData::new_u64(key), interest.flags())?)
    }

    /// Removes `fd`. Events that another thread has already collected are still with that thread.
    ///
    /// # Errors
    /// `NotFound` if it is not registered.
    pub fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits for events, at most `timeout` (for ever if `None`; not at all if zero), and returns
    /// how many there are in `events`. Blocks the thread.
    ///
    /// # Errors
    /// `Interrupted` if a signal arrived first.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        static PRECISE: AtomicBool = AtomicBool::new(true);
        events.buffer.clear();
        let limit = match timeout {
            None => None,
            Some(left) if left.is_zero() => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            Some(left) => {
                if PRECISE.load(Ordering::Relaxed) {
                    match self.wait_precise(events, left) {
                        Err(Errno::NOSYS | Errno::PERM) => PRECISE.store(false, Ordering::Relaxed),
                        result => return Ok(result?),
                    }
                }
                Some(whole_millis(left))
            }
        };
        let spare = rustix::buffer::spare_capacity(&mut events.buffer);
        Ok(epoll::wait(&self.fd, spare, limit.as_ref())?)
    }

    fn wait_precise(&self, events: &mut Events, left: Duration) -> Result<usize, Errno> {
        let limit = timespec(left);
        let slots = events.buffer.capacity().min(i32::MAX as usize);
        // SAFETY: `buffer` is empty and has room for `slots` events, so the kernel writes within
        // its allocation; `rustix::event::epoll::Event` has the kernel's layout; `limit` lives
        // through the call; no signal mask is passed. The length is set to what the kernel filled.
        unsafe {
            let filled = libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.buffer.as_mut_ptr(),
                slots as libc::c_int,
                &raw const limit,
                std::ptr::null::<libc::sigset_t>(),
                size_of::<u64>(),
            );
            if filled < 0 {
                let error = io::Error::last_os_error();
                return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
            }
            events.buffer.set_len(filled as usize);
            Ok(filled as usize)
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A hundred years: beyond it the kernel's arithmetic need not hold.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

fn timespec(left: Duration) -> Timespec {
    let left = left.min(LONGEST);
    Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
}

/// `left` rounded up to a millisecond, and small enough for `epoll_wait`'s `int`. A longer wait
/// ends early; its caller looks at the clock in any case.
fn whole_millis(left: Duration) -> Timespec {
    let millis = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as u64;
    timespec(Duration::from_millis(millis))
}

/// A bell: an eventfd that ends another thread's wait.
#[derive(Debug)]
pub struct Notifier {
    fd: OwnedFd,
}

impl Notifier {
    /// A new bell, not rung.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Rings. Never blocks; may be called from any thread and from a signal handler.
    pub fn notify(&self) {
        // Fails only when the counter is at its end, and then the bell is ringing anyway.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Silences the bell; whether it had been rung. Needed only where it is watched by level.
    pub fn drain(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The direction that [`wait_one`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Readable, or at its end, or failed.
    Read,
    /// Writable, or failed.
    Write,
}

impl Side {
    fn flags(self) -> PollFlags {
        match self {
            Self::Read => PollFlags::IN | PollFlags::RDHUP,
            Self::Write => PollFlags::OUT,
        }
    }
}

/// Blocks the thread until `fd` is ready, `bell` rings, or `timeout` has passed (never, if
/// `None`). Whether `fd` is ready; `false` for the other two. The bell is silenced.
///
/// # Errors
/// `Interrupted` if a signal arrived first.
pub fn wait_one(
    fd: BorrowedFd<'_>,
    side: Side,
    bell: &Notifier,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let limit = timeout.map(timespec);
    let mut fds = [PollFd::from_borrowed_fd(fd, side.flags()), PollFd::new(bell, PollFlags::IN)];
    poll(&mut fds, limit.as_ref())?;
    let (ready, rung) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
    if rung {
        bell.drain();
    }
    Ok(ready)
}

/// Whether `fd` is ready now. Does not wait.
///
/// # Errors
/// Those of poll(2): none that a caller with an open descriptor meets.
pub fn is_ready(fd: BorrowedFd<'_>, side: Side) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, side.flags())];
    Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn each_ring_is_an_edge_that_needs_no_read() {
        let (epoll, bell) = (Epoll::new().unwrap(), Notifier::new().unwrap());
        epoll.add(bell.as_fd(), 7, Interest::EdgeRead).unwrap();
        let mut events = Events::with_slots(4);
        for _ in 0..3 {
            bell.notify();
            assert_eq!(epoll.wait(&mut events, None).unwrap(), 1);
            assert_eq!(events.iter().next().unwrap().0, 7);
            assert_eq!(epoll.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        }
    }

    #[test]
    fn both_ways_of_waiting_keep_the_whole_time_limit() {
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_slots(4);
        let limit = Duration::from_micros(1_300);
        let start = Instant::now();
        assert_eq!(epoll.wait(&mut events, Some(limit)).unwrap(), 0);
        assert!(start.elapsed() >= limit);
        assert_eq!(whole_millis(limit), timespec(Duration::from_millis(2)));
        assert_eq!(whole_millis(Duration::MAX), timespec(Duration::from_millis(i32::MAX as u64)));
    }

    #[test]
    fn add_modify_delete_and_their_errors() {
        let epoll = Epoll::new().unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        let mut events = Events::with_slots(4);
        epoll.add(a.as_fd(), 1, Interest::Edges).unwrap();
        let again = epoll.add(a.as_fd(), 1, Interest::Edges).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        b.write_all(b"x").unwrap();
        epoll.modify(a.as_fd(), 2, Interest::LevelRead).unwrap();
        for _ in 0..2 {
            assert_eq!(epoll.wait(&mut events, None).unwrap(), 1);
            let (key, ready) = events.iter().next().unwrap();
            assert!(key == 2 && ready.readable() && !ready.writable() && !ready.beyond_data());
        }
        epoll.delete(a.as_fd()).unwrap();
        assert_eq!(epoll.delete(a.as_fd()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let own = epoll.add(epoll.as_fd(), 3, Interest::LevelRead).unwrap_err();
        assert_eq!(own.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn wait_one_tells_data_from_the_bell_and_from_time() {
        let bell = Notifier::new().unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        let short = Some(Duration::from_millis(1));
        assert!(!wait_one(a.as_fd(), Side::Read, &bell, short).unwrap());
        bell.notify();
        assert!(!wait_one(a.as_fd(), Side::Read, &bell, None).unwrap());
        assert!(!bell.drain(), "silenced by the wait");
        assert!(!is_ready(a.as_fd(), Side::Read).unwrap());
        b.write_all(b"x").unwrap();
        assert!(wait_one(a.as_fd(), Side::Read, &bell, None).unwrap());
        assert!(is_ready(a.as_fd(), Side::Read).unwrap());
        assert!(wait_one(a.as_fd(), Side::Write, &bell, None).unwrap());
    }
}

//! Threads of this process as the kernel sees them, its memory, its CPUs.
//!
//! sysmon must know whether a thread computes or sleeps in the kernel, since only the second
//! gives its processor up. No protocol in user space can tell (a foreign library blocks without
//! saying so), and `/proc/self/task/TID/stat` does. [`ThreadState`] keeps that file open: one
//! `pread`, no path walk, and no confusion when the kernel gives the number to another thread,
//! because an open file stays with the thread that it was opened for.
//!
//! `VmRSS` alone flatters a runtime that spreads stacks over terabytes: page tables are memory as
//! well, so [`memory`] returns both.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use std::io;

/// The kernel's number of the calling thread.
///
/// ```
/// let here = millpond_sys::task::thread_id();
/// assert_ne!(std::thread::spawn(millpond_sys::task::thread_id).join().unwrap(), here);
/// ```
pub fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// What a thread does, by the letter in its `stat` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Runs, or could if a CPU were free (`R`).
    Running,
    /// Waits in the kernel and can be interrupted (`S`), the state of a blocking call.
    Sleeping,
    /// Waits for a device (`D`).
    DiskSleep,
    /// Stopped by a signal or a debugger (`T`, `t`).
    Stopped,
    /// Has ended and waits to be collected (`Z`, `X`).
    Dead,
    /// A letter that this version does not know.
    Other(u8),
}

impl State {
    /// Whether the thread uses, or asks for, a CPU.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running)
    }

    fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' | b'I' => Self::Sleeping,
            b'D' => Self::DiskSleep,
            b'T' | b't' => Self::Stopped,
            b'Z' | b'X' | b'x' => Self::Dead,
            other => Self::Other(other),
        }
    }
}

/// An open view of one thread of this process.
#[derive(Debug)]
pub struct ThreadState {
    tid: i32,
    stat: OwnedFd,
    /// `None` where the kernel has no such file.
    schedstat: Option<OwnedFd>,
}

impl ThreadState {
    /// Opens the view of thread `tid` of this process. Costs two descriptors.
    ///
    /// # Errors
    /// `NotFound` if this process has no such thread; out of descriptors; `/proc` not mounted.
    ///
    /// ```
    /// use millpond_sys::task::{State, ThreadState, thread_id};
    /// let me = ThreadState::open(thread_id())?;
    /// assert_eq!(me.read(), Some(State::Running));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(tid: i32) -> io::Result<Self> {
        let file = |name: &str| {
            let path = format!("/proc/self/task/{tid}/{name}");
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self { tid, stat: file("stat")?, schedstat: file("schedstat").ok() })
    }

    /// The thread that it was opened for.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// What the thread does now; `None` when it is gone. One system call.
    pub fn read(&self) -> Option<State> {
        // "1234 (name of up to 15 bytes) S ...": the letter is within the first 40 bytes. A name
        // may hold parentheses, the fields after it cannot.
        let mut line = [0u8; 64];
        let count = rustix::io::pread(&self.stat, &mut line, 0).ok()?;
        let close = line[..count].iter().rposition(|&byte| byte == b')')?;
        line[..count].get(close + 2).map(|&letter| State::from_letter(letter))
    }

    /// For how long the thread has run on a CPU so far, in nanoseconds; `None` where the kernel
    /// does not say. Of a thread that sleeps it stands still: the same figure twice is the same
    /// sleep. One system call.
    pub fn run_ns(&self) -> Option<u64> {
        let mut line = [0u8; 64];
        let count = rustix::io::pread(self.schedstat.as_ref()?, &mut line, 0).ok()?;
        std::str::from_utf8(&line[..count]).ok()?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Whether the thread, which sleeps, does so for want of memory: in a page fault, or in a call
    /// that changes mappings. Such a thread waits for others of its process that do the same, or
    /// for the kernel to find a page. "No" where the kernel does not say. Three system calls.
    pub fn sleeps_for_memory(&self) -> bool {
        let path = format!("/proc/self/task/{}/syscall", self.tid);
        std::fs::read_to_string(path).is_ok_and(|line| is_about_memory(&line))
    }
}

/// Reads a line of `/proc/PID/syscall`: the number of the call that the thread sleeps in and its
/// arguments; -1 when it sleeps in the kernel without having called, which is a fault.
fn is_about_memory(line: &str) -> bool {
    const CALLS: [libc::c_long; 7] = [
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_process_madvise,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_brk,
    ];
    let call = line.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
    call.is_some_and(|call: libc::c_long| call == -1 || CALLS.contains(&call))
}

/// Threads that this process has now. Reads `/proc/self/stat`.
///
/// # Errors
/// `/proc` not mounted, or in a form that is not understood.
pub fn thread_count() -> io::Result<usize> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // The state is field 3 of proc(5) and the first after the name; the threads are field 20.
    fields
        .split_ascii_whitespace()
        .nth(17)
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/stat: expected a thread count in field 20"))
}

/// As [`thread_count`], without the quiet ones ([`crate::hooks::start_quiet_thread`]): those that could
/// wake somebody.
///
/// # Errors
/// As [`thread_count`].
pub fn waking_thread_count() -> io::Result<usize> {
    // In this order: a quiet thread that starts in between is counted, and not taken off.
    let quiet = crate::hooks::quiet_threads();
    Ok(thread_count()?.saturating_sub(quiet))
}

/// CPUs that this process may use at once: affinity and the quotas of cgroup v1 and v2, whichever
/// is least. At least 1.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What this process costs, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages in bytes (`VmRSS`).
    pub rss_bytes: u64,
    /// Page tables in bytes (`VmPTE`).
    pub page_table_bytes: u64,
}

impl Memory {
    /// Both together: what the process would give back if it ended.
    pub fn total_bytes(self) -> u64 {
        self.rss_bytes + self.page_table_bytes
    }
}

/// Reads this process's memory from `/proc/self/status`.
///
/// # Errors
/// `/proc` not mounted, or a line is missing.
///
/// ```
/// assert!(millpond_sys::task::memory()?.rss_bytes > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn memory() -> io::Result<Memory> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = |name: &str| {
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other(format!("/proc/self/status: expected a line {name}")))
    };
    Ok(Memory { rss_bytes: line("VmRSS:")?, page_table_bytes: line("VmPTE:")? })
}

/// Names the calling thread, as `top -H` and debuggers show it; cut to 15 bytes.
pub fn set_thread_name(name: &str) {
    let mut bytes = [0u8; 16];
    let kept = name.bytes().filter(|&byte| byte != 0).take(15);
    bytes.iter_mut().zip(kept).for_each(|(slot, byte)| *slot = byte);
    if let Ok(name) = std::ffi::CStr::from_bytes_until_nul(&bytes) {
        // The call cannot fail for a name of at most 16 bytes; a name is a nicety anyway.
        let _ = rustix::thread::set_name(name);
    }
}

/// Raises the soft limit of open descriptors to the hard one and returns what it is then.
///
/// # Errors
/// Whatever the kernel says; the limit is then as before.
pub fn raise_nofile_limit() -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_blocked_thread_sleeps_and_an_ended_one_is_gone() {
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            set_thread_name("odd ) name (");
            tell.send(thread_id()).unwrap();
            let _ = released.recv();
        });
        let view = ThreadState::open(told.recv().unwrap()).unwrap();
        while view.read() != Some(State::Sleeping) {
            std::thread::yield_now();
        }
        assert!(thread_count().unwrap() >= 2);
        assert_eq!(view.run_ns(), view.run_ns(), "one sleep");
        assert!(!view.sleeps_for_memory(), "it waits for a channel");
        drop(release);
        thread.join().unwrap();
        // `join` returns when the thread has cleared its number, just before it is reaped.
        while !matches!(view.read(), None | Some(State::Dead)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_computing_thread_runs() {
        assert!(ThreadState::open(thread_id()).unwrap().read().unwrap().is_running());
    }

    #[test]
    fn what_a_thread_has_run_grows_while_it_computes() {
        let view = ThreadState::open(thread_id()).unwrap();
        let Some(before) = view.run_ns() else { return };
        while view.run_ns().unwrap() <= before {}
    }

    #[test]
    fn a_fault_and_a_change_of_mappings_are_about_memory_and_a_futex_is_not() {
        assert!(is_about_memory("-1 0x7fff61b72988 0x7f20789db2ad"));
        let line = |call| format!("{call} 0x1 0x2 0x3 0x4 0x5 0x6 0x7fff61b72988 0x7f20789db2ad");
        assert!(is_about_memory(&line(libc::SYS_mprotect)));
        assert!(!is_about_memory(&line(libc::SYS_futex)));
        assert!(!is_about_memory("running") && !is_about_memory(""));
    }

    #[test]
    fn a_thread_that_is_not_ours_is_not_found() {
        assert_eq!(ThreadState::open(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn usable_cpus_follow_affinity() {
        let counted = std::thread::spawn(|| {
            let before = rustix::thread::sched_getaffinity(None).unwrap();
            let first = (0..1024).find(|&cpu| before.is_set(cpu)).unwrap();
            let mut one = rustix::thread::CpuSet::new();
            one.set(first);
            // Affinity belongs to the thread, and this one ends with the test.
            rustix::thread::sched_setaffinity(None, &one).unwrap();
            usable_cpus()
        });
        assert_eq!(counted.join().unwrap(), 1);
        assert!(usable_cpus() >= 1);
    }

    #[test]
    fn touched_memory_is_counted() {
        let before = memory().unwrap();
        let block = vec![1u8; 64 << 20];
        let after = memory().unwrap();
        std::hint::black_box(&block);
        assert!(after.rss_bytes > before.rss_bytes + (32 << 20), "{before:?} {after:?}");
        assert!(after.total_bytes() > after.rss_bytes);
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_the_hard_one() {
        let limit = raise_nofile_limit().unwrap();
        assert_eq!(
            Some(limit),
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current
        );
    }
}

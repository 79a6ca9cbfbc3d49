//! Monotonic time as one number of nanoseconds, and the processor time of a thread.
//!
//! The runtime compares, subtracts and stores times by the million (timer heap, run queues, wait
//! records), so it wants eight plain bytes and not `std::time::Instant`'s sixteen. The clock is
//! `CLOCK_MONOTONIC`, read through the vDSO: about 20 ns, no system call.
//!
//! Rejected: the time stamp counter directly. It saves some nanoseconds and costs calibration,
//! and it is wrong on the virtual machines where services run.
//!
//! Processor time is what a thread has had of a processor: it stands still while the thread sleeps
//! *and* while the kernel runs another in its place, which no other figure tells without a file.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock. Never goes back; its zero is arbitrary (about boot time).
///
/// ```
/// let before_ns = millpond_sys::clock::now_ns();
/// assert!(millpond_sys::clock::now_ns() >= before_ns);
/// ```
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock counts from boot: both fields are never negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds of processor time that the calling thread has used. A system call, of less than a
/// microsecond.
///
/// ```
/// let before_ns = millpond_sys::clock::my_cpu_ns();
/// assert!(millpond_sys::clock::my_cpu_ns() >= before_ns);
/// ```
pub fn my_cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
}

/// Nanoseconds of processor time that a thread of this process has used; `None` if there is no such
/// thread. A system call, of less than a microsecond.
///
/// ```
/// use millpond_sys::{clock::thread_cpu_ns, task::thread_id};
///
/// let before_ns = thread_cpu_ns(thread_id()).unwrap();
/// let sum: u64 = (0..std::hint::black_box(100_000)).sum();
/// assert!(sum > 0 && thread_cpu_ns(thread_id()).unwrap() > before_ns);
/// assert_eq!(thread_cpu_ns(i32::MAX), None);
/// ```
pub fn thread_cpu_ns(thread: i32) -> Option<u64> {
    // How Linux names the clock of a thread: the complement of its number, three bits further up,
    // with "per thread" (4) and "as the scheduler counts" (2) below. `pthread_getcpuclockid` makes
    // the same from a `pthread_t`, which is not known here.
    // The bits that the shift drops are all sign in a thread's number (Linux has at most 2^22 of them).
    if !(1..1 << 22).contains(&thread) {
        return None;
    }
    let clock = (!thread << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to `time`, and refuses a clock that it does not know.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (answer == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::now_ns;

    #[test]
    fn agrees_with_the_clock_of_the_standard_library() {
        let (start, start_ns) = (std::time::Instant::now(), now_ns());
        while now_ns() - start_ns < 2_000_000 {
            std::hint::spin_loop();
        }
        let inner_ns = now_ns() - start_ns;
        // `start` was read before `start_ns`, and `elapsed` is read after both: it is the longer.
        assert!(start.elapsed().as_nanos() as u64 >= inner_ns);
    }
}

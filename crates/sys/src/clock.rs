//! Monotonic time as one number of nanoseconds.
//!
//! The runtime compares, subtracts and stores times by the million (timer heap, run queues, wait
//! records), so it wants eight plain bytes and not `std::time::Instant`'s sixteen. The clock is
//! `CLOCK_MONOTONIC`, read through the vDSO: about 20 ns, no system call.
//!
//! Rejected: the time stamp counter directly. It saves some nanoseconds and costs calibration,
//! and it is wrong on the virtual machines where services run.

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

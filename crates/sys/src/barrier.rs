//! Waiting on a word, and a memory barrier on every thread of the process.
//!
//! [`wait`] and [`wake`] are the futex calls, for locks that must not allocate. [`everywhere`] is
//! `membarrier(PRIVATE_EXPEDITED)`: when it returns, every thread of the process has passed a full
//! barrier since it was called. A protocol can then put the whole cost of its fences on the rare
//! side: the frequent side only keeps the compiler from reordering. [`register`] has to be called
//! first, and says whether the kernel can.
//!
//! Rejected: falling back to changing a page's protection, which interrupts other processors on
//! x86 only. Where the kernel refuses, callers do without the protocol.

use rustix::thread::{MembarrierCommand, futex, membarrier};
use std::sync::atomic::AtomicU32;

/// Waits until [`wake`] is called for `word`, unless it does not hold `expected`. Returns early for
/// a signal, or for no reason: callers look again.
pub fn wait(word: &AtomicU32, expected: u32) {
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, None);
}

/// As [`wait`], for at most `ms` milliseconds.
pub fn wait_ms(word: &AtomicU32, expected: u32, ms: u32) {
    let limit = rustix::time::Timespec {
        tv_sec: i64::from(ms / 1000),
        tv_nsec: i64::from(ms % 1000) * 1_000_000,
    };
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, Some(&limit));
}

/// Wakes up to `count` threads that wait for `word`.
pub fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, count);
}

/// Lets another thread of the processor have its turn.
pub fn yield_now() {
    rustix::thread::sched_yield();
}

/// Prepares the process for [`everywhere`]; `false` when the kernel cannot.
pub fn register() -> bool {
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

/// A full memory barrier on every thread of the process; `false` if it was not made.
pub fn everywhere() -> bool {
    membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_wait_for_a_word_that_has_changed_returns() {
        let word = AtomicU32::new(1);
        wait(&word, 0);
        wait_ms(&word, 1, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 1 {
                    wait(&word, 1);
                }
            });
            word.store(2, Ordering::Release);
            wake(&word, 1);
        });
    }

    #[test]
    fn a_barrier_is_made_where_it_can_be_registered() {
        assert_eq!(register(), everywhere());
    }
}

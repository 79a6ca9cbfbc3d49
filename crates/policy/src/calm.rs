//! For how long nobody is called to help after helpers found too little.
//!
//! Waking a thread costs the waker microseconds, and what the helper takes away starts cold on another processor.
//! That pays if the work is large or plentiful. If a call brought nothing, or crumbs, the next ones would bring the
//! same: a program that starts a million small goroutines would make a call for each batch and be slower for it. So
//! after such a call there is *calm*, longer each time in a row, and a call that paid ends it:
//!
//! ```text
//!   call ─▶ helper found nothing, or crumbs ─▶ calm for 100 µs, 200 µs, .. 10 ms ─▶ next call
//!        └▶ helper found real work ─▶ no calm
//! ```
//!
//! The longest calm is what a sudden parallel phase waits at most; the monitor, which calls for work that has not moved
//! for long, is not bound by it. Owns nothing: the caller keeps the count of failures and the clock.
//!
//! Rejected: never calling when work is queued, and leaving it to the monitor (its period grows to 10 ms, and each
//! parallel phase would begin with that); calling each time (measured: starting and joining small goroutines on two
//! processors took 310 ns each instead of 190).

/// The first calm, in nanoseconds.
pub const FIRST_NS: u64 = 100_000;

/// The longest calm, in nanoseconds.
pub const LONGEST_NS: u64 = 10_000_000;

/// A piece of stolen work that kept its thief for less than this, in nanoseconds, is a crumb: it took less time than
/// waking the thief did.
pub const CRUMB_NS: u64 = 3_000;

/// How long the calm after a call that did not pay is, after `failures` of them in a row before it. In nanoseconds.
///
/// ```
/// use millpond_policy::calm::{FIRST_NS, LONGEST_NS, calm_ns};
///
/// assert_eq!(calm_ns(0), FIRST_NS);
/// assert_eq!(calm_ns(2), 4 * FIRST_NS);
/// assert_eq!(calm_ns(u32::MAX), LONGEST_NS);
/// ```
pub fn calm_ns(failures: u32) -> u64 {
    FIRST_NS.checked_shl(failures.min(32)).unwrap_or(LONGEST_NS).min(LONGEST_NS)
}

/// Whether stealing `count` pieces that kept the thief for `busy_ns` was worth its while. Nothing never is.
///
/// ```
/// use millpond_policy::calm::paid;
///
/// assert!(paid(2, 1_000_000));
/// assert!(!paid(100, 20_000));
/// assert!(!paid(0, 1_000_000));
/// ```
pub fn paid(count: u32, busy_ns: u64) -> bool {
    count > 0 && busy_ns >= u64::from(count) * CRUMB_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calm_grows_to_its_longest_and_no_further() {
        let all: Vec<u64> = (0..12).map(calm_ns).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((all[0], all[6], all[7], all[11]), (100_000, 6_400_000, LONGEST_NS, LONGEST_NS));
        assert_eq!(calm_ns(33), LONGEST_NS);
    }
}

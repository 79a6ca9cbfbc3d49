//! The back-off of an accept loop that has run out of descriptors or of memory.
//!
//! `accept` that fails with `EMFILE` leaves the connection in the kernel's queue, so the listener stays ready and
//! an eager loop would fail again at once: a whole core for nothing, and one log line per failure. [`Backoff`] owns
//! the two numbers that prevent both:
//!
//! 1. every failure in a row doubles the pause, from [`FIRST_DELAY_MS`] to [`MAX_DELAY_MS`];
//! 2. a success puts the pause back to the start;
//! 3. a log line is due at most once in [`LOG_INTERVAL_MS`], and it carries how many failures it stands for.
//!
//! The log limit outlives a success on purpose. Near the limit, failures and successes alternate (one connection
//! closes, one is accepted, the next fails), and a limit that a success resets would log at the rate of the
//! successes.
//!
//! The caller waits; nothing here knows how. Rejected: jitter. It keeps many *clients* from hitting one server in step;
//! the accept loops of one process do not disturb each other.

/// The pause after the first failure in a row, in milliseconds.
pub const FIRST_DELAY_MS: u64 = 1;

/// The longest pause, in milliseconds: a freed descriptor is noticed within this time.
pub const MAX_DELAY_MS: u64 = 100;

/// The shortest time between two log lines, in milliseconds.
pub const LOG_INTERVAL_MS: u64 = 1_000;

/// The state of one accept loop; owned by that loop.
///
/// ```
/// use millpond_policy::backoff::Backoff;
///
/// let mut backoff = Backoff::new();
/// let first = backoff.failed(0);
/// assert_eq!((first.delay_ms, first.log), (1, Some(1)));
/// let second = backoff.failed(1);
/// assert_eq!((second.delay_ms, second.log), (2, None));
/// backoff.succeeded();
/// assert_eq!(backoff.failed(3).delay_ms, 1);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    /// The pause that the next failure gets.
    next_delay_ms: u64,
    /// When the last log line was due; `None` before the first.
    last_log_ms: Option<u64>,
    /// Failures that no log line has counted yet.
    unlogged: u64,
}

/// What to do about one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How long to wait before the next try, in milliseconds.
    pub delay_ms: u64,
    /// A log line is due now, and it stands for this many failures (this one included).
    pub log: Option<u64>,
}

impl Backoff {
    /// A loop that has not failed yet.
    pub const fn new() -> Backoff {
        Backoff { next_delay_ms: FIRST_DELAY_MS, last_log_ms: None, unlogged: 0 }
    }

    /// One more failure, at `now_ms` of any clock that does not run backwards. A clock that does only makes the
    /// next log line later; it never makes lines more frequent.
    pub fn failed(&mut self, now_ms: u64) -> Retry {
        let delay_ms = self.next_delay_ms;
        self.next_delay_ms = (delay_ms * 2).min(MAX_DELAY_MS);
        self.unlogged += 1;
        Retry { delay_ms, log: self.log_due(now_ms) }
    }

    /// The operation succeeded: the next failure starts with the shortest pause again.
    pub fn succeeded(&mut self) {
        self.next_delay_ms = FIRST_DELAY_MS;
    }

    /// Takes the count of unlogged failures if a line is due at `now_ms`.
    fn log_due(&mut self, now_ms: u64) -> Option<u64> {
        if let Some(last) = self.last_log_ms
            && now_ms.saturating_sub(last) < LOG_INTERVAL_MS
        {
            return None;
        }
        self.last_log_ms = Some(now_ms);
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_from_one_millisecond_to_the_cap() {
        let mut backoff = Backoff::new();
        let delays: Vec<u64> = (0..10).map(|_| backoff.failed(0).delay_ms).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 100, 100, 100]);
    }

    #[test]
    fn a_success_resets_the_delay_but_not_the_log_limit() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.failed(0).log, Some(1));
        let mut lines = 0;
        for now_ms in 1..LOG_INTERVAL_MS {
            let retry = backoff.failed(now_ms);
            assert_eq!(retry.delay_ms, FIRST_DELAY_MS + u64::from(now_ms == 1));
            lines += u32::from(retry.log.is_some());
            backoff.succeeded();
        }
        assert_eq!(lines, 0, "a loop that flaps must not log once per success");
        assert_eq!(backoff.failed(LOG_INTERVAL_MS).log, Some(LOG_INTERVAL_MS));
    }

    #[test]
    fn a_minute_of_exhaustion_costs_few_tries_and_few_lines() {
        let mut backoff = Backoff::new();
        let (mut now_ms, mut tries, mut lines, mut counted) = (0, 0, 0, 0);
        while now_ms < 60_000 {
            let retry = backoff.failed(now_ms);
            tries += 1;
            lines += u64::from(retry.log.is_some());
            counted += retry.log.unwrap_or(0);
            now_ms += retry.delay_ms;
        }
        assert!((590..=620).contains(&tries), "tries: {tries}");
        assert!((55..=60).contains(&lines), "lines: {lines}");
        assert!(counted <= tries && tries - counted <= 11, "{counted} of {tries} reported");
    }

    proptest! {
        #[test]
        fn lines_are_a_second_apart_and_lose_no_failure(
            steps in prop::collection::vec((0u64..400, any::<bool>()), 1..400),
        ) {
            let mut backoff = Backoff::new();
            let (mut now_ms, mut failures, mut counted) = (0, 0, 0);
            let mut last_line: Option<u64> = None;
            for (gap_ms, ok) in steps {
                now_ms += gap_ms;
                if ok {
                    backoff.succeeded();
                    continue;
                }
                let retry = backoff.failed(now_ms);
                failures += 1;
                prop_assert!((FIRST_DELAY_MS..=MAX_DELAY_MS).contains(&retry.delay_ms));
                if let Some(n) = retry.log {
                    counted += n;
                    prop_assert_eq!(counted, failures);
                    if let Some(last) = last_line {
                        prop_assert!(now_ms - last >= LOG_INTERVAL_MS);
                    }
                    last_line = Some(now_ms);
                } else {
                    prop_assert!(now_ms - last_line.expect("the first failure logs") < LOG_INTERVAL_MS);
                }
            }
        }

        #[test]
        fn a_clock_that_runs_backwards_never_adds_lines(times in prop::collection::vec(0u64..5_000, 1..200)) {
            let mut backoff = Backoff::new();
            let mut highest = None::<u64>;
            for now_ms in times {
                if backoff.failed(now_ms).log.is_some() {
                    prop_assert!(highest.is_none_or(|h| now_ms >= h + LOG_INTERVAL_MS));
                    highest = Some(now_ms);
                }
            }
        }
    }
}

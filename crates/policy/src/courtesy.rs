//! When a busy thread gives its processor away, to be served sooner itself.
//!
//! A server that is never idle runs until the kernel takes its processor, some milliseconds at a time. Whoever waits
//! for that processor is often its own: another of its threads, whose connections stand still meanwhile, or a client
//! on the same machine, whose next request it will get. Two such waits after another are the slowest per cent of
//! requests. Giving way each fraction of a millisecond makes them short and costs little, as long as those who wait
//! have little to do.
//!
//! ```text
//!   busy for 0.3 ms ─▶ give way ─▶ back within 1 ms: a disappointment is forgotten
//!                              └─▶ away for longer:  one more; at 4 no courtesy until the clock's next quarter second
//! ```
//!
//! Away for long means that a stranger computes there. He takes whole slices, and each that is given to him is lost: a
//! thread that always gave way would get a fraction of what is its due. But a thread that does not give way looks like
//! such a stranger to the others, so it takes both to find out that both are polite: hence several tries in a row, and
//! at quarter seconds of one clock, at which all threads try at once.
//!
//! Rejected: a shorter slice (`sched_setattr`), which most kernels look at once per tick only, so that nothing
//! changed; giving way after a fixed time (with a stranger on each processor a quarter of the throughput was lost);
//! giving way more seldom after each disappointment, by each thread for itself (they did not find together); a balance
//! of the time away and the time busy (it let a stranger have a fifth, and ended courtesy among the polite as often).

/// How long a thread is busy before it gives way, in nanoseconds.
pub const BUSY_NS: u64 = 300_000;

/// Away for so long, a thread has met somebody who computes; in nanoseconds.
pub const LONG_NS: u64 = 1_000_000;

/// Disappointments that end a thread's courtesy for a while.
pub const LIMIT: u32 = 4;

/// Courtesy is tried again at multiples of this, in nanoseconds.
pub const RETRY_NS: u64 = 250_000_000;

/// What a thread remembers. Times are nanoseconds of one clock for all threads.
///
/// ```
/// use millpond_policy::courtesy::{BUSY_NS, Courtesy, LIMIT, LONG_NS, RETRY_NS};
///
/// let mut courtesy = Courtesy::default();
/// assert!(courtesy.is_due(0, BUSY_NS) && !courtesy.is_due(BUSY_NS / 2, BUSY_NS));
/// for _ in 0..LIMIT {
///     courtesy.was_away(BUSY_NS, BUSY_NS + LONG_NS);
/// }
/// assert!(!courtesy.is_due(0, RETRY_NS - 1) && courtesy.is_due(0, RETRY_NS));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Courtesy {
    disappointments: u32,
    /// None before this.
    resumes_ns: u64,
}

impl Courtesy {
    /// Whether a thread that has been busy since `since_ns` gives way.
    #[inline]
    pub fn is_due(&self, since_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_sub(since_ns) >= BUSY_NS && now_ns >= self.resumes_ns
    }

    /// It gave way at `left_ns` and is back at `back_ns`.
    pub fn was_away(&mut self, left_ns: u64, back_ns: u64) {
        if back_ns.saturating_sub(left_ns) < LONG_NS {
            self.disappointments = self.disappointments.saturating_sub(1);
            return;
        }
        self.disappointments += 1;
        if self.disappointments >= LIMIT {
            let resumes_ns = (back_ns / RETRY_NS).saturating_add(1).saturating_mul(RETRY_NS);
            *self = Self { disappointments: 0, resumes_ns };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_computes_takes_little_more_than_his_half() {
        // He takes slices of 4 ms; what this thread does not give away, it has in equal slices.
        let slice_ns = 4_000_000;
        let (mut courtesy, mut now, mut mine) = (Courtesy::default(), 0, 0);
        let (mut since, mut slice_left) = (0, slice_ns);
        while now < 10_000_000_000 {
            let step = 10_000;
            (now, mine, slice_left) = (now + step, mine + step, slice_left - step);
            if courtesy.is_due(since, now) {
                courtesy.was_away(now, now + slice_ns);
                now += slice_ns;
                (since, slice_left) = (now, slice_ns);
            } else if slice_left == 0 {
                (now, slice_left) = (now + slice_ns, slice_ns);
            }
        }
        let share = mine as f64 / now as f64;
        assert!(share > 0.46, "{share}");
    }

    #[test]
    fn courtesy_lasts_while_the_absences_are_short_and_outlasts_some_long_ones() {
        let (mut courtesy, mut now) = (Courtesy::default(), 0);
        for turn in 0..10_000 {
            let since = now;
            now += BUSY_NS;
            assert!(courtesy.is_due(since, now));
            let away = if turn % 5 < 2 { 4_000_000 } else { BUSY_NS };
            courtesy.was_away(now, now + away);
            now += away;
        }
    }

    #[test]
    fn all_threads_try_again_at_the_same_time() {
        let resumes = |back_ns| {
            let mut courtesy = Courtesy::default();
            while courtesy.is_due(0, BUSY_NS) {
                courtesy.was_away(0, back_ns);
            }
            courtesy.resumes_ns
        };
        assert_eq!([3_000_000, 100_000_000, RETRY_NS - 1].map(resumes), [RETRY_NS; 3]);
    }
}

//! What the monitor thread decides: when to look next, and what to do about what it saw.
//!
//! `rt` owns the monitor thread. At each look it fills one [`Sight`] per M and asks [`judge`]; the answers of a
//! round feed [`Period`], which says how long to sleep. In the order of time, for a goroutine that does not come
//! back:
//!
//! 1. asleep in the kernel for [`HAND_OFF_NS`] while work waits for its P: the P goes to another M
//!    ([`Verdict::HandOff`]). Without waiting work that happens only after [`HAND_OFF_IDLE_NS`], for the sake of
//!    the poller behind that M;
//! 2. computing for [`YIELD_NS`] while work waits: its budget is set to zero, so its next operation on a channel or
//!    a socket yields ([`Verdict::RequestYield`]). A thread that computes keeps its P: the processor is in use
//!    anyway, and unstarted work is stolen from it;
//! 3. either of the two for [`STUCK_NS`]: it is reported, once ([`Verdict::ReportStuck`]).
//!
//! [`judge`] has no memory: what was done already comes in with the sight, so that two looks at the same state give the
//! same answer and a verdict that could not be carried out is simply given again.
//!
//! The thresholds are Go's (`retake` and `sysmon` in `runtime/proc.go`), except the first. Go knows that a
//! goroutine is in a system call, because its compiler tells it, and retakes the P after one tick of 20 µs. Here
//! "asleep" is a sample of the thread's state, and a page fault or a contended lock looks the same for some tens of
//! microseconds; a hand-off wakes a thread, which costs about 5 µs on each side. At 100 µs the sleep has cost more
//! than the hand-off will.
//!
//! Rejected: a signal that interrupts a computing goroutine. It may land inside the allocator or a `RefCell` borrow.

/// A thread asleep for this long gives up its P when work waits for it, in nanoseconds.
pub const HAND_OFF_NS: u64 = 100_000;

/// A thread that has been in one sleep for memory, in a page fault or a call that changes mappings, counts as asleep
/// after so long, in nanoseconds. Many threads that fault at once sleep on each other for some hundred microseconds;
/// one more thread in their place makes it worse. A fault that reads from a disk takes longer.
pub const MEMORY_NS: u64 = 1_000_000;

/// A thread asleep for this long gives up its P even when no work is seen waiting, in nanoseconds.
pub const HAND_OFF_IDLE_NS: u64 = 10_000_000;

/// A goroutine that computes for this long is asked to yield when work waits, in nanoseconds.
pub const YIELD_NS: u64 = 10_000_000;

/// A goroutine that has run for this long without a park is reported, in nanoseconds.
pub const STUCK_NS: u64 = 1_000_000_000;

/// The shortest sleep between two looks, in microseconds.
pub const MIN_PERIOD_US: u64 = 20;

/// The longest sleep between two looks, in microseconds.
pub const MAX_PERIOD_US: u64 = 10_000;

/// Looks without a reason to act before the sleep starts to double: 50 × 20 µs is one millisecond.
pub const QUIET_ROUNDS: u32 = 50;

/// What one look at one M found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// For how long the same goroutine has been running on it, in nanoseconds; 0 when none runs.
    pub running_ns: u64,
    /// Its thread sleeps in the kernel, as far as samples can tell: two found it in the same sleep, which is not one
    /// for memory or has lasted for [`MEMORY_NS`].
    pub asleep: bool,
    /// It still has its P.
    pub holds_p: bool,
    /// Something waits that only this P, or this M's next turn, can run.
    pub work_waiting: bool,
    /// This run has been asked to yield already.
    pub yield_requested: bool,
    /// This run has been reported already.
    pub reported: bool,
}

/// What to do about one M.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Leave it alone.
    Nothing,
    /// Set the running goroutine's budget to zero.
    RequestYield,
    /// Take its P away and give it to another M, together with its poller.
    HandOff,
    /// Say which goroutine runs, for how long, and where it was started.
    ReportStuck,
}

/// Decides about one M. The most urgent verdict wins: what frees others goes before what informs a person.
///
/// ```
/// use millpond_policy::sysmon::{Sight, Verdict, judge};
///
/// let sight = Sight { running_ns: 300_000, asleep: true, holds_p: true, work_waiting: true, ..Sight::default() };
/// assert_eq!(judge(&sight), Verdict::HandOff);
/// assert_eq!(judge(&Sight { asleep: false, ..sight }), Verdict::Nothing);
/// ```
pub fn judge(sight: &Sight) -> Verdict {
    if sight.asleep && sight.holds_p && sight.running_ns >= hand_off_ns(sight.work_waiting) {
        return Verdict::HandOff;
    }
    if !sight.reported && sight.running_ns >= STUCK_NS {
        return Verdict::ReportStuck;
    }
    let long_enough = sight.running_ns >= YIELD_NS && sight.work_waiting;
    if !sight.asleep && !sight.yield_requested && long_enough {
        return Verdict::RequestYield;
    }
    Verdict::Nothing
}

/// How long a thread may sleep with its P.
fn hand_off_ns(work_waiting: bool) -> u64 {
    if work_waiting { HAND_OFF_NS } else { HAND_OFF_IDLE_NS }
}

/// How long the monitor sleeps between two looks; owned by the monitor.
///
/// It starts at [`MIN_PERIOD_US`]; after [`QUIET_ROUNDS`] looks that found nothing to do it doubles at each further
/// one, up to [`MAX_PERIOD_US`]; one look that acted puts it back to the start.
///
/// ```
/// use millpond_policy::sysmon::{MIN_PERIOD_US, Period};
///
/// let mut period = Period::new();
/// assert_eq!(period.next_us(false), MIN_PERIOD_US);
/// ```
#[derive(Debug, Clone)]
pub struct Period {
    /// Looks in a row that found nothing to do; stops counting at `QUIET_ROUNDS`.
    quiet_rounds: u32,
    /// The sleep that was given out last, in microseconds.
    current_us: u64,
}

impl Period {
    /// A monitor that has just been started, or woken after the whole process was idle.
    pub const fn new() -> Period {
        Period { quiet_rounds: 0, current_us: MIN_PERIOD_US }
    }

    /// The sleep before the next look, in microseconds. `acted`: the look that has just ended gave a verdict other than
    /// [`Verdict::Nothing`].
    pub fn next_us(&mut self, acted: bool) -> u64 {
        if acted {
            *self = Period::new();
        } else if self.quiet_rounds < QUIET_ROUNDS {
            self.quiet_rounds += 1;
        } else {
            self.current_us = (self.current_us * 2).min(MAX_PERIOD_US);
        }
        self.current_us
    }
}

impl Default for Period {
    fn default() -> Period {
        Period::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the monitor over one goroutine that started at time 0 and does not come back; returns what it did and when.
    fn simulate(asleep: bool, work_waiting: bool, until_ns: u64) -> Vec<(u64, Verdict)> {
        let mut period = Period::new();
        let mut log = Vec::new();
        let mut now_ns = 0;
        let mut sight = Sight { asleep, work_waiting, holds_p: true, ..Sight::default() };
        while now_ns < until_ns {
            sight.running_ns = now_ns;
            let verdict = judge(&sight);
            match verdict {
                Verdict::Nothing => {}
                Verdict::HandOff => sight.holds_p = false,
                Verdict::ReportStuck => sight.reported = true,
                Verdict::RequestYield => sight.yield_requested = true,
            }
            if verdict != Verdict::Nothing {
                log.push((now_ns, verdict));
            }
            now_ns += period.next_us(verdict != Verdict::Nothing) * 1_000;
        }
        log
    }

    /// Asserts that the log holds exactly these verdicts, each at most one longest period late.
    fn expect(log: &[(u64, Verdict)], wanted: &[(u64, Verdict)]) {
        assert_eq!(log.len(), wanted.len(), "{log:?}");
        for (&(at, verdict), &(due, expected)) in log.iter().zip(wanted) {
            assert_eq!(verdict, expected, "{log:?}");
            assert!(
                at >= due && at <= due + MAX_PERIOD_US * 1_000,
                "{verdict:?} at {at}, due {due}"
            );
        }
    }

    #[test]
    fn a_blocking_call_gives_its_p_away_at_once_and_is_reported_once() {
        let log = simulate(true, true, 5 * STUCK_NS);
        expect(&log, &[(HAND_OFF_NS, Verdict::HandOff), (STUCK_NS, Verdict::ReportStuck)]);
        assert!(
            log[0].0 <= HAND_OFF_NS + MIN_PERIOD_US * 1_000,
            "a fresh monitor sees it in one look"
        );
    }

    #[test]
    fn a_blocking_call_with_no_work_behind_it_still_frees_its_poller() {
        let log = simulate(true, false, 5 * STUCK_NS);
        expect(&log, &[(HAND_OFF_IDLE_NS, Verdict::HandOff), (STUCK_NS, Verdict::ReportStuck)]);
    }

    #[test]
    fn a_computation_keeps_its_p_and_is_asked_to_yield_when_work_waits() {
        let log = simulate(false, true, 5 * STUCK_NS);
        expect(&log, &[(YIELD_NS, Verdict::RequestYield), (STUCK_NS, Verdict::ReportStuck)]);
    }

    #[test]
    fn a_computation_that_nobody_waits_for_is_only_reported() {
        expect(&simulate(false, false, 5 * STUCK_NS), &[(STUCK_NS, Verdict::ReportStuck)]);
    }

    #[test]
    fn an_m_without_a_goroutine_is_left_alone() {
        for bits in 0..32u32 {
            let bit = |n: u32| bits & (1 << n) != 0;
            let sight = Sight {
                running_ns: 0,
                asleep: bit(0),
                holds_p: bit(1),
                work_waiting: bit(2),
                yield_requested: bit(3),
                reported: bit(4),
            };
            assert_eq!(judge(&sight), Verdict::Nothing, "{sight:?}");
        }
    }

    #[test]
    fn a_quiet_monitor_wakes_a_hundred_times_a_second_and_no_more() {
        let mut period = Period::new();
        let warm_up: u64 = (0..u64::from(QUIET_ROUNDS)).map(|_| period.next_us(false)).sum();
        assert_eq!(warm_up, 1_000);
        let doubling: Vec<u64> = (0..10).map(|_| period.next_us(false)).collect();
        assert_eq!(doubling, [40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_000, 10_000]);
        assert_eq!(period.next_us(true), MIN_PERIOD_US);
    }

    fn sights() -> impl Strategy<Value = Sight> {
        let flags = any::<(bool, bool, bool, bool, bool)>();
        (0..3 * STUCK_NS, flags).prop_map(|(running_ns, f)| Sight {
            running_ns,
            asleep: f.0,
            holds_p: f.1,
            work_waiting: f.2,
            yield_requested: f.3,
            reported: f.4,
        })
    }

    proptest! {
        #[test]
        fn only_a_sleeping_thread_that_has_a_p_loses_it(sight in sights()) {
            if judge(&sight) == Verdict::HandOff {
                prop_assert!(sight.asleep && sight.holds_p);
            }
        }

        #[test]
        fn no_verdict_is_given_twice_for_one_run(sight in sights()) {
            let after = match judge(&sight) {
                Verdict::Nothing => return Ok(()),
                Verdict::HandOff => Sight { holds_p: false, ..sight },
                Verdict::ReportStuck => Sight { reported: true, ..sight },
                Verdict::RequestYield => Sight { yield_requested: true, ..sight },
            };
            prop_assert_ne!(judge(&after), judge(&sight));
        }

        #[test]
        fn waiting_longer_never_withdraws_a_verdict(sight in sights(), more in 0..STUCK_NS) {
            let later = Sight { running_ns: sight.running_ns + more, ..sight };
            if judge(&sight) != Verdict::Nothing {
                prop_assert_ne!(judge(&later), Verdict::Nothing);
            }
        }

        #[test]
        fn the_period_stays_in_its_range_whatever_happens(rounds in prop::collection::vec(any::<bool>(), 0..500)) {
            let mut period = Period::new();
            let mut before = MIN_PERIOD_US;
            for acted in rounds {
                let now = period.next_us(acted);
                prop_assert!((MIN_PERIOD_US..=MAX_PERIOD_US).contains(&now));
                prop_assert!(now <= before * 2, "grows by doubling only");
                prop_assert!(!acted || now == MIN_PERIOD_US);
                before = now;
            }
        }
    }
}

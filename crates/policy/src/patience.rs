//! Whether a thief may take what waits in another thread's queue, or leaves it to its owner.
//!
//! What is taken before its first run lives with the thief for ever, and who talks across threads pays for each
//! message. So the question is not only whether work waits, but whom it would leave. The thief watches for a while
//! and judges what it saw ([`Watch`]):
//!
//! ```text
//!   what runs there seldom talks           worth a processor           take
//!   it talks once and ends                 so do its siblings          take
//!   it talks all the time, and its owner
//!     gets to the rest soon                a circle that is starting   leave
//!     does not                             too much for one            take
//! ```
//!
//! *Talks* are operations on channels and locks, waited for or not. *All the time* is by how far apart they are: if
//! the work between two of them is less than a message to another thread costs, a second processor only makes it
//! slower. *Soon* is by the pace at which the owner was seen to take from its queue.
//!
//! Rejected: time alone. The first two of eight, once they have found each other, keep their thread busy for longer
//! than any thief waits, and pass on what the others are to bring: a channel of 128 with four senders and four
//! receivers was torn apart in two of three processes (60 to 150 ns a message, and 15 in one piece). *Turns of the
//! owner* in the place of its time, and their length in the place of how often it talks: a turn is as long as the
//! channel's buffer.

/// What talks more often than once in so many nanoseconds of its thread's time is better off with those that it
/// talks to.
pub const TALK_NS: u64 = 500;

/// What an owner gets to within this time, in nanoseconds, is left to it.
pub const SOON_NS: u64 = 1_000_000;

/// What a thief saw of another thread and its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// For how long, in nanoseconds of the owner's processor time.
    pub watched_ns: u64,
    /// Goroutines that ran there and left the processor meanwhile. The first may have begun before.
    pub turns: u64,
    /// Operations on channels and locks that these finished, or began to wait for.
    pub talks: u64,
    /// Pieces of work that left its queue meanwhile.
    pub taken: u32,
    /// Pieces that were there at the beginning and are there still.
    pub left: u32,
}

/// Whether to take some of what is left.
///
/// ```
/// use millpond_policy::patience::{Watch, may_take};
///
/// let busy = Watch { watched_ns: 30_000, turns: 9, talks: 900, taken: 2, left: 5 };
/// assert!(!may_take(&busy));
/// assert!(may_take(&Watch { talks: 3, ..busy }));
/// assert!(may_take(&Watch { left: 500, ..busy }));
/// ```
pub fn may_take(watch: &Watch) -> bool {
    watch.left > 0 && (!is_circle(watch) || needs_ns(watch) > SOON_NS)
}

/// Whether what runs there talks all the time, and more than it starts: a result that each of many sends to one
/// collector is no conversation.
fn is_circle(watch: &Watch) -> bool {
    // Talks count when a turn ends, so those of one turn fell, for all that is known, before the watch.
    let talks = watch.talks - watch.talks / watch.turns.max(1);
    talks.saturating_mul(TALK_NS) > watch.watched_ns && talks > 3 * u64::from(watch.taken)
}

/// How long the owner needs for what is left, at the pace that was seen.
fn needs_ns(watch: &Watch) -> u64 {
    watch.watched_ns.saturating_mul(u64::from(watch.left)) / u64::from(watch.taken.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Eight goroutines at one channel of 128, two of which run.
    const CIRCLE: Watch = Watch { watched_ns: 28_000, turns: 19, talks: 2_500, taken: 1, left: 6 };

    #[test]
    fn a_circle_that_is_starting_is_left_alone() {
        assert!(!may_take(&CIRCLE));
        assert!(!may_take(&Watch { taken: 0, ..CIRCLE }), "its first turns are slow");
    }

    #[test]
    fn what_computes_between_messages_is_taken() {
        for work_ns in [1_000, 5_000, 1_000_000] {
            let turns = 90_000 / work_ns;
            let watch = Watch { watched_ns: 90_000, turns, talks: turns, taken: 0, left: 1 };
            assert!(may_take(&watch), "{work_ns}");
        }
    }

    #[test]
    fn a_long_turn_that_ends_under_watch_is_not_taken_for_a_talk_of_that_moment() {
        // Filling a buffer of 128 with what takes 2 µs each.
        assert!(may_take(&Watch { watched_ns: 30_000, turns: 1, talks: 129, taken: 1, left: 5 }));
    }

    #[test]
    fn results_for_one_collector_are_no_circle() {
        // 150 ns for each that starts, and its send and the receive of it.
        assert!(may_take(&Watch {
            watched_ns: 30_000,
            turns: 400,
            talks: 400,
            taken: 200,
            left: 800
        }));
    }

    #[test]
    fn a_queue_that_its_owner_does_not_get_to_is_taken_from_a_circle() {
        assert!(may_take(&Watch { left: 200, ..CIRCLE }));
        assert!(may_take(&Watch {
            watched_ns: 2 * SOON_NS,
            turns: 1 << 13,
            talks: 1 << 20,
            taken: 1,
            left: 1
        }));
    }

    proptest! {
        #[test]
        fn more_that_waits_never_withdraws_permission(
            watched_ns in any::<u64>(), turns in any::<u64>(), talks in any::<u64>(),
            taken in any::<u32>(), left in 1..u32::MAX / 2, more in any::<u16>()
        ) {
            let watch = Watch { watched_ns, turns, talks, taken, left };
            let longer = Watch { left: left + u32::from(more), ..watch };
            prop_assert!(!may_take(&watch) || may_take(&longer));
        }

        #[test]
        fn of_nothing_nothing_is_taken(talks in any::<u64>(), taken in any::<u32>()) {
            let none_left = Watch { watched_ns: 30_000, turns: 1, talks, taken, left: 0 };
            prop_assert!(!may_take(&none_left));
        }
    }
}
